"""cGAN-PD against a plain rewriting, class by class, and with what an evaluation does to BatchNorm."""

import pytest
import residual
import torch
from gans import CLASSES, computes_its_definition, labels, latents, normalised, small
from residual import judged as judged_without_classes
from torch import Tensor
from trainings import small_gan

from trainers.drawing import estimate_norms
from trainers.gan import GanTraining
from trainers.networks.cgan import ConditionalNorm, Discriminator, Generator
from trainers.pair_options import CganNetwork
from trainers.settings import L0, L1, L0Inf

SMALL = CganNetwork(width=4, discriminator_width=5, blocks=2, latent=6)


def of_classes(norm: ConditionalNorm, h: Tensor) -> Tensor:
    flat = normalised(norm.norm, h)
    return torch.stack([
        flat[i] * norm.gain.weight[y].view(-1, 1, 1) + norm.shift.weight[y].view(-1, 1, 1)
        for i, y in enumerate(labels(len(h)).tolist())
    ])  # fmt: skip


def generated(network: Generator, z: Tensor) -> Tensor:
    return residual.generated(network, z, of_classes)


def judged(network: Discriminator, x: Tensor) -> Tensor:
    vectors = network.of_class.weight[labels(len(x))]
    return judged_without_classes(network, x) + (vectors * network.features(x)).sum(1)


@pytest.mark.parametrize("spectral_norm", [False, True])
def test_both_compute_their_definition(spectral_norm: bool) -> None:
    config = SMALL.model_copy(update={"spectral_norm": spectral_norm})
    computes_its_definition(config, generated, judged)


def test_its_norms_are_estimated_anew_over_all_classes() -> None:
    """By hand: the first norm's mean is that of the maps that it gets from the same latents."""
    generator, _ = small("cgan")
    z, y = latents(8), labels(8)
    estimate_norms(generator, z, y, part=4)
    (entered, _) = generator.get_submodule("enter_h0")
    maps = generator.to_map(z)
    mean = (maps[:4].mean((0, 2, 3)) + maps[4:].mean((0, 2, 3))) / 2
    torch.testing.assert_close(entered.norm.running_mean, mean)


def test_what_is_scored_is_drawn_of_the_classes_that_were_asked_for() -> None:
    options = {"network": {"kind": "cgan", "width": 4, "discriminator_width": 5, "blocks": 2, "latent": 8}}
    settings = {"h0": L0Inf(k=2), "h1": L0(keep=0.25), "code": L1(weight=0.01)}
    training = GanTraining(small_gan(options=options, settings=settings), seed=0)
    training.step()
    first, second = training.evaluate(), training.evaluate()
    assert first[0] == second[0]
    assert first[0]["h0.density"] <= 2 / 4
    assert {name.partition(".")[0] for name in first[0] if "." in name} == {"h0", "h1", "code"}
    scored, _ = training.to_score()
    norms = [module for module in scored.modules() if isinstance(module, ConditionalNorm)]
    assert len(norms) == 4  # the vectors of classes are averaged with all other weights
    for norm in norms:
        assert any(torch.equal(norm.gain.weight, mean) for mean in training.averaged)
    z, y = training.fixed
    training.fixed = z, (y + 1) % CLASSES
    assert training.evaluate()[0]["fd_pixels"] != first[0]["fd_pixels"]
