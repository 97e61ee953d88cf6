"""The Wasserstein loss against numbers by hand, and what is clipped."""

import pytest
import torch
from gans import PixelJudge, drawn, equal, pixels, small, state

from trainers.losses.wasserstein import Wasserstein


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
