"""The gradient penalty against autograd of its definition, picture by picture, and against closed forms."""

import pytest
import torch
from gans import PixelJudge, drawn, images, labels, pixels, small, state
from torch import nn
from trainings import small_gan

from trainers import gan
from trainers.losses.loss import Batch
from trainers.losses.wasserstein_gp import WassersteinGp, penalty
from trainers.settings import Mistake


def test_the_slope_of_a_line_is_its_weight() -> None:
    judge = PixelJudge().double()
    nn.init.constant_(judge.score.weight, 3.0)
    loss = WassersteinGp(judge)
    real, fake = pixels(0.5, -1.0), pixels(-0.5, 2.0)
    value = loss.discriminator(judge, real, fake, drawn(0))
    assert value.shape == ()
    assert value.item() == pytest.approx(3 * 0.75 - 3 * -0.25 + 10 * (3 - 1) ** 2)
    value.backward()  # d/dw of w · 1 + 10 (w - 1)²
    assert judge.score.weight.grad.item() == pytest.approx(1 + 20 * 2)
    assert loss.generator(judge, fake, drawn(0)).item() == pytest.approx(-3 * 0.75)


@pytest.mark.parametrize("kind", ["dcgan", "sagan", "cgan"])
def test_it_and_its_gradients_are_those_of_the_definition_for_each_picture(kind: str) -> None:
    _, discriminator = small(kind)
    discriminator.double().eval()  # spectral norm stands still
    real = Batch(images(seed=1).double(), labels())
    fake = Batch(images(seed=2).double(), labels().flip(0))
    shares = torch.rand(4, 1, 1, 1, generator=drawn(3), dtype=torch.float64)
    weights = dict(discriminator.named_parameters())

    def squared(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        slope = torch.func.jacrev(lambda one: discriminator(one[None], y[None])[0])(x)
        return (slope.square().sum().sqrt() - 1) ** 2

    between = shares * real.images + (1 - shares) * fake.images
    expected = sum(squared(x, y) for x, y in zip(between, real.labels, strict=True)) / 4
    found = penalty(discriminator, real, fake, drawn(3))
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    ours, theirs = (
        torch.autograd.grad(value, list(weights.values()), allow_unused=True) for value in (found, expected)
    )
    assert sum(one is not None for one in ours) >= 4
    for name, one, other in zip(weights, ours, theirs, strict=True):
        zero = torch.zeros_like(weights[name])
        torch.testing.assert_close(
            zero if one is None else one, zero if other is None else other, rtol=1e-7, atol=1e-10, msg=name
        )


def test_each_picture_has_a_share_of_its_own_from_the_generator_that_is_given() -> None:
    judge = PixelJudge().double()
    seen = []
    judge.body = nn.Identity()
    judge.features = lambda images: (seen.append(images.detach().flatten()), images.flatten(1))[1]
    penalty(judge, pixels(1.0, 1.0, 1.0), pixels(0.0, 0.0, 0.0), drawn(4))
    assert seen[0].tolist() == torch.rand(3, generator=drawn(4), dtype=torch.float64).tolist()


def test_a_slope_of_zero_has_a_gradient() -> None:
    judge = PixelJudge().double()
    nn.init.zeros_(judge.score.weight)
    value = penalty(judge, pixels(1.0), pixels(0.0), drawn(0))
    value.backward()
    assert value.item() == 1
    assert torch.isfinite(judge.score.weight.grad).all()


def test_nothing_is_clipped() -> None:
    _, discriminator = small("dcgan")
    before = state(discriminator)
    WassersteinGp(discriminator).after_discriminator_step(discriminator)
    assert all(torch.equal(before[name], value) for name, value in state(discriminator).items())


def test_a_discriminator_whose_scores_depend_on_their_neighbours_is_refused() -> None:
    network = {"kind": "own_networks:Shared", "discriminator": "own_networks:normed_judge"}
    plan = small_gan(options={"network": network, "loss": "wasserstein_gp"})
    with pytest.raises(
        Mistake, match=r"wasserstein_gp, .* discriminator's network\.1 is a BatchNorm, which mixes"
    ):
        gan.prepare(plan)
    gan.prepare(small_gan(options={"network": network, "loss": "least_squares"}))
