"""One network that is fitted to one observation: the inner loop of Deep Image Prior."""

from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trainers.degradations.degradation import Seen
from trainers.dip_options import DipOptions
from trainers.dip_stopping import LeastVariance
from trainers.images import Picture
from trainers.networks.build import build
from trainers.plan import Plan
from trainers.ramp import Ramp
from trainers.sparsity import attach
from trainers.training import adam, restore

INPUT_SCALE = 0.1  # the network's input is uniform in [0, 0.1), as in the reference implementation
Entry = TypeVar("Entry", bound=np.generic)
_TENSORS = ("output", "average", "count", "loss")


class Fit:
    """min over weights of mean (A(f(z + n)) - y)² + penalties, the mean over the pixels that the loss sees.

    z is a fixed random input, n fresh noise, A the degradation's operator. Where the network cannot halve the
    picture's sides it draws a larger one, of which the middle is the picture; that is cut out before A acts.
    Where A is the identity, y and the pixels that are seen are padded by reflection instead, so that the
    margin is fitted, too. The restored picture is the average of the outputs x_t, a_t = γ a_{t-1} +
    (1 - γ) x_t, corrected for its start: a_t / (1 - γᵗ); with early stopping it is the one of the step that
    `LeastVariance` finds in the x_t.

    Args:
        values, seen: y, h×w×C, and the pixels, h×w, that the loss sees; None: all.
        sides: H, W of the picture that is drawn.
        seed: of the weights and of z.
    """

    def __init__(
        self,
        plan: Plan,
        options: DipOptions,
        *,
        values: Picture,
        seen: Seen | None,
        sides: tuple[int, int],
        seed: int,
        device: torch.device,
    ) -> None:
        self.device, self.decay = device, plan.value("average")
        height, width = (options.network.padded(side) for side in sides)
        self.window = _window(sides, (height, width))
        self.operator = options.degradation.operator(*sides)
        if self.operator is None:
            values = _padded(values, (height, width))
            seen = None if seen is None else _padded(seen[..., None], (height, width))[..., 0]
        else:
            self.operator.to(device)
        self.target = torch.from_numpy(values).permute(2, 0, 1)[None].contiguous().to(device)
        self.weight = None if seen is None else _weight(seen, channels=values.shape[2]).to(device)

        drawn_once = torch.Generator().manual_seed(seed)
        self.network = build(options.network, out_channels=values.shape[2], generator=drawn_once)
        self.network.to(device)
        shape = (1, options.network.input_channels, height, width)
        self.input = (torch.rand(shape, generator=drawn_once) * INPUT_SCALE).to(device)
        self.ramp = Ramp(plan, device)
        self.attached = attach(
            self.network.bare,
            plan.settings,
            names=self.network.names,
            observe=tuple(options.network.sites(*sides)),
            ramp=self.ramp.strength,
        )
        self.optimizer = adam(self.network.parameters(), lr=plan.value("lr"), device=device)

        self.output = torch.zeros((1, values.shape[2], height, width), device=device)
        self.average = torch.zeros_like(self.output)
        self.count = torch.zeros((), dtype=torch.int64, device=device)
        self.loss = torch.zeros((), device=device)
        stopping = options.early_stopping
        self.stopping = stopping and LeastVariance(
            self._cut(self.output), window=stopping.window, patience=stopping.patience
        )

    def step(self, given: Tensor) -> None:
        """One step of Adam; given: z + n."""
        self.ramp.at(self.count + 1)
        output = self.network(given)
        loss = self._misfit(output) + self.attached.penalty()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.output.copy_(output.detach())
        self.average.lerp_(self.output, 1 - self.decay)
        self.count.add_(1)
        self.loss.copy_(loss.detach())
        if self.stopping:
            self.stopping.see(self.count, self._cut(self.output), self._averaged())

    def stopped_at(self) -> float | None:
        """The step whose picture is kept, 0 before there is one; None without early stopping."""
        return float(self.stopping.at) if self.stopping else None

    def restored(self) -> Picture:
        """The restored picture, H×W×C, on the host."""
        return _on_host(self._kept())

    def raw(self) -> Picture:
        """The last step's own output, H×W×C, on the host."""
        return _on_host(self._cut(self.output))

    def predicted(self) -> Picture:
        """A of the restored picture, h×w×C, on the host."""
        kept = self._kept()
        return _on_host(kept if self.operator is None else self.operator(kept))

    def state_dict(self) -> dict[str, Any]:
        return {
            "network": self.network.bare.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            **{name: getattr(self, name) for name in _TENSORS},
            **({"stopping": self.stopping.state_dict()} if self.stopping else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.bare.load_state_dict(state["network"])
        restore(self.optimizer, state["optimizer"], self.device)
        for name in _TENSORS:
            getattr(self, name).copy_(state[name])
        self.ramp.at(self.count)
        if self.stopping:
            self.stopping.load_state_dict(state["stopping"])

    def _misfit(self, output: Tensor) -> Tensor:
        predicted = output if self.operator is None else self.operator(self._cut(output))
        if self.weight is None:
            return F.mse_loss(predicted, self.target)
        return (self.weight * (predicted - self.target).square()).sum()

    def _kept(self) -> Tensor:
        averaged = self._averaged()
        return self.stopping.kept(averaged) if self.stopping else averaged

    def _averaged(self) -> Tensor:
        """The average without the margin, 1×C×H×W."""
        return self._cut(self.average) / (1 - self.decay**self.count)

    def _cut(self, output: Tensor) -> Tensor:
        return output[(..., *self.window)]


def _window(sides: tuple[int, int], padded: tuple[int, int]) -> tuple[slice, slice]:
    """Where the picture lies in the padded one: in the middle."""
    top, left = ((large - small) // 2 for large, small in zip(padded, sides, strict=True))
    return slice(top, top + sides[0]), slice(left, left + sides[1])


def _padded(values: NDArray[Entry], sides: tuple[int, int]) -> NDArray[Entry]:
    """H×W×C → sides×C by reflection, evenly on both ends."""
    before = [(side - own) // 2 for side, own in zip(sides, values.shape[:2], strict=True)]
    after = [side - own - b for side, own, b in zip(sides, values.shape[:2], before, strict=True)]
    return np.pad(values, (*zip(before, after, strict=True), (0, 0)), mode="reflect")


def _weight(seen: Seen, *, channels: int) -> Tensor:
    """1×1×h×w, such that a weighted sum over pixels and channels is the mean over those that are seen."""
    return torch.from_numpy(seen.astype(np.float32) / (seen.sum() * channels)).float()[None, None]


def _on_host(pictures: Tensor) -> Picture:
    """1×C×H×W on the device → H×W×C on the host."""
    picture: Picture = pictures[0].detach().permute(1, 2, 0).cpu().numpy()
    return picture
