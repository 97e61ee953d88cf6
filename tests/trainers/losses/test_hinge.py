"""The hinge loss against numbers by hand."""

import math

import pytest
import torch
from gans import PixelJudge, drawn, equal, pixels, state

from trainers.losses.hinge import Hinge


def test_it_is_the_missing_margin() -> None:
    judge = PixelJudge().double()
    loss = Hinge(judge)
    real, fake = pixels(0.5, -1.0, 2.0), pixels(-0.25, -7.0, 3.0)
    value = loss.discriminator(judge, real, fake, drawn(0))
    assert value.shape == ()
    assert value.item() == pytest.approx((0.5 + 2 + 0) / 3 + (0.75 + 0 + 4) / 3)
    assert loss.generator(judge, fake, drawn(0)).item() == pytest.approx((0.25 + 7 - 3) / 3)


def test_scores_beyond_the_margin_teach_the_discriminator_nothing_and_all_teach_the_generator() -> None:
    judge = PixelJudge().double()
    loss = Hinge(judge)
    real, fake = pixels(0.5, 1.5), pixels(-0.5, -1.5)
    loss.discriminator(judge, real, fake, drawn(0)).backward()
    assert real.images.grad.flatten().tolist() == [-0.5, 0]
    assert fake.images.grad.flatten().tolist() == [0.5, 0]
    fake.images.grad = None
    loss.generator(judge, fake, drawn(0)).backward()
    assert fake.images.grad.flatten().tolist() == [-0.5, -0.5]


def test_a_discriminator_that_cannot_tell_loses_two() -> None:
    judge = PixelJudge().double()
    assert Hinge(judge).discriminator(judge, pixels(0.0), pixels(0.0), drawn(0)).item() == 2


def test_a_score_that_is_not_finite_shows() -> None:
    judge = PixelJudge().double()
    assert torch.isnan(Hinge(judge).discriminator(judge, pixels(math.nan), pixels(0.0), drawn(0)))


def test_nothing_happens_after_the_discriminators_step() -> None:
    judge = PixelJudge()
    before = state(judge)
    Hinge(judge).after_discriminator_step(judge)
    assert equal(state(judge), before)
