"""Deep Image Prior (arXiv 1711.10925): a network fitted to one noisy picture draws the clean one first."""

import math
import os
from collections.abc import Iterator, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import torch

from trainers.dip_fit import Fit
from trainers.dip_options import DipOptions, read, restored_sides
from trainers.dip_subject import Subject, subject
from trainers.images import Picture, as_bytes
from trainers.memory import in_all
from trainers.plan import Plan
from trainers.psnr import LOSS, STOPPED_AT
from trainers.settings import Mistake
from trainers.training import (
    Evaluation,
    Metrics,
    Pictures,
    Training,
    find_device,
    run,
    same_device,
    streams,
)


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


class Restoration:
    """One picture with what is fitted to it (`Fit`), measured as the plan's objective asks (`Subject`).

    Where that is SURE, a second network begins at the same weights and is fitted to the picture with its
    nudge, with the same noise at each step: a step takes twice as long.

    Args:
        seeds: of the weights and the input, and of the noise at each step.
    """

    def __init__(
        self, plan: Plan, options: DipOptions, subject: Subject, seeds: tuple[int, int], device: torch.device
    ) -> None:
        self.subject, self.input_noise = subject, plan.value("input_noise")
        values, nudge = subject.observed.values, subject.nudge
        self.fits = [
            Fit(
                plan,
                options,
                values=given,
                seen=subject.seen,
                sides=subject.sides,
                seed=seeds[0],
                device=device,
            )
            for given in ([values] if nudge is None else [values, nudge.of(values)])
        ]
        self.fit = self.fits[0]
        self.generator = torch.Generator(device).manual_seed(seeds[1])
        self.noise = torch.empty_like(self.fit.input)

    def step(self) -> None:
        self.noise.normal_(generator=self.generator)
        given = torch.add(self.fit.input, self.noise, alpha=self.input_noise)
        for fit in self.fits:
            fit.step(given)

    def evaluate(self) -> tuple[Metrics, Pictures]:
        restored = self.fit.restored()
        metrics: Metrics = self.subject.metrics(
            restored,
            self.fit.raw(),
            predicted=None if self.subject.held is None else self.fit.predicted(),
            nudged=self.fits[1].restored() if self.subject.nudge else None,
        )
        metrics |= {LOSS: float(self.fit.loss)}
        if (stopped := self.fit.stopped_at()) is not None:
            metrics |= {STOPPED_AT: stopped}
        pictures = {"comparison": self.subject.comparison(restored)}
        if self.subject.clean is None:  # somebody wants to have it
            pictures["restored"] = as_bytes(restored)
        return metrics | self.fit.attached.metrics(), pictures

    def state_dict(self) -> dict[str, Any]:
        nudged = [fit.state_dict() for fit in self.fits[1:]]
        return {
            "picture": self.subject.fingerprint(),
            "generator": self.generator.get_state(),
            **self.fit.state_dict(),
            **({"nudged": nudged} if nudged else {}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state["picture"] != self.subject.fingerprint():
            raise Mistake(
                "the picture has changed since the checkpoint was written: put the old one back, "
                "or begin in another folder"
            )
        self.generator.set_state(state["generator"])
        for fit, saved in zip(self.fits, [state, *state.get("nudged", ())], strict=True):
            fit.load_state_dict(saved)


class DipTraining(Training):
    """A network of its own for each of the plan's pictures; what is measured is the mean over them.

    Each picture is degraded and fitted as if it were alone with a seed of its own; the first one's is the
    training's, so that a plan of one picture computes what it does as the first of several.
    """

    def __init__(self, plan: Plan, *, seed: int, device: str = "cpu") -> None:
        options = plan.options
        if not isinstance(options, DipOptions):
            raise Mistake(f"the plan's task is {plan.task!r}, but Deep Image Prior trains plans of 'dip'")
        data, training, evaluation = streams(seed)
        pictures, found = read(options)
        plan.refuse_another(found)
        self.device = find_device(device)
        _refuse_window(options, pictures, self.device)
        words = [int(word) >> 1 for word in training.generate_state(2 * len(pictures), np.uint64)]
        each = zip(
            pictures,
            [data, *data.spawn(len(pictures) - 1)],
            [evaluation, *evaluation.spawn(len(pictures) - 1)],
            zip(words[::2], words[1::2], strict=True),
            strict=True,
        )
        self.restorations = [
            Restoration(
                plan, options, subject(options, picture, data=of_data, evaluation=of_it), seeds, self.device
            )
            for picture, of_data, of_it, seeds in each
        ]

    def step(self) -> None:
        for one in self.restorations:
            one.step()

    def evaluate(self) -> tuple[Metrics, Pictures]:
        found = [one.evaluate() for one in self.restorations]
        metrics = {name: fmean(of[name] for of, _ in found) for name in found[0][0]}
        pictures = dict(found[0][1])
        for number, (_, more) in enumerate(found[1:], start=2):
            pictures |= {f"{name}-{number}": pixels for name, pixels in more.items()}
        return metrics, pictures

    def state_dict(self) -> dict[str, Any]:
        first, *others = (one.state_dict() for one in self.restorations)
        return {"device": self.device.type, **first, **({"others": others} if others else {})}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        same_device(state["device"], self.device)
        for one, saved in zip(self.restorations, [state, *state.get("others", ())], strict=True):
            one.load_state_dict(saved)


def _refuse_window(options: DipOptions, pictures: Sequence[Picture], device: torch.device) -> None:
    """A Mistake where early stopping keeps more outputs than there is memory, rather than steps later."""
    if options.early_stopping is None:
        return
    window, known = options.early_stopping.window, in_all(device)
    entries = sum(math.prod((*restored_sides(options, *one.shape[:2]), one.shape[2])) for one in pictures)
    needed = window * entries * torch.finfo(torch.float32).bits // 8
    if needed > known:
        raise Mistake(
            f"plan.early_stopping.window is {window}, so as many outputs are kept, {needed / 1e9:.0f} GB of "
            f"them, but the {device.type} has {known / 1e9:.0f} GB of memory in all: take a smaller window, "
            "or smaller or fewer pictures"
        )
