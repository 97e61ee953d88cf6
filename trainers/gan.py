"""Generative adversarial networks: the alternation of two players' steps, and the score of what one draws.

Nothing here knows a family: what the players are is the network's file, what they minimise the loss's.
"""

import copy
import math
import os
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from trainers import datasets
from trainers import scores as scoring
from trainers.augment import augmented
from trainers.drawing import Drawing, at_once, estimate_norms
from trainers.gan_options import GanOptions, OwnPair
from trainers.losses.build import build_loss
from trainers.losses.loss import Batch
from trainers.memory import exhausted
from trainers.networks.build import build_pair, check_pair
from trainers.networks.pair import Generator, PictureForm
from trainers.plan import Plan
from trainers.ramp import Ramp
from trainers.settings import Mistake
from trainers.sparsity import Attached, attach
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

T = TypeVar("T")
LOSS_GENERATOR = "loss_generator"  # what the last step minimised, penalties included
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
    """Make, once for all trainings of the plan, what scores them; remember the pictures.

    {name: SHA-256}: the prepared files of `trainers.scores.prepare`, and the pictures under the name `data`.
    A Mistake says what is wrong with the pictures, the limit, or the features, and what does not go together.
    """
    options = GanOptions.model_validate(plan.options)
    if "fid" in options.distances():  # what is missing is better said before a data set is fetched
        from trainers.pretrained import find_inception  # seconds to import, and seldom needed

        find_inception()
    _load.cache_clear()  # a folder may have changed since another study
    whole = load(options)
    datasets.limited(whole, options.limit, generator=np.random.default_rng(0), batch=options.batch)
    found = {"data": whole.fingerprint()}
    form = PictureForm(options.size, whole.images.shape[1], whole.classes)
    if isinstance(options.network, OwnPair):
        found["network"] = check_pair(options.network, form)
    made = torch.Generator()  # whether the pictures, the networks and the loss suit each other
    build_loss(options.loss, network=build_pair(options.network, form, generator=made)[1], generator=made)
    return found | scoring.prepare(options, whole)


def load(options: GanOptions) -> datasets.Dataset:
    """The pictures that the options name; read once for the trainings that one process runs in turn."""
    return _load(options.data, options.root, options.download, options.size, options.channels)


@lru_cache(maxsize=1)
def _load(data: str, root: str, download: bool, size: int, channels: int | None) -> datasets.Dataset:
    return datasets.load(data, root=root, download=download, size=size, channels=channels)


class GanTraining(Training):
    """A step: `discriminator_steps` of the discriminator, then one of the generator, each by Adam.

    What is scored is a copy of the generator, of its weights as they stand or of their average w̄: after step
    t, w̄ ← d·w̄ + (1 − d)·w with d = min(average, (1 + t) / (10 + t)). Its BatchNorm is estimated anew from the
    latents that it draws from. These are fixed: they come from the evaluation stream of the seed, once.
    """

    def __init__(self, plan: Plan, *, seed: int, device: str = "cpu") -> None:
        options = plan.options
        if not isinstance(options, GanOptions):
            raise Mistake(f"the plan's task is {plan.task!r}, but a GAN trains plans of 'gan'")
        data, training, evaluation = streams(seed)
        first, steps = (int(word) >> 1 for word in training.generate_state(2, np.uint64))
        self.options, self.steps, self.device = options, plan.steps, find_device(device)
        self.average = plan.value("average")
        self.most = at_once(options.network.sites(options.size))  # pictures of an evaluation at once
        self.parts = dict.fromkeys(("norms", "drawn"), self.most)
        self._take_pictures(plan, options, np.random.default_rng(data))

        drawn_once = torch.Generator().manual_seed(first)
        form = PictureForm(options.size, self.images.shape[1], self.classes)
        self.generator, self.discriminator = build_pair(options.network, form, generator=drawn_once)
        self.loss = build_loss(options.loss, network=self.discriminator, generator=drawn_once)
        for module in self._modules():
            module.to(self.device)
        self.ramp = Ramp(plan, self.device)
        self.attached = attach(
            self.generator.bare,
            plan.settings,
            names=self.generator.names,
            observe=self.generator.sites,
            ramp=self.ramp.strength,
        )
        self.weights = list(self.generator.parameters())
        self.averaged = [weight.detach().clone() for weight in self.weights]
        self.exported = {name: value.clone() for name, value in self.generator.bare.state_dict().items()}
        self.draw = torch.Generator(self.device).manual_seed(steps)
        self._fix_latents(int(evaluation.generate_state(1, np.uint64)[0]) >> 1)

        self.judging = [*self.discriminator.parameters(), *self.loss.parameters()]
        self.generator_adam = self._adam(self.weights, plan, "generator_lr")
        self.discriminator_adam = self._adam(self.judging, plan, "discriminator_lr")
        self.rates = [group["lr"].clone() for group in self._groups()]
        self.count = torch.zeros((), device=self.device)
        self.losses = torch.zeros(2, device=self.device)

    def _take_pictures(self, plan: Plan, options: GanOptions, generator: np.random.Generator) -> None:
        whole = load(options)
        plan.refuse_another({"data": whole.fingerprint()})
        self.scores = scoring.scores(options, whole, self.device)
        plan.refuse_another(scoring.files(self.scores))
        mine = datasets.limited(whole, options.limit, generator=generator, batch=options.batch)
        self.data, self.classes = mine.fingerprint(), mine.classes
        self.images, self.labels = mine.images.to(self.device), mine.labels.to(self.device)

    def _fix_latents(self, seed: int) -> None:
        """What evaluations draw from; drawn on the CPU, so that it is the same on every device."""
        fixed, samples = torch.Generator().manual_seed(seed), self.options.samples
        latents = torch.randn((samples, self.generator.latent), generator=fixed)
        labels = torch.randint(self.classes, (samples,), generator=fixed)
        self.fixed = latents.to(self.device), labels.to(self.device)

    def _adam(self, weights: Iterable[nn.Parameter], plan: Plan, lr: str) -> torch.optim.Adam:
        betas = plan.value("beta1"), plan.value("beta2")
        return adam(weights, lr=plan.value(lr), betas=betas, device=self.device)

    def _groups(self) -> list[dict[str, Any]]:
        return [*self.generator_adam.param_groups, *self.discriminator_adam.param_groups]

    def step(self) -> None:
        if self.options.decay == "linear":
            for group, first in zip(self._groups(), self.rates, strict=True):
                group["lr"].copy_(first * (1 - self.count / self.steps))
        self.ramp.at(self.count + 1)
        for _ in range(self.options.discriminator_steps):
            self._discriminator_step()
        self._generator_step()
        self.count.add_(1)
        if self.average:
            decay = ((1 + self.count) / (10 + self.count)).clamp(max=self.average)
            with torch.no_grad():
                for mean, weight in zip(self.averaged, self.weights, strict=True):
                    mean.lerp_(weight, 1 - decay)

    def _discriminator_step(self) -> None:
        chosen = torch.randint(
            len(self.images), (self.options.batch,), generator=self.draw, device=self.device
        )
        real = Batch(self.images[chosen].float() / 127.5 - 1, self.labels[chosen])
        with torch.no_grad():
            fake = self._fake()
        real, fake = self._augmented(real), self._augmented(fake)
        loss = self.loss.discriminator(self.discriminator, real, fake, self.draw)
        self.discriminator_adam.zero_grad()
        loss.backward()
        self.discriminator_adam.step()
        self.loss.after_discriminator_step(self.discriminator)
        self.losses[1].copy_(loss.detach())

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

    def evaluate(self) -> tuple[Metrics, Pictures]:
        scored, seen = self.to_score()
        self._with_less("norms", lambda part: estimate_norms(scored, *self.fixed, part))
        self.exported = scored.bare.state_dict()
        drawing, metrics = self._with_less("drawn", lambda part: self._measured(scored, part))
        if not drawing.finite:  # a training that diverged
            metrics = dict.fromkeys(metrics, math.nan)
        losses = dict(zip((LOSS_GENERATOR, LOSS_DISCRIMINATOR), self.losses.tolist(), strict=True))
        with torch.no_grad():
            scored(*(values[: self.parts["norms"]] for values in self.fixed))  # sparsity is that of this part
        return metrics | losses | seen.metrics(), {"samples": drawing.shown}

    def _measured(self, scored: Generator, part: int) -> tuple[Drawing, Metrics]:
        drawing = Drawing(scored, *self.fixed, part)
        return drawing, scoring.measure(self.scores, drawing)

    def _with_less(self, of: str, compute: Callable[[int], T]) -> T:
        """Compute that in parts; where memory is exhausted, again with half the pictures a part from here on.

        Only once: then it is the machine's fault. The latents stay the same. So a distance is the same up to
        round-off where pictures are drawn in smaller parts; only where BatchNorm cannot be estimated from
        whole ones either is the network that is scored a slightly other one.
        """
        part = self.parts[of]
        try:
            return compute(part)
        except Exception as error:
            if part < self.most or not exhausted(error):
                raise
            told = str(error).partition("\n")[0]
        self.parts[of] = max(2, part // 2)
        scoring.halve(self.scores)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # after the `except`: the error held what had been computed
        print(f"the evaluation ran out of memory ({told}): again with {self.parts[of]} pictures at once")
        return compute(self.parts[of])

    def to_score(self) -> tuple[Generator, Attached]:
        """A copy of the generator with its regularizers, of averaged weights where the plan asks for them."""
        # Of what a forward pass leaves in a module, a weight under spectral norm say, the value is enough:
        # torch does not copy the graph behind it.
        left = (value for module in self.generator.modules() for value in vars(module).values())
        values = {
            id(one): one.detach().clone() for one in left if isinstance(one, Tensor) and not one.is_leaf
        }
        scored, seen = copy.deepcopy((self.generator, self.attached), values)
        scored.requires_grad_(False)
        if self.average:
            for weight, mean in zip(scored.parameters(), self.averaged, strict=True):
                weight.copy_(mean)
        return scored, seen

    def state_dict(self) -> dict[str, Any]:
        return {
            "data": self.data,
            "device": self.device.type,
            "network": self.exported,  # what was scored last, for those who export it
            "modules": [module.state_dict() for module in self._modules()],
            "averaged": self.averaged,
            "optimizers": [self.generator_adam.state_dict(), self.discriminator_adam.state_dict()],
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
        self.exported = {name: value.to(self.device) for name, value in state["network"].items()}
        for module, saved in zip(self._modules(), state["modules"], strict=True):
            module.load_state_dict(saved)
        for mean, saved in zip(self.averaged, state["averaged"], strict=True):
            mean.copy_(saved)
        for optimizer, saved in zip(
            (self.generator_adam, self.discriminator_adam), state["optimizers"], strict=True
        ):
            restore(optimizer, saved, self.device)
        self.draw.set_state(state["draw"])
        self.count.copy_(state["count"])
        self.ramp.at(self.count)
        self.losses.copy_(state["losses"])

    def _modules(self) -> tuple[nn.Module, ...]:
        return self.generator, self.discriminator, self.loss
