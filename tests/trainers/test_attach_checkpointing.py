"""Gradient checkpointing and replicas of DataParallel: passes that are not what they seem."""

import threading
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from small_generator import Generator, pictures
from torch import Tensor, nn
from torch.nn.parallel import DataParallel
from torch.utils.checkpoint import checkpoint

from trainers.settings import L0, L1, L0Inf, Regularizer
from trainers.sparsity import Attached, attach

SETTINGS: dict[str, Regularizer] = {
    "first": L1(0.5),
    "middle": L0(0.3),
    "middle.act": L1(2),
    "code": L0Inf(2),
    "code.0": L1(1),
}
PROJECTIONS: dict[str, Regularizer] = {"middle": L0(0.3), "code": L0Inf(2)}


class Checkpointed(Generator):
    """The blocks are computed again in backward; `middle` runs three times in them."""

    reentrant = False

    def __init__(self) -> None:
        super().__init__(times=3)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0  # computing again must not count twice here either

    def forward(self, x: Tensor) -> Tensor:
        run = lambda function, h: checkpoint(function, h, use_reentrant=self.reentrant)  # noqa: E731
        x = run(self.first, x)
        x = run(lambda h: self.middle(self.middle(self.middle(h))), x)
        return torch.tanh(self.head(run(self.code, x)))


class Whole(Generator):
    """Nothing is checkpointed within: the caller does it around the network."""

    def __init__(self) -> None:
        super().__init__(times=3)


def read(network: nn.Module, attached: Attached, call: Callable[[Tensor], Tensor]) -> list[Any]:
    """Penalty and measures of a step before and after its backward, and the gradients."""
    loss = call(pictures().requires_grad_()).square().mean() + attached.penalty()
    penalty, metrics = attached.penalty().detach(), attached.metrics()
    loss.backward()
    assert attached.metrics() == metrics  # what is computed again is not counted again
    if metrics and torch.is_grad_enabled():
        assert torch.equal(attached.penalty(), penalty)
    return [penalty, metrics, [parameter.grad for parameter in network.parameters()]]


@pytest.mark.parametrize("where", ["parts", "whole"])
def test_checkpointing_changes_neither_gradients_nor_what_is_counted(where: str) -> None:
    plain = Generator(times=3)
    expected = read(plain, attach(plain, SETTINGS), plain)
    network: nn.Module = Checkpointed() if where == "parts" else Whole()
    attached = attach(network, SETTINGS)
    call = network if where == "parts" else lambda x: checkpoint(network, x, use_reentrant=False)
    for _ in range(2):
        network.zero_grad()
        torch.testing.assert_close(read(network, attached, call), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("where", ["parts", "whole"])
def test_under_reentrant_checkpointing_projections_hold_and_a_penalty_is_an_error(where: str) -> None:
    plain = Generator(times=3)
    expected = read(plain, attach(plain, PROJECTIONS), plain)

    def build(settings: dict[str, Regularizer]) -> tuple[nn.Module, Attached, Callable[[Tensor], Tensor]]:
        network: nn.Module = Checkpointed() if where == "parts" else Whole()
        network.reentrant = True  # type: ignore[assignment]
        attached = attach(network, settings)
        if where == "parts":
            return network, attached, network
        return network, attached, lambda x: checkpoint(network, x, use_reentrant=True)

    network, attached, call = build(PROJECTIONS)
    torch.testing.assert_close(read(network, attached, call), expected, rtol=1e-5, atol=1e-7)
    network, attached, call = build({"first": L1(1)})
    output = call(pictures().requires_grad_())
    for backward in (False, True):
        with pytest.raises(RuntimeError, match=r"penalty at 'first' has no gradient.*use_reentrant=False"):
            attached.penalty()
        if not backward:
            output.mean().backward()  # which runs the blocks anew, with gradients
    with torch.no_grad():
        assert attached.penalty() > 0  # as a number it is right


def test_sampling_without_gradients_and_a_frozen_network_are_no_errors() -> None:
    network = Generator()
    attached = attach(network, {"first": L1(1)})
    with torch.no_grad():
        network(pictures())
        number = attached.penalty()
    with pytest.raises(RuntimeError, match=r"or call penalty under torch\.no_grad"):
        attached.penalty()
    network.requires_grad_(False)
    network(z := pictures().requires_grad_())
    attached.penalty().backward()  # of the latent, through a network that is frozen
    assert number > 0 and z.grad is not None and z.grad.any()
    network(pictures())
    assert attached.penalty() > 0 and not attached.penalty().requires_grad


# --- DataParallel ----------------------------------------------------------------------------------


def replica(network: nn.Module) -> nn.Module:
    """A copy as DataParallel makes them for each device and each pass; it needs several GPUs to do so."""
    copies = {module: module._replicate_for_data_parallel() for module in network.modules()}
    for module, copied in copies.items():
        for name, child in module._modules.items():
            setattr(copied, name, copies[child] if child is not None else None)
        for name, value in [*module._parameters.items(), *module._buffers.items()]:
            setattr(copied, name, None if value is None else value.clone())
    return copies[network]


def test_without_several_gpus_data_parallel_is_the_network_itself() -> None:
    plain = Generator()
    expected = read(plain, attach(plain, {"first": L1(1), "code": L0Inf(2)}), plain)
    network = Generator()
    attached = attach(network, {"first": L1(1), "code": L0Inf(2)})
    torch.testing.assert_close(read(network, attached, DataParallel(network)), expected)
    outer = DataParallel(Generator())
    attached = attach(
        outer, {"first": L1(1), "code": L0Inf(2)}, names={"first": "module.first", "code": "module.code"}
    )
    torch.testing.assert_close(read(outer, attached, outer), expected)


@pytest.mark.parametrize("part", [False, True])
def test_replicas_project_and_reading_what_they_cannot_keep_is_an_error(part: bool) -> None:
    class Parted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Generator().eval()

        def forward(self, x: Tensor) -> Tensor:
            output: Tensor = replica(self.inner)(x)
            return output

    network = Parted() if part else Generator().eval()
    inner = network.inner if isinstance(network, Parted) else network
    expected = inner.head(L0Inf(2).project(inner.code(inner.middle(inner.first(pictures()))))).tanh()
    names = {name: f"inner.{name}" if part else name for name in ("code", "first")}
    call = network if part else lambda x: replica(network)(x)

    attached = attach(network, {"code": L0Inf(2)}, names)
    torch.testing.assert_close(call(pictures()), expected)
    assert attached.penalty() == 0  # nothing is lost: no site has a penalty
    lost = r"replicas of DataParallel keep nothing of the site 'code'; train with DistributedDataParallel"
    with pytest.raises(RuntimeError, match=lost):
        attached.sparsity()
    attached.detach()

    attached = attach(network, {"code": L1(1)}, names)
    inner(pictures())  # a pass before, whose numbers must not be read for those of the replicas
    network.train()
    call(pictures())
    for reading in (attached.penalty, attached.sparsity):
        with pytest.raises(RuntimeError, match=lost):
            reading()
    inner(pictures())
    assert attached.penalty() > 0 and attached.sparsity()


def test_replicas_that_run_at_once_leave_each_others_pass_alone() -> None:
    network = Generator().eval()
    attached = attach(network, {"code": L0Inf(2)})
    one, other = replica(network), replica(network)
    begun, ended = threading.Event(), threading.Event()
    thread = threading.Thread(target=other, args=(pictures(),))

    def between(module: nn.Module, inputs: object) -> None:
        if module is one.head:  # the sites of this one have been passed
            thread.start()
            assert begun.wait(60)
        elif module is other.first:
            begun.set()
            assert ended.wait(60)

    for module in (network.first, network.head):
        module.register_forward_pre_hook(between)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        one(pictures())
    ended.set()
    thread.join()
    with pytest.raises(RuntimeError, match="replicas of DataParallel keep nothing"):
        attached.sparsity()
