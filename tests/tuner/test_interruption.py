"""Ctrl-C and SIGTERM: real processes, a real photograph, and nothing left behind."""

import fcntl
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from processes import Call, begin

from trainers import checkpoint
from trainers.tasks import find_task
from tuner.interruption import undisturbed
from tuner.record import Record
from tuner.rows import Row

SPEC = """
name: tiny
plan:
  image: astronaut
  size: 32
  network: {kind: skip, width: 4, scales: 2, skip: 2, input_channels: 4}
space: {max_sites: 1}
budget: {trials: 1, steps: 600, grace: 60, reduction: 10, baseline_seeds: 1}
resources: {concurrent: 1}
"""


def record(folder: Path) -> Record:
    return Record(f"sqlite:///{folder}/studies/tiny/study.db", "tiny")


def rows(folder: Path) -> list[Row]:
    return record(folder).rows()


def search(folder: Path, *words: str) -> Call:
    (folder / "tiny.yaml").write_text(SPEC)
    return begin(folder, "search", "tiny.yaml", *words)


def saved_step(folder: Path) -> int | None:
    """The step at which the first trial's checkpoint stands."""
    state = checkpoint.load(folder / "studies" / "tiny" / "trials" / "baseline:0")
    return None if state is None else int(state["step"])


def goes_on_to_the_same_end(folder: Path, told: str) -> None:
    """Resume as told; each trial has the numbers of one that is trained here, and never disturbed."""
    go_on = shlex.split(told.partition("goes on from here: ")[2])
    assert go_on[1:] == ["-m", "tuner", "resume", "tiny"]
    resumed = begin(folder, *go_on[3:])
    status, _, err = resumed.ends()
    assert status == 0, err
    resumed.leaves_nothing()
    whole = record(folder)
    assert [(row.label, row.state) for row in whole.rows()] == [("0", "COMPLETE"), ("baseline:0", "COMPLETE")]
    for row in whole.rows():
        plan = whole.spec.plan_with(row.settings, row.extras)
        alone = find_task("dip").evaluations(plan, seed=row.seed)
        assert [(e.step, e.metrics) for e in row.evaluations] == [(e.step, e.metrics) for e in alone]


@pytest.mark.parametrize(
    ("sent", "to_all"),
    [(signal.SIGINT, True), pytest.param(signal.SIGTERM, False, marks=pytest.mark.slow)],
)
def test_what_runs_is_saved_where_it_stands_and_goes_on_to_the_same_end(
    tmp_path: Path, sent: signal.Signals, to_all: bool
) -> None:
    study = search(tmp_path)
    study.waits_until(lambda: saved_step(tmp_path) == 60)
    study.is_sent(sent, to_all=to_all)
    status, _, err = study.ends()
    assert status == 130, err
    study.leaves_nothing()
    assert "Traceback" not in err and "again: at once" in err
    (row,) = rows(tmp_path)
    assert row.state == "RUNNING" and [e.step for e in row.evaluations] == [60]
    stood = saved_step(tmp_path)
    assert stood is not None and 60 < stood < 600
    goes_on_to_the_same_end(tmp_path, err.strip().splitlines()[-1])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_must_not_disturb_is_heard_when_it_may(number: signal.Signals) -> None:
    over, before = [], signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), undisturbed():
        signal.raise_signal(number)
        over.append(True)
    assert over == [True]
    assert signal.getsignal(number) == before


@pytest.mark.slow
def test_a_signal_to_all_processes_ends_them_all_and_fails_no_trial(tmp_path: Path) -> None:
    """As a job's time limit may: Ray's processes get it too, and the driver would wait for them for ever.

    Nobody is left to tell the worker; where it is quick it is at its end before the driver has given up.
    """
    study = search(tmp_path, "--set", "retries=0")
    study.waits_until(lambda: saved_step(tmp_path) == 60)
    study.is_sent(signal.SIGTERM, to_all=True)
    status, _, err = study.ends()
    assert status == 130, err
    study.leaves_nothing()
    (row,) = rows(tmp_path)
    assert row.state in ("RUNNING", "COMPLETE")
    goes_on_to_the_same_end(tmp_path, err.strip().splitlines()[-1])


@pytest.mark.slow
def test_twice_ends_at_once_and_goes_on_to_the_same_end(tmp_path: Path) -> None:
    study = search(tmp_path)
    study.waits_until(lambda: saved_step(tmp_path) == 60)
    study.is_sent(signal.SIGINT, to_all=True)
    study.is_sent(signal.SIGINT, to_all=True)
    status, _, err = study.ends()
    assert status == 130, err
    study.leaves_nothing()
    assert "Traceback" not in err
    assert [row.state for row in rows(tmp_path)] == ["RUNNING"]
    goes_on_to_the_same_end(tmp_path, err.strip().splitlines()[-1])


def test_while_the_program_is_imported_it_is_no_traceback_either() -> None:
    code = """
import builtins, runpy, signal
plain = builtins.__import__
signal.signal(signal.SIGINT, signal.default_int_handler)  # where this was begun in the background
def interrupted(name, *rest, **more):
    if name.startswith("trainers."):
        signal.raise_signal(signal.SIGINT)
    return plain(name, *rest, **more)
builtins.__import__ = interrupted
runpy.run_module("tuner", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (130, "Interrupted before anything was begun\n")


@pytest.mark.parametrize("sent", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_while_ray_starts_nothing_is_left_either(tmp_path: Path, sent: signal.Signals) -> None:
    study = search(tmp_path)
    study.waits_until(lambda: any("gcs_server" in one for one in study.left()))
    study.is_sent(sent)
    status, _, err = study.ends()
    assert status == 130, err
    study.leaves_nothing()
    assert "Traceback" not in err
    assert err.strip().splitlines()[-1].startswith("Interrupted before anything was written; this begins")


WALKING = """
name: tiny
task: walking:TASK
plan: {{gate: {gate}}}
budget: {{trials: 2, steps: 9, grace: 3, baseline_seeds: 1}}
resources: {{concurrent: 1}}
"""


@pytest.mark.slow
def test_a_training_that_does_not_answer_is_cut_off_and_goes_on(tmp_path: Path) -> None:
    """A function of a user's own in the middle of a step that takes for ever."""
    gate = tmp_path / "gate"
    with gate.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        (tmp_path / "walking.yaml").write_text(WALKING.format(gate=gate))
        study = begin(tmp_path, "search", "walking.yaml")
        study.waits_until((tmp_path / "studies/tiny/trials/baseline:0/state.json").exists)
        study.is_sent(signal.SIGTERM)
        status, _, err = study.ends()
        assert status == 130, err
        study.leaves_nothing()
    assert [row.state for row in rows(tmp_path)] == ["RUNNING"]
    resumed = begin(tmp_path, "resume", "tiny")
    status, _, err = resumed.ends()
    assert status == 0, err
    assert {row.state for row in rows(tmp_path)} <= {"COMPLETE", "PRUNED"}
    log = (tmp_path / "studies/tiny/trials/baseline:0/log.txt").read_text()
    assert len([line for line in log.splitlines() if " on " in line]) == 2
