"""Where a study stands, from rows of its record: who leads, what the baseline reached, whether all is done.

Pure, and the one place that says so: the screen, the file, MLflow and a confirmation all ask here.
"""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from trainers.settings import Regularizer, to_json
from tuner.states import RUNNING

if TYPE_CHECKING:
    from tuner.rows import Row
    from tuner.sections import Budget


@dataclass(frozen=True)
class Baseline:
    """What COMPLETE baselines reached: mean and standard deviation (None for one seed) of the metric."""

    mean: float
    sd: float | None
    seeds: tuple[int, ...]


def leaders(
    rows: Iterable["Row"], direction: str, n: int | None = None, *, distinct: bool = False
) -> list["Row"]:
    """The `n` best COMPLETE proposals (None: all), the leader first; of equals the earlier one.

    `distinct` leaves out those whose settings and extras a better one has already.
    """
    sign = -1 if direction == "maximize" else 1
    done = [
        (sign * row.value, row.number, row)
        for row in rows
        if row.role == "proposal" and row.value is not None
    ]
    found = [row for _, _, row in sorted(done, key=lambda one: one[:2])]
    if distinct:
        first: dict[str, Row] = {}
        for row in found:
            first.setdefault(identity(row), row)
        found = list(first.values())
    return found[:n]


def baseline(rows: Iterable["Row"]) -> Baseline | None:
    """What the COMPLETE baselines among the rows reached; None where there is none."""
    done = [(row.seed, row.value) for row in rows if row.role == "baseline" and row.value is not None]
    if not done:
        return None
    values = [value for _, value in done]
    sd = statistics.stdev(values) if len(values) > 1 else None
    return Baseline(statistics.fmean(values), sd, tuple(seed for seed, _ in done))


def is_done(rows: Iterable["Row"], budget: "Budget") -> bool:
    """Whether every trial that the budget asks for is there and none is RUNNING."""
    rows = list(rows)
    proposed, measured = (sum(row.role == role for row in rows) for role in ("proposal", "baseline"))
    ended = all(row.state != RUNNING for row in rows)
    return ended and proposed >= budget.trials and measured >= budget.baseline_seeds


def identity(row: "Row") -> str:
    """One text for all rows of equal settings and extras."""
    return identity_of(row.settings, row.extras)


def identity_of(settings: Mapping[str, Regularizer], extras: Mapping[str, float]) -> str:
    """The same for settings and extras."""
    plain = {site: to_json(regularizer) for site, regularizer in settings.items()}
    return json.dumps([plain, dict(extras)], sort_keys=True)
