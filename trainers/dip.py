"""Deep Image Prior (arXiv 1711.10925): a network fitted to one noisy picture draws the clean one first."""

import hashlib
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trainers import images
from trainers.degradations import degrade
from trainers.dip_options import DipOptions
from trainers.networks.build import build
from trainers.plan import Plan
from trainers.psnr import LOSS, PSNR, PSNR_RAW, SSIM, psnr, ssim
from trainers.settings import Mistake
from trainers.sparsity import attach
from trainers.training import (
    Evaluation,
    Metrics,
    Pictures,
    Training,
    adam,
    find_device,
    restore,
    run,
    same_device,
    streams,
)

INPUT_SCALE = 0.1  # the network's input is uniform in [0, 0.1), as in the reference implementation


def train_dip(
    plan: Plan,
    *,
    seed: int,
    device: str = "cpu",
    folder: str | os.PathLike[str] | None = None,
) -> Iterator[Evaluation]:
    """Fit the plan's network to its degraded picture; see `trainers.training.run` for folder and errors.

    >>> from trainers.tasks import find_task, make_plan
    >>> small = {"size": 32, "network": {"width": 8, "scales": 2}}
    >>> plan = make_plan(find_task("dip"), small, evaluate_at=(10, 20))
    >>> for e in train_dip(plan, seed=0):
    ...     print(e.step, e.metrics["psnr"] > 8, e.pictures["comparison"].shape)
    10 True (32, 96, 3)
    20 True (32, 96, 3)
    """
    return run(DipTraining(plan, seed=seed, device=device), plan=plan, seed=seed, folder=folder)


class DipTraining(Training):
    """min over weights of mean (f(z + n) - y)² + penalties, by Adam, with fresh noise n at each step.

    y is the degraded picture, z a fixed random input. Where the network cannot halve the picture's sides, y
    is padded by reflection, and the output is cropped before it is scored. The restored picture is the
    average of the outputs x_t, a_t = γ a_{t-1} + (1 - γ) x_t, corrected for its start: a_t / (1 - γᵗ).
    """

    def __init__(self, plan: Plan, *, seed: int, device: str = "cpu") -> None:
        options = plan.options
        if not isinstance(options, DipOptions):
            raise Mistake(f"the plan's task is {plan.task!r}, but Deep Image Prior trains plans of 'dip'")
        data, training, _ = streams(seed)
        self.clean = images.load(options.image, size=options.size, grey=options.grey)
        plan.refuse_another({"picture": images.fingerprint(self.clean)})
        self.noisy = degrade(self.clean, options.degradation, np.random.default_rng(data))
        self.device, self.decay = find_device(device), plan.value("average")
        self.input_noise = plan.value("input_noise")

        sides = tuple(options.network.padded(side) for side in self.clean.shape[:2])
        self.target, self.window = _padded(self.noisy, sides)
        self.target = self.target.to(self.device)

        first, steps = (int(word) >> 1 for word in training.generate_state(2, np.uint64))
        drawn_once = torch.Generator().manual_seed(first)
        self.network = build(options.network, out_channels=self.clean.shape[2], generator=drawn_once)
        self.network.to(self.device)
        shape = (1, options.network.input_channels, *sides)
        self.input = (torch.rand(shape, generator=drawn_once) * INPUT_SCALE).to(self.device)
        self.generator = torch.Generator(self.device).manual_seed(steps)
        self.attached = attach(
            self.network.bare,
            plan.settings,
            names=self.network.names,
            observe=tuple(options.network.sites(*self.clean.shape[:2])),
        )
        self.optimizer = adam(self.network.parameters(), lr=plan.value("lr"), device=self.device)

        self.noise = torch.empty_like(self.input)
        self.output = torch.zeros_like(self.target)
        self.average = torch.zeros_like(self.target)
        self.count = torch.zeros((), dtype=torch.int64, device=self.device)
        self.loss = torch.zeros((), device=self.device)

    def step(self) -> None:
        self.noise.normal_(generator=self.generator)
        output = self.network(torch.add(self.input, self.noise, alpha=self.input_noise))
        loss = F.mse_loss(output, self.target) + self.attached.penalty()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.output.copy_(output.detach())
        self.average.lerp_(self.output, 1 - self.decay)
        self.count.add_(1)
        self.loss.copy_(loss.detach())

    def evaluate(self) -> tuple[Metrics, Pictures]:
        restored = self._picture(self.average / (1 - self.decay**self.count))
        metrics: Metrics = {
            PSNR: psnr(restored, self.clean),
            PSNR_RAW: psnr(self._picture(self.output), self.clean),
            SSIM: ssim(restored, self.clean),
            LOSS: float(self.loss),
        }
        return metrics | self.attached.metrics(), {
            "comparison": images.side_by_side((self.noisy, restored, self.clean))
        }

    def state_dict(self) -> dict[str, Any]:
        return {
            "picture": self._fingerprint(),
            "device": self.device.type,
            "network": self.network.bare.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            **{name: getattr(self, name) for name in ("output", "average", "count", "loss")},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["picture"] != self._fingerprint():
            raise Mistake(
                "the picture has changed since the checkpoint was written: put the old one back, "
                "or begin in another folder"
            )
        same_device(state["device"], self.device)
        self.network.bare.load_state_dict(state["network"])
        restore(self.optimizer, state["optimizer"], self.device)
        self.generator.set_state(state["generator"])
        for name in ("output", "average", "count", "loss"):
            getattr(self, name).copy_(state[name])

    def _picture(self, output: Tensor) -> NDArray[np.float32]:
        """1×C×H×W, padded, on the device → H×W×C, cropped, on the host."""
        cropped: NDArray[np.float32] = output[0][self.window].permute(1, 2, 0).cpu().numpy()
        return cropped

    def _fingerprint(self) -> str:
        return hashlib.sha256(self.noisy.tobytes()).hexdigest()


def _padded(picture: NDArray[np.float32], sides: tuple[int, ...]) -> tuple[Tensor, tuple[slice, ...]]:
    """H×W×C → 1×C×sides by reflection, evenly on both ends, and where in C×H×W the picture then lies."""
    before = [(side - own) // 2 for side, own in zip(sides, picture.shape[:2], strict=True)]
    after = [side - own - b for side, own, b in zip(sides, picture.shape[:2], before, strict=True)]
    target = torch.from_numpy(picture).permute(2, 0, 1)[None]
    target = F.pad(target, (before[1], after[1], before[0], after[0]), mode="reflect")
    inner = (slice(b, b + own) for b, own in zip(before, picture.shape[:2], strict=True))
    return target.contiguous(), (slice(None), *inner)
