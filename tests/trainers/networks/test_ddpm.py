"""The U-Net: its definition by a plain rewriting, its sites, and that it knows the time."""

import io
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.ddpm_options import DdpmNetwork
from trainers.networks.ddpm import UNet
from trainers.networks.draws import DrawFrom
from trainers.networks.pair import PictureForm
from trainers.settings import L0, L1, L0Inf, Mistake
from trainers.sparsity import attach


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def unet(size: int = 8, channels: int = 3, *, seed: int = 0, opened: bool = True, **keys: Any) -> UNet:
    """A small one; `opened`: what begins at 0 is drawn, or it would hide what is behind it."""
    config = DdpmNetwork(**{"width": 8, "blocks": 2, **keys})
    with DrawFrom(drawn(seed)):
        network = UNet(config, PictureForm(size, channels, classes=10))
        for parameter in network.parameters() if opened else ():
            if not parameter.any():
                nn.init.normal_(parameter, std=0.1)
    return network


def pictures(count: int = 4, size: int = 8, channels: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(count, channels, size, size, generator=drawn(seed))


TIMES = torch.tensor([1, 30, 500, 1000])


def by_hand(network: UNet, x: Tensor, times: Tensor) -> Tensor:
    """Its definition for two halvings, with functions alone."""
    weights = dict(network.named_parameters())

    def conv(name: str, h: Tensor, stride: int = 1) -> Tensor:
        weight = weights[f"{name}.weight"]
        return F.conv2d(h, weight, weights[f"{name}.bias"], stride, padding=weight.shape[-1] // 2)

    def norm(h: Tensor) -> Tensor:
        groups = {8: 2, 16: 4, 24: 2, 32: 8}[h.shape[1]]  # of four channels, but of twelve where there are 24
        parts = h.reshape(len(h), groups, -1)
        parts = (parts - parts.mean(2, keepdim=True)) / (
            parts.var(2, keepdim=True, unbiased=False) + 1e-5
        ).sqrt()
        return parts.reshape(h.shape)

    def scaled(name: str, h: Tensor) -> Tensor:
        return h * weights[f"{name}.weight"].view(-1, 1, 1) + weights[f"{name}.bias"].view(-1, 1, 1)

    def linear(name: str, v: Tensor) -> Tensor:
        return v @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    angles = torch.stack([times * wave for wave in network.waves], dim=1)
    told = linear("tell.0", torch.cat([angles.sin(), angles.cos()], dim=1)).relu()
    told = linear("tell.2", told).relu()

    def block(site: str, x: Tensor) -> Tensor:
        h = norm(conv(f"enter_{site}.2", scaled(f"enter_{site}.0", norm(x)).relu()))
        scale, shift = linear(f"time_{site}", told).view(len(x), 2, -1, 1, 1).unbind(1)
        h = conv(f"from_{site}", (h * (1 + scale) + shift).relu())
        return h + (conv(f"shortcut_{site}", x) if f"shortcut_{site}.weight" in weights else x)

    def doubled(h: Tensor) -> Tensor:
        return h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)

    large = block("down0", conv("from_picture", x))
    half = block("down1", conv("halve0", large, stride=2))
    h = block("mid", conv("halve1", half, stride=2))
    h = block("up0", torch.cat([doubled(h), half], 1))
    h = block("up1", torch.cat([doubled(h), large], 1))
    return conv("to_noise", scaled("to_code", norm(h)).relu())


def test_it_computes_its_definition() -> None:
    network = unet().double()
    with torch.no_grad():
        for name, parameter in network.named_parameters():  # gains of 1 and shifts of 0 would hide a norm
            if ".0." in name or "to_code" in name:
                parameter.add_(torch.rand(parameter.shape, generator=drawn(1), dtype=torch.float64))
    x = pictures().double()
    torch.testing.assert_close(network(x, TIMES), by_hand(network, x, TIMES), rtol=1e-9, atol=1e-9)


def test_a_time_is_told_by_waves_of_a_radian_a_step_to_one_in_10_000() -> None:
    torch.testing.assert_close(unet().waves, torch.tensor([10_000 ** (-i / 63) for i in range(64)]))


@pytest.mark.parametrize(("size", "channels"), [(8, 1), (12, 3), (28, 1)])
def test_the_noise_has_the_pictures_shape(size: int, channels: int) -> None:
    x = pictures(size=size, channels=channels)
    assert unet(size, channels)(x, TIMES).shape == x.shape


@pytest.mark.parametrize(("size", "blocks", "width"), [(8, 1, 4), (8, 3, 1), (20, 2, 6)])
def test_sites_are_submodules_that_run_in_order_with_the_shapes_that_the_plan_knows(
    size: int, blocks: int, width: int
) -> None:
    network = unet(size, blocks=blocks, width=width)
    seen: dict[str, Tensor] = {}
    for site in network.sites:
        network.get_submodule(site).register_forward_hook(
            lambda module, inputs, output, site=site: seen.update({site: output})
        )
    entered: list[Tensor] = []
    for convolution in [module for module in network.modules() if isinstance(module, nn.Conv2d)]:
        convolution.register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0]))
    network(pictures(size=size), TIMES)
    known = DdpmNetwork(width=width, blocks=blocks).sites(size)
    assert list(known.items()) == [(site, tuple(h.shape[1:])) for site, h in seen.items()]
    assert tuple(seen) == network.sites
    assert all(h.min() == 0 < h.max() for h in seen.values())  # after a ReLU
    assert all(any(h is one for one in entered) for h in seen.values())  # a convolution reads it
    assert entered[-1] is seen["code"]


def test_regularizers_act_at_the_sites() -> None:
    network = unet()
    free = network(pictures(), TIMES).detach()
    attached = attach(network, {"down1": L0(0.1), "mid": L0Inf(1), "code": L1(0.1)})
    assert not torch.equal(network(pictures(), TIMES), free)
    measured = attached.sparsity()
    assert measured["down1"]["density"] <= 0.11
    assert measured["mid"]["density"] <= 1 / 16
    assert attached.penalty().item() == pytest.approx(0.1 * measured["code"]["mean_abs"])


@pytest.mark.parametrize("width", [1, 8])
def test_every_block_knows_the_time_and_no_picture_its_neighbours(width: int) -> None:
    network, x = unet(width=width).double().eval(), pictures().double()
    together = network(x, TIMES)
    apart = [network(x[i : i + 1], TIMES[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(apart))
    for site in network.sites[:-1]:
        telling = network.get_submodule(f"time_{site}")
        kept = [parameter.clone() for parameter in telling.parameters()]
        with torch.no_grad():
            telling.weight.zero_()
        assert not torch.allclose(network(x, TIMES), together)
        with torch.no_grad():
            for parameter, value in zip(telling.parameters(), kept, strict=True):
                parameter.copy_(value)


def test_it_begins_by_telling_no_noise() -> None:
    network = unet(opened=False)
    assert not network(pictures(), TIMES).any()
    assert all(not network.get_submodule(f"from_{site}").weight.any() for site in network.sites[:-1])


def test_one_step_changes_every_parameter() -> None:
    network = unet()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network(pictures(), TIMES).square().mean().backward()
    torch.optim.SGD(network.parameters(), lr=1.0).step()
    names = [name for name, _ in network.named_parameters()]
    assert [name for name in names if torch.equal(before[name], network.get_parameter(name))] == []
    # and by more than the round-off that a parameter without influence would show
    sizes = {name: float(p.grad.abs().max()) for name, p in network.named_parameters() if p.grad is not None}
    assert min(sizes.values()) > 1e-5 * max(sizes.values()), sizes


def test_weights_follow_the_generator_and_a_saved_state_computes_the_same() -> None:
    first, same, other = unet(seed=3), unet(seed=3), unet(seed=4)
    out = first(pictures(), TIMES)
    assert torch.equal(same(pictures(), TIMES), out)
    assert not torch.equal(other(pictures(), TIMES), out)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(other(pictures(), TIMES), out)
    assert set(first.state_dict()) == {name for name, _ in first.named_parameters()}


@pytest.mark.parametrize(("width", "groups"), [(128, 32), (16, 4), (1, 1), (6, 1), (20, 1), (24, 2)])
def test_groups_are_of_four_channels_at_least_or_there_is_one(width: int, groups: int) -> None:
    norm = unet(width=width, blocks=1).to_code
    assert isinstance(norm, nn.GroupNorm) and norm.num_groups == groups


def test_nothing_works_in_place() -> None:
    assert not any(getattr(module, "inplace", False) for module in unet().modules())


def test_a_size_that_cannot_be_halved_so_often_is_refused() -> None:
    with pytest.raises(Mistake, match=r"size is 12, but a network of 3 blocks .* take a multiple of 8"):
        unet(12, blocks=3)
