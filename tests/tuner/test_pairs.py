"""Which pairs a confirmation takes, and what is made of the record's rows."""

import math
from pathlib import Path
from typing import Any

import pytest
from tracked import STEPS as PLAYED
from tracked import play, reopened, study

from trainers.settings import L0, L1, Mistake, Regularizer
from tuner.pairs import confirmations, missing_members, winners
from tuner.rows import Recorded, Row
from tuner.spec import freeze, load_spec
from tuner.tables import confirmation_text


def row(role: str, number: int, settings: dict[str, Regularizer], **keywords: Any) -> Row:
    values: dict[int, float] = keywords.pop("values", {})
    evaluations = tuple(Recorded(i, float(i), step, {"m": v}) for i, (step, v) in enumerate(values.items()))
    known: dict[str, Any] = {"state": "COMPLETE", "reason": None, "seed": 0, "extras": {}, "value": None}
    times: dict[str, Any] = {"evaluations": evaluations, "started": 0.0, "finished": 1.0}
    return Row(role=role, number=number, settings=settings, **(known | times | keywords))


def test_winners_are_the_best_with_settings_of_their_own() -> None:
    a, b = {"up0": L0(keep=0.2)}, {"up0": L0(keep=0.3)}
    rows = [
        row("proposal", 0, a, value=1.0),
        row("proposal", 1, a, value=3.0),
        row("proposal", 2, b, value=2.0),
        row("proposal", 3, b, state="PRUNED"),
        row("proposal", 4, a, value=3.0, extras={"lr": 0.1}),
        row("baseline", 0, {}, value=9.0),
    ]
    assert [one.number for one in winners(rows, 5, "maximize")] == [1, 4, 2]
    assert [one.number for one in winners(rows, 2, "minimize")] == [0, 2]


def test_no_finished_proposal_is_a_mistake() -> None:
    with pytest.raises(Mistake, match="no proposal is COMPLETE"):
        winners([row("proposal", 0, {}, state="PRUNED"), row("baseline", 0, {}, value=1.0)], 1, "maximize")


@pytest.mark.parametrize("count", [0, -1])
def test_counts_start_at_one(count: int) -> None:
    with pytest.raises(Mistake, match=f"--top is {count}"):
        winners([], count, "maximize")
    with pytest.raises(Mistake, match=f"--seeds is {count}"):
        missing_members([], [], count, 0)


def test_both_members_of_a_pair_share_a_fresh_seed_and_the_baseline_is_trained_once() -> None:
    chosen = [row("proposal", 3, {"up0": L0(keep=0.2)}), row("proposal", 5, {"up0": L1(weight=0.1)})]
    wanted = missing_members(chosen, chosen, 2, 40)
    assert [(one.pair, one.seed, bool(one.settings)) for one in wanted] == [
        (0, 1040, False), (0, 1040, True), (0, 1040, True),
        (1, 1041, False), (1, 1041, True), (1, 1041, True),
    ]  # fmt: skip


def test_pairs_in_the_record_count_and_failed_ones_do_not() -> None:
    chosen = [row("proposal", 3, {"up0": L0(keep=0.2)}, extras={"lr": 0.1})]
    rows = [
        row("confirmation", i, one.settings, extras=one.extras, seed=one.seed, pair=one.pair)
        for i, one in enumerate(missing_members([], chosen, 3, 0))
    ]
    assert missing_members(rows, chosen, 3, 0) == []
    assert [one.pair for one in missing_members(rows, chosen, 4, 0)] == [3, 3]
    failed = [*rows[:5], row("confirmation", 5, rows[5].settings, state="FAILED", pair=2, extras={"lr": 0.1})]
    assert [(one.pair, one.settings) for one in missing_members(failed, chosen, 3, 0)] == [
        (2, rows[5].settings)
    ]


def test_confirmations_of_a_record(tmp_path: Path) -> None:
    record = study(tmp_path)
    first, second, idle = {"up0": L0(keep=0.2)}, {"up0": L1(weight=0.1)}, {"code": L0(keep=0.9)}
    for settings, value in ((first, 22.0), (second, 23.0), (idle, 20.0), (first, 22.5)):
        play(record, "proposal", [20, value], settings=settings)
    assert confirmations(record.rows(), record.spec) == []
    chosen = winners(record.rows(), 2, "maximize")
    assert [row.number for row in chosen] == [1, 3]
    values = {0: [22.0, 22.1, 22.3], 1: [21.0, math.nan, 21.2]}
    for member in missing_members(record.rows(), chosen, 3, 0):
        which = [dict(row.settings) for row in chosen].index(member.settings) if member.settings else None
        value = 21.0 if which is None else values[1 - which][member.pair]
        play(
            record, "confirmation", [20, value], settings=member.settings, seed=member.seed, pair=member.pair
        )
    found = {one.proposal: one for one in confirmations(reopened(tmp_path).rows(), record.spec)}
    assert set(found) == {1, 3}  # of equal settings the best, as winners() says
    assert [one.step for one in found[3].steps] == list(PLAYED)
    assert found[3].winners == 2 and found[3].seeds == (1000, 1001, 1002)
    assert found[3].sentence.startswith("better at 90 steps: the difference is +1.13 score")
    assert found[1].diverged == (1, 0) and found[1].pairs == 2 and found[1].verdict == "not distinguishable"
    assert missing_members(record.rows(), chosen, 3, 0) == []


def test_what_stands_beside_the_metric_is_compared_over_the_same_pairs_without_a_verdict() -> None:
    spec = freeze(load_spec({"name": "a", "task": "sharing:TASK", "plan": {"text": "never read"}}))
    rows = [row("proposal", 0, {"up0": L0(keep=0.2)}, value=1.0)]
    for pair in range(3):
        for settings, beside in ((rows[0].settings, 5.0 - pair), ({}, 7.0)):
            metrics = {"score": 2.0 + pair, "beside": beside} if pair or settings else {"score": 0.0}
            told = (Recorded(0, 0.0, spec.budget.steps, metrics),)
            rows.append(row("confirmation", len(rows), settings, pair=pair, evaluations=told))
    (found,) = confirmations(rows, spec)
    beside = found.companions["beside"]
    assert list(found.companions) == ["beside"] and found.pairs == 3
    assert (beside.pairs, beside.difference) == (2, -3.5)  # one baseline has no such value
    assert beside.low is not None and beside.high is not None
    half = 12.706 * 0.5  # of Student's t with one degree of freedom, times the standard error
    assert (beside.low, beside.high) == pytest.approx((-3.5 - half, -3.5 + half), abs=1e-3)
    assert found.summary()["companions"]["beside"]["difference"] == -3.5
    text = confirmation_text(found, "up0", spec.measured())
    assert "\n(higher is better; 3 less half of the sites)\n" in text
    assert (
        "\nBeside it, beside: difference -3.5, 95% interval -9.85 to +2.85 over 2 pairs; no verdict.\n"
        in text
    )
    assert text.splitlines()[-1].startswith("Trial 0 is not distinguishable")


def test_what_is_better_the_other_way_beside_the_metric_is_said_and_marked() -> None:
    plan = {"size": 32, "network": {"width": 4, "scales": 2}, "objective": "sure"}
    spec = freeze(load_spec({"name": "a", "plan": plan}))
    rows = [row("proposal", 0, {"up0": L0(keep=0.2)}, value=1.0)]
    for settings, psnr in ((rows[0].settings, 21.0), ({}, 20.0)):
        told = (Recorded(0, 0.0, spec.budget.steps, {"sure": 0.1, "psnr": psnr}),)
        rows.append(row("confirmation", len(rows), settings, pair=0, evaluations=told))
    (found,) = confirmations(rows, spec)
    text = confirmation_text(found, "up0", "as it is")
    assert "\n(lower is better; as it is)\n" in text
    assert "\nBeside it, psnr (oracle), of which higher is better: difference +1, " in text
    told = found.summary()["companions"]["psnr"]
    assert (told["direction"], told["oracle"], told["difference"]) == ("maximize", True, 1.0)


def test_a_confirmation_says_for_which_picture_it_holds(tmp_path: Path) -> None:
    plan = {"image": "camera", "size": 32, "network": {"width": 4, "scales": 2}}
    spec = freeze(load_spec({"name": "a", "plan": plan}))
    rows = [row("proposal", 0, {"up0": L0(keep=0.2)}, value=1.0)]
    for pair in range(2):
        for settings, value in ((rows[0].settings, 2.0), ({}, 1.0)):
            told = (Recorded(0, 0.0, spec.budget.steps, {"psnr": value * (1 + pair / 10)}),)
            rows.append(row("confirmation", len(rows), settings, pair=pair, evaluations=told))
    (found,) = confirmations(rows, spec)
    assert found.sentence.endswith("(on this picture, 2 pairs)")
    assert " psnr (oracle), between " in found.sentence and found.oracle
