"""Variational autoencoders (Kingma & Welling, arXiv 1312.6114): a decoder, trained with an encoder."""

import math
import os
from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.generative import GenerativeTraining, prepare_pictures
from trainers.networks.draws import DrawFrom
from trainers.networks.pair import Generator, PictureForm
from trainers.networks.vae import Decoder, Encoder
from trainers.plan import Plan
from trainers.settings import Mistake
from trainers.training import Evaluation, adam, run
from trainers.vae_options import VaeNetwork, VaeOptions

LOSS = "loss"
LOSS_RECONSTRUCTION = "loss_reconstruction"
LOSS_KL = "loss_kl"

ROUNDING = (2 / 255) ** 2 / 12  # variance of what was rounded to 8 bits, in [-1, 1]


def train_vae(
    plan: Plan,
    *,
    seed: int,
    device: str = "cpu",
    folder: str | os.PathLike[str] | None = None,
) -> Iterator[Evaluation]:
    """Train the plan's encoder and decoder; see `trainers.training.run` for folder and errors.

    >>> from trainers.tasks import find_task, make_plan
    >>> small = {"data": "digits", "size": 8, "network": {"width": 4, "blocks": 2}, "samples": 500,
    ...          "objective": "fd_pixels"}
    >>> for e in train_vae(make_plan(find_task("vae"), small, evaluate_at=(5, 10)), seed=0):
    ...     print(e.step, e.metrics["fd_pixels"] > 0, e.pictures["samples"].shape)
    5 True (71, 71, 1)
    10 True (71, 71, 1)
    """
    return run(VaeTraining(plan, seed=seed, device=device), plan=plan, seed=seed, folder=folder)


def prepare(plan: Plan) -> dict[str, str]:
    """What `prepare_pictures` gives."""
    network = VaeOptions.model_validate(plan.options).network

    def check(form: PictureForm) -> dict[str, str]:
        build_vae(network, form, generator=torch.Generator())
        return {}

    return prepare_pictures(plan, check)


def build_vae(
    config: VaeNetwork, form: PictureForm, *, generator: torch.Generator
) -> tuple[Encoder, Decoder]:
    """Both networks on the CPU in training mode, initialised from `generator` (of the CPU).

    A form that the network cannot draw raises `Mistake`.
    """
    with DrawFrom(generator):
        return Encoder(config, form), Decoder(config, form)


def reconstruction_loss(images: Tensor, means: Tensor) -> Tensor:
    """-log p(x|z) in nats a pixel and channel, for Gaussian pixels of the best common variance.

    ½ (log 2πσ² + MSE / σ²), where MSE is the mean of (x - x̂)² over the batch and σ² = MSE is the variance of
    greatest likelihood (σ-VAE, arXiv 2006.13202): so the fit is weighed against the KL divergence by what it
    has reached, and nobody sets a weight. σ² does not fall below the variance of rounding to 8 bits, or the
    density would have no upper end.

    Args:
        images: x, N×C×S×S in [-1, 1].
        means: x̂, the same shape.
    """
    error = F.mse_loss(means, images)
    variance = error.detach().clamp(min=ROUNDING)  # at the best variance its own gradient is 0
    return (torch.log(2 * math.pi * variance) + error / variance) / 2


def kl_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(μ, diag σ²) ‖ N(0, I)) = ½ Σ (μ² + σ² - 1 - log σ²) in nats a picture, the batch's mean.

    >>> kl_divergence(torch.ones(5, 4), torch.zeros(5, 4))
    tensor(2.)
    """
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2


class VaeTraining(GenerativeTraining):
    """A step of Adam on reconstruction + beta · KL + penalties: minus the evidence lower bound for beta = 1.

    All are in nats a pixel and channel, C·S·S of which a picture has, so that a regularizer weighs the same
    whatever the size, and the named losses add up. The latents of the step are μ + σ · ε (one ε ~ N(0, I) a
    picture), those of an evaluation the prior's, N(0, I); the pictures that are scored are the decoder's
    means, without the noise of the pixels.
    """

    LOSSES = (LOSS, LOSS_RECONSTRUCTION, LOSS_KL)
    options: VaeOptions

    def __init__(self, plan: Plan, *, seed: int, device: str = "cpu") -> None:
        if not isinstance(plan.options, VaeOptions):
            raise Mistake(f"the plan's task is {plan.task!r}, but a VAE trains plans of 'vae'")
        self.options = plan.options
        self.beta = plan.value("beta")
        super().__init__(plan, seed=seed, device=device)

    def build(self, form: PictureForm, generator: torch.Generator) -> Generator:
        self.encoder, decoder = build_vae(self.options.network, form, generator=generator)
        return decoder

    def modules(self) -> Sequence[nn.Module]:
        return self.generator, self.encoder

    def optimizers_of(self, plan: Plan) -> list[torch.optim.Adam]:
        parameters = [*self.weights, *self.encoder.parameters()]
        self.adam = adam(parameters, lr=plan.value("lr"), device=self.device)
        return [self.adam]

    def step(self) -> None:
        self.ramp.at(self.count + 1)
        images, _ = self.drawn_pictures()
        mean, log_variance = self.encoder(images)
        noise = torch.randn(mean.shape, generator=self.draw, device=self.device)
        drawn = self.generator(mean + (log_variance / 2).exp() * noise)
        reconstruction = reconstruction_loss(images, drawn)
        kl = kl_divergence(mean, log_variance) / images[0].numel()
        loss = reconstruction + self.beta * kl + self.attached.penalty()
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()
        self.losses.copy_(torch.stack([loss, reconstruction, kl]).detach())
        self.stepped()
