"""Denoising diffusion: a U-Net learns to tell the noise in a picture, at every strength of noise."""

import os
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.ddpm_options import DdpmOptions
from trainers.diffusion import Sampler
from trainers.generative import GenerativeTraining, prepare_pictures
from trainers.networks.ddpm import UNet
from trainers.networks.draws import DrawFrom
from trainers.networks.pair import Generator, PictureForm
from trainers.pictures import scaled
from trainers.plan import Plan
from trainers.settings import Mistake
from trainers.sparsity import Attached
from trainers.training import Evaluation, Metrics, adam, run

LOSS = "loss"


def train_ddpm(
    plan: Plan,
    *,
    seed: int,
    device: str = "cpu",
    folder: str | os.PathLike[str] | None = None,
) -> Iterator[Evaluation]:
    """Train the plan's U-Net to tell noise; see `trainers.training.run` for folder and errors.

    >>> from trainers.tasks import find_task, make_plan
    >>> small = {"data": "digits", "size": 8, "network": {"width": 4, "blocks": 1}, "sampling_steps": 2,
    ...          "samples": 500, "objective": "fd_pixels"}
    >>> for e in train_ddpm(make_plan(find_task("ddpm"), small, evaluate_at=(5, 10)), seed=0):
    ...     print(e.step, e.metrics["fd_pixels"] > 0, e.pictures["samples"].shape)
    5 True (71, 71, 1)
    10 True (71, 71, 1)
    """
    return run(DdpmTraining(plan, seed=seed, device=device), plan=plan, seed=seed, folder=folder)


def prepare(plan: Plan) -> dict[str, str]:
    """What `prepare_pictures` gives; the U-Net suits all pictures of the size that its options admit."""
    return prepare_pictures(plan, lambda form: {})


class DdpmTraining(GenerativeTraining):
    """A step: by Adam, lower the mean of ‖ε − ε_θ(x_t, t)‖² (arXiv 2006.11239, eq. 14).

    x_t is a picture of the batch, noised by ε to a time t that is drawn evenly from 1 … T for each. Penalties
    are those of this pass. What is scored draws by DDIM, in the plan's `sampling_steps`.
    """

    LOSSES = (LOSS,)
    options: DdpmOptions

    def __init__(self, plan: Plan, *, seed: int, device: str = "cpu") -> None:
        if not isinstance(plan.options, DdpmOptions):
            raise Mistake(f"the plan's task is {plan.task!r}, but a diffusion model trains plans of 'ddpm'")
        self.options = plan.options
        super().__init__(plan, seed=seed, device=device)

    def build(self, form: PictureForm, generator: torch.Generator) -> Generator:
        with DrawFrom(generator):
            network = UNet(self.options.network, form)
        self.sampler = Sampler(
            network,
            network.sites,
            form,
            noise_steps=self.options.noise_steps,
            sampling_steps=self.options.sampling_steps,
        )
        return self.sampler

    def modules(self) -> Sequence[nn.Module]:
        return (self.sampler,)

    def optimizers_of(self, plan: Plan) -> list[torch.optim.Adam]:
        self.adam = adam(self.weights, lr=plan.value("lr"), device=self.device)
        return [self.adam]

    def step(self) -> None:
        self.ramp.at(self.count + 1)
        pictures, _ = self.drawn_pictures()
        noise = torch.randn(pictures.shape, generator=self.draw, device=self.device)
        times = torch.randint(
            1, self.options.noise_steps + 1, pictures.shape[:1], generator=self.draw, device=self.device
        )
        told = self.sampler.bare(self.sampler.noising(pictures, noise, times), times)
        loss = F.mse_loss(told, noise) + self.attached.penalty()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.losses[0].copy_(loss.detach())
        self.stepped()

    def settle(self, scored: Generator, part: int) -> None:
        """Nothing: GroupNorm keeps no statistics."""

    @torch.no_grad()
    def sparsity(self, scored: Generator, seen: Attached, part: int) -> Metrics:
        """How sparse it is over pictures that are noised as a step noises them, at times evenly over 1 … T.

        In one pass: so a site's sparsity is that over all strengths of noise, where the last pass of a
        drawing would show only pictures that are almost free of it. Pictures and noise are the same at each
        evaluation.
        """
        latents = self.fixed[0][:part]
        pictures, times = self._looked_at(len(latents))
        scored.bare(self.sampler.noising(pictures, latents.view_as(pictures), times), times)
        return seen.metrics()

    def _looked_at(self, count: int) -> tuple[Tensor, Tensor]:
        """So many of the pictures, N×C×S×S in [-1, 1], in any order, and times from 1 to T."""
        drawn = torch.Generator().manual_seed(0)
        chosen = torch.randint(len(self.images), (count,), generator=drawn).to(self.device)
        times = torch.linspace(1, self.options.noise_steps, count, device=self.device).round().long()
        return scaled(self.images[chosen]), times
