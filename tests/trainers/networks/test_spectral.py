"""Our spectral norm against PyTorch's, against singular values, and where PyTorch's cannot go."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fixed_program import RefuseCopies, RefuseTheHost
from gans import drawn, equal, state
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.utils import parametrizations

from trainers.networks.draws import DrawFrom
from trainers.networks.spectral import spectral_norm
from trainers.settings import Mistake

LAYERS: dict[str, Callable[[], nn.Module]] = {
    "wide": lambda: nn.Linear(9, 4),
    "tall": lambda: nn.Linear(3, 7),
    "convolution": lambda: nn.Conv2d(3, 5, 3, padding=1),
    "one row": lambda: nn.Linear(6, 1),
    "embedding": lambda: nn.Embedding(6, 3),
}
LAYER = pytest.mark.parametrize("kind", LAYERS)


def plain_layer(kind: str, seed: int = 0) -> Any:
    with DrawFrom(drawn(seed)):
        return LAYERS[kind]().double()


def normed(kind: str, seed: int = 0) -> Any:
    with DrawFrom(drawn(seed)):
        return spectral_norm(LAYERS[kind]().double())


def given(layer: Any, count: int = 2, seed: int = 0) -> Tensor:
    if isinstance(layer, nn.Embedding):
        return torch.randint(layer.num_embeddings, (count,), generator=drawn(seed))
    shape = (layer.in_features,) if isinstance(layer, nn.Linear) else (layer.in_channels, 6, 6)
    return torch.randn(count, *shape, generator=drawn(seed), dtype=torch.float64)


def largest(weight: Tensor) -> float:
    return float(torch.linalg.svdvals(weight.detach().flatten(1))[0])


def by_hand(weight: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Algorithm 1 of the paper: the next u, and its σ."""
    matrix = weight.detach().reshape(len(weight), -1)
    v = matrix.T @ u
    v = v / v.square().sum().sqrt()
    u = matrix @ v
    u = u / u.square().sum().sqrt()
    return u, (u @ matrix).square().sum().sqrt()


@LAYER
def test_values_and_gradients_are_those_of_pytorch_from_the_same_vector(kind: str) -> None:
    ours = normed(kind)
    theirs = parametrizations.spectral_norm(plain_layer(kind))
    vectors = theirs.parametrizations.weight[0]
    start = torch.randn(len(vectors._u), generator=drawn(1), dtype=torch.float64)
    start /= start.norm()
    matrix = theirs.parametrizations.weight.original.detach().flatten(1)
    ours.parametrizations.weight[0].u.copy_(start)
    vectors._u.copy_(start)
    vectors._v.copy_(nn.functional.normalize(matrix.T @ start, dim=0))
    for training in (True, True, False, True, False):
        gradients = []
        for layer in (ours, theirs):
            layer.train(training).zero_grad()
            layer(given(layer)).square().mean().backward()
            gradients.append(layer.parametrizations.weight.original.grad)
        assert torch.allclose(*gradients, rtol=1e-9, atol=1e-12)
        assert torch.allclose(ours.eval().weight, theirs.eval().weight, rtol=1e-9, atol=1e-12)


@LAYER
def test_after_many_passes_the_largest_singular_value_is_one(kind: str) -> None:
    layer = normed(kind)
    for _ in range(300):
        layer(given(layer))
    assert largest(layer.weight) == pytest.approx(1, abs=1e-6)
    original = layer.parametrizations.weight.original
    assert torch.allclose(layer.eval().weight * largest(original), original, atol=1e-6)


def test_it_begins_normalised() -> None:
    with DrawFrom(drawn(0)):
        layer = spectral_norm(nn.Linear(64, 64)).eval()
    assert 1 <= largest(layer.weight) < 1.1  # a u drawn at random says about 2


@LAYER
def test_a_pass_in_training_is_one_iteration_and_one_in_evaluation_none(kind: str) -> None:
    layer = normed(kind)
    original, u = layer.parametrizations.weight.original, layer.parametrizations.weight[0].u
    for seed in range(4):
        with torch.no_grad():
            original.copy_(plain_layer(kind, seed).weight)  # a weight that moves, as in training
        expected, sigma = by_hand(original, u)
        output = layer.train()(given(layer))
        assert torch.allclose(u, expected, rtol=1e-10, atol=1e-12)
        plain = copy.deepcopy(plain_layer(kind, 0))
        plain.load_state_dict({**plain.state_dict(), "weight": original / sigma})
        assert torch.allclose(output, plain(given(layer)), rtol=1e-10, atol=1e-12)
        before = u.clone()
        assert torch.allclose(layer.eval()(given(layer)), output, rtol=1e-10, atol=1e-12)
        assert torch.equal(u, before)


@LAYER
def test_gradients_are_those_of_the_quotient_with_u_held_constant(kind: str) -> None:
    layer = normed(kind).eval()
    spectral, weight = layer.parametrizations.weight[0], layer.parametrizations.weight.original
    assert torch.autograd.gradcheck(spectral, (weight,))
    assert torch.autograd.gradgradcheck(spectral, (weight,))


def test_several_passes_may_come_before_one_backward() -> None:
    layer = normed("wide")
    sum(layer.train(training)(given(layer)).square().mean() for training in (True, False, True)).backward()
    separately = normed("wide")
    for training in (True, False, True):
        separately.train(training)(given(layer)).square().mean().backward()
    gradients = [one.parametrizations.weight.original.grad for one in (layer, separately)]
    assert torch.allclose(*gradients)


@LAYER
def test_many_are_mapped_as_they_run_alone(kind: str) -> None:
    layers = [
        nn.Sequential(normed(kind, seed)) for seed in range(3)
    ]  # each parametrized layer has its own class
    x = torch.stack([given(layers[0][0], seed=seed) for seed in range(3)])
    parameters, buffers = stack_module_state(layers)
    shell = copy.deepcopy(layers[0]).to("meta")

    def loss(p: Any, b: Any, one: Tensor) -> Tensor:
        return functional_call(shell, (p, b), (one,)).square().mean()

    for _ in range(2):
        mapped = vmap(grad(loss))(parameters, buffers, x)
        for i, layer in enumerate(layers):
            layer.zero_grad()
            layer(x[i]).square().mean().backward()
            for name, parameter in layer.named_parameters():
                assert torch.allclose(mapped[name][i], parameter.grad, rtol=1e-9, atol=1e-12)
            for name, buffer in layer.named_buffers():
                assert torch.allclose(buffers[name][i], buffer, rtol=1e-9, atol=1e-12)


def test_pytorchs_own_still_cannot_be_mapped() -> None:
    """The reason for ours: when this fails, PyTorch has learnt it, and ours may go."""
    layers = [nn.Sequential(parametrizations.spectral_norm(plain_layer("wide", seed))) for seed in range(2)]
    parameters, buffers = stack_module_state(layers)
    shell = copy.deepcopy(layers[0]).to("meta")
    with pytest.raises(RuntimeError, match="out="):
        vmap(lambda p, b, x: functional_call(shell, (p, b), (x,)))(
            parameters, buffers, torch.stack([given(layers[0][0])] * 2)
        )


@LAYER
def test_its_vector_is_saved_loaded_and_copied(kind: str) -> None:
    layer, other = normed(kind), normed(kind, seed=1)
    layer(given(layer))
    twin = copy.deepcopy(layer)
    other.load_state_dict(layer.state_dict())
    before = state(layer)
    outputs = [one(given(layer)) for one in (twin, other)]
    assert equal(state(layer), before)  # a copy has a vector of its own
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], layer(given(layer)))
    assert any(value.dim() == 1 and name.endswith(".u") for name, value in before.items())


def test_its_vector_is_drawn_from_the_generator() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, same, other = (normed("wide", seed) for seed in (2, 2, 3))
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(state(first), state(same))
    assert not torch.equal(first.parametrizations.weight[0].u, other.parametrizations.weight[0].u)


@pytest.mark.parametrize("device", ["cpu", "cuda"])  # a fake GPU needs none
def test_it_waits_for_nothing_on_the_device(device: str) -> None:
    with FakeTensorMode():
        with torch.device(device):
            layer, x = spectral_norm(nn.Linear(4, 3)), torch.randn(2, 4)
        with RefuseTheHost(), RefuseCopies():
            assert layer(x).device.type == device
            assert layer.eval()(x).shape == (2, 3)


def test_a_layer_whose_weight_is_another_matrix_is_refused() -> None:
    with pytest.raises(Mistake, match=r"the layer is a ConvTranspose2d, but .* nn\.Conv2d, nn\.Linear and"):
        spectral_norm(nn.ConvTranspose2d(3, 4, 2))  # type: ignore[type-var]
