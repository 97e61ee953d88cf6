"""Each request to MLflow in turn fails, in each way that a network knows; in the end all is there once."""

import math
from itertools import count, cycle
from pathlib import Path

import pytest
from mirrored import contents
from proxy import Mode, Proxy
from tracked import STEPS, Server, measured, play, reopened, study, tracker

from trainers.settings import L0
from tuner.record import Record
from tuner.rows import Row
from tuner.tracker import Tracker

UP = {"up0": L0(keep=0.25)}
FAULTS: tuple[Mode, ...] = ("error", "error after", "cut after", "stall", "swallow")
_copies = count()


pytestmark = pytest.mark.usefixtures("patient")


def disturbed_pass(one: Tracker, proxy: Proxy, k: int, fault: Mode) -> bool:
    """One pass of which the k-th request fails; whether it went well, because it has fewer requests."""
    proxy.plan({k: fault})
    with pytest.MonkeyPatch.context() as impatient:
        if fault in ("stall", "swallow"):
            impatient.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        well = one.project()
    proxy.mode = "pass"  # lets go of what is held
    return well and proxy.requests < k


def small(folder: Path, trials: int) -> Record:
    budget = {"trials": trials, "steps": STEPS[-1], "grace": STEPS[0], "reduction": 3, "baseline_seeds": 1}
    return study(folder, budget=budget)


def whole_trial(record: Record, folder: Path, value: float) -> Row:
    """A proposal that completed, its pictures and its checkpoint."""
    row = play(record, "proposal", [20, value], settings=UP)
    pictures = folder / "trials" / row.label / "pictures"
    pictures.mkdir(parents=True)
    for step in STEPS:
        (pictures / f"{step}-output.png").write_text(f"picture {step} of {row.label}")
    (pictures.parent / "checkpoint.pt").write_text(f"state of {row.label}")
    return row


def another_copy(record: Record, uuid: str, tracking: str, folder: Path) -> Tracker:
    """A tracker to which the same record is another study, with no run in MLflow yet."""
    record.uuid = uuid
    return tracker(record, tracking, folder)


def until_it_is_through(one: Tracker, afresh: bool = False) -> None:
    assert any(one.project(afresh=afresh) for _ in range(10)), one.problem


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that has ended: a baseline, a trial with all that one can have, a failed one."""
    folder = tmp_path_factory.mktemp("finished")
    record = small(folder, trials=2)
    play(record, "baseline", [20, 21])
    whole_trial(record, folder, 22)
    record.add("proposal", seed=0, settings=UP)
    record.evaluation("proposal", 1, 30, measured(math.nan) | {"score": 19.0})
    (folder / "trials" / "1").mkdir()
    (folder / "trials" / "1" / "log.txt").write_text("a line\nhttp://me:secret@host broke\n")
    record.fail("proposal", 1, "it broke")
    return folder


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("faults", "every"),
    [
        (("error", "error after", "swallow", "cut after"), 9),
        *(pytest.param((f,), 1, marks=SLOW) for f in FAULTS),
    ],
)
def test_any_request_of_a_study_may_fail(
    faults: tuple[Mode, ...], every: int, server: Server, proxy: Proxy, finished: Path
) -> None:
    """The pass is cut off there; a new process goes on, as after a kill."""
    whole = f"whole-{next(_copies)}"
    proxy.plan()
    until_it_is_through(another_copy(reopened(finished), whole, proxy.url, finished))
    requests, undisturbed = proxy.requests, contents(server.folder, whole)
    assert set(undisturbed) == {"study", "baseline:0", "0", "1"}
    for k, fault in zip(range(1, requests + 1, every), cycle(faults), strict=False):
        uuid, record = f"copy-{next(_copies)}", reopened(finished)
        disturbed_pass(another_copy(record, uuid, proxy.url, finished), proxy, k, fault)
        failed = proxy.lines[-1]
        until_it_is_through(another_copy(reopened(finished), uuid, proxy.url, finished))
        assert contents(server.folder, uuid) == undisturbed, (fault, k, failed)


@SLOW
@pytest.mark.parametrize("fault", FAULTS)
def test_any_request_of_a_trial_may_fail(fault: Mode, server: Server, proxy: Proxy, tmp_path: Path) -> None:
    """The same process goes on, trial by trial: in the k-th one's pass the k-th request fails."""
    record = small(tmp_path, trials=1000)
    play(record, "baseline", [20, 21])
    uuid, whole = f"copy-{next(_copies)}", f"whole-{next(_copies)}"
    one = another_copy(record, uuid, proxy.url, tmp_path)
    until_it_is_through(one)
    for k in count(1):
        whole_trial(record, tmp_path, 22 + k / 100)
        if disturbed_pass(one, proxy, k, fault):
            break
        until_it_is_through(one)
    assert k > 10
    until_it_is_through(one, afresh=True)
    disturbed = contents(server.folder, uuid)
    until_it_is_through(another_copy(record, whole, server.url, tmp_path))
    assert disturbed == contents(server.folder, whole)
