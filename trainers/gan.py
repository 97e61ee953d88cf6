"""Generative adversarial networks: the alternation of two players' steps, and the score of what one draws.

Nothing here knows a family: what the players are is the network's file, what they minimise the loss's.
"""

import copy
import math
import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainers import datasets
from trainers import scores as scores_
from trainers.gan_options import GanOptions
from trainers.losses.build import build_loss
from trainers.losses.loss import Batch
from trainers.networks.build import build_pair
from trainers.networks.pair import PictureForm
from trainers.plan import Plan
from trainers.scores import files, measure, scores
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

LOSS_GENERATOR = "loss_generator"  # what the last step minimised, penalties included
LOSS_DISCRIMINATOR = "loss_discriminator"
CHUNK = 500  # pictures that are drawn at once for an evaluation
WARM_UP = 4  # chunks from which BatchNorm's statistics are estimated before
GRID = 8  # pictures a side of what an evaluation shows


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
    5 True (64, 64, 1)
    10 True (64, 64, 1)
    """
    return run(GanTraining(plan, seed=seed, device=device), plan=plan, seed=seed, folder=folder)


def prepare(plan: Plan) -> dict[str, str]:
    """Make, once for all trainings of the plan, what scores them; remember the pictures.

    {name: SHA-256}: the prepared files of `trainers.scores.prepare`, and the pictures under the name `data`.
    A Mistake says what is wrong with the pictures, the limit, or the features.
    """
    options = GanOptions.model_validate(plan.options)
    whole = load(options)
    datasets.limited(whole, options.limit, generator=np.random.default_rng(0), batch=options.batch)
    return {"data": whole.fingerprint(), **scores_.prepare(options, whole)}


def load(options: GanOptions) -> datasets.Dataset:
    """The pictures that the options name; read once for the trainings that one process runs in turn."""
    return _load(options.data, options.root, options.download, options.size, options.channels)


@lru_cache(maxsize=1)
def _load(data: str, root: str, download: bool, size: int, channels: int | None) -> datasets.Dataset:
    return datasets.load(data, root=root, download=download, size=size, channels=channels)


class GanTraining(Training):
    """A step: `discriminator_steps` of the discriminator, then one of the generator, each by Adam.

    What is scored is a copy of the generator, of its weights as they stand or of their average w̄: after step
    t, w̄ ← d·w̄ + (1 − d)·w with d = min(average, (1 + t) / (10 + t)). BatchNorm's running statistics would be
    those of other weights, so an evaluation estimates them again, from the latents that it draws from. These
    are fixed: they come from the evaluation stream of the seed, once.
    """

    def __init__(self, plan: Plan, *, seed: int, device: str = "cpu") -> None:
        options = plan.options
        if not isinstance(options, GanOptions):
            raise Mistake(f"the plan's task is {plan.task!r}, but a GAN trains plans of 'gan'")
        data, training, evaluation = streams(seed)
        first, steps, latents = (
            int(word) >> 1
            for stream, count in ((training, 2), (evaluation, 1))
            for word in stream.generate_state(count, np.uint64)
        )
        self.options, self.steps, self.device = options, plan.steps, find_device(device)
        self.average = plan.value("average")
        whole = load(options)
        plan.refuse_another({"data": whole.fingerprint()})
        self.scores = scores(options, whole, self.device)
        plan.refuse_another(files(self.scores))
        mine = datasets.limited(
            whole, options.limit, generator=np.random.default_rng(data), batch=options.batch
        )
        self.data = mine.fingerprint()
        self.images, self.labels = mine.images.to(self.device), mine.labels.to(self.device)
        self.classes = mine.classes

        drawn_once = torch.Generator().manual_seed(first)
        self.generator, self.discriminator = build_pair(
            options.network,
            PictureForm(options.size, self.images.shape[1], self.classes),
            generator=drawn_once,
        )
        self.loss = build_loss(options.loss, network=self.discriminator, generator=drawn_once)
        for module in (self.generator, self.discriminator, self.loss):
            module.to(self.device)
        self.attached = attach(self.generator, plan.settings, observe=self.generator.sites)
        self.scored, self.seen = _copy_to_score(self.generator, self.attached)
        self.draw = torch.Generator(self.device).manual_seed(steps)
        fixed = torch.Generator().manual_seed(latents)
        self.latents = torch.randn((options.samples, options.network.latent), generator=fixed)
        self.classes_drawn = torch.randint(self.classes, (options.samples,), generator=fixed)

        self.players = (
            self._adam(self.generator.parameters(), plan, "generator_lr"),
            self._adam([*self.discriminator.parameters(), *self.loss.parameters()], plan, "discriminator_lr"),
        )
        self.rates = [group["lr"].clone() for player in self.players for group in player.param_groups]
        self.count = torch.zeros((), device=self.device)
        self.losses = torch.zeros(2, device=self.device)

    def _adam(self, parameters: Iterable[nn.Parameter], plan: Plan, lr: str) -> torch.optim.Adam:
        betas = plan.value("beta1"), plan.value("beta2")
        return adam(parameters, lr=plan.value(lr), betas=betas, device=self.device)

    def step(self) -> None:
        if self.options.decay == "linear":
            groups = (group for player in self.players for group in player.param_groups)
            for group, rate in zip(groups, self.rates, strict=True):
                group["lr"].copy_(rate * (1 - self.count / self.steps))
        for _ in range(self.options.discriminator_steps):
            self._discriminator_step()
        self._generator_step()
        self.count.add_(1)
        if self.average:
            decay = ((1 + self.count) / (10 + self.count)).clamp(max=self.average)
            with torch.no_grad():
                for mean, weight in zip(self.scored.parameters(), self.generator.parameters(), strict=True):
                    mean.lerp_(weight, 1 - decay)

    def _discriminator_step(self) -> None:
        chosen = torch.randint(
            len(self.images), (self.options.batch,), generator=self.draw, device=self.device
        )
        real = Batch(self.images[chosen].float() / 127.5 - 1, self.labels[chosen])
        with torch.no_grad():
            fake = self._fake()
        loss = self.loss.discriminator(self.discriminator, real, fake, self.draw)
        self.players[1].zero_grad()
        loss.backward()
        self.players[1].step()
        self.loss.after_discriminator_step(self.discriminator)
        self.losses[1].copy_(loss.detach())

    def _generator_step(self) -> None:
        fake = self._fake()
        self.discriminator.requires_grad_(False)  # its gradients would be thrown away
        loss = self.loss.generator(self.discriminator, fake, self.draw) + self.attached.penalty()
        self.players[0].zero_grad()
        loss.backward()
        self.players[0].step()
        self.discriminator.requires_grad_(True)
        self.losses[0].copy_(loss.detach())

    def _fake(self) -> Batch:
        """A batch that the generator draws as it stands, of classes that are all equally likely."""
        shape = (self.options.batch, self.options.network.latent)
        latents = torch.randn(shape, generator=self.draw, device=self.device)
        labels = torch.randint(self.classes, shape[:1], generator=self.draw, device=self.device)
        return Batch(self.generator(latents, labels), labels)

    def evaluate(self) -> tuple[Metrics, Pictures]:
        drawn = self.drawn()
        samples = torch.cat([_as_bytes(pictures) for pictures in drawn])
        metrics: Metrics = measure(self.scores, samples.split(CHUNK))
        if not all(pictures.isfinite().all() for pictures in drawn):  # bytes hide a training that diverged
            metrics = dict.fromkeys(metrics, math.nan)
        losses = dict(zip((LOSS_GENERATOR, LOSS_DISCRIMINATOR), self.losses.tolist(), strict=True))
        attained = self.seen.sparsity()
        measures = {
            f"{site}.{name}": value for site in self.generator.sites for name, value in attained[site].items()
        }
        return metrics | losses | measures, {"samples": _grid(samples)}

    @torch.no_grad()
    def drawn(self) -> list[Tensor]:
        """What the scored generator draws from the fixed latents, in chunks N×C×S×S in [-1, 1]."""
        if not self.average:
            self.scored.load_state_dict(self.generator.state_dict())
        chunks = list(zip(self.latents.split(CHUNK), self.classes_drawn.split(CHUNK), strict=True))
        for norm in (module for module in self.scored.modules() if isinstance(module, _BatchNorm)):
            norm.reset_running_stats()
        self.scored.train()
        for latents, labels in chunks[:WARM_UP]:
            self.scored(latents.to(self.device), labels.to(self.device))
        self.scored.eval()
        return [self.scored(latents.to(self.device), labels.to(self.device)) for latents, labels in chunks]

    def state_dict(self) -> dict[str, Any]:
        return {
            "data": self.data,
            "device": self.device.type,
            "network": self.scored.state_dict(),  # what is exported; BatchNorm as of the last evaluation
            "modules": [module.state_dict() for module in self._modules()],
            "optimizers": [player.state_dict() for player in self.players],
            "draw": self.draw.get_state(),
            "count": self.count,
            "losses": self.losses,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["data"] != self.data:
            raise Mistake(
                "the pictures that are trained on have changed since the checkpoint was written: "
                "put the old ones back, or begin in another folder"
            )
        same_device(state["device"], self.device)
        self.scored.load_state_dict(state["network"])
        for module, saved in zip(self._modules(), state["modules"], strict=True):
            module.load_state_dict(saved)
        for player, saved in zip(self.players, state["optimizers"], strict=True):
            restore(player, saved, self.device)
        self.draw.set_state(state["draw"])
        self.count.copy_(state["count"])
        self.losses.copy_(state["losses"])

    def _modules(self) -> tuple[nn.Module, ...]:
        return self.generator, self.discriminator, self.loss


def _copy_to_score(generator: nn.Module, attached: Any) -> tuple[nn.Module, Any]:
    """The generator with its regularizers; BatchNorm averages what it sees from one reset to the next."""
    scored, seen = copy.deepcopy((generator, attached))
    scored.requires_grad_(False)
    for norm in (module for module in scored.modules() if isinstance(module, _BatchNorm)):
        norm.momentum = None
    return scored, seen


def _as_bytes(pictures: Tensor) -> Tensor:
    """[-1, 1] → 0 … 255 by (x + 1) / 2, as everyone's own pictures are; NaN is black."""
    return ((pictures + 1) * 127.5).round().clamp(0, 255).nan_to_num(0).to(torch.uint8)


def _grid(samples: Tensor) -> NDArray[np.uint8]:
    """The first pictures as one of GRID×GRID: H×W×C."""
    count = GRID * GRID
    shown = samples[:count].permute(0, 2, 3, 1).cpu().numpy()
    side, channels = shown.shape[1], shown.shape[3]
    tiles = shown.reshape(GRID, GRID, side, side, channels)
    return np.ascontiguousarray(tiles.swapaxes(1, 2).reshape(GRID * side, GRID * side, channels))
