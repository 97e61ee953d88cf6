"""A user's own training as a class, whose baseline hangs behind a locked file, or whose proposals crawl."""

import fcntl
import time
from pathlib import Path
from typing import Any

from trainers.plan import Plan
from trainers.tasks import Task
from trainers.training import Training

HOLD = 60  # the step before which it waits or begins to crawl


class Stalls(Training):
    """Counts its steps."""

    def __init__(self, plan: Plan, *, seed: int, device: str = "cpu") -> None:
        self.options, self.is_baseline, self.count = plan.options, not plan.settings, 0

    def step(self) -> None:
        self.count += 1
        if self.options.gate and self.is_baseline and self.count == HOLD:
            waited = Path(f"{self.options.gate}-waited")
            if not (self.options.once and waited.exists()):
                waited.touch()
                with open(self.options.gate) as gate:
                    fcntl.flock(gate, fcntl.LOCK_SH)
        if self.options.crawls and not self.is_baseline and self.count >= HOLD:
            time.sleep(1)  # what a step takes there

    def evaluate(self) -> Any:
        return {"score": float(self.count)}

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count = state["count"]


TASK = Task(
    "stalling",
    "score",
    "maximize",
    train=Stalls,
    sites={"up0": (8, 8, 8)},
    options={"gate": "", "once": False, "crawls": False},
)
