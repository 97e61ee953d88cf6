"""A row of the record as MLflow's parameters and points. Pure."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from trainers.settings import strength_of
from tuner import tracking as names
from tuner.runs import Point, safe

if TYPE_CHECKING:
    from tuner.rows import Recorded, Row


def parameters(row: "Row") -> dict[str, str]:
    """A trial's seed, settings and extras as MLflow's parameters, which are texts."""
    found = {"seed": str(row.seed)}
    for site, regularizer in row.settings.items():
        strength = strength_of(regularizer)
        found[safe(f"{site}.kind")] = regularizer.kind
        found[safe(f"{site}.{strength}")] = str(getattr(regularizer, strength))
    return found | {safe(names.EXTRAS + name): str(value) for name, value in row.extras.items()}


def strengths(row: "Row") -> list[Point]:
    """Every k, λ and extra as a metric too: to MLflow's filters a parameter is a text."""
    numbers = {
        f"{site}.{strength_of(one)}": float(getattr(one, strength_of(one)))
        for site, one in row.settings.items()
    }
    numbers |= {names.EXTRAS + name: value for name, value in row.extras.items()}
    return [(safe(name), value, milliseconds(row.started), 0) for name, value in numbers.items()]


def points(evaluation: "Recorded") -> list[Point]:
    """An evaluation at its own training step."""
    moment = milliseconds(evaluation.time)
    return [(safe(name), float(value), moment, evaluation.step) for name, value in evaluation.metrics.items()]


def baseline_points(rows: Sequence["Row"], baseline: Mapping[str, Any] | None) -> list[Point]:
    """What the baselines attained on average, as `exported.baseline_of` gives it, for the study's own run."""
    if baseline is None:
        return []
    # By the last evaluation and not by the trial's end, which the process that writes it knows otherwise than
    # one that reads it: a point that is sent again would be another one.
    last = [row.evaluations[-1].time for row in rows if row.role == "baseline" and row.value is not None]
    moment, step = milliseconds(max(last)), baseline["step"]
    return [(names.OF_BASELINE + name, mean, moment, step) for name, mean in baseline["metrics"].items()]


def milliseconds(moment: float) -> int:
    """Unix seconds as MLflow has moments."""
    return round(moment * 1000)
