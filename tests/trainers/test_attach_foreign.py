"""Regularizers on generators that nobody here wrote: what their modules return, share, and are made of."""

import copy
import io
import pickle
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from kinds import EXAMPLES, cost, passed_on
from small_generator import Generator, Watch, pictures, same, steps
from torch import Tensor, nn

from trainers.settings import L0, L1, REGULARIZERS, L0Inf, Mistake
from trainers.sparsity import MEASURES, attach, measure

# --- what modules return ---------------------------------------------------------------------------


class Pair(NamedTuple):
    picture: Tensor
    style: Tensor


class Returns(nn.Module):
    """A convolution whose module returns more than a tensor, and a network that does so, too."""

    def __init__(self, form: Callable[[Tensor, Tensor], Any]) -> None:
        super().__init__()
        self.convolution, self.form = nn.Conv2d(3, 8, 1), form

    def forward(self, x: Tensor) -> Any:
        return self.form(self.convolution(x), x)


FORMS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "tuple": lambda h, x: (h, x, None),
    "list": lambda h, x: [h, {"style": x}],
    "one": lambda h, x: (h,),
    "namedtuple": Pair,
    "of torch": lambda h, x: torch.return_types.max((h, x)),  # type: ignore[attr-defined]
}


@pytest.mark.parametrize("kind", REGULARIZERS)
@pytest.mark.parametrize("form", FORMS)
def test_of_a_tuple_the_first_is_the_activation_and_the_rest_passes_through(form: str, kind: str) -> None:
    network = Returns(FORMS[form])
    h = network.convolution(pictures())
    plain = network(x := pictures())
    attached = attach(network, {"out": EXAMPLES[kind]}, names={"out": ""})
    output = network(x)
    assert type(output) is type(plain) and len(output) == len(plain)
    assert torch.equal(output[0], passed_on(EXAMPLES[kind], h))
    assert all(ours is x or ours == theirs for ours, theirs in zip(output[1:], plain[1:], strict=True))
    assert attached.sparsity() == {"out": measure(h, passed_on(EXAMPLES[kind], h))}
    torch.testing.assert_close(attached.penalty(), cost(EXAMPLES[kind], h))


def test_a_recurrent_layers_states_pass_through_and_a_site_may_lie_within() -> None:
    class Unrolled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.ModuleDict({"net": Returns(FORMS["tuple"])})
            self.rnn = nn.LSTM(8, 5, batch_first=True)

        def forward(self, x: Tensor) -> tuple[Tensor, Any]:
            h, *_ = self.inner["net"](x)
            output: tuple[Tensor, Any] = self.rnn(h.flatten(2).transpose(1, 2))
            return output

    network = Unrolled()
    sequence, states = network(pictures())
    attached = attach(network, {"rnn": L0Inf(4), "inner.net.convolution": L1(1)})
    projected, kept = network(pictures())
    assert torch.equal(projected, L0Inf(4).project(sequence))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(kept, states, strict=True))
    (projected.mean() + attached.penalty()).backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


# --- what modules share ----------------------------------------------------------------------------


class Shares(nn.Module):
    """One ReLU after every layer, whose activations differ in shape; it goes by two names."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.first, self.up = nn.Conv2d(3, 8, 1), nn.ConvTranspose2d(8, 4, 2, 2)
        self.act = nn.ReLU()
        self.blocks = nn.Sequential(self.up, self.act)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.blocks(self.act(self.first(x)))
        return output


@pytest.mark.parametrize("kind", REGULARIZERS)
@pytest.mark.parametrize("name", ["act", "blocks.1"])
def test_each_use_of_a_shared_module_counts_by_either_name(kind: str, name: str) -> None:
    network = Shares()
    watch = Watch(network, name)
    attached = attach(network, {name: EXAMPLES[kind]})
    network(pictures())
    seen = watch.seen[name]
    assert [list(h.shape) for h in seen] == [[2, 8, 6, 6], [2, 4, 12, 12]]
    expected = sum(cost(EXAMPLES[kind], h) for h in seen)
    torch.testing.assert_close(attached.penalty(), expected)
    found = [measure(h, passed_on(EXAMPLES[kind], h)) for h in seen]
    for measured in MEASURES:
        mean = (found[0][measured] + found[1][measured]) / 2
        assert attached.sparsity()[name][measured] == pytest.approx(mean)
        assert attached.metrics()[f"{name}.{measured}"] == attached.sparsity()[name][measured]
    assert len(attached.metrics()) == len(MEASURES)


def test_a_users_hooks_stay_in_their_order_around_a_projection() -> None:
    network, seen = Generator(), []
    network.code.register_forward_hook(lambda module, inputs, output: seen.append(output) or 2 * output)
    attached = attach(network, {"code": L0Inf(2)})
    network.code.register_forward_hook(lambda module, inputs, output: seen.append(output))
    network(pictures())
    before, after = seen
    assert torch.equal(after, L0Inf(2).project(2 * before))
    attached.detach()
    network.eval()(pictures())
    assert len(seen) == 4 and torch.equal(seen[3], 2 * seen[2])  # theirs stay


# --- what networks are made of ---------------------------------------------------------------------


class Mixes(nn.Module):
    """Parameters in a list, and a convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.gains = nn.ParameterList([torch.full((3, 1, 1), 2.0), torch.full((8, 1, 1), 3.0)])
        self.convolution = nn.Conv2d(3, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.convolution(x * self.gains[0]) * self.gains[1]
        return output


def normed(how: Callable[[nn.Conv2d], nn.Module]) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(how(nn.Conv2d(3, 8, 3)), nn.ReLU(), how(nn.Conv2d(8, 3, 3)))


def mixed() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(Mixes(), nn.ReLU(), nn.Conv2d(8, 3, 3))


MADE: dict[str, Callable[[], nn.Module]] = {
    "spectral norm": lambda: normed(nn.utils.parametrizations.spectral_norm),
    "spectral norm by hooks": lambda: normed(nn.utils.spectral_norm),
    "weight norm": lambda: normed(nn.utils.parametrizations.weight_norm),
    "parameters in a list": mixed,
}


@pytest.mark.parametrize("made", MADE)
def test_reparametrized_networks_train_as_by_hand_and_keep_their_checkpoints(made: str) -> None:
    class ByHand(nn.Module):
        def __init__(self, network: nn.Sequential) -> None:
            super().__init__()
            self.network = network

        def forward(self, x: Tensor) -> Tensor:
            self.first = self.network[0](x)
            output: Tensor = self.network[2](L0Inf(3).project(self.network[1](self.first)))
            return output

        def penalty(self) -> Tensor:
            return 0.5 * L1(1).cost(self.first)

    network, reference = MADE[made](), MADE[made]()
    old = copy.deepcopy(network.state_dict())
    attached = attach(network, {"0": L1(0.5), "1": L0Inf(3)})
    assert isinstance(reference, nn.Sequential)
    assert same(steps(network, attached), steps(by_hand := ByHand(reference), by_hand))
    assert list(network.state_dict()) == list(old)
    network.load_state_dict(old, strict=True)
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    buffer.seek(0)
    plain = MADE[made]()
    plain.load_state_dict(torch.load(buffer, weights_only=True), strict=True)
    assert list(attached.sparsity()) == ["0", "1"]


def test_a_copied_handle_waits_for_a_pass_of_its_own() -> None:
    network = Generator()
    attached = attach(network, {"code": L1(1), "middle": L0(0.5)})
    network(pictures()).mean().backward()
    for twin, handle in (
        copy.deepcopy((network, attached)),
        pickle.loads(pickle.dumps((network, attached))),
    ):
        for read in (handle.penalty, handle.sparsity, handle.metrics):
            with pytest.raises(RuntimeError, match="no forward pass has run"):
                read()
        twin(pictures())
        assert handle.penalty() > 0
        with pytest.raises(Mistake, match="carries regularizers already"):
            attach(twin, {"code": L1(1)})
        handle.detach()
        attach(twin, {"code": L1(1)})


# --- in which numbers ------------------------------------------------------------------------------


def densities(network: nn.Module, **expected: float) -> None:
    watch = Watch(network, *expected)  # stands after the regularizers
    network(pictures().to(next(network.parameters()).dtype))
    for name, density in expected.items():
        (h,) = watch.seen[name]
        assert h.count_nonzero() == round(density * h.numel())


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_keep_k_exactly_and_the_penalty_in_float32(dtype: torch.dtype) -> None:
    network = Generator().to(dtype)
    attached = attach(network, {"first": L1(0.5), "middle": L0(0.25), "code": L0Inf(2)})
    output = network(pictures().to(dtype))
    penalty = attached.penalty()
    assert output.dtype == dtype
    assert penalty.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    (output.mean() + penalty).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    assert attached.sparsity()["code"]["density"] == 2 / 8
    densities(network, middle=0.25, code=2 / 8)


@pytest.mark.parametrize("cached", [True, False])
def test_under_autocast_the_same_holds(cached: bool) -> None:
    network, dtypes = Generator(), []
    attached = attach(
        network, {"first.convolution": L1(0.5), "middle.convolution": L0(0.25), "head": L0Inf(1)}
    )
    network.head.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=cached):
        output = network(pictures())
        inside = attached.penalty()
    assert dtypes == [torch.bfloat16] and inside.dtype == torch.float32
    assert torch.equal(inside, attached.penalty())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        h = network.first.convolution(pictures())
    torch.testing.assert_close(inside, 0.5 * h.float().abs().mean())
    network(pictures())  # and the pass that counts is the last one of the network
    (output.float().mean() + inside).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    densities(network, **{"middle.convolution": 0.25, "head": 1 / 3})


@pytest.mark.parametrize("kind", REGULARIZERS)
def test_channels_last_gives_the_values_of_contiguous_tensors_ties_included(kind: str) -> None:
    contiguous, last = Returns(lambda h, x: h), Returns(lambda h, x: h)
    last.load_state_dict(contiguous.state_dict())
    last.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    for network in (contiguous, last):
        with torch.no_grad():
            network.convolution.weight.fill_(1)  # so channels tie, and sums are exact in any order
            network.convolution.bias.zero_()
    handles = [attach(network, {"convolution": EXAMPLES[kind]}) for network in (contiguous, last)]
    x = (pictures() * 4).round()  # and positions
    ours, theirs = last(x.to(memory_format=torch.channels_last)), contiguous(x)
    assert ours.is_contiguous(memory_format=torch.channels_last) and not ours.is_contiguous()
    assert torch.equal(ours, theirs)
    assert handles[0].metrics() == pytest.approx(handles[1].metrics())
    torch.testing.assert_close(handles[0].penalty(), handles[1].penalty())
    if kind == "l0inf":
        assert (theirs[:, :2] != 0).any() and not theirs[:, 2:].any()  # the lower channels stay
