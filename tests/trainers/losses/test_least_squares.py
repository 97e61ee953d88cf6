"""The least-squares loss against numbers by hand."""

import math

import pytest
import torch
from gans import PixelJudge, drawn, pixels

from trainers.losses.least_squares import LeastSquares


def test_it_is_half_the_squared_distance_from_one_and_from_zero() -> None:
    judge = PixelJudge().double()
    loss = LeastSquares(judge)
    real, fake = pixels(0.5, -1.0, 3.0), pixels(-0.5, 2.0)
    value = loss.discriminator(judge, real, fake, drawn(0))
    assert value.shape == ()
    assert value.item() == pytest.approx((0.25 + 4 + 4) / 6 + (0.25 + 4) / 4)
    assert loss.generator(judge, fake, drawn(0)).item() == pytest.approx((2.25 + 1) / 4)


def test_every_score_but_the_target_teaches() -> None:
    judge = PixelJudge().double()
    loss = LeastSquares(judge)
    real, fake = pixels(1.0, 3.0), pixels(0.0, -0.5)
    loss.discriminator(judge, real, fake, drawn(0)).backward()
    assert real.images.grad.flatten().tolist() == [0, 1]
    assert fake.images.grad.flatten().tolist() == [0, -0.25]
    fake.images.grad = None
    loss.generator(judge, fake, drawn(0)).backward()
    assert fake.images.grad.flatten().tolist() == [-0.5, -0.75]


def test_a_score_that_is_not_finite_shows() -> None:
    judge = PixelJudge().double()
    assert torch.isnan(LeastSquares(judge).discriminator(judge, pixels(math.nan), pixels(0.0), drawn(0)))
