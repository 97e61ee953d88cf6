"""The one loop, with a real Ray: roles, faulty trainings, dying workers, deadlines, going on afterwards."""

import contextlib
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import numpy as np
import optuna
import pytest
from ray import cloudpickle
from ray.exceptions import OutOfMemoryError, RayActorError
from trainings import SMALL_DIP

from trainers import checkpoint
from trainers.settings import L0, L1, Mistake
from tuner.ending import Call
from tuner.queue import MOST_LOST, Queue, RecordScheduler, _failure_of, _job, drain, hear_of_exhaustion
from tuner.record import Record
from tuner.rows import Row
from tuner.spec import StudySpec, freeze, load_spec
from tuner.storage import Storage

pytestmark = pytest.mark.usefixtures("local_ray")


def frozen(**changes: Any) -> StudySpec:
    spec: dict[str, Any] = {
        "name": "study",
        "task": "analytic:TASK",
        "budget": {"trials": 6, "steps": 90, "grace": 30, "reduction": 3, "baseline_seeds": 2},
        "resources": {"concurrent": 1},
    }
    return freeze(load_spec(spec | changes)).model_copy(update={"uuid": "u1"})


def create(folder: Path, **changes: Any) -> Record:
    return Record.create(f"sqlite:///{folder}/study.db", frozen(**changes))


def reopen(folder: Path) -> Record:
    return Record(f"sqlite:///{folder}/study.db", "study")


def go(record: Record, folder: Path, **arguments: Any) -> None:
    drain(record, storage=str(folder / "trials"), scratch=folder / "ray", **arguments)


def outcome(rows: list[Row]) -> list[tuple[Any, ...]]:
    return [
        (row.label, row.state, row.value, row.settings, [(e.step, e.metrics) for e in row.evaluations])
        for row in rows
    ]


def test_a_confirmation_trains_the_plan_that_its_task_has_for_it(tmp_path: Path) -> None:
    record = create(
        tmp_path, task="dip", plan=SMALL_DIP | {"more_images": ["camera"], "unseen_images": ["coffee"]}
    )
    rows = [record.propose(), record.add("confirmation", seed=1000, pair=0)]
    shown = [_job(record, row, "there")["plan"]["options"] for row in rows]
    assert [(one["image"], one["more_images"]) for one in shown] == [
        ("astronaut", ["camera"]),
        ("coffee", []),
    ]


def test_a_node_that_does_not_see_the_storage_ends_the_study_and_no_trial(tmp_path: Path) -> None:
    record = create(tmp_path)
    with pytest.raises(RuntimeError, match=r"^the node \S+ does not reach the storage"):
        drain(record, storage="memory://nobody", scratch=tmp_path / "ray")
    assert [row.state for row in record.rows()] == ["RUNNING"]
    go(record, tmp_path)  # where all nodes see it, nothing is lost
    assert "FAILED" not in {row.state for row in record.rows()}


def scheduler_of(record: Record) -> RecordScheduler:
    queue = Queue(record, propose=True, deadline=None)
    return RecordScheduler(queue, Call(), lambda: None, Storage("memory://there"))


def test_one_death_is_one_failure_and_lost_nodes_have_an_end(tmp_path: Path) -> None:
    record = create(tmp_path, retries=2)
    record.propose(), record.propose()
    scheduler = scheduler_of(record)
    died = RayActorError(actor_id="a1", error_msg="its worker process has died")
    assert [scheduler._over("proposal", 0, died, "") for _ in range(3)] == [None] * 3
    again = RayActorError(actor_id="a2", error_msg="its worker process has died")
    assert scheduler._over("proposal", 0, again, "") is None
    record = reopen(tmp_path)  # and another driver goes on counting
    assert [row.failures for row in record.rows("proposal")] == [2, 0]
    scheduler = scheduler_of(record)
    assert scheduler._over("proposal", 0, died, "") == "its process died (tried 3 times)"
    scheduler._queue.overdue["proposal", 1] = "it stalled"
    assert scheduler._over("proposal", 1, died, "") is None  # told twice; what is known of it is used up
    assert scheduler._queue.overdue == {}
    lost = [
        scheduler._over("proposal", 1, RayActorError(actor_id=f"b{n}", error_msg="its node has died"), "")
        for n in range(MOST_LOST)
    ]
    assert lost == [None] * (MOST_LOST - 1) + [f"it lost its node {MOST_LOST} times"]


def test_a_storage_that_hangs_ends_the_study_and_costs_its_trials_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, storage = create(tmp_path, retries=0), Storage("memory://away")
    record.propose()
    monkeypatch.setattr(storage, "answers", lambda: False)
    queue = Queue(record, propose=True, deadline=None)
    scheduler = RecordScheduler(queue, Call(), lambda: None, storage)
    scheduler._queue.overdue["proposal", 0] = "it stalled: no step in 25 min"
    died = RayActorError(actor_id="a1", error_msg="its worker process has died")
    with pytest.raises(
        RuntimeError,
        match=r"^the storage 'memory://away' does not answer, .* \(it stalled: no step in 25 min\)",
    ):
        scheduler._over("proposal", 0, died, "")
    assert [(row.state, row.failures) for row in record.rows("proposal")] == [("RUNNING", 0)]


def test_a_failure_that_ray_keeps_as_text_alone_is_not_taken_for_the_one_before(tmp_path: Path) -> None:
    error, text = tmp_path / "error.pkl", tmp_path / "error.txt"
    trial = SimpleNamespace(pickled_error_file=str(error), error_file=str(text))
    error.write_bytes(cloudpickle.dumps(RayActorError(actor_id="a1", error_msg="its process has died")))
    text.write_text("Failure # 1\nits process has died\n")
    found, told = _failure_of(trial)
    assert isinstance(found, RayActorError) and told == text.read_text()
    text.write_text(told + "Failure # 2\nthe node running low on memory\n")
    assert _failure_of(trial) == (None, text.read_text())


def test_a_process_that_ray_ends_for_memory_has_died(tmp_path: Path) -> None:
    told: list[Exception] = []

    class Manager:
        def _actor_task_failed(self, tracked_actor_task: object, exception: Exception) -> None:
            told.append(exception)

    manager = Manager()
    for _ in range(1200):  # once for each trial, and Python's stack has room for a thousand calls
        hear_of_exhaustion(manager)
    of: Any = SimpleNamespace(_tracked_actor=SimpleNamespace(actor_id=7))
    other = RayActorError(actor_id="a1")
    for error in (OutOfMemoryError("the node running low on memory"), other):
        manager._actor_task_failed(tracked_actor_task=of, exception=error)
    assert isinstance(told[0], RayActorError) and told[1] is other
    assert (told[0].actor_id, str(told[0])) == ("7", "the node running low on memory")


def test_trials_of_all_roles_run_in_one_loop(tmp_path: Path) -> None:
    record = create(tmp_path)
    go(record, tmp_path)
    assert {row.state for row in record.rows("baseline")} == {"COMPLETE"}
    assert [row.seed for row in record.rows("baseline")] == [0, 1]
    states = [row.state for row in record.rows("proposal")]
    assert len(states) == 6 and set(states) <= {"COMPLETE", "PRUNED"} and "PRUNED" in states
    assert all(row.seed == 0 for row in record.rows("proposal"))
    begun = {row.label: row.started for row in record.rows()}
    assert begun["baseline:0"] < begun["0"] < begun["baseline:1"] < begun["1"]
    assert not (tmp_path / "ray").exists()
    assert (tmp_path / "trials" / "baseline:0" / "log.txt").read_text().startswith("baseline:0 on ")


@pytest.mark.slow
def test_pruned_trials_reach_optuna_as_pruned_where_rays_own_search_tells_complete(tmp_path: Path) -> None:
    """FACTS 1. The stock parts are run beside ours: the same training, ASHA and OptunaSearch."""
    record = create(tmp_path)
    go(record, tmp_path)
    ours = optuna.load_study(study_name="study/proposal", storage=f"sqlite:///{tmp_path}/study.db")
    assert "PRUNED" in {trial.state.name for trial in ours.trials}
    stock = stock_search(tmp_path / "stock")
    assert {trial.state.name for trial in stock.trials} == {"COMPLETE"}


def stock_search(folder: Path) -> optuna.Study:
    from ray import tune
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    def train(config: dict[str, float]) -> None:
        for step in (30, 90):
            tune.report({"score": config["x"], "step": step})

    search = OptunaSearch(
        {"x": optuna.distributions.FloatDistribution(0, 1)}, metric="score", mode="max", seed=0
    )
    tuner = tune.Tuner(
        train,
        tune_config=tune.TuneConfig(
            search_alg=search,
            scheduler=ASHAScheduler(
                time_attr="step", metric="score", mode="max", grace_period=30, max_t=90, reduction_factor=3
            ),
            num_samples=6,
            max_concurrent_trials=1,
        ),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0),
    )
    tuner.fit()
    study = search._ot_study
    assert study is not None
    return study


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ({"raise_at": 90}, "ValueError: the training broke at step 90"),
        ({"end_before": 90}, "the training ended before step 90"),
        ({"forget": True}, "the evaluation at step 30 has no metric 'score': it has noise"),
    ],
)
def test_a_faulty_training_fails_its_trial_and_not_the_study(
    tmp_path: Path, option: dict[str, Any], reason: str
) -> None:
    record = create(
        tmp_path, plan=option, budget={"trials": 2, "steps": 90, "grace": 30, "baseline_seeds": 1}
    )
    go(record, tmp_path)
    assert [row.state for row in record.rows("baseline")] == ["FAILED"]
    assert {row.state for row in record.rows("proposal")} <= {"FAILED", "PRUNED"}
    assert record.row("baseline", 0).reason == reason
    assert {row.reason for row in record.rows("proposal") if row.state == "FAILED"} <= {reason}


def test_a_diverging_trial_ends_at_its_next_evaluation(tmp_path: Path) -> None:
    """FACTS 2: `nan < cutoff` is False, so Ray's ASHA never stops such a trial."""
    space = {"sites": ["code"], "regularizers": {"l1": {"weight": [0.1, 1.0]}}, "max_sites": 1}
    record = create(tmp_path, plan={"diverge_above": 0.0, "diverge_at": 30}, space=space)
    go(record, tmp_path)
    assert {(row.state, row.reason, len(row.evaluations)) for row in record.rows("proposal")} == {
        ("PRUNED", "diverged", 1)
    }
    assert {row.state for row in record.rows("baseline")} == {"COMPLETE"}
    steps = (tmp_path / "trials" / "0" / "steps.txt").read_text().split()
    assert steps == ["30"]


@pytest.mark.slow
def test_a_worker_that_dies_once_is_tried_again_and_one_that_always_dies_fails(tmp_path: Path) -> None:
    budget = {"trials": 1, "steps": 90, "grace": 30, "baseline_seeds": 1}
    once = create(tmp_path / "once", plan={"die_once_at": 90}, budget=budget, retries=1)
    go(once, tmp_path / "once")
    assert [row.state for row in once.rows()] == ["COMPLETE"] * 2
    always = create(tmp_path / "always", plan={"die_at": 90}, budget=budget, retries=1)
    go(always, tmp_path / "always")
    assert {(row.state, row.reason) for row in always.rows()} == {
        ("FAILED", "its process died (tried 2 times)")
    }


@pytest.fixture(autouse=True)
def _folders(tmp_path: Path) -> None:
    (tmp_path / "once").mkdir()
    (tmp_path / "always").mkdir()


@pytest.mark.slow  # tests/test_end_to_end.py holds the same with real SIGKILLs
def test_one_slot_repeats_exactly_and_an_interrupted_study_equals_an_undisturbed_one(tmp_path: Path) -> None:
    """FACTS 3: a stock restore forgets the rungs. Here each piece ends after three changes."""
    whole = create(tmp_path / "once")
    go(whole, tmp_path / "once")
    create(tmp_path / "always")
    for _ in range(40):
        pieces = reopen(tmp_path / "always")
        if len(pieces.rows()) == 8 and all(row.state != "RUNNING" for row in pieces.rows()):
            break
        stop_after_next_change(pieces, tmp_path / "always")
    assert outcome(pieces.rows()) == outcome(whole.rows())


@pytest.mark.slow
def test_kills_with_two_slots_end_each_trial_once_by_decisions_that_repeat(tmp_path: Path) -> None:
    """What two slots do first is luck; what was decided must follow from what was written before."""
    record = create(tmp_path, resources={"concurrent": 2})
    for _ in range(40):
        if len(record.rows()) == 8 and all(row.state != "RUNNING" for row in record.rows()):
            break
        stop_after_next_change(record, tmp_path, changes_until=7)
        ended = {row.label: row for row in record.rows() if row.state != "RUNNING"}
        record = reopen(tmp_path)
        assert {row.label: row for row in record.rows() if row.label in ended} == {
            label: replace(row, started=ANY, finished=ANY) for label, row in ended.items()
        }
    assert len(record.rows()) == 8 and {row.state for row in record.rows()} <= {"COMPLETE", "PRUNED"}
    sequence = [one.seq for row in record.rows() for one in row.evaluations]
    assert sorted(sequence) == list(range(len(sequence)))
    decided = [decision(record.rows("proposal"), row) for row in record.rows("proposal")]
    assert [went_on for went_on, _ in decided] == [should for _, should in decided]
    assert len({went_on for went_on, _ in decided}) == 2


def decision(rows: list[Row], row: Row) -> tuple[bool, bool]:
    """Whether a proposal went on behind its rung, and whether it should by what was written before."""
    mine = row.evaluations[0]
    before = [
        one.metrics["score"]
        for other in rows
        for one in other.evaluations
        if one.step == 30 and one.seq < mine.seq
    ]
    should = not before or mine.metrics["score"] >= float(np.percentile(before, 100 * (1 - 1 / 3)))
    return row.state == "COMPLETE", should


def stop_after_next_change(record: Record, folder: Path, changes_until: int = 3) -> None:
    """Drain until so many changes, then leave by the exception that a kill would be."""

    class Killed(RuntimeError):
        pass

    changes = 0

    def listen() -> None:
        nonlocal changes
        changes += 1
        if changes == changes_until:
            raise Killed

    with contextlib.suppress(Killed):
        go(record, folder, listen=listen)


def test_after_the_deadline_no_trial_starts_and_the_open_ones_stay_open(tmp_path: Path) -> None:
    record = create(tmp_path)
    record.propose()
    record.evaluation("proposal", 0, 30, {"score": 1.0})
    go(record, tmp_path, deadline=time.monotonic() - 1)
    assert [(row.label, row.state, len(row.evaluations)) for row in reopen(tmp_path).rows()] == [
        ("0", "RUNNING", 1)
    ]
    assert not (tmp_path / "trials").exists()
    go(reopen(tmp_path), tmp_path)
    assert {row.state for row in reopen(tmp_path).rows()} <= {"COMPLETE", "PRUNED"}


def test_when_the_time_is_up_what_runs_is_saved_where_it_stands(tmp_path: Path) -> None:
    """By a clock that jumps as soon as the first evaluation is there."""
    plan = SMALL_DIP | {"image": "astronaut"}
    budget = {"trials": 1, "steps": 10**6, "grace": 5, "reduction": 100, "baseline_seeds": 1}
    record = create(tmp_path, task="dip", plan=plan, budget=budget, space={"sites": ["up0"], "max_sites": 1})

    def clock() -> float:
        return float(any(row.evaluations for row in record.rows()))

    go(record, tmp_path, deadline=1.0, clock=clock)
    (row,) = record.rows()
    assert row.state == "RUNNING" and row.evaluations
    saved = checkpoint.load(tmp_path / "trials" / row.label)
    assert saved is not None and saved["step"] > row.evaluations[-1].step
    log = (tmp_path / "trials" / row.label / "log.txt").read_text()
    assert log.splitlines()[-1] == "saved and left, as the study stops"


def test_unfinished_trials_come_first_and_a_finished_one_never(tmp_path: Path) -> None:
    record = create(tmp_path)
    record.add("baseline", seed=0)
    record.propose()
    record.propose()
    record.fail("proposal", 0, "over")
    queue = Queue(reopen(tmp_path), propose=True, deadline=None)
    labels = []
    while (row := queue.next()) is not None:
        labels.append(row.label)
    assert labels == ["1", "baseline:0", "baseline:1", "2", "3", "4", "5"]


def test_without_proposing_only_what_is_open_is_run(tmp_path: Path) -> None:
    record = create(tmp_path)
    record.add("confirmation", seed=1000, settings={"up0": L0(keep=0.25)}, pair=0)
    record.add("confirmation", seed=1000, settings={"code": L1(weight=0.1)}, pair=0)
    go(record, tmp_path, propose=False)
    assert [row.state for row in record.rows()] == ["COMPLETE", "COMPLETE"]


def test_more_than_any_node_has_is_refused_with_both_numbers(tmp_path: Path) -> None:
    record = create(tmp_path, resources={"cpu": 64})
    with pytest.raises(Mistake, match="asks for 64 CPUs and 0 GPUs and the largest node has 2 and 0"):
        go(record, tmp_path)
    assert record.rows() == []
