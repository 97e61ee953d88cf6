"""A user's own task in one file: a random walk that keeps its state at every step and can be held up."""

import fcntl
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path

from trainers.plan import Plan
from trainers.tasks import Task
from trainers.training import Evaluation

HOLD = 4  # the step behind which a training waits while the file `gate` is locked


def train(plan: Plan, *, seed: int, device: str = "cpu", folder: Path | None = None) -> Iterator[Evaluation]:
    """Walk; what a step adds depends on the seed, on the settings, and on all steps before."""
    kept = None if folder is None or not plan.options.keeps else Path(folder) / "state.json"
    state = {"step": 0, "at": 0.0}
    if kept is not None and kept.exists():
        state = json.loads(kept.read_text())
        if state["step"] in plan.evaluate_at:
            yield _evaluation(state)
    while state["step"] < plan.steps:
        step = int(state["step"]) + 1
        if plan.options.dies and step > HOLD and folder is not None and not _has_died(Path(folder)):
            os._exit(1)
        if plan.options.gate and step > HOLD:
            with open(plan.options.gate) as gate:
                fcntl.flock(gate, fcntl.LOCK_SH)
        change = random.Random(f"{seed} {step} {state['at']}").random()
        state = {"step": step, "at": state["at"] + change + len(plan.settings)}
        if kept is not None:
            part = kept.with_name(f".state-{os.getpid()}")
            part.write_text(json.dumps(state))
            os.replace(part, kept)
        if step in plan.evaluate_at:
            yield _evaluation(state)


def _has_died(folder: Path) -> bool:
    """Whether a process of this trial has died already; said beside its folder, which stays as it was."""
    mark = folder.parent / f"died-{folder.name}"
    if mark.exists():
        return True
    mark.touch()
    return False


def _evaluation(state: dict[str, float]) -> Evaluation:
    return Evaluation(int(state["step"]), {"score": state["at"]})


TASK = Task(
    name="walking",
    metric="score",
    direction="maximize",
    train=train,
    sites={"up0": (8, 8, 8), "code": (16, 16, 16)},
    options={"gate": "", "keeps": True, "dies": False},
)
