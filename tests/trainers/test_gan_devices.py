"""A step of a GAN as on a GPU, without one: tensors that say they lie there, and any copy is refused."""

import copy
from typing import Any

import pytest
import torch
from fixed_program import RefuseCopies, RefuseTheHost, sloped
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
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


def moved(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """Its place on a GPU, without values; whatever else holds it gets the same."""
    there = torch.empty_like(tensor, device="cuda")
    memo[id(tensor)] = nn.Parameter(there) if isinstance(tensor, nn.Parameter) else there
    return memo[id(tensor)]


def graded(loss: Tensor) -> None:
    """Each weight that the loss depends on gets a gradient without values: autograd's engine wants a GPU."""
    assert loss.device.type == "cuda" and loss.shape == ()
    seen, todo = set(), [loss.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            if hasattr(node, "variable"):
                node.variable.grad = torch.empty_like(node.variable)
            todo += [following for following, _ in node.next_functions]


@pytest.fixture(autouse=True)
def without_an_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "backward", graded)
    monkeypatch.setattr(torch.autograd, "grad", sloped)


def on_a_gpu(training: GanTraining, monkeypatch: pytest.MonkeyPatch) -> GanTraining:
    """A copy of which every tensor lies there; for use under fake tensors."""
    with monkeypatch.context() as patch:
        for kind in (Tensor, nn.Parameter):
            patch.setattr(kind, "__deepcopy__", moved)
        there = copy.deepcopy(training, {id(training.draw): training.draw})  # fakes need no generator there
    there.device = torch.device("cuda")
    for adam in (there.generator_adam, there.discriminator_adam):
        for group in adam.param_groups:  # the fused kernel cannot run without values; Adam's operations can
            group.update(fused=False, foreach=False, capturable=True)
    return there


def step_twice(kind: str, loss: str, monkeypatch: pytest.MonkeyPatch) -> GanTraining:
    """The first step makes the optimizers' state."""
    network = {"kind": kind, "width": 4, "blocks": 2, "latent": 8, "spectral_norm": True}
    options = {"network": network, "loss": loss, "decay": "linear", "average": 0.9}
    options["augment"] = ["color", "translation", "cutout"]
    training = GanTraining(small_gan(options=options, settings=SETTINGS), seed=0)
    with FakeTensorMode(allow_non_fake_inputs=True):
        training = on_a_gpu(training, monkeypatch)
        with RefuseTheHost(), RefuseCopies():
            training.step()
            training.step()
    return training


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
