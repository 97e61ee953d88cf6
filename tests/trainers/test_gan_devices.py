"""A step of a GAN as on a GPU, without one: tensors that say they lie there, and any copy is refused."""

from typing import Any

import pytest
import torch
from fake_gpu import graded, stepped_twice
from fixed_program import sloped
from torch import Tensor
from trainings import small_gan

from trainers import pair_options
from trainers.gan import GanTraining
from trainers.losses.build import LOSSES
from trainers.losses.loss import Loss
from trainers.settings import L0, L1, L0Inf

# Each network and each loss once; their contracts say that any of them goes with any.
EACH = {(kind, made.LOSS) for kind, made in pair_options.PAIRS.items()} | {("dcgan", loss) for loss in LOSSES}
ANY = pytest.mark.parametrize(("kind", "loss"), sorted(EACH))
SETTINGS = {"h0": L0Inf(k=2), "h1": L0(keep=0.25), "code": L1(weight=0.01)}


@pytest.fixture(autouse=True)
def without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "backward", graded)
    monkeypatch.setattr(torch.autograd, "grad", sloped)


def step_twice(kind: str, loss: str, monkeypatch: pytest.MonkeyPatch) -> GanTraining:
    network = {"kind": kind, "width": 4, "blocks": 2, "latent": 8}
    network["spectral_norm"] = loss != "wasserstein"  # which refuses it
    options = {"network": network, "loss": loss, "decay": "linear", "average": 0.9}
    options["augment"] = ["color", "translation", "cutout"]
    return stepped_twice(GanTraining(small_gan(options=options, settings=SETTINGS), seed=0), monkeypatch)


@ANY
def test_a_step_copies_nothing_between_devices(kind: str, loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    training = step_twice(kind, loss, monkeypatch)
    weights = [*training.generator.parameters(), *training.discriminator.parameters()]
    assert len(weights) > 10
    assert {str(weight.grad.device) for weight in weights if weight.grad is not None} == {"cuda:0"}


@pytest.mark.parametrize("forgotten", [
    lambda draw: torch.rand(16, generator=draw),
    lambda draw: torch.rand(16, generator=draw).to("cuda"),
    lambda draw: torch.tensor([1.0] * 16),
    lambda draw: torch.arange(16),
])  # fmt: skip
def test_a_device_that_was_forgotten_would_be_found(forgotten: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful(LOSSES["hinge"]):  # type: ignore[misc]
        def generator(self, network: Any, fake: Any, draw: torch.Generator) -> Tensor:
            return super().generator(network, fake, draw) + (fake.labels * forgotten(draw)).mean()

    assert issubclass(Forgetful, Loss)
    monkeypatch.setitem(LOSSES, "hinge", Forgetful)
    with pytest.raises(RuntimeError, match=r"copies between|waits for the device|different devices|devices"):
        step_twice("dcgan", "hinge", monkeypatch)
