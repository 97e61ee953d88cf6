"""Confirmation against scipy and closed forms, and its sentence in every case."""

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tuner.confirm import Confirmation, Pair, compare

STEPS = (100, 300, 900)


def pairs_of(winner: Any, baseline: Any) -> list[Pair]:
    """Pairs from two arrays (pair, step)."""
    both = zip(np.asarray(winner, float), np.asarray(baseline, float), strict=True)
    return [
        Pair(1000 + i, dict(zip(STEPS, a.tolist(), strict=True)), dict(zip(STEPS, b.tolist(), strict=True)))
        for i, (a, b) in enumerate(both)
    ]


def at_end(winner: list[float], baseline: list[float], **keywords: Any) -> Confirmation:
    pairs = [
        Pair(1000 + i, {900: a}, {900: b}) for i, (a, b) in enumerate(zip(winner, baseline, strict=True))
    ]
    return compare({7: pairs}, **{"metric": "psnr", "direction": "maximize", "steps": (900,)} | keywords)[0]


def test_one_winner_is_the_paired_t_test_of_scipy() -> None:
    random = np.random.default_rng(0)
    baseline = random.normal(27, 0.1, (6, 3))
    winner = baseline + random.normal(0.1, 0.15, (6, 3))
    found = compare({7: pairs_of(winner, baseline)}, metric="psnr", direction="maximize", steps=STEPS)[0]
    for column, one in enumerate(found.steps):
        test = stats.ttest_rel(winner[:, column], baseline[:, column])
        interval = test.confidence_interval(0.95)
        assert one.step == STEPS[column] and one.pairs == 6
        assert one.p == pytest.approx(test.pvalue, rel=1e-9)
        assert (one.low, one.high) == pytest.approx((interval.low, interval.high), rel=1e-9)
        assert one.winner == pytest.approx(winner[:, column].mean())
        assert one.baseline == pytest.approx(baseline[:, column].mean())
        assert one.difference == pytest.approx((winner - baseline)[:, column].mean())


def test_several_winners_are_covered_together() -> None:
    random = np.random.default_rng(1)
    baseline = random.normal(27, 0.1, (5, 3))
    several = {n: baseline + random.normal(0.05 * n, 0.1, (5, 3)) for n in range(4)}
    asked = {n: pairs_of(winner, baseline) for n, winner in several.items()}
    found = compare(asked, metric="psnr", direction="maximize", steps=STEPS)
    assert [one.proposal for one in found] == [0, 1, 2, 3]
    for column in range(3):
        tests = [stats.ttest_rel(winner[:, column], baseline[:, column]) for winner in several.values()]
        for one, test in zip(found, tests, strict=True):
            interval = test.confidence_interval(1 - 0.05 / 4)  # Bonferroni
            assert (one.steps[column].low, one.steps[column].high) == pytest.approx(tuple(interval), rel=1e-9)
        order = np.argsort([test.pvalue for test in tests])  # Holm, by its definition
        for rank, i in enumerate(order):
            stepwise = [(4 - j) * tests[order[j]].pvalue for j in range(rank + 1)]
            assert found[i].steps[column].p == pytest.approx(min(1.0, max(stepwise)), rel=1e-9)


def test_a_winner_without_p_counts_in_the_family() -> None:
    baseline = np.full((3, 3), 27.0)
    winner = baseline + np.array([[0.1], [0.2], [0.4]])
    lone = compare({1: pairs_of(winner, baseline)}, metric="m", direction="maximize", steps=STEPS)[0]
    asked = {1: pairs_of(winner, baseline), 2: pairs_of(winner[:1], baseline[:1])}
    beside = compare(asked, metric="m", direction="maximize", steps=STEPS)[0]
    assert lone.last.p is not None and beside.last.p == pytest.approx(2 * lone.last.p)


@pytest.mark.parametrize(("direction", "verdict"), [("maximize", "better"), ("minimize", "worse")])
def test_the_verdict_knows_the_direction(direction: str, verdict: str) -> None:
    up = at_end([27.5, 27.6, 27.4], [27.1, 27.1, 27.0], direction=direction)
    down = at_end([27.1, 27.1, 27.0], [27.5, 27.6, 27.4], direction=direction)
    assert up.verdict == verdict and up.sentence.startswith(
        f"{verdict} at 900 steps: the difference is +0.433 psnr"
    )
    assert down.verdict == ({"better", "worse"} - {verdict}).pop()
    assert down.last.difference == pytest.approx(-0.4333333)  # winner − baseline, whatever the direction


def test_not_distinguishable_says_what_remains_possible() -> None:
    found = at_end([27.0, 27.6, 27.2], [27.1, 27.1, 27.3], scope="on this picture")
    assert found.last.low is not None and found.last.high is not None
    assert found.last.low < 0 < found.last.high
    largest = max(-found.last.low, found.last.high)
    assert found.sentence == (
        f"not distinguishable: a difference of up to {largest:.3g} psnr remains possible "
        "(at 900 steps; on this picture, 3 pairs)"
    )


def test_the_last_step_alone_decides() -> None:
    early = [[2.0, 2.0, 0.1], [2.1, 2.1, -0.1], [2.2, 2.2, 0.0]]
    found = compare({1: pairs_of(early, np.zeros((3, 3)))}, metric="m", direction="maximize", steps=STEPS)[0]
    assert found.steps[0].p is not None and found.steps[0].p < 0.01
    assert found.verdict == "not distinguishable"


def test_one_pair_bounds_nothing() -> None:
    found = at_end([28.0], [27.0])
    assert (found.last.difference, found.last.low, found.last.high, found.last.p) == (1.0, None, None, None)
    assert found.sentence == (
        "not distinguishable: a difference of any size remains possible (at 900 steps; 1 pair)"
    )


def test_no_pair_at_all() -> None:
    found = compare({1: []}, metric="m", direction="maximize", steps=(5,))[0]
    assert found.sentence.endswith("any size remains possible (at 5 steps; 0 pairs)")
    assert found.reach is None and found.target is None
    assert compare({}, metric="m", direction="maximize", steps=(5,)) == []


@pytest.mark.parametrize("shift", [0.0, 0.5, 1 / 359])
def test_equal_differences_tell_nothing_of_their_spread(shift: float) -> None:
    """An accuracy comes in steps of one picture: pairs that differ by the same few are no certainty."""
    found = at_end([1 + shift, 2 + shift, 4 + shift], [1, 2, 4])
    assert (found.last.low, found.last.high, found.last.p) == (None, None, None)
    assert found.last.difference == pytest.approx(shift)
    assert found.verdict == "not distinguishable"
    assert "a difference of any size remains possible" in found.sentence
    assert f"3 pairs; they all differ by the same {shift:+.3g}, so their spread is not kno" in found.sentence


def test_a_member_that_is_not_there_drops_its_pair() -> None:
    whole = [Pair(i, {900: 2.0 + 0.1 * i}, {900: 1.0}) for i in range(3)]
    asked = {
        1: [*whole, Pair(3, None, {900: 1.0}), Pair(4, {900: 9.0}, None), Pair(5, {100: 9.0}, {900: 1.0})]
    }
    found = compare(asked, metric="m", direction="maximize", steps=(900,))[0]
    assert (found.pairs, found.missing, found.seeds) == (3, 3, (0, 1, 2))
    assert found.verdict == "better" and "3 pairs; 3 more did not finish" in found.sentence


def test_no_verdict_stands_against_a_pair_that_diverged() -> None:
    whole = [Pair(i, {900: 2.0 + 0.1 * i}, {900: 1.0}) for i in range(3)]
    lost, luck = Pair(3, {100: math.nan}, {900: 1.0}), Pair(4, {900: 2.0}, {900: -math.inf})

    def of(pairs: list[Pair], direction: str) -> Confirmation:
        return compare({1: pairs}, metric="m", direction=direction, steps=(900,))[0]

    harmed = of([*whole, lost], "maximize")
    assert harmed.diverged == (1, 0) and harmed.verdict == "not distinguishable"
    assert (
        "any size" in harmed.sentence and "1 of 4 trainings with these settings diverged" in harmed.sentence
    )
    assert of([*whole, lost], "minimize").verdict == "worse"
    assert of([*whole, luck], "maximize").verdict == "better"
    assert of([*whole, luck], "minimize").verdict == "not distinguishable"
    assert of([*whole, lost, luck], "maximize").missing == 0


def test_steps_to_reach_the_baselines_end() -> None:
    winner = [[20, 27.2, 27.3], [27.3, 27.4, 27.5], [20, 20, 27.4]]
    baseline = [[20, 26, 27.0], [20, 26, 27.1], [20, 27.2, 27.2]]
    found = compare({1: pairs_of(winner, baseline)}, metric="m", direction="maximize", steps=STEPS)[0]
    assert found.target == pytest.approx(27.1)
    assert found.reach == 300  # 300, 100, 900
    assert found.baseline_reach == 900  # never, 900, 300
    turned = compare(
        {1: pairs_of(-np.array(winner), -np.array(baseline))}, metric="m", direction="minimize", steps=STEPS
    )[0]
    assert (turned.reach, turned.baseline_reach) == (300, 900)
    never = compare({1: pairs_of(baseline, winner)}, metric="m", direction="maximize", steps=STEPS)[0]
    assert never.reach is None


def test_json_and_table_hold_all_of_it() -> None:
    found = compare(
        {7: pairs_of(np.eye(3), np.zeros((3, 3)))}, metric="m", direction="maximize", steps=STEPS
    )[0]
    plain = found.to_json()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert (
        plain["proposal"] == 7
        and plain["sentence"] == found.sentence
        and plain["seeds"] == [1000, 1001, 1002]
    )
    assert [one["step"] for one in plain["steps"]] == list(STEPS)
    table = found.table()
    assert len(table) == 4 and {len(line) for line in table} == {7}
    assert table[1][:3] == ("100", "3", "0.3333")


@pytest.mark.parametrize("steps", [(), (2, 1), (1, 1)])
def test_steps_have_to_ascend(steps: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"steps is .*ascending"):
        compare({}, metric="m", direction="maximize", steps=steps)


def test_an_unknown_direction_is_refused() -> None:
    with pytest.raises(ValueError, match="direction is 'up'"):
        compare({}, metric="m", direction="up", steps=(1,))


def test_a_summary_fits_a_tag_whatever_the_steps_and_seeds() -> None:
    steps = tuple(range(1, 61))
    pairs = [
        Pair(10**9 + i, dict.fromkeys(steps, 1 / 3 + i / 7 + i % 2 / 9), dict.fromkeys(steps, i / 7))
        for i in range(900)
    ]
    found = compare({7: pairs}, metric="psnr", direction="maximize", steps=steps, oracle=True)[0]
    told = found.summary()
    assert len(json.dumps(told)) < 8000 < len(json.dumps(found.to_json()))
    assert told["seeds"] is None and told["pairs"] == 900 and told["last"]["step"] == 60
    assert " psnr (oracle), between " in told["sentence"] and told["metric"] == "psnr"
