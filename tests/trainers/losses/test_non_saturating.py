"""The non-saturating loss against numbers by hand."""

import math

import pytest
import torch
from gans import PixelJudge, drawn, equal, pixels, state

from trainers.losses.non_saturating import NonSaturating


def sigmoid(t: float) -> float:
    return 1 / (1 + math.exp(-t))


def test_it_is_the_cross_entropy_of_the_probabilities_that_scores_mean() -> None:
    judge = PixelJudge().double()
    loss = NonSaturating(judge)
    real, fake = pixels(0.5, -1.0, 2.0), pixels(-0.25, 0.0, 3.0)
    expected = sum(-math.log(sigmoid(s)) for s in (0.5, -1.0, 2.0)) / 3
    expected += sum(-math.log(1 - sigmoid(s)) for s in (-0.25, 0.0, 3.0)) / 3
    value = loss.discriminator(judge, real, fake, drawn(0))
    assert value.shape == ()
    assert value.item() == pytest.approx(expected)
    drawing = sum(-math.log(sigmoid(s)) for s in (-0.25, 0.0, 3.0)) / 3
    assert loss.generator(judge, fake, drawn(0)).item() == pytest.approx(drawing)


def test_its_gradients_are_the_probabilities_of_being_wrong() -> None:
    judge = PixelJudge().double()
    loss = NonSaturating(judge)
    real, fake = pixels(0.5, -1.0), pixels(-0.25, 3.0)
    loss.discriminator(judge, real, fake, drawn(0)).backward()
    assert real.images.grad.flatten().tolist() == pytest.approx([-sigmoid(-0.5) / 2, -sigmoid(1.0) / 2])
    assert fake.images.grad.flatten().tolist() == pytest.approx([sigmoid(-0.25) / 2, sigmoid(3.0) / 2])
    fake.images.grad = None
    loss.generator(judge, fake, drawn(0)).backward()
    assert fake.images.grad.flatten().tolist() == pytest.approx([-sigmoid(0.25) / 2, -sigmoid(-3.0) / 2])


def test_a_discriminator_that_cannot_tell_loses_twice_log_two() -> None:
    judge = PixelJudge().double()
    value = NonSaturating(judge).discriminator(judge, pixels(0.0), pixels(0.0), drawn(0))
    assert value.item() == pytest.approx(2 * math.log(2))


def test_it_neither_overflows_nor_saturates_for_the_generator() -> None:
    judge = PixelJudge().double()
    loss = NonSaturating(judge)
    assert loss.discriminator(judge, pixels(-1e5), pixels(1e5), drawn(0)).item() == pytest.approx(2e5)
    assert loss.discriminator(judge, pixels(1e5), pixels(-1e5), drawn(0)).item() == 0
    fake = pixels(-1e5)  # certainly recognised, as at the start
    loss.generator(judge, fake, drawn(0)).backward()
    assert fake.images.grad.item() == pytest.approx(-1)


def test_a_score_that_is_not_finite_shows() -> None:
    judge = PixelJudge().double()
    assert not torch.isfinite(
        NonSaturating(judge).discriminator(judge, pixels(math.nan), pixels(0.0), drawn(0))
    )


def test_nothing_happens_after_the_discriminators_step() -> None:
    judge = PixelJudge()
    before = state(judge)
    NonSaturating(judge).after_discriminator_step(judge)
    assert equal(state(judge), before)
