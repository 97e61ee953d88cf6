"""A small plan for every task of ours; run as a program, it goes on with trainings that another saved.

python trainings.py TASK SEED FOLDER…    prints the evaluations of each folder as JSON
"""

import hashlib
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from trainers.classifier import ClassifierTraining
from trainers.ddpm import DdpmTraining
from trainers.dip import DipTraining
from trainers.gan import GanTraining
from trainers.plan import Plan
from trainers.settings import L0, L1, L0Inf
from trainers.tasks import find_task, make_plan
from trainers.training import Evaluation, Training
from trainers.vae import VaeTraining

SMALL_DIP = {"size": 20, "network": {"width": 6, "scales": 2, "input_channels": 8}}
SMALL_GAN = {
    "data": "digits",
    "size": 8,
    "network": {"width": 4, "blocks": 2, "latent": 8, "spectral_norm": True},
    "objective": "fd_pixels",
    "samples": 150,
    "batch": 16,
    "discriminator_steps": 1,
    "average": 0.9,
}
SMALL_VAE = {
    "data": "digits",
    "size": 8,
    "network": {"width": 4, "blocks": 2, "latent": 8},
    "objective": "fd_pixels",
    "samples": 150,
    "batch": 16,
    "average": 0.9,
}
SMALL_DDPM = {
    "data": "digits",
    "size": 8,
    "network": {"width": 4, "blocks": 1},
    "objective": "fd_pixels",
    "samples": 150,
    "sampling_steps": 2,
    "batch": 16,
    "average": 0.9,
}
SMALL_CLASSIFIER = {
    "data": "digits",
    "size": 8,
    "network": {"width": 4, "stages": 2, "blocks": 1},
    "batch": 16,
    "lr": 0.02,
}
PLANS: dict[str, Plan] = {
    # 20 pixels are no multiple of 8 and the network has 3 scales, so the picture is padded, too
    "dip": make_plan(
        find_task("dip"),
        SMALL_DIP | {"network": {"width": 6, "scales": 3, "input_channels": 8}},
        settings={"up0": L0(keep=0.25), "down1": L0Inf(k=2), "code": L1(weight=0.01)},
        extras={"lr": 0.02, "ramp": 0.7},
        evaluate_at=(2, 3, 6),
    ),
    "gan": make_plan(
        find_task("gan"),
        SMALL_GAN
        | {"discriminator_steps": 2, "loss": "hinge", "limit": 0.5}
        | {"augment": ["color", "translation", "cutout"]},
        settings={"h0": L0Inf(k=2), "h1": L0(keep=0.25), "code": L1(weight=0.01)},
        extras={"generator_lr": 0.001, "ramp": 0.7},
        evaluate_at=(2, 3, 6),
    ),
    "vae": make_plan(
        find_task("vae"),
        SMALL_VAE | {"limit": 0.5},
        settings={"h0": L0Inf(k=2), "h1": L0(keep=0.25), "code": L1(weight=0.01)},
        extras={"lr": 0.002, "beta": 2.0, "ramp": 0.7},
        evaluate_at=(2, 3, 6),
    ),
    "ddpm": make_plan(
        find_task("ddpm"),
        SMALL_DDPM | {"limit": 0.5},
        settings={"down0": L0Inf(k=2), "mid": L0(keep=0.25), "code": L1(weight=0.01)},
        extras={"lr": 0.001, "ramp": 0.7},
        evaluate_at=(2, 3, 6),
    ),
    "classifier": make_plan(
        find_task("classifier"),
        SMALL_CLASSIFIER | {"limit": 0.5, "augment": ["translation", "flip"]},
        settings={"h0": L0Inf(k=2), "h1": L0(keep=0.25), "code": L1(weight=0.01)},
        extras={"lr": 0.05, "ramp": 0.7},
        evaluate_at=(2, 3, 6),
    ),
}
# the object that a task's `train` runs
TRAININGS: dict[str, Callable[..., Training]] = {
    "dip": DipTraining,
    "gan": GanTraining,
    "vae": VaeTraining,
    "ddpm": DdpmTraining,
    "classifier": ClassifierTraining,
}


def small_dip(**changes: Any) -> Plan:
    """The smallest Deep Image Prior worth running: 2 ms a step."""
    options = SMALL_DIP | changes.pop("options", {})
    return make_plan(find_task("dip"), options, **{"evaluate_at": (2, 4), **changes})


def small_gan(**changes: Any) -> Plan:
    """The smallest GAN worth running: some 10 ms a step."""
    options = SMALL_GAN | changes.pop("options", {})
    return make_plan(find_task("gan"), options, **{"evaluate_at": (2, 4), **changes})


def small_vae(**changes: Any) -> Plan:
    """The smallest variational autoencoder worth running: some 10 ms a step."""
    options = SMALL_VAE | changes.pop("options", {})
    return make_plan(find_task("vae"), options, **{"evaluate_at": (2, 4), **changes})


def small_ddpm(**changes: Any) -> Plan:
    """The smallest diffusion model worth running."""
    options = SMALL_DDPM | changes.pop("options", {})
    return make_plan(find_task("ddpm"), options, **{"evaluate_at": (2, 4), **changes})


def small_classifier(**changes: Any) -> Plan:
    """The smallest classifier worth running: some 5 ms a step."""
    options = SMALL_CLASSIFIER | changes.pop("options", {})
    return make_plan(find_task("classifier"), options, **{"evaluate_at": (2, 4), **changes})


def plain(evaluation: Evaluation) -> dict[str, Any]:
    """All bits of an evaluation, as JSON."""
    pictures = {
        name: [*pixels.shape, str(pixels.dtype), hashlib.sha256(pixels.tobytes()).hexdigest()]
        for name, pixels in evaluation.pictures.items()
    }
    metrics = {name: float(value).hex() for name, value in evaluation.metrics.items()}
    return {"step": evaluation.step, "metrics": metrics, "pictures": pictures}


def bits(state: Any) -> Any:
    """A state with tensors as their bytes, so that == compares every bit."""
    if isinstance(state, torch.Tensor):
        return [str(state.dtype), list(state.shape), state.reshape(-1).view(torch.uint8).tolist()]
    if isinstance(state, dict):
        return {key: bits(value) for key, value in state.items()}
    if isinstance(state, list | tuple):
        return [bits(value) for value in state]
    return state


class Dies(Training):
    """A training that is killed before step `at`, and counts what it did."""

    def __init__(self, training: Training, at: int | None = None) -> None:
        self.training, self.at = training, at
        self.steps = self.evaluations = 0

    def step(self) -> None:
        if self.steps == self.at:
            raise KeyboardInterrupt
        self.steps += 1
        self.training.step()

    def evaluate(self) -> Any:
        self.evaluations += 1
        return self.training.evaluate()

    def state_dict(self) -> dict[str, Any]:
        return self.training.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.training.load_state_dict(state)


def main(task: str, seed: str, *folders: str) -> None:
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    train = find_task(task).train
    runs = [train(PLANS[task], seed=int(seed), folder=Path(folder)) for folder in folders]
    print(json.dumps([[plain(evaluation) for evaluation in run] for run in runs]))


if __name__ == "__main__":
    main(*sys.argv[1:])
