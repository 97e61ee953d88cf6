"""The record: what is written survives, decisions repeat, nothing depends on the process that wrote it."""

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial
from recorded import frozen

from trainers.settings import L0, Mistake
from tuner import record as record_module
from tuner import sampling
from tuner.record import Record
from tuner.rows import Row


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database of either kind; what the record promises it keeps on both."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/study.db"
    return str(request.getfixturevalue("postgres").database())


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    """For what the samplers promise: they see a mirror in memory, whatever the database."""
    return f"sqlite:///{tmp_path}/study.db"


def run_one(record: Record, row: Row, value: Callable[[int], float]) -> str:
    state = "RUNNING"
    for step in record.spec.evaluate_at():
        if state != "RUNNING":
            break
        state = record.evaluation(row.role, row.number, step, {"score": value(step)})
    return state


def test_a_reopened_record_holds_the_same_rows(url: str) -> None:
    record = Record.create(url, frozen())
    baseline = record.add("baseline", seed=0)
    run_one(record, baseline, lambda step: 20 + step / 1000)
    for number in range(6):
        run_one(record, record.propose(), lambda step, number=number: number + step / 1000)
    record.propose()
    again = Record(url, "study")
    assert again.spec == record.spec
    assert again.uuid == "u1"

    def plain(rows: list[Row]) -> list[dict[str, Any]]:
        return [vars(row) | {"started": 0, "finished": row.finished is not None} for row in rows]

    assert plain(again.rows()) == plain(record.rows())


def test_pruned_trials_are_pruned_with_every_value_at_its_own_step(url: str) -> None:
    record = Record.create(url, frozen())
    for number in range(6):
        run_one(record, record.propose(), lambda step, number=number: -number + step / 1000)
    study = optuna.load_study(study_name="study/proposal", storage=url)
    states = [trial.state.name for trial in study.trials]
    assert states == ["COMPLETE"] + ["PRUNED"] * 5
    assert study.trials[0].intermediate_values == {30: 0.03, 90: 0.09, 270: 0.27}
    assert study.trials[1].intermediate_values == {30: -1 + 0.03}
    assert record.row("proposal", 1).reason == "behind at step 30"
    assert record.row("proposal", 1).value is None


def test_the_first_evaluation_at_a_step_wins(url: str) -> None:
    record = Record.create(url, frozen())
    record.propose()
    record.evaluation("proposal", 0, 30, {"score": 1.0})
    record.evaluation("proposal", 0, 30, {"score": 2.0})
    assert [one.metrics for one in record.row("proposal", 0).evaluations] == [{"score": 1.0}]
    assert Record(url, "study").row("proposal", 0).evaluations[0].metrics == {"score": 1.0}


def test_a_diverged_trial_is_pruned_behind_all_others(url: str) -> None:
    record = Record.create(url, frozen())
    row = record.propose()
    record.evaluation("proposal", row.number, 30, {"score": 100.0})
    assert record.evaluation("proposal", row.number, 90, {"score": math.nan}) == "PRUNED"
    assert record.row("proposal", 0).reason == "diverged"
    trial = optuna.load_study(study_name="study/proposal", storage=url).trials[0]
    assert trial.state.name == "PRUNED"
    assert trial.constraints == {"finite": 1.0}
    assert trial.intermediate_values == {30: 100.0}


def test_a_diverged_trial_leaves_its_finite_values_in_the_rungs(url: str) -> None:
    record = Record.create(url, frozen())
    record.propose()
    record.evaluation("proposal", 0, 30, {"score": 100.0})
    record.evaluation("proposal", 0, 90, {"score": math.inf})
    record.propose()
    assert record.evaluation("proposal", 1, 30, {"score": 50.0}) == "PRUNED"


def test_the_sampler_turns_away_from_a_region_that_diverges(file_url: str) -> None:
    """FACTS 2: told as FAIL, TPE kept proposing 39 of its last 40 there."""
    space = {"sites": ["code"], "max_sites": 1, "regularizers": {"l1": {"weight": [1e-3, 1.0]}}}
    search = {"sampler": "tpe", "scheduler": "none", "seed": 3}
    record = Record.create(file_url, frozen(space=space, search=search))
    last: list[bool] = []
    for _ in range(60):
        row = record.propose()
        weight = row.settings["code"].weight  # type: ignore[union-attr]
        diverges = weight > 0.03
        for step in (30, 90, 270):
            value = (
                math.nan if diverges and step == 90 else 20 + math.log10(weight)
            )  # grows towards the cliff
            record.evaluation("proposal", row.number, step, {"score": value})
        last.append(diverges)
    assert sum(last[-30:]) < 15


def test_a_decision_is_repeated_from_evaluations_that_came_before_alone(url: str) -> None:
    """Two trials in flight: 0 passed its rung first; deciding again must not see 1's later, better value."""
    record = Record.create(url, frozen())
    record.propose(), record.propose()
    assert record.evaluation("proposal", 0, 30, {"score": 1.0}) == "RUNNING"
    assert record.evaluation("proposal", 1, 30, {"score": 9.0}) == "RUNNING"
    again = Record(url, "study")
    again.settle()
    assert [row.state for row in again.rows("proposal")] == ["RUNNING", "RUNNING"]


def test_a_trial_without_memory_is_told_as_a_diverged_one(url: str) -> None:
    record = Record.create(url, frozen())
    record.propose()
    record.evaluation("proposal", 0, 30, {"score": 100.0})
    record.propose()  # builds the sampler's mirror
    assert record.exhausted("proposal", 0) == "PRUNED"
    assert Record(url, "study").row("proposal", 0).reason == "out of memory"
    trial = optuna.load_study(study_name="study/proposal", storage=url).trials[0]
    assert (trial.state.name, trial.constraints) == ("PRUNED", {"finite": 1.0})
    assert record._mirror is not None and record._mirror.trials[0].constraints == {"finite": 1.0}


@pytest.mark.parametrize("end", ["fail", "exhausted"])
def test_a_trial_that_a_kill_saved_from_its_end_keeps_nothing_of_it(
    url: str, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Record.create(url, frozen())
    record.propose()

    def kill(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(record._storage, "set_trial_state_values", kill)
    with pytest.raises(KeyboardInterrupt):
        record.fail("proposal", 0, "why") if end == "fail" else record.exhausted("proposal", 0)
    again = Record(url, "study")
    again.settle()
    assert (again.row("proposal", 0).state, again.row("proposal", 0).reason) == ("RUNNING", None)
    assert run_one(again, again.row("proposal", 0), lambda step: 1.0) == "COMPLETE"
    assert Record(url, "study").row("proposal", 0).reason is None
    constraints = optuna.load_study(study_name="study/proposal", storage=url).trials[0].constraints
    assert constraints == ({} if end == "fail" else {"finite": 0.0})


@pytest.mark.parametrize("lost", ["set_trial_intermediate_value", "set_trial_state_values"])
def test_what_a_kill_cut_off_behind_an_evaluation_is_made_up_for(
    url: str, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = Record.create(url, frozen())
    run_one(record, record.propose(), lambda step: float(step))
    record.propose()

    def kill(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(record._storage, lost, kill)
    with pytest.raises(KeyboardInterrupt):
        record.evaluation("proposal", 1, 30, {"score": -1.0})
    again = Record(url, "study")
    assert again.row("proposal", 1).state == "RUNNING"
    again.settle()
    assert again.row("proposal", 1).state == "PRUNED"
    stored = optuna.load_study(study_name="study/proposal", storage=url).trials[1]
    assert stored.intermediate_values == {30: -1.0}


@pytest.mark.parametrize("learns_from", [sampling.LEARNS_FROM, 6])
def test_reopening_changes_no_proposal(
    file_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learns_from: int
) -> None:
    monkeypatch.setattr(sampling, "LEARNS_FROM", learns_from)
    monkeypatch.setattr(sampling, "BEST", 2)
    whole = Record.create(file_url, frozen(search={"seed": 5}))
    pieces_url = f"sqlite:///{tmp_path}/pieces.db"
    Record.create(pieces_url, frozen(search={"seed": 5}))

    def play(record: Record) -> Row:
        row = record.propose()
        run_one(record, row, lambda step: sum(len(site) for site in row.settings) + step / 1000)
        return record.row("proposal", row.number)

    undisturbed = [play(whole) for _ in range(15)]
    interrupted = [play(Record(pieces_url, "study")) for _ in range(15)]
    assert [row.settings for row in undisturbed] == [row.settings for row in interrupted]
    assert [row.state for row in undisturbed] == [row.state for row in interrupted]


def test_the_sampler_learns_from_no_more_trials_than_it_is_shown(
    file_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = []

    class Counting(optuna.samplers.RandomSampler):
        def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, Any]:
            counts.append(len([one for one in study.get_trials(deepcopy=False) if one.state.is_finished()]))
            return {}

    monkeypatch.setattr(sampling, "LEARNS_FROM", 5)
    monkeypatch.setattr(sampling, "BEST", 2)
    monkeypatch.setattr(record_module, "make_sampler", lambda name, **_: Counting(seed=0))
    record = Record.create(file_url, frozen())
    for number in range(8):
        run_one(record, record.propose(), lambda step, number=number: -float(number))
    assert counts == [0, 1, 2, 3, 4, 5, 5, 5]
    assert len(record.rows("proposal")) == 8


@pytest.mark.parametrize("sampler", ["qmc", "gp"])
def test_static_samplers_are_continued_after_reopening(file_url: str, tmp_path: Path, sampler: str) -> None:
    space = {"sites": ["code"], "max_sites": 1, "regularizers": {"l1": {"weight": [1e-3, 1.0]}}}
    spec = frozen(space=space, search={"sampler": sampler})
    whole, pieces_url = Record.create(file_url, spec), f"sqlite:///{tmp_path}/pieces.db"
    Record.create(pieces_url, spec)

    def play(record: Record) -> float:
        row = record.propose()
        weight = float(row.settings["code"].weight)  # type: ignore[union-attr]
        run_one(record, row, lambda step: -weight + step / 1000)
        return weight

    undisturbed = [play(whole) for _ in range(6)]
    assert [play(Record(pieces_url, "study")) for _ in range(6)] == undisturbed
    assert len(set(undisturbed)) == 6


def test_baselines_are_unknown_to_sampler_and_rungs(url: str) -> None:
    record = Record.create(url, frozen())
    run_one(record, record.add("baseline", seed=0), lambda step: 1000.0)
    row = record.propose()
    assert run_one(record, row, lambda step: 1.0) == "COMPLETE"
    assert len(optuna.load_study(study_name="study/proposal", storage=url).trials) == 1


def test_baselines_and_confirmations_are_never_pruned(url: str) -> None:
    record = Record.create(url, frozen())
    for role in ("baseline", "confirmation"):
        for number in range(4):
            row = record.add(role, seed=number, settings={"up0": L0(keep=0.2)}, pair=number)
            assert run_one(record, row, lambda step, number=number: -float(number)) == "COMPLETE"


def test_without_a_scheduler_nothing_is_pruned(url: str) -> None:
    record = Record.create(url, frozen(search={"scheduler": "none"}))
    states = [run_one(record, record.propose(), lambda step, n=n: -float(n)) for n in range(4)]
    assert states == ["COMPLETE"] * 4


def test_a_reason_is_text_whatever_bytes_are_in_it(url: str) -> None:
    record = Record.create(url, frozen())
    record.propose()
    record.fail("proposal", 0, "no picture caf\udce9.png")
    assert Record(url, "study").row("proposal", 0).reason == r"no picture caf\udce9.png"


def test_a_missing_metric_fails_the_trial_with_a_sentence(url: str) -> None:
    record = Record.create(url, frozen())
    record.propose()
    assert record.evaluation("proposal", 0, 30, {"loss": 1.0}) == "FAILED"
    reason = record.row("proposal", 0).reason
    assert reason == "the evaluation at step 30 has no metric 'score': it has loss"
    assert Record(url, "study").row("proposal", 0).reason == reason


def test_a_training_that_leaves_out_a_rung_fails_with_a_sentence(url: str) -> None:
    record = Record.create(url, frozen())
    record.propose()
    assert record.evaluation("proposal", 0, 90, {"score": 1.0}) == "FAILED"
    assert "without having evaluated at step 30" in str(record.row("proposal", 0).reason)


def test_a_finished_trial_stays_as_it_ended(url: str) -> None:
    record = Record.create(url, frozen())
    record.propose()
    record.fail("proposal", 0, "first")
    assert record.fail("proposal", 0, "second") == "FAILED"
    assert record.evaluation("proposal", 0, 30, {"score": 1.0}) == "FAILED"
    assert record.row("proposal", 0).reason == "first"


def test_another_schema_is_refused(url: str) -> None:
    record = Record.create(url, frozen())
    record._storage.set_study_user_attr(record._ids["proposal"], "schema", 99)
    with pytest.raises(Mistake, match="schema 99 and this version reads 1"):
        Record(url, "study")


def test_an_interrupted_creation_is_finished(url: str) -> None:
    optuna.create_study(storage=url, study_name="study/proposal", direction="maximize")
    assert not Record.exists(url, "study")
    assert Record.create(url, frozen()).uuid == "u1"
    assert Record.exists(url, "study")


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def test_where_a_trial_ran_and_began_again_is_written_without_repeats(url: str) -> None:
    record = Record.create(url, frozen())
    record.add("baseline", seed=0)
    for node, afresh in (("a (1)", False), ("a (1)", False), ("b (2)", True), ("a (1)", True)):
        record.ran("baseline", 0, node=node, afresh=afresh)
    row = record.row("baseline", 0)
    assert (row.nodes, row.restarts) == (("a (1)", "b (2)", "a (1)"), 2)
    record.fail("baseline", 0, "over")
    record.ran("baseline", 0, node="c (3)", afresh=True)
    again = Record(url, record.spec.name).row("baseline", 0)
    assert (again.nodes, again.restarts) == (row.nodes, row.restarts)


def test_evaluations_stay_in_the_order_in_which_they_came(url: str) -> None:
    """A training that begins again may evaluate at other steps between those of the plan."""
    record = Record.create(url, frozen())
    baseline = record.add("baseline", seed=0)
    first = record.spec.evaluate_at()[0]
    for step in (first, first - 1):
        record.evaluation("baseline", baseline.number, step, {"score": 1.0})
    again = Record(url, "study").row("baseline", 0)
    assert [one.step for one in again.evaluations] == [first, first - 1]
    assert again == record.row("baseline", 0)
