"""DCGAN against a plain rewriting of its definition, and its sizes."""

import pytest
import torch
import torch.nn.functional as F
from gans import computes_its_definition, drawn, latents, normalised
from torch import Tensor, nn

from trainers.networks.build import build_pair
from trainers.networks.dcgan import Discriminator, Generator
from trainers.networks.pair import PictureForm
from trainers.pair_options import DcganNetwork

SMALL = DcganNetwork(width=3, blocks=2, latent=6)


def generated(network: Generator, z: Tensor) -> Tensor:
    linear, _, norm = network.get_submodule("to_h0").children()
    h = (z @ linear.weight.T + linear.bias).view(len(z), 12, 2, 2)
    h = normalised(norm, h).clamp(min=0)
    for site in ("h1", "code"):
        conv, norm = network.get_submodule(f"to_{site}").children()
        h = normalised(norm, F.conv_transpose2d(h, conv.weight, None, stride=2, padding=1)).clamp(min=0)
    return torch.tanh(F.conv2d(h, network.to_picture.weight, network.to_picture.bias, padding=1))


def judged(network: Discriminator, x: Tensor) -> Tensor:
    convs = [module for module in network.body if isinstance(module, nn.Conv2d)]
    for i, conv in enumerate(convs):
        x = F.conv2d(x, conv.weight, conv.bias, stride=2 if i else 1, padding=1)
        x = torch.where(x > 0, x, 0.2 * x)
    return x.reshape(len(x), -1) @ network.score.weight[0] + network.score.bias


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_both_compute_their_definition(spectral_norm: bool) -> None:
    config = SMALL.model_copy(update={"spectral_norm": spectral_norm})
    computes_its_definition(config, generated, judged)


def test_channels_double_with_each_halving_of_the_side() -> None:
    assert DcganNetwork(width=16).sites(32) == {
        "h0": (128, 4, 4), "h1": (64, 8, 8), "h2": (32, 16, 16), "code": (16, 32, 32),
    }  # fmt: skip
    discriminator = Discriminator(DcganNetwork(width=16), PictureForm(32, 3, 10))
    shapes = [tuple(m.weight.shape) for m in discriminator.body if isinstance(m, nn.Conv2d)]
    assert shapes == [(16, 3, 3, 3), (32, 16, 4, 4), (64, 32, 4, 4), (128, 64, 4, 4)]
    assert discriminator.feature_count == 128 * 4 * 4


def test_the_small_one_for_digits_has_the_size_of_the_measured_plan() -> None:
    config = DcganNetwork(width=16, blocks=2, latent=16, spectral_norm=True)
    generator, discriminator = build_pair(config, PictureForm(8, 1, 10), generator=drawn(0))
    assert generator.sites == ("h0", "h1", "code")
    assert sum(p.numel() for p in generator.parameters()) == 45_681
    assert sum(p.numel() for p in discriminator.parameters()) == 41_473


def test_at_inference_a_picture_follows_from_its_own_latent_alone() -> None:
    generator, _ = build_pair(SMALL, PictureForm(8, 1, 10), generator=drawn(0))
    for seed in range(3):
        generator(latents(seed=seed))  # running statistics that are not the defaults
    generator.eval()
    together, alone = generator(latents(4)), generator(latents(4)[:1])
    torch.testing.assert_close(together[:1], alone)
