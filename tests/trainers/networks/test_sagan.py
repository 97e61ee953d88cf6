"""Self-attention, position by position, and where it stands."""

import pytest
import torch
from gans import SIZE, SMALL, drawn, images, latents, opened
from torch import Tensor

from trainers.networks.build import PAIRS, build_pair
from trainers.networks.draws import DrawFrom
from trainers.networks.pair import PictureForm
from trainers.networks.sagan import Attention
from trainers.pair_options import SaganNetwork


def attention(channels: int) -> Attention:
    with DrawFrom(drawn(0)):
        return opened(Attention(channels).double())


def by_hand(network: Attention, x: Tensor) -> Tensor:
    """The paper's o_j for each position of one picture C×H×W, by loops."""
    f, g, h, v = (conv.weight[:, :, 0, 0] for conv in (network.f, network.g, network.h, network.v))
    height, width = x.shape[1:]
    pairs = [(i, j) for i in range(0, height, 2) for j in range(0, width, 2)]

    def most(weight: Tensor) -> list[Tensor]:
        squares = [[weight @ x[:, i + a, j + b] for a in (0, 1) for b in (0, 1)] for i, j in pairs]
        return [torch.stack(square).max(0).values for square in squares]

    keys, values, out = most(f), most(h), torch.empty_like(x)
    for i in range(height):
        for j in range(width):
            query = g @ x[:, i, j]
            weights = torch.stack([key @ query for key in keys]).exp()
            taken = sum(w * value for w, value in zip(weights / weights.sum(), values, strict=True))
            out[:, i, j] = x[:, i, j] + 0.5 * (v @ taken)
    return out


def test_each_position_adds_what_it_attends_to() -> None:
    network, x = attention(16), torch.randn(2, 16, 6, 4, generator=drawn(1), dtype=torch.float64)
    expected = torch.stack([by_hand(network, one) for one in x])
    torch.testing.assert_close(network(x), expected, rtol=1e-9, atol=1e-12)


def test_it_begins_as_nothing_and_can_learn_from_there() -> None:
    network, x = Attention(8), torch.randn(2, 8, 4, 4, generator=drawn(1))
    assert torch.equal(network(x), x)
    network(x).square().sum().backward()
    assert network.gate.grad.abs() > 0


@pytest.mark.parametrize("side", [1, 3])
def test_a_map_that_cannot_be_halved_attends_to_every_position(side: int) -> None:
    network, x = attention(8), torch.randn(2, 8, side, side, generator=drawn(1), dtype=torch.float64)
    if side == 1:  # the one position there is
        expected = x + 0.5 * network.v(network.h(x))
        torch.testing.assert_close(network(x), expected)
    swapped = network(x.transpose(2, 3))
    torch.testing.assert_close(swapped, network(x).transpose(2, 3))


@pytest.mark.parametrize(("size", "blocks"), [(32, 3), (64, 4), (8, 1)])
def test_both_networks_attend_where_the_map_has_half_the_side(size: int, blocks: int) -> None:
    config = SaganNetwork(width=4, discriminator_width=5, blocks=blocks, latent=6)
    generator, discriminator = build_pair(config, PictureForm(size, 3, 1), generator=drawn(0))
    sides: list[int] = []
    for network in (generator, discriminator):
        (found,) = [module for module in network.modules() if isinstance(module, Attention)]
        found.register_forward_hook(lambda module, inputs, output: sides.append(output.shape[-1]))
    discriminator(generator(latents(2)))
    assert sides == [size // 2] * 2


@pytest.mark.parametrize(("network", "x"), [(0, latents()), (1, images())])
def test_with_its_gate_closed_it_is_sngan(network: int, x: Tensor) -> None:
    form, made = PictureForm(SIZE, 3, 1), []
    for kind in ("sagan", "sngan"):
        with DrawFrom(drawn(0)):  # attention is drawn last
            made.append(PAIRS[kind][network](SMALL[kind].model_copy(update={"spectral_norm": False}), form))
    assert torch.equal(made[0](x), made[1](x))
