"""The skip network against a plain rewriting of its definition, and its sites against their arithmetic."""

from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.dip_options import SkipNetwork
from trainers.networks.skip import Skip
from trainers.settings import Mistake


def by_hand(network: Skip, config: SkipNetwork, x: Tensor) -> Tensor:
    """Deep Image Prior's definition, recursive as it is usually written, on the network's own weights."""
    modules = dict(network.named_modules())

    def conv(name: str, h: Tensor, stride: int = 1) -> Tensor:
        layer = modules[name]
        pad = layer.weight.shape[2] // 2
        return F.conv2d(F.pad(h, (pad,) * 4, mode="reflect"), layer.weight, layer.bias, stride)

    def norm(name: str, h: Tensor) -> Tensor:
        layer = modules[name]
        mean, var = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), unbiased=False, keepdim=True)
        shape = (1, -1, 1, 1)
        return (h - mean) / (var + 1e-5).sqrt() * layer.weight.view(shape) + layer.bias.view(shape)

    def act(h: Tensor) -> Tensor:
        return torch.where(h > 0, h, 0.2 * h)

    def scale(i: int, h: Tensor) -> Tensor:
        across = [act(norm(f"skip{i}.1", conv(f"skip{i}.0", h)))] if config.skip else []
        deep = act(norm(f"encode{i}.1", conv(f"encode{i}.0", h, stride=2)))
        deep = act(norm(f"encode{i}.4", conv(f"encode{i}.3", deep)))
        if i + 1 < config.scales:
            deep = scale(i + 1, deep)
        up = F.interpolate(deep, scale_factor=2, mode=config.upsample)
        site = "code" if i == 0 else f"up{config.scales - 1 - i}"
        joined = norm(f"decode_{site}.0", torch.cat([*across, up], dim=1))
        up = act(norm(f"decode_{site}.2", conv(f"decode_{site}.1", joined)))
        return act(norm(f"decode_{site}.5", conv(f"decode_{site}.4", up)))

    return torch.sigmoid(conv("to_picture", scale(0, x)))


CONFIGS = [
    SkipNetwork(width=width, scales=scales, skip=skip, upsample=upsample, input_channels=5)
    for (width, scales), skip, upsample in product([(6, 1), (4, 3)], (0, 2), ("bilinear", "nearest"))
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_it_computes_its_definition(config: SkipNetwork) -> None:
    network = Skip(config, 3).double()
    with torch.no_grad():  # defaults (gains 1, shifts 0) would hide a missing normalisation
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_()
    x = torch.rand(2, 5, 24, 32, dtype=torch.float64)
    torch.testing.assert_close(network(x), by_hand(network, config, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("sides", [(24, 32), (37, 50), (16, 17)])
def test_sites_are_the_submodules_of_that_name_with_the_shapes_that_the_plan_knows(
    config: SkipNetwork, sides: tuple[int, int]
) -> None:
    network, seen = Skip(config, 3), {}
    for site in network.sites:
        network.get_submodule(site).register_forward_hook(
            lambda module, inputs, output, site=site: seen.update({site: tuple(output.shape[1:])})
        )
    height, width = (config.padded(side) for side in sides)
    assert network(torch.rand(1, 5, height, width)).shape == (1, 3, height, width)
    assert list(seen.items()) == list(config.sites(*sides).items())  # in order of execution


def test_names_of_sites_count_from_the_outermost_down_and_from_the_innermost_up() -> None:
    sites = SkipNetwork(width=16, scales=4).sites(96, 96)
    assert sites == {
        "down0": (16, 48, 48), "down1": (16, 24, 24), "down2": (16, 12, 12), "down3": (16, 6, 6),
        "up0": (16, 12, 12), "up1": (16, 24, 24), "up2": (16, 48, 48), "code": (16, 96, 96),
    }  # fmt: skip


def test_the_default_has_the_size_of_the_reference() -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Skip(SkipNetwork(), 3).parameters()) == 2_217_831


@pytest.mark.parametrize(("side", "padded"), [(96, 96), (97, 112), (33, 48), (32, 32), (17, 32)])
def test_sides_are_padded_to_what_can_be_halved(side: int, padded: int) -> None:
    assert SkipNetwork(scales=4).padded(side) == padded


def test_a_picture_that_is_too_small_for_the_scales_is_refused() -> None:
    with pytest.raises(Mistake, match="side of 16 pixels, but a network of 4 scales needs more than 16"):
        SkipNetwork(scales=4).padded(16)


def test_a_picture_of_its_own_is_all_that_normalises_it() -> None:
    network = Skip(CONFIGS[-1], 3)
    x = torch.rand(1, 5, 24, 24)
    trained, state = network(x), {name: value.clone() for name, value in network.state_dict().items()}
    assert torch.equal(network.eval()(x), trained)  # no other statistics at inference
    assert all(torch.equal(state[name], value) for name, value in network.state_dict().items())
