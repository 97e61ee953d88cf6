"""Stalls: the rule with a clock of its own, and real processes that hang, hang once, or crawl."""

import fcntl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuner.queue import drain
from tuner.record import Record
from tuner.rows import Recorded, Row
from tuner.sections import Stall
from tuner.spec import freeze, load_spec
from tuner.watch import Watch, overdue

LIMITS = Stall(times=10, at_least=100)
STEPS = (50, 200)


class Clock:
    """Goes on where it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def heard(watch: Watch, clock: Clock, *seconds: float) -> None:
    for length in seconds:
        clock.now += length
        assert not watch.after_each()


def test_a_step_stalls_where_it_takes_so_many_times_as_long_as_usual_and_at_least_so_long(
    clock: Clock,
) -> None:
    watch = Watch(LIMITS, clock=clock)
    watch.begin()
    heard(watch, clock, 60, 20, 20, 20)  # the first one makes ready; the usual is 20
    clock.now += 200
    assert watch.stalled() is None
    clock.now += 0.5
    assert watch.stalled() == (
        "it stalled: no step in 3 min, and the limit is 3 min (stall.at_least and stall.times)"
    )
    heard(watch, clock, 0)
    assert watch.stalled() is None


def test_short_steps_have_the_least_limit_and_so_has_the_way_to_the_first(clock: Clock) -> None:
    watch = Watch(LIMITS, clock=clock)
    watch.begin()
    clock.now += 100
    assert watch.stalled() is None
    clock.now += 1
    assert watch.stalled() == (
        "it stalled: no step in 101.0 s, and the limit is 100.0 s (stall.at_least and stall.times)"
    )
    heard(watch, clock, 0, 1, 1, 1)
    clock.now += 100.5
    assert watch.stalled() is not None


def test_nothing_is_waited_for_while_the_driver_has_its_turn_or_of_what_tells_of_no_steps(
    clock: Clock,
) -> None:
    watch = Watch(LIMITS, clock=clock)
    watch.goes_on()
    clock.now += 1e6
    assert watch.stalled() is None
    heard(watch, clock, 0)  # it does tell
    watch.rest()
    clock.now += 1e6
    assert watch.stalled() is None
    watch.goes_on()
    clock.now += 101
    assert watch.stalled() is not None


def test_the_thread_tells_why_and_ends_the_process_also_where_telling_hangs(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.watch._WORDS", 0.01)
    told: list[str] = []
    never, ended = threading.Event(), threading.Event()

    def tell(reason: str) -> None:
        told.append(reason)
        never.wait()

    watch = Watch(LIMITS, tell=tell, end=ended.set, clock=clock)
    watch.begin()
    clock.now += 101
    watch.start()
    assert ended.wait(60)
    never.set()
    assert told[0].startswith("it stalled: no step in 101.0 s")


def test_it_hears_that_the_study_stops_also_where_asking_fails_at_first(clock: Clock) -> None:
    answers: Iterator[bool] = iter([False, True])
    asked = threading.Event()

    def stops() -> bool:
        if not asked.is_set():
            asked.set()
            raise ConnectionError
        return next(answers)

    watch = Watch(LIMITS, stops=stops, clock=clock)
    watch.start()
    while not watch.after_each():
        assert asked.wait(60)
    watch.close()


def row(number: int, *times: float, started: float = 0.0) -> Row:
    """A proposal that began then and was evaluated at those times."""
    evaluations = tuple(
        Recorded(0, time, step, {"score": 1.0}) for time, step in zip(times, STEPS, strict=False)
    )
    return Row("proposal", number, "RUNNING", None, 0, {}, {}, evaluations, None, started, None)


def test_the_way_to_an_evaluation_is_compared_with_the_other_trials_median() -> None:
    others = [row(1, 20, 70, started=10), row(2, 30), row(3, 1000, 1060), row(4)]
    # to step 50: 10, 30, 1000 s; from there to step 200: 50, 60 s
    assert overdue(row(0), others, 300, STEPS, LIMITS) is None
    assert overdue(row(0), others, 301, STEPS, LIMITS) == (
        "it stalled: no evaluation at step 50 in 5 min, and the limit is 5 min "
        "(stall.at_least and stall.times)"
    )
    assert overdue(row(0, 40), others, 550, STEPS, LIMITS) is None
    assert "at step 200" in str(overdue(row(0, 40), others, 551, STEPS, LIMITS))
    quick = [row(1, 1, 2)]
    assert overdue(row(0), quick, 100, STEPS, LIMITS) is None
    assert overdue(row(0), quick, 101, STEPS, LIMITS) is not None


def test_before_another_trial_came_that_far_the_pace_so_far_is_the_usual() -> None:
    """A trial that hangs as the first holds its slot long, but not for ever."""
    assert overdue(row(0), [row(0), row(1)], 1000, STEPS, LIMITS) is None
    assert overdue(row(0), [row(0), row(1)], 1001, STEPS, LIMITS) is not None
    # 20 s to step 50, so 60 s from there to step 200
    assert overdue(row(0, 20), [row(0, 20)], 600, STEPS, LIMITS) is None
    assert "at step 200" in str(overdue(row(0, 20), [row(0, 20)], 601, STEPS, LIMITS))
    assert overdue(row(0, 1, 2), [row(1, 1, 2)], 1e9, STEPS, LIMITS) is None


def study(folder: Path, **changes: Any) -> Record:
    spec: dict[str, Any] = {
        "name": "study",
        "task": "stalling:TASK",
        "budget": {"trials": 1, "steps": 200, "grace": 50, "reduction": 100, "baseline_seeds": 1},
        "resources": {"concurrent": 1},
        "stall": {"times": 10, "at_least": 3},
    }
    frozen = freeze(load_spec(spec | changes)).model_copy(update={"uuid": "u1"})
    record = Record.create(f"sqlite:///{folder}/study.db", frozen)
    drain(record, storage=str(folder / "trials"), scratch=folder / "ray")
    return record


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_a_trial_that_hangs_fails_with_the_reason_and_the_study_goes_on(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with gate.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        record = study(tmp_path, plan={"gate": str(gate)}, retries=0)
    (proposal,), (baseline,) = record.rows("proposal"), record.rows("baseline")
    assert (proposal.state, baseline.state) == ("COMPLETE", "FAILED")
    reason, _, tries = str(baseline.reason).rpartition(" (tried ")
    assert reason.startswith("it stalled: no step in ") and tries == "1 times)"
    log = (tmp_path / "trials" / "baseline:0" / "log.txt").read_text()
    assert log.splitlines()[-1] == f"{reason}: this process ends"


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_one_that_hangs_once_is_tried_again_and_completes(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with gate.open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        record = study(tmp_path, plan={"gate": str(gate), "once": True}, retries=1)
    assert [(row.state, row.failures) for row in record.rows()] == [("COMPLETE", 0), ("COMPLETE", 1)]


@pytest.mark.slow
@pytest.mark.usefixtures("local_ray")
def test_one_that_crawls_beside_the_others_fails_too(tmp_path: Path) -> None:
    record = study(tmp_path, plan={"crawls": True}, retries=0)
    (proposal,), (baseline,) = record.rows("proposal"), record.rows("baseline")
    assert (proposal.state, baseline.state) == ("FAILED", "COMPLETE")
    assert str(proposal.reason).startswith("it stalled: no evaluation at step 200 in ")
