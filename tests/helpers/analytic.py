"""A task whose training is a formula: the machinery around it can be tested in milliseconds a trial."""

import math
import os
import zlib
from collections.abc import Iterator
from pathlib import Path

from trainers.plan import Plan
from trainers.settings import L0, L1, L0Inf
from trainers.tasks import Task
from trainers.training import Evaluation

SITES = {"down0": (8, 16, 16), "up0": (8, 8, 8), "code": (16, 16, 16)}


def quality(plan: Plan) -> float:
    """Best at L0 keeping a quarter at up0; other settings lose, each by its own amount."""
    lost = 0.0
    for site, regularizer in plan.settings.items():
        match regularizer:
            case L0(keep=keep):
                lost += abs(math.log(keep / 0.25)) * (0.3 if site == "up0" else 1.0)
            case L1(weight=weight):
                lost += 0.5 + 3 * weight
            case L0Inf(k=k):
                lost += abs(k - 4) / 8
    return 1.0 - lost if "up0" in plan.settings else -lost


def train(plan: Plan, *, seed: int, device: str = "cpu", folder: Path | None = None) -> Iterator[Evaluation]:
    """Yield quality · (1 − e^(−step/100)) and a little noise that depends on the seed and the step alone."""
    options = plan.options
    for step in plan.evaluate_at:
        if folder is not None:
            with (folder / "steps.txt").open("a") as file:
                file.write(f"{step}\n")
        if options.die_once_at == step and folder is not None and not (folder / "died").exists():
            (folder / "died").touch()
            os._exit(1)
        if options.die_at == step:
            os._exit(1)
        if options.raise_at == step:
            raise ValueError(f"the training broke at step {step}")
        if options.end_before == step:
            return
        noise = zlib.crc32(f"{seed} {step}".encode()) / 2**32 - 0.5
        value = 20 + quality(plan) * (1 - math.exp(-step / 100)) + 0.05 * noise
        l1 = [one.weight for one in plan.settings.values() if isinstance(one, L1)]
        if step >= options.diverge_at and any(weight > options.diverge_above for weight in l1):
            value = math.nan
        metrics = {"score": value, "noise": noise}
        if options.forget:
            del metrics["score"]
        yield Evaluation(step=step, metrics=metrics)


TASK = Task(
    name="analytic",
    metric="score",
    direction="maximize",
    train=train,
    sites=SITES,
    options={
        "lr": 0.01,
        "diverge_above": 1e9,
        "diverge_at": 0,
        "raise_at": 0,
        "die_at": 0,
        "die_once_at": 0,
        "end_before": 0,
        "forget": False,
    },
)
