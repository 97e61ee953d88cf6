"""A training in four methods that costs nothing and still keeps a state, draws and paints pictures."""

import math
from typing import Any

import numpy as np
import torch

from trainers.plan import Plan
from trainers.settings import L0, L1
from trainers.tasks import Task

SITES = {"up0": (8, 8, 8), "code": (16, 16, 16)}


class Strolling:
    """Each step adds a draw and what the settings are worth; all of it is in the state."""

    def __init__(self, plan: Plan, *, seed: int, device: str = "cpu") -> None:
        self._worth = sum(
            -abs(math.log(one.keep / 0.25))
            if isinstance(one, L0)
            else -one.weight
            if isinstance(one, L1)
            else 0.1
            for one in plan.settings.values()
        )
        self._draw = torch.Generator().manual_seed(seed)
        self._at = torch.zeros(1, dtype=torch.float64)

    def step(self) -> None:
        self._at += self._worth + torch.rand(1, generator=self._draw, dtype=torch.float64)

    def evaluate(self) -> tuple[dict[str, float], dict[str, Any]]:
        shade = np.full((2, 2, 1), int(self._at) % 256, dtype=np.uint8)
        return {"score": float(self._at), "worth": self._worth}, {"shade": shade}

    def state_dict(self) -> dict[str, Any]:
        return {"at": self._at, "draw": self._draw.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._at = state["at"]
        self._draw.set_state(state["draw"])


TASK = Task("strolling", "score", "maximize", Strolling, sites=SITES)
