"""How strongly regularizers act while a training begins: one schedule for all of them."""

import torch
from torch import Tensor

from trainers.plan import Plan


class Ramp:
    """r = min(1, t / (f · T)) at step t of T, in a tensor that `attach` takes; f is the plan's `ramp`.

    With f = 0 `strength` is None, and everything acts fully from the first step on. A rung within the first
    f · T steps sees a network that is regularized in part.
    """

    def __init__(self, plan: Plan, device: torch.device) -> None:
        self._length = plan.value("ramp") * plan.steps
        self.strength = torch.zeros((), device=device) if self._length else None

    def at(self, step: Tensor) -> None:
        """Set the strength for that step, a tensor without dimensions on the device; waits for nothing."""
        if self.strength is not None:
            self.strength.copy_((step / self._length).clamp(max=1))
