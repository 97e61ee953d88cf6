"""The Wasserstein loss against numbers by hand, and what is clipped."""

from collections.abc import Callable

import pytest
import torch
from gans import PixelJudge, drawn, equal, pixels, small, state
from torch import nn
from trainings import small_gan

from trainers import gan
from trainers.losses.wasserstein import Wasserstein
from trainers.pair_options import PAIRS
from trainers.settings import Mistake


def test_it_is_the_difference_of_the_mean_scores() -> None:
    judge = PixelJudge().double()
    loss = Wasserstein(judge)
    real, fake = pixels(0.5, -1.0, 3.5), pixels(-0.5, 2.0)
    value = loss.discriminator(judge, real, fake, drawn(0))
    assert value.shape == ()
    assert value.item() == pytest.approx(0.75 - 1.0)
    assert loss.generator(judge, fake, drawn(0)).item() == pytest.approx(-0.75)


def test_after_a_step_of_the_discriminator_all_its_weights_are_within_a_hundredth() -> None:
    _, discriminator = small("dcgan")
    before = state(discriminator)
    Wasserstein(discriminator).after_discriminator_step(discriminator)
    after = state(discriminator)
    clipped = {name: value.clamp(-0.01, 0.01) for name, value in before.items()}
    assert equal(after, clipped)
    assert not any(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.requires_grad for parameter in discriminator.parameters())


@pytest.mark.parametrize("kind", PAIRS)
def test_a_discriminator_under_spectral_norm_is_refused(kind: str) -> None:
    told = r"plan.loss is wasserstein, .* clipping its weights, but its \w+(\.\w+)* has spectral norm, under "
    with pytest.raises(Mistake, match=told):
        Wasserstein(small(kind, spectral_norm=True)[1])
    Wasserstein(small(kind, spectral_norm=False)[1])


@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm])
def test_so_is_one_under_pytorchs_own(norm: Callable[[nn.Module], nn.Module]) -> None:
    _, judge = small("dcgan", spectral_norm=False)
    norm(judge.get_submodule("body.2"))
    with pytest.raises(Mistake, match=r"but its body\.2 has spectral norm"):
        Wasserstein(judge)


def test_a_plan_of_such_a_pair_is_refused_before_the_first_trial() -> None:
    with pytest.raises(Mistake, match=r"take it away \(spectral_norm: false\), or another loss"):
        gan.prepare(small_gan(options={"loss": "wasserstein"}))
