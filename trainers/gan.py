"""Generative adversarial networks: the alternation of two players' steps.

Nothing here knows a family: what the players are is the network's file, what they minimise the loss's.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from trainers.augment import augmented
from trainers.gan_options import GanOptions, OwnPair
from trainers.generative import GenerativeTraining, prepare_pictures
from trainers.layers import looking
from trainers.losses.build import build_loss
from trainers.losses.loss import Batch
from trainers.networks.build import build_pair, check_pair
from trainers.networks.pair import Generator, PictureForm
from trainers.pictures import scaled
from trainers.plan import Plan
from trainers.settings import DISCRIMINATOR, Mistake, discriminators
from trainers.sparsity import Attached, attach
from trainers.training import Evaluation, Metrics, adam, run

LOSS_GENERATOR = "loss_generator"
LOSS_DISCRIMINATOR = "loss_discriminator"


def train_gan(
    plan: Plan,
    *,
    seed: int,
    device: str = "cpu",
    folder: str | os.PathLike[str] | None = None,
) -> Iterator[Evaluation]:
    """Train the plan's two networks against each other; see `trainers.training.run` for folder and errors.

    >>> from trainers.tasks import find_task, make_plan
    >>> small = {"data": "digits", "size": 8, "network": {"width": 4, "blocks": 2}, "samples": 500,
    ...          "objective": "fd_pixels"}
    >>> for e in train_gan(make_plan(find_task("gan"), small, evaluate_at=(5, 10)), seed=0):
    ...     print(e.step, e.metrics["fd_pixels"] > 0, e.pictures["samples"].shape)
    5 True (71, 71, 1)
    10 True (71, 71, 1)
    """
    return run(GanTraining(plan, seed=seed, device=device), plan=plan, seed=seed, folder=folder)


def prepare(plan: Plan) -> dict[str, str]:
    """What `prepare_pictures` gives, and a user's own networks under the name `network`."""
    options = GanOptions.model_validate(plan.options)

    def check(form: PictureForm) -> dict[str, str]:
        found = {"network": check_pair(options.network, form)} if isinstance(options.network, OwnPair) else {}
        made = torch.Generator()
        _, discriminator = build_pair(options.network, form, generator=made)
        build_loss(options.loss, network=discriminator, generator=made)
        return found

    return prepare_pictures(plan, check)


class GanTraining(GenerativeTraining):
    """A step: `discriminator_steps` of the discriminator, then one of the generator, each by Adam.

    Each player minimises the penalties at its own sites with its loss: the generator's of the pass that drew
    its fakes; the discriminator's averaged over its whole passes in the step, of which a loss with a gradient
    penalty has one more; a head that reads its features runs a part of it, which costs nothing. Projections
    act whenever either runs. How sparse the discriminator is, is measured in evaluation mode, on pictures
    that the scored generator draws and on as many real ones.
    """

    LOSSES = (LOSS_GENERATOR, LOSS_DISCRIMINATOR)
    options: GanOptions

    def __init__(self, plan: Plan, *, seed: int, device: str = "cpu") -> None:
        if not isinstance(plan.options, GanOptions):
            raise Mistake(f"the plan's task is {plan.task!r}, but a GAN trains plans of 'gan'")
        self.options = plan.options
        super().__init__(plan, seed=seed, device=device)
        self.rates = [group["lr"].clone() for group in self._groups()]
        self.judged_sites = tuple(self.options.sites_of_discriminator())
        self.judging_settings = discriminators(plan.settings)
        self.judged = attach(
            self.discriminator.bare,
            self.judging_settings,
            names=self.discriminator.names,
            observe=self.judged_sites,
            ramp=self.ramp.strength,
        )

    def build(self, form: PictureForm, generator: torch.Generator) -> Generator:
        drawing, self.discriminator = build_pair(self.options.network, form, generator=generator)
        self.loss = build_loss(self.options.loss, network=self.discriminator, generator=generator)
        return drawing

    def modules(self) -> Sequence[nn.Module]:
        return self.generator, self.discriminator, self.loss

    def optimizers_of(self, plan: Plan) -> list[torch.optim.Adam]:
        self.judging = [*self.discriminator.parameters(), *self.loss.parameters()]
        betas = plan.value("beta1"), plan.value("beta2")
        self.generator_adam, self.discriminator_adam = (
            adam(weights, lr=plan.value(lr), betas=betas, device=self.device)
            for weights, lr in ((self.weights, "generator_lr"), (self.judging, "discriminator_lr"))
        )
        return [self.generator_adam, self.discriminator_adam]

    def _groups(self) -> list[dict[str, Any]]:
        return [group for optimizer in self.optimizers for group in optimizer.param_groups]

    def step(self) -> None:
        if self.options.decay == "linear":
            for group, first in zip(self._groups(), self.rates, strict=True):
                group["lr"].copy_(first * (1 - self.count / self.steps))
        self.ramp.at(self.count + 1)
        for _ in range(self.options.discriminator_steps):
            self._discriminator_step()
        self._generator_step()
        self.stepped()

    def _discriminator_step(self) -> None:
        real = Batch(*self.drawn_pictures())
        with torch.no_grad():
            fake = self._fake()
        real, fake = self._augmented(real), self._augmented(fake)
        with self._penalties() as penalties:
            loss = self.loss.discriminator(self.discriminator, real, fake, self.draw)
        if penalties:
            loss = loss + torch.stack(penalties).mean()
        self.discriminator_adam.zero_grad()
        loss.backward()
        self.discriminator_adam.step()
        self.loss.after_discriminator_step(self.discriminator)
        self.losses[1].copy_(loss.detach())

    @contextmanager
    def _penalties(self) -> Iterator[list[Tensor]]:
        """The penalties of each pass of the discriminator within it; none where nothing is put on it."""
        found: list[Tensor] = []
        if not self.judging_settings:
            yield found
            return
        handle = self.discriminator.bare.register_forward_hook(lambda *_: found.append(self.judged.penalty()))
        try:
            yield found
        finally:
            handle.remove()

    def _generator_step(self) -> None:
        fake = self._augmented(self._fake())
        for weight in self.judging:
            weight.requires_grad = False  # its gradients would be thrown away
        loss = self.loss.generator(self.discriminator, fake, self.draw) + self.attached.penalty()
        self.generator_adam.zero_grad()
        loss.backward()
        self.generator_adam.step()
        for weight in self.judging:
            weight.requires_grad = True
        self.losses[0].copy_(loss.detach())

    def _fake(self) -> Batch:
        """A batch that the generator draws as it stands, of classes that are all equally likely."""
        shape = (self.options.batch, self.generator.latent)
        latents = torch.randn(shape, generator=self.draw, device=self.device)
        labels = torch.randint(self.classes, shape[:1], generator=self.draw, device=self.device)
        return Batch(self.generator(latents, labels), labels)

    def _augmented(self, batch: Batch) -> Batch:
        return Batch(augmented(batch.images, self.options.augment, self.draw), batch.labels)

    @torch.no_grad()
    def sparsity(self, scored: Generator, seen: Attached, part: int) -> Metrics:
        found = super().sparsity(scored, seen, part)
        if not self.judged_sites:
            return found
        latents, labels = (values[: part // 2] for values in self.fixed)
        real = scaled(self.images[: len(labels)])
        images = torch.cat([scored(latents, labels), real])
        with looking(self.discriminator):
            self.discriminator(images, torch.cat([labels, self.labels[: len(real)]]))
        return found | {f"{DISCRIMINATOR}.{name}": value for name, value in self.judged.metrics().items()}
