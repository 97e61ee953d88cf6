"""Who leads, what the baseline reached, and when all is done; from rows made by hand."""

import math
from typing import Any

import pytest

from trainers.settings import L0
from tuner.rows import Row
from tuner.sections import Budget
from tuner.standing import Baseline, baseline, is_done, leaders

A, B = {"up0": L0(keep=0.2)}, {"up0": L0(keep=0.3)}


def row(role: str, number: int, value: float | None = None, **changes: Any) -> Row:
    known: dict[str, Any] = {"state": "PRUNED" if value is None else "COMPLETE", "reason": None, "seed": 0}
    known |= {"settings": A, "extras": {}, "evaluations": (), "started": 0.0, "finished": 1.0}
    return Row(role=role, number=number, value=value, **(known | changes))


ROWS = [
    row("proposal", 0, 1.0),
    row("proposal", 1, 3.0),
    row("proposal", 2, 2.0, settings=B),
    row("proposal", 3),
    row("proposal", 4, 3.0, extras={"lr": 0.1}),
    row("baseline", 0, 9.0, seed=5),
]


def test_the_best_first_and_of_equals_the_earlier() -> None:
    assert [one.number for one in leaders(ROWS, "maximize")] == [1, 4, 2, 0]
    assert [one.number for one in leaders(ROWS, "minimize", 2)] == [0, 2]
    assert [one.number for one in leaders(reversed(ROWS), "maximize", 2)] == [1, 4]
    assert leaders(ROWS[3:4], "maximize") == []


def test_of_equal_settings_the_best_stands_for_all() -> None:
    assert [one.number for one in leaders(ROWS, "maximize", distinct=True)] == [1, 4, 2]
    assert [one.number for one in leaders(ROWS, "minimize", distinct=True)] == [0, 2, 4]


def test_the_baseline_of_none_one_and_two_seeds() -> None:
    assert baseline(ROWS[:-1]) is None
    assert baseline([*ROWS, row("baseline", 1)]) == Baseline(9.0, None, (5,))
    two = baseline([*ROWS, row("baseline", 1, 10.0, seed=6)])
    assert two == Baseline(9.5, pytest.approx(math.sqrt(0.5)), (5, 6))


@pytest.mark.parametrize(("trials", "baselines", "done"), [(5, 1, True), (6, 1, False), (5, 2, False)])
def test_done_is_all_that_the_budget_asks_for(trials: int, baselines: int, done: bool) -> None:
    budget = Budget(trials=trials, baseline_seeds=baselines, steps=90, grace=10)
    assert is_done(ROWS, budget) is done
    assert not is_done([*ROWS, row("confirmation", 0, state="RUNNING")], budget)
