"""The residual GAN against a plain rewriting of the reference, in the reference's order of operations."""

import math

import pytest
import residual
import torch
from gans import computes_its_definition, drawn, images, normalised
from residual import judged
from torch import Tensor, nn

from trainers.networks.build import build_pair
from trainers.networks.pair import PictureForm
from trainers.networks.sngan import Discriminator, Generator
from trainers.pair_options import SnganNetwork

SMALL = SnganNetwork(width=4, discriminator_width=5, blocks=2, latent=6)


def generated(network: Generator, z: Tensor) -> Tensor:
    return residual.generated(network, z, normalised)


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_both_compute_their_definition(spectral_norm: bool) -> None:
    config = SMALL.model_copy(update={"spectral_norm": spectral_norm})
    computes_its_definition(config, generated, judged)


def test_the_default_has_the_size_of_the_reference() -> None:
    with torch.device("meta"):
        generator = Generator(SnganNetwork(), PictureForm(32, 3, 10))
        discriminator = Discriminator(SnganNetwork(), PictureForm(32, 3, 10))
    assert SnganNetwork().sites(32)["code"] == (256, 32, 32)
    wide, judge = 256, 128
    linear = 128 * wide * 16 + wide * 16
    block = 2 * wide * wide * 9 + wide * wide + 4 * wide  # two 3×3, one 1×1, two BatchNorms
    assert sum(p.numel() for p in generator.parameters()) == (
        linear + 3 * block + 2 * wide + 3 * wide * 9 + 3
    )
    plain = 2 * (judge * judge * 9 + judge)
    first = 3 * judge * 9 + judge + judge * judge * 9 + judge + 3 * judge + judge
    assert sum(p.numel() for p in discriminator.parameters()) == (
        first + plain + judge * judge + judge + 2 * plain + judge + 1
    )


def test_initial_weights_are_the_references() -> None:
    """Xavier's uniform, wider by √2 within blocks: U(-a, a), a = gain · √(6 / (inputs + outputs))."""
    config = SnganNetwork(width=32, discriminator_width=32, spectral_norm=False)
    generator, discriminator = build_pair(config, PictureForm(32, 3, 10), generator=drawn(0))
    for network in (generator, discriminator):
        for name, layer in network.named_modules():
            if not isinstance(layer, nn.Conv2d | nn.Linear):
                continue
            outputs, inputs, *kernel = layer.weight.shape
            within = kernel == [3, 3] and name != "to_picture"
            a = (math.sqrt(2) if within else 1) * math.sqrt(6 / ((inputs + outputs) * math.prod(kernel)))
            assert 0.85 * a < float(layer.weight.detach().abs().max()) <= a, name
            assert float(layer.weight.detach().std()) == pytest.approx(a / math.sqrt(3), rel=0.25), name


@pytest.mark.parametrize("size", [8, 12, 28, 32])
def test_the_discriminator_is_the_same_at_every_size(size: int) -> None:
    config = SMALL.model_copy(update={"blocks": 1})
    _, discriminator = build_pair(config, PictureForm(size, 1, 10), generator=drawn(0))
    assert discriminator.feature_count == 5
    halvings = [h.shape[-1] for h in seen(discriminator, images(size=size, channels=1))]
    assert halvings == [size // 2, size // 4, size // 4, size // 4]


def seen(discriminator: Discriminator, x: Tensor) -> list[Tensor]:
    outputs = []
    for block in discriminator.body[:4]:
        x = block(x)
        outputs.append(x)
    return outputs
