"""A classifier of pictures, scored on those that it never trained on."""

import math
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trainers.augment import augmented
from trainers.classifier_options import ACCURACY, CROSS_ENTROPY, ClassifierOptions, OwnClassifier
from trainers.datasets import limited
from trainers.drawing import at_once
from trainers.held_out import split
from trainers.layers import looking
from trainers.networks.build import build_classifier, check_classifier
from trainers.networks.pair import PictureForm
from trainers.pictures import batch, load, load_anew, same_pictures, scaled
from trainers.plan import Plan
from trainers.ramp import Ramp
from trainers.settings import Mistake
from trainers.sparsity import attach
from trainers.training import (
    Evaluation,
    Metrics,
    Pictures,
    Training,
    find_device,
    restore,
    run,
    same_device,
    streams,
)

LOSS = "loss"
CELL = 16  # pixels of a cell of the confusion matrix


def train_classifier(
    plan: Plan,
    *,
    seed: int,
    device: str = "cpu",
    folder: str | os.PathLike[str] | None = None,
) -> Iterator[Evaluation]:
    """Train the plan's classifier; see `trainers.training.run` for folder and errors.

    >>> from trainers.tasks import find_task, make_plan
    >>> small = {"data": "digits", "size": 8, "network": {"width": 4, "blocks": 1}, "batch": 32}
    >>> for e in train_classifier(make_plan(find_task("classifier"), small, evaluate_at=(5, 60)), seed=0):
    ...     print(e.step, e.metrics["accuracy"] > 0.5, e.pictures["confusion"].shape)
    5 False (160, 160, 1)
    60 True (160, 160, 1)
    """
    return run(ClassifierTraining(plan, seed=seed, device=device), plan=plan, seed=seed, folder=folder)


def prepare(plan: Plan) -> dict[str, str]:
    """The pictures under the name `data`, and a user's own network under the name `network`, as SHA-256.

    Nothing is made, but neither may change within a study. A Mistake where the pictures have no labels or are
    too few, the network does not suit them, or what is scored is kept for a confirmation.
    """
    options = ClassifierOptions.model_validate(plan.options)
    if options.score == "unseen":
        raise Mistake(
            "plan.score is unseen, but a search may not see these pictures, and a confirmation scores them "
            "by itself: leave plan.score out"
        )
    whole = load_anew(options)
    rest, *_ = split(whole, options.held_out, options.unseen)
    limited(rest, options.limit, generator=np.random.default_rng(0), batch=options.batch)
    found, network = {"data": whole.fingerprint()}, options.network
    if isinstance(network, OwnClassifier):
        form = PictureForm(options.size, whole.images.shape[1], whole.classes)
        found["network"] = check_classifier(network, form)
    return found


class ClassifierTraining(Training):
    """A step: SGD with Nesterov's momentum on the mean cross-entropy of a batch, and the penalties.

    A limit takes from the pictures that are trained on, by the data stream of the seed; those that are scored
    are the same for all. At an evaluation BatchNorm has its running statistics, and the sparsity is that of
    the first of these pictures.
    """

    def __init__(self, plan: Plan, *, seed: int, device: str = "cpu") -> None:
        options = plan.options
        if not isinstance(options, ClassifierOptions):
            raise Mistake(f"the plan's task is {plan.task!r}, but a classifier trains plans of 'classifier'")
        data, training, _ = streams(seed)
        first, steps = (int(word) >> 1 for word in training.generate_state(2, np.uint64))
        self.options, self.steps, self.device = options, plan.steps, find_device(device)
        self._take_pictures(plan, np.random.default_rng(data))

        form = PictureForm(options.size, self.images.shape[1], self.classes)
        self.network = build_classifier(
            options.network, form, generator=torch.Generator().manual_seed(first)
        ).to(self.device)
        sites = options.sites()
        self.part = at_once(sites)  # pictures of an evaluation at once
        self.ramp = Ramp(plan, self.device)
        self.attached = attach(
            self.network.bare,
            plan.settings,
            names=self.network.names,
            observe=tuple(sites),
            ramp=self.ramp.strength,
        )
        self.optimizer = torch.optim.SGD(
            self.network.parameters(),
            lr=torch.tensor(plan.value("lr"), device=self.device),  # a tensor: it changes on the way
            momentum=plan.value("momentum"),
            weight_decay=plan.value("weight_decay"),
            nesterov=True,
            fused=True,
        )
        self.rate = self.optimizer.param_groups[0]["lr"].clone()
        self.draw = torch.Generator(self.device).manual_seed(steps)
        self.count = torch.zeros((), device=self.device)
        self.loss = torch.zeros((), device=self.device)

    def _take_pictures(self, plan: Plan, generator: np.random.Generator) -> None:
        options = self.options
        whole = load(options)
        plan.refuse_another({"data": whole.fingerprint()})
        rest, held, unseen = split(whole, options.held_out, options.unseen)
        kept = unseen if options.score == "unseen" else held
        mine = limited(rest, options.limit, generator=generator, batch=options.batch)
        self.data, self.classes = mine.fingerprint(), mine.classes
        self.images, self.labels = mine.images.to(self.device), mine.labels.to(self.device)
        self.scored_on = kept.images.to(self.device), kept.labels.to(self.device)

    def step(self) -> None:
        if self.options.decay == "cosine":
            part = (1 + torch.cos(math.pi * self.count / self.steps)) / 2
            self.optimizer.param_groups[0]["lr"].copy_(self.rate * part)
        self.ramp.at(self.count + 1)
        images, labels = batch(self.images, self.labels, self.options.batch, self.draw)
        images = augmented(images, self.options.augment, self.draw)
        loss = F.cross_entropy(self.network(images), labels) + self.attached.penalty()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        self.count.add_(1)
        self.loss.copy_(loss.detach())

    def evaluate(self) -> tuple[Metrics, Pictures]:
        images, labels = self.scored_on
        with looking(self.network):
            logits = torch.cat([self.network(scaled(part)) for part in images.split(self.part)])
            self.network(scaled(images[: self.part]))  # the pass whose sparsity is measured
        metrics = scored(logits, labels) | {LOSS: float(self.loss)}
        shown = confusion(logits.argmax(1), labels, self.classes)
        return metrics | self.attached.metrics(), {"confusion": shown}

    def state_dict(self) -> dict[str, Any]:
        return {
            "data": self.data,
            "device": self.device.type,
            "network": self.network.bare.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "draw": self.draw.get_state(),
            "count": self.count,
            "loss": self.loss,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        same_pictures(state["data"], self.data)
        same_device(state["device"], self.device)
        self.network.bare.load_state_dict(state["network"])
        restore(self.optimizer, state["optimizer"], self.device)
        self.draw.set_state(state["draw"])
        self.count.copy_(state["count"])
        self.ramp.at(self.count)
        self.loss.copy_(state["loss"])


def scored(logits: Tensor, labels: Tensor) -> Metrics:
    """Of N×K logits, N labels: the fraction whose largest logit is the label's, and the mean cross-entropy.

    Both are NaN where a logit is not finite, as in a training that diverged.

    >>> found = scored(torch.tensor([[0.0, 1.0], [2.0, 0.0], [0.0, 3.0]]), torch.tensor([1, 1, 1]))
    >>> {name: round(value, 4) for name, value in found.items()}
    {'accuracy': 0.6667, 'cross_entropy': 0.8296}
    """
    if not bool(torch.isfinite(logits).all()):
        return {ACCURACY: math.nan, CROSS_ENTROPY: math.nan}
    right = (logits.argmax(1) == labels).double().mean()
    return {ACCURACY: float(right), CROSS_ENTROPY: float(F.cross_entropy(logits.double(), labels))}


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> NDArray[np.uint8]:
    """16K×16K×1: row c shows where pictures of class c went, white where all did.

    >>> told = confusion(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 1]), 2)
    >>> told[::16, ::16, 0].tolist()
    [[128, 128], [0, 255]]
    """
    counts = torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes)
    shares = counts.cpu().numpy() / counts.sum(1, keepdim=True).clamp(min=1).cpu().numpy()
    cells = np.rint(255 * shares).astype(np.uint8)
    return np.kron(cells, np.ones((CELL, CELL), np.uint8))[..., None]
