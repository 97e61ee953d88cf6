"""Tasks of a user's own, as a spec names them: `own_tasks:SITES`; only described, never trained."""

from collections.abc import Iterator
from typing import Any

from trainers.tasks import Task
from trainers.training import Evaluation


def train(*_: Any, **__: Any) -> Iterator[Evaluation]:
    return iter(())


NONE_LEFT = Task("never", "score", "minimize", train=train, sites={})
SITES = Task(
    "sites",
    "score",
    "minimize",
    train=train,
    sites={"h0": (64, 2, 2), "thin": (1, 4, 4), "code": (4, 8, 8)},
    options={"lr": 0.1, "depth": 3},
)
ONE = Task("one", "score", "maximize", train=train, sites={"h0": (64, 2, 2)}, options={"lr": 0.1})
THIN = Task("thin", "score", "maximize", train=train, sites={"thin": (1, 2, 2)})
