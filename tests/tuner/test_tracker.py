"""The thread that copies, while MLflow is away, silent, late or slow: bounded, counted, once in the end."""

import threading
from pathlib import Path
from typing import Any

import pytest
from mirrored import contents
from mlflow import MlflowClient
from proxy import Mode, Proxy
from tracked import Server, artifacts, history, measured, play, reopened, runs, study, tracker

from trainers.settings import L0
from tuner import tracker as module
from tuner.storage import Storage
from tuner.tracker import Lag, Tracker

UP = {"up0": L0(keep=0.25)}
IMPATIENT = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}


pytestmark = pytest.mark.usefixtures("patient")


class Heard:
    """Counts what a tracker says of MLflow's going and coming."""

    def __init__(self) -> None:
        self.times = 0
        self._said = threading.Condition()

    def __call__(self) -> None:
        with self._said:
            self.times += 1
            self._said.notify_all()

    def wait_for(self, times: int) -> None:
        with self._said:
            assert self._said.wait_for(lambda: self.times >= times, 300)


def started(record: Any, proxy: Proxy, folder: Path) -> tuple[Tracker, Heard]:
    heard = Heard()
    one = Tracker(record, proxy.url, Storage(str(folder / "trials")), changed=heard)
    one.start()
    return one, heard


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("refuse", "it ends the connection"),
        ("error", "it answers 500"),
        ("swallow", "it does not answer in time"),
    ],
)
def test_it_says_what_is_missing_and_why_until_it_has_caught_up(
    mode: Mode, why: str, server: Server, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE_AFTER_PROBLEM", 0.05)
    uuid = f"away-{mode}"
    record = study(tmp_path, uuid=uuid)
    play(record, "proposal", [20], settings=UP)
    one = tracker(record, proxy.url, tmp_path)
    assert one.project() and one.lag() is None
    one, heard = started(record, proxy, tmp_path)
    with proxy.during(mode):
        if mode == "swallow":
            monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        record.evaluation("proposal", 0, 90, measured(21))
        play(record, "proposal", [19, 18], settings=UP)
        one.wake()
        heard.wait_for(1)
        lag = one.lag()
        assert lag is not None and (lag.reason, lag.waiting) == (why, None)
        assert lag.evaluations >= 3  # what an earlier process delivered may not be known yet
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    heard.wait_for(2)
    assert one.lag() is None and one.behind() == 0
    assert one.close() == 0
    found = contents(server.folder, uuid)
    assert set(found) == {"study", "0", "1"}
    scores = [point[1:] for point in found["0"]["points"] if point[0] == "score"]
    assert [(step, value) for step, _, _, value in scores] == [(30, 20), (90, 21)]


def test_the_end_waits_no_longer_than_it_is_told_to(
    proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = study(tmp_path, uuid="bounded")
    play(record, "proposal", [20, 21], settings=UP)
    monkeypatch.setattr(module, "_UNNOTICED", 0.05)
    one, _ = started(record, proxy, tmp_path)
    told: list[Lag | None] = []
    with proxy.during("swallow"):  # and the client waits a minute for an answer
        one.wake()
        assert one.close(timeout=0.1, waiting=lambda: told.append(one.lag())) == 2
        assert one._thread.is_alive()
        (lag,) = told
        assert lag is not None and lag.waiting is not None and 0 < lag.waiting <= 0.1
        after = one.lag()
        assert after is not None and after.waiting == 0
    one._thread.join(300)


def test_the_end_tries_again_while_it_waits(
    server: Server, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAUSE_AFTER_PROBLEM", 0.05)
    monkeypatch.setattr(module, "_UNNOTICED", 0.05)
    record = study(tmp_path, uuid="again")
    play(record, "proposal", [20, 21], settings=UP)
    one, heard = started(record, proxy, tmp_path)
    proxy.mode = "error"
    play(record, "proposal", [20, 22], settings=UP)
    one.wake()
    heard.wait_for(1)

    def comes_back() -> None:
        proxy.mode = "pass"

    assert one.close(timeout=300, waiting=comes_back) == 0
    assert set(contents(server.folder, "again")) == {"study", "0", "1"}


def test_a_slow_copy_is_said_to_lag(proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = study(tmp_path, uuid="slow")
    play(record, "proposal", [20, 21], settings=UP)
    proxy.delay = 300
    proxy.mode = "slow"
    one, _ = started(record, proxy, tmp_path)
    assert one.lag() is None  # on its way
    monkeypatch.setattr(module, "_SLOW", -1.0)
    lag = one.lag()
    assert lag is not None and (lag.evaluations, lag.reason, lag.at_most) == (2, "it takes its time", True)
    proxy.mode = "pass"
    monkeypatch.setattr(module, "_SLOW", 300.0)
    assert one.close() == 0


@pytest.mark.parametrize("k", [5, 6, 7])  # the study's run is made, a trial's run, its first batch
def test_a_request_that_arrives_after_its_repetition(
    k: int, server: Server, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uuid = f"late-{k}"
    assert tracker(study(tmp_path / "first", uuid=f"first-{k}"), server.url, tmp_path).project()  # experiment
    record = study(tmp_path, uuid=uuid, trials=1)
    play(record, "proposal", [20], settings=UP)
    one = tracker(record, proxy.url, tmp_path)
    proxy.plan({k: "late"})
    with monkeypatch.context() as impatient:
        impatient.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        assert not one.project()
    assert proxy.lines[-1].endswith("log-batch" if k == 7 else "create")
    record.evaluation("proposal", 0, 90, measured(21))
    assert tracker(reopened_as(tmp_path, uuid), server.url, tmp_path).project()
    late = proxy.requests
    proxy.mode = "pass"  # now the first one is carried out
    for _ in range(1000):
        if proxy.answered >= late:
            break
        runs(server.url, f"tags.study_uuid = '{uuid}-none'")
    last = tracker(reopened_as(tmp_path, uuid), proxy.url, tmp_path)
    assert last.project(afresh=True), last.problem
    found = contents(server.folder, uuid)
    assert set(found) == {"study", "0"}
    zero = found["0"]
    assert (zero["status"], zero["parent"], zero["tags"]["state"]) == ("FINISHED", "study", "COMPLETE")
    assert [point[1] for point in zero["points"] if point[0] == "score"] == [30, 90]


def reopened_as(folder: Path, uuid: str) -> Any:
    record = reopened(folder)
    record.uuid = uuid
    return record


def test_a_double_loses_against_the_run_that_has_more(store: str, tmp_path: Path) -> None:
    """Also as the study's own: then the trials go below the one that stays."""
    record = study(tmp_path)
    play(record, "proposal", [20, 21], settings=UP)
    assert tracker(record, store, tmp_path).project()
    client, before = MlflowClient(store), runs(store)
    for label in ("study", "0"):
        old = before[label]
        tags = {name: old.data.tags[name] for name in ("study", "study_uuid", "role", "state")}
        tags |= {"trial": label} if label != "study" else {"metric": "score", "direction": "maximize"}
        earlier = old.info.start_time - 5000
        client.create_run(old.info.experiment_id, earlier, tags, label)
    client.set_tag(before["0"].info.run_id, "mlflow.parentRunId", "gone")
    assert tracker(record, store, tmp_path).project()
    after = runs(store)
    assert {label: run.info.run_id for label, run in after.items()} == {
        label: run.info.run_id for label, run in before.items()
    }
    assert after["0"].data.tags["mlflow.parentRunId"] == after["study"].info.run_id
    assert history(store, after["0"], "score") == [(30, 20), (90, 21)]


def test_the_end_of_a_failed_trials_log_goes_along(store: str, tmp_path: Path) -> None:
    record = study(tmp_path)
    for number, end in enumerate(("fail", "exhausted", "no log", "complete")):
        play(record, "proposal", [20, 21] if end == "complete" else [20], settings=UP)
        if end != "no log":
            folder = tmp_path / "trials" / str(number)
            folder.mkdir(parents=True)
            lines = [f"line {i}" for i in range(1000)] + ["no answer from https://me:secret@host:5000"]
            (folder / "log.txt").write_text("\n".join(lines) + "\n")
        if end == "exhausted":
            record.exhausted("proposal", number)
        elif end != "complete":
            record.fail("proposal", number, "ValueError: it broke")
    one = tracker(record, store, tmp_path)
    assert one.project(), one.problem
    found, client = runs(store), MlflowClient(store)
    assert [("log.txt" in artifacts(store, found[label])) for label in "0123"] == [True, True, False, False]
    for label in "01":
        path = client.download_artifacts(found[label].info.run_id, "log.txt", str(tmp_path))
        lines = Path(path).read_text().splitlines()
        assert len(lines) == 200 and lines[-2:] == ["line 999", "no answer from https://host:5000"]
    assert found["1"].data.tags["reason"] == "out of memory"


def test_a_folder_that_cannot_be_read_holds_up_its_files_alone(store: str, tmp_path: Path) -> None:
    record = study(tmp_path)
    play(record, "proposal", [20, 21], settings=UP)
    pictures = tmp_path / "trials" / "0" / "pictures"
    pictures.parent.mkdir(parents=True)
    pictures.symlink_to(pictures)  # whoever looks at it gets an OSError
    one = tracker(record, store, tmp_path)
    assert not one.project()
    assert one.problem is not None and "the folder of trial 0 cannot be read" in one.problem
    zero = runs(store)["0"]
    assert history(store, zero, "score") == [(30, 20), (90, 21)]
    assert (zero.info.status, zero.data.params["up0.keep"]) == ("FINISHED", "0.25")
    pictures.unlink()
    pictures.mkdir()
    (pictures / "30-output.png").write_text("a picture")
    assert tracker(record, store, tmp_path).project()
    assert artifacts(store, runs(store)["0"], "pictures") == ["pictures/30-output.png"]
