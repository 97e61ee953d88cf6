"""A training of a generator as on a GPU, without one: tensors that say they lie there, and no values."""

import copy
from typing import Any, TypeVar

import pytest
import torch
from fixed_program import RefuseCopies, RefuseTheHost
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from trainers.generative import GenerativeTraining

Trained = TypeVar("Trained", bound=GenerativeTraining)


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


def on_a_gpu(training: Trained, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """A copy of which every tensor lies there; for use under fake tensors."""
    with monkeypatch.context() as patch:
        for kind in (Tensor, nn.Parameter):
            patch.setattr(kind, "__deepcopy__", moved)
        there = copy.deepcopy(training, {id(training.draw): training.draw})  # fakes need no generator there
    there.device = torch.device("cuda")
    for adam in there.optimizers:
        for group in adam.param_groups:  # the fused kernel cannot run without values; Adam's operations can
            group.update(fused=False, foreach=False, capturable=True)
    return there


def stepped_twice(training: Trained, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """That copy after two steps, in which copies between devices are refused; the first makes Adam's state.

    `Tensor.backward` has to be `graded`.
    """
    with FakeTensorMode(allow_non_fake_inputs=True):
        there = on_a_gpu(training, monkeypatch)
        with RefuseTheHost(), RefuseCopies():
            there.step()
            there.step()
    return there
