"""The rotation loss against its definition, and a head that learns to tell turned pictures apart."""

import pytest
import torch
from gans import drawn, equal, images, labels, small, state
from torch import Tensor
from trainings import small_gan

from trainers import gan
from trainers.losses.build import build_loss
from trainers.losses.hinge import Hinge
from trainers.losses.loss import Batch
from trainers.losses.rotation import Rotation
from trainers.networks.pair import Discriminator
from trainers.settings import Mistake


def told(loss: Rotation, network: Discriminator, x: Tensor) -> float:
    """-log of the probability of the right answer, over a quarter of the pictures in four directions."""
    logs = []
    for picture in x[: len(x) // 4]:
        for turns in range(4):
            turned = picture[None]
            for _ in range(turns):
                turned = turned.transpose(2, 3).flip(2)  # 90 degrees against the clock
            p = loss.head(network.features(turned)).softmax(1)
            logs.append(-p[0, turns].log().item())
    return sum(logs) / len(logs)


@pytest.mark.parametrize("kind", ["dcgan", "cgan"])
def test_it_is_hinge_plus_what_the_head_says_of_turned_pictures(kind: str) -> None:
    _, discriminator = small(kind)
    discriminator.double().eval()
    loss, hinge = Rotation(discriminator).double(), Hinge(discriminator)
    real, fake = (Batch(images(count=8, seed=seed).double(), labels(8)) for seed in (1, 2))
    value = loss.discriminator(discriminator, real, fake, drawn(0))
    plain = hinge.discriminator(discriminator, real, fake, drawn(0))
    assert value.shape == ()
    assert (value - plain).item() == pytest.approx(told(loss, discriminator, real.images), rel=1e-9)
    value, plain = (one.generator(discriminator, fake, drawn(0)) for one in (loss, hinge))
    assert (value - plain).item() == pytest.approx(0.2 * told(loss, discriminator, fake.images), rel=1e-9)


def test_a_head_that_knows_nothing_costs_log_four() -> None:
    _, discriminator = small("dcgan")
    loss, hinge = Rotation(discriminator), Hinge(discriminator)
    with torch.no_grad():
        for parameter in loss.parameters():
            parameter.zero_()
    real, fake = (Batch(images(count=2, seed=seed), labels(2)) for seed in (1, 2))  # fewer than a quarter
    values = [one.discriminator(discriminator, real, fake, drawn(0)) for one in (loss, hinge)]
    assert (values[0] - values[1]).item() == pytest.approx(torch.tensor(4.0).log().item(), rel=1e-5)


def test_what_it_owns_is_drawn_from_the_generator_and_saved_with_it() -> None:
    _, discriminator = small("sngan")
    first, same, other = (
        build_loss("rotation", network=discriminator, generator=drawn(seed)) for seed in (0, 0, 1)
    )
    assert first.state_dict().keys() == {"head.weight", "head.bias"}
    assert equal(state(first), state(same))
    assert not equal(state(first), state(other))


def test_in_a_training_it_learns_how_pictures_are_turned() -> None:
    options = {"loss": "rotation", "decay": "none", "batch": 64, "discriminator_lr": 5e-3}
    network = {"width": 8, "blocks": 2, "latent": 8}
    training = gan.GanTraining(small_gan(options=options | {"network": network}), seed=0)
    shown = training.images[:400].float() / 127.5 - 1

    def right() -> float:
        with torch.no_grad():
            answers = [
                training.loss.head(training.discriminator.features(shown.rot90(i, (2, 3)))).argmax(1) == i
                for i in range(4)
            ]
        return float(torch.cat(answers).float().mean())

    assert right() < 0.4
    for _ in range(40):
        training.step()
    assert right() > 0.6


def test_a_discriminator_without_features_is_refused_before_the_first_trial() -> None:
    network = {"kind": "own_networks:Shared", "discriminator": "own_networks:Judge"}
    plan = small_gan(options={"network": network, "loss": "rotation"})
    with pytest.raises(Mistake, match=r"plan\.loss reads features .* 'own_networks:Judge', one of your own"):
        gan.prepare(plan)
