"""What a worker does: which exceptions are the machine's, what an evaluation may hold, threads, processes."""

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError, RayActorError
from small_disk import fill, small_disk

from trainers import checkpoint
from trainers.settings import Mistake
from tuner.nodes import versions
from tuner.queue import drain
from tuner.record import Record
from tuner.rows import Row
from tuner.spec import freeze, load_spec
from tuner.storage import Storage
from tuner.trial import (
    EndsStudy,
    MachineFault,
    OpenTrial,
    OutOfMemory,
    fault_of_machine,
    lost_its_node,
    refuse_unfit_node,
    why_it_failed,
)


@contextlib.contextmanager
def opened(folder: Path, how: str) -> Iterator[OpenTrial]:
    """A trial whose training breaks so at its second evaluation; the first is taken already."""
    plan = {"options": {"how": how}, "evaluate_at": [30, 90]}
    job = {"label": "0", "seed": 3, "task": "broken:TASK", "plan": plan, "storage": str(folder)}
    trial = OpenTrial(job | {"cpu": 1, "gpu": 0, "path": [], "stall": {}})
    try:
        assert trial.step()["step"] == 30
        yield trial
    finally:
        trial.close()  # also after an error, or a file of it stays open until Python collects it


@pytest.mark.parametrize(
    ("left", "afresh"),
    [
        ({}, False),
        ({"log.txt": ""}, False),
        ({"log.txt": "7 on a, process 1"}, True),
        ({"log.txt": "7 on a, process 1", "pictures/30-output.png": "x"}, True),
        ({"log.txt": "7 on a, process 1", "pictures/30-output.png": "x", "own-state.pt": "x"}, False),
        ({"log.txt": "7 on a, process 1", ".checkpoint.pt-12-ab": "cut off"}, True),
    ],
)
def test_a_trial_begins_again_where_it_was_begun_and_left_no_state(
    tmp_path: Path, left: dict[str, str], afresh: bool
) -> None:
    for name, content in left.items():
        (tmp_path / "0" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "0" / name).write_text(content)
    with opened(tmp_path, "") as trial:
        assert trial.afresh is afresh


def test_a_trial_whose_checkpoint_is_damaged_begins_again_and_says_so(tmp_path: Path) -> None:
    folder = tmp_path / "0"
    checkpoint.save(folder, {"step": 30})
    with opened(tmp_path, "") as trial:
        assert not trial.afresh
    content = (folder / checkpoint.FILE).read_bytes()
    (
        folder / "processes.txt"
    ).unlink()  # of this task alone, and something to go on from as far as anyone knows
    (folder / checkpoint.FILE).write_bytes(content[:-1])
    with opened(tmp_path, "") as trial:
        assert trial.afresh
    assert "is damaged (its checksum is wrong" in (folder / "log.txt").read_text()
    assert (folder / ".checkpoint.pt-damaged").read_bytes() == content[:-1]
    assert not (folder / checkpoint.FILE).exists()


def test_a_trial_that_cannot_be_saved_ends_the_study(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        with opened(disk, "save") as trial:
            filler = fill(disk)
            told = (
                r"^trial 0 cannot be saved on \S+: the storage '.*disk/0' cannot be written \(No space left"
            )
            with pytest.raises(EndsStudy, match=told):
                trial.step()
        with pytest.raises(EndsStudy, match="No space left"), opened(disk / "more", ""):
            pass
        filler.unlink()
        with opened(disk, "save") as trial:
            assert trial.step()["step"] == 90
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(EndsStudy, match=r"cannot be written \(Read-only file system\)"), opened(disk, ""):
            pass


def test_so_does_a_storage_that_is_gone_and_not_a_file_that_a_training_reads(tmp_path: Path) -> None:
    with opened(tmp_path / "there", "disk") as trial, pytest.raises(MachineFault):
        trial.step()
    with opened(tmp_path / "gone", "disk") as trial:
        shutil.rmtree(tmp_path / "gone")
        (tmp_path / "gone").write_text("no folder")
        with pytest.raises(
            EndsStudy, match=r"the storage '.*gone/0' cannot be written \(.*[nN]ot a directory"
        ):
            trial.step()


def test_a_late_node_that_does_not_see_the_studys_storage_is_named(tmp_path: Path) -> None:
    job: dict[str, Any] = {"storage": str(tmp_path / "trials"), "study": "u1", "versions": {}}
    with pytest.raises(EndsStudy, match=r"^the node \S+ does not reach the storage '.*trials' \(it does not"):
        refuse_unfit_node(job)
    assert not (tmp_path / "trials").exists()
    Storage(job["storage"]).mark("u1")
    refuse_unfit_node(job)


def test_a_storage_that_does_not_answer_at_once_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job: dict[str, Any] = {"storage": str(tmp_path / "trials"), "study": "u1", "versions": {}}
    Storage(job["storage"]).mark("u1")
    monkeypatch.setattr("tuner.storage._PATIENCE", (0.0, 0.0))
    is_marked, errors = Storage.is_marked, [OSError(110, "Connection timed out"), ValueError("503")]

    def away(storage: Storage, study: str) -> bool:
        if errors:
            raise errors.pop()
        return is_marked(storage, study)

    monkeypatch.setattr(Storage, "is_marked", away)
    refuse_unfit_node(job)
    assert not errors
    errors += [OSError(110, "Connection timed out")] * 3
    with pytest.raises(EndsStudy, match=r"does not reach the storage .* \(.* Connection timed out\)"):
        refuse_unfit_node(job)


def test_so_is_one_with_other_versions_and_no_password_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    job: dict[str, Any] = {"storage": "nowhere://me:secret@host/x", "study": "u1"}
    with pytest.raises(EndsStudy, match=r"joined late and has torch [\d.]+ and not 1\.0, as the driver has"):
        refuse_unfit_node(job | {"versions": versions() | {"torch": "1.0"}})
    monkeypatch.setattr("tuner.storage._PATIENCE", ())
    with pytest.raises(EndsStudy, match="does not reach") as caught:
        refuse_unfit_node(job | {"versions": versions()})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (ActorUnavailableError("Socket closed", None), True),
        (RayActorError(error_msg="The actor died because its node has died. Node Id: 12"), True),
        (RayActorError(error_msg="The actor's worker process has died", preempted=True), True),
        (RayActorError(error_msg="The actor's worker process has died"), False),
        (RuntimeError("its node has died"), False),
        (None, False),
    ],
)
def test_a_lost_node_is_told_from_a_process_that_died(error: Exception | None, lost: bool) -> None:
    assert lost_its_node(error) is lost


@pytest.mark.parametrize("how", ["memory", "torch memory", "cuda memory", "behind"])
def test_exhausted_memory_leaves_the_worker(tmp_path: Path, how: str) -> None:
    with opened(tmp_path, how) as trial, pytest.raises(OutOfMemory):
        trial.step()
    assert "Traceback" in (tmp_path / "0" / "log.txt").read_text()


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("cuda", "RuntimeError: CUDA error: device-side assert triggered"),
        ("disk", "NotADirectoryError"),
        ("bytes on disk", r"OSError: no picture caf\\udce9.png"),
    ],
)
def test_a_fault_of_the_machine_leaves_the_worker(tmp_path: Path, how: str, told: str) -> None:
    with opened(tmp_path, how) as trial, pytest.raises(MachineFault, match=told) as caught:
        trial.step()
    assert not isinstance(caught.value, OutOfMemory) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("mistake", "lr is 0, but it must be above 0: raise it"),
        ("shape", "RuntimeError: mat1 and mat2 shapes cannot be multiplied"),
        ("key", "KeyError: 'psnr'"),
        ("assertion", "AssertionError"),
        ("bytes", r"ValueError: no picture caf\udce9.png"),
        ("none", "the metric 'score' at step 90 is None, but it must be one number: yield a float"),
        ("text", "the metric 'score' at step 90 is '27.1', but it must be one number: yield a float"),
        (
            "many",
            "the metric 'score' at step 90 is array([0., 0.]), but it must be one number: yield a float",
        ),
        (
            "text step",
            "the training evaluated at step '90', but a step must be a whole number: yield an int",
        ),
        ("no step", "the training evaluated at step None, but a step must be a whole number: yield an int"),
        ("half step", "the training evaluated at step 30.5, but a step must be a whole number: yield an int"),
    ],
)
def test_a_fault_of_the_plan_is_told_in_a_sentence(tmp_path: Path, how: str, told: str) -> None:
    with opened(tmp_path, how) as trial:
        assert trial.step() == {"fault": told}


@pytest.mark.parametrize(
    ("how", "value"), [("numpy", 0.5), ("numpy integer", 3.0), ("torch", 0.5), ("numpy step", 3.0)]
)
def test_scalars_of_numpy_and_torch_become_python_numbers(tmp_path: Path, how: str, value: float) -> None:
    with opened(tmp_path, how) as trial:
        result = trial.step()
    assert (result["step"], result["metrics"]["score"]) == (90, value)
    assert {type(one) for one in result["metrics"].values()} == {float} and type(result["step"]) is int


def test_words_of_a_mistake_do_not_make_it_the_machines() -> None:
    assert fault_of_machine(Mistake("the picture cannot be read")) is None
    assert fault_of_machine(ValueError("a CUDA error is not what this is")) is None


@pytest.mark.parametrize(
    ("error", "told", "why"),
    [
        (RuntimeError(""), "", "RuntimeError"),
        (RuntimeError("first\nlast"), "", "RuntimeError: last"),
        (RayActorError(), "", "its process died"),
        (None, "", "its process failed"),
        (None, "Failure # 1\nTask was killed due to the node running low on memory.", "out of memory"),
        (None, "Failure # 1\nthe node running low on memory\nFailure # 2\n", "its process failed"),
    ],
)
def test_why_a_process_failed_is_one_line(error: Exception | None, told: str, why: str) -> None:
    assert why_it_failed(error, told) == why


def study(folder: Path, how: str = "", **changes: Any) -> Record:
    spec: dict[str, Any] = {
        "name": "study",
        "task": "broken:TASK",
        "plan": {"how": how},
        "budget": {"trials": 1, "steps": 90, "grace": 30, "baseline_seeds": 1},
        "resources": {"concurrent": 1},
        "retries": 1,
    }
    frozen = freeze(load_spec(spec | changes)).model_copy(update={"uuid": "u1"})
    record = Record.create(f"sqlite:///{folder}/study.db", frozen)
    drain(record, storage=str(folder / "trials"), scratch=folder / "ray")
    return record


def processes(folder: Path, row: Row) -> list[str]:
    return (folder / "trials" / row.label / "processes.txt").read_text().split()


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize(
    ("how", "end"),
    [
        ("memory", ("PRUNED", "out of memory")),
        pytest.param(
            "cuda",
            ("FAILED", "RuntimeError: CUDA error: device-side assert triggered (tried 2 times)"),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_the_machines_fault_is_tried_again_in_a_new_process(
    tmp_path: Path, how: str, end: tuple[str, str]
) -> None:
    record = study(tmp_path, how)
    assert {(row.state, row.reason) for row in record.rows()} == {end}
    tries = [process for row in record.rows() for process in processes(tmp_path, row)]
    assert len(tries) == 4 and len(set(tries)) == 4  # two trials, two tries each, no process twice


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_fault_that_passes_costs_nothing_but_a_try(tmp_path: Path) -> None:
    record = study(tmp_path, plan={"how": "memory", "once": True})
    assert {(row.state, row.reason) for row in record.rows()} == {("COMPLETE", None)}


@pytest.mark.usefixtures("local_ray")
def test_the_plans_fault_is_tried_once_and_leaves_the_process(tmp_path: Path) -> None:
    record = study(tmp_path, "shape")
    assert {row.state for row in record.rows()} == {"FAILED"}
    tries = [process for row in record.rows() for process in processes(tmp_path, row)]
    assert len(tries) == 2 and len(set(tries)) == 1


@pytest.mark.usefixtures("local_ray")
@pytest.mark.parametrize("cpu", [1, 2])
def test_one_process_trains_all_with_as_many_threads_as_cpus_asked_for(tmp_path: Path, cpu: int) -> None:
    budget = {"trials": 2, "steps": 90, "grace": 30, "baseline_seeds": 2}
    record = study(tmp_path, budget=budget, resources={"cpu": cpu, "concurrent": 1})
    assert len(record.rows()) == 4
    assert len({process for row in record.rows() for process in processes(tmp_path, row)}) == 1
    assert {one.metrics["threads"] for row in record.rows() for one in row.evaluations} == {cpu}


@pytest.mark.parametrize("module", ["tuner.trial", "tuner.queue"])
def test_rays_settings_are_set_before_it_is_imported_unless_the_user_has_set_them(module: str) -> None:
    settings = ("RAY_USAGE_STATS_ENABLED", "RAY_AIR_NEW_OUTPUT", "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS")
    code = f"""
import builtins, os
plain, first = builtins.__import__, []
def watched(name, *rest):
    if name.partition(".")[0] == "ray" and not first:
        first.append([os.environ.get(one) for one in {settings!r}])
    return plain(name, *rest)
builtins.__import__ = watched
import {module}
print(first[0])
"""
    bare = {key: value for key, value in os.environ.items() if key not in settings}
    user = bare | {"RAY_USAGE_STATS_ENABLED": "1", "RAY_AIR_NEW_OUTPUT": "mine"}

    def seen(environment: dict[str, str]) -> str:
        command = [sys.executable, "-c", code]
        return subprocess.run(
            command, env=environment, capture_output=True, text=True, check=True
        ).stdout.strip()

    assert seen(bare) == "['0', '0', '1']"
    assert seen(user) == "['1', 'mine', '1']"
