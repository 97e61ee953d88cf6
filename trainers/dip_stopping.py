"""When to stop fitting noise: the least variance of a window of outputs (ES-WMV, arXiv 2112.06074)."""

from typing import Any

import torch
from torch import Tensor

_TENSORS = ("window", "least", "since", "at", "picture")


class LeastVariance:
    """Keeps the picture of the step at which the outputs of the last W steps agreed best.

    With x_t the output of step t: v_t = 1/W · Σ |x_i - x̄|² over the window i = t - W + 1 … t, a mean over
    entries. While a network draws the picture v falls, and it rises where it begins to draw the noise. The
    picture kept is that of the first t ≥ W with v_t below all before it, after which no v was lower for
    `patience` steps; later ones change nothing. A fixed program: nothing waits for the device.

    v needs the outputs that leave the window, so all of it is kept: W·C·H·W floats, 315 MB for 100 pictures
    of 512×512 in colour.

    Args:
        like: a picture, 1×C×H×W, on the device.
        window, patience: W and how many steps without a lower v end it.
    """

    def __init__(self, like: Tensor, *, window: int, patience: int) -> None:
        self.patience = patience
        self.window = torch.zeros((window, *like.shape[1:]), device=like.device)
        self.least = torch.full((), torch.inf, device=like.device)
        self.since = torch.zeros((), dtype=torch.int64, device=like.device)
        self.at = torch.zeros((), dtype=torch.int64, device=like.device)
        self.picture = torch.zeros_like(like)

    def see(self, step: Tensor, output: Tensor, picture: Tensor) -> None:
        """Take in the output of a step, numbered from 1, and what is kept if it is the one; 1×C×H×W both."""
        size = self.window.shape[0]
        self.window.index_copy_(0, ((step - 1) % size).reshape(1), output)
        variance = self.window.var(0, correction=0).mean()
        full = step >= size
        better = full & (self.since < self.patience) & (variance < self.least)
        self.least.copy_(torch.where(better, variance, self.least))
        self.at.copy_(torch.where(better, step, self.at))
        self.picture.copy_(torch.where(better, picture, self.picture))
        self.since.copy_(torch.where(better, 0, self.since + full))

    def kept(self, otherwise: Tensor) -> Tensor:
        """The picture that is kept; `otherwise`, that of now, while the window was never full.

        And where that of now is not finite: a training that diverged is not to look like one that did not.
        """
        return torch.where((self.at > 0) & otherwise.isfinite().all(), self.picture, otherwise)

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _TENSORS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in _TENSORS:
            getattr(self, name).copy_(state[name])
