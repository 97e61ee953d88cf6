"""What the contract has room for: a head that reads labels, say, is one class."""

import pytest
import torch
import torch.nn.functional as F
from gans import PixelJudge, drawn, images, pixels, small
from torch import Tensor, nn
from trainings import small_gan

from trainers.gan import GanTraining
from trainers.losses.build import LOSSES, build_loss
from trainers.losses.hinge import Hinge
from trainers.losses.loss import Batch, Loss, scores
from trainers.networks.pair import Discriminator


class Auxiliary(Hinge):
    """AC-GAN (arXiv 1610.09585): a head tells classes, of real pictures and of those that are asked for."""

    def __init__(self, network: Discriminator) -> None:
        super().__init__(network)
        self.head = nn.Linear(network.feature_count, network.form.classes)

    def discriminator(
        self, network: Discriminator, real: Batch, fake: Batch, draw: torch.Generator
    ) -> Tensor:
        told = F.cross_entropy(self.head(network.features(real.images)), real.labels)
        return super().discriminator(network, real, fake, draw) + told

    def generator(self, network: Discriminator, fake: Batch, draw: torch.Generator) -> Tensor:
        told = F.cross_entropy(self.head(network.features(fake.images)), fake.labels)
        return super().generator(network, fake, draw) + told


@pytest.mark.parametrize("kind", ["dcgan", "sngan"])
def test_a_loss_that_needs_more_is_one_class(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setitem(LOSSES, "new", Auxiliary)
    _, discriminator = small(kind)
    loss = build_loss("new", network=discriminator, generator=drawn(0))
    own = [parameter.detach().clone() for parameter in loss.parameters()]
    trained = [*discriminator.parameters(), *loss.parameters()]
    real, fake = (
        Batch(images(seed=1), torch.tensor([9, 0, 3, 3])),
        Batch(images(seed=2) / 2, torch.tensor([5, 1, 0, 8])),
    )
    adam = torch.optim.Adam(trained, lr=2e-3)
    values = []
    for _ in range(20):
        value = loss.discriminator(discriminator, real, fake, drawn(1))
        adam.zero_grad()
        value.backward()
        adam.step()
        values.append(float(value.detach()))
    assert min(values[-5:]) < values[0]
    assert not any(torch.equal(one, other) for one, other in zip(own, loss.parameters(), strict=True))


def test_a_head_learns_the_classes_of_the_pictures_that_are_trained_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing but the class itself is new: the networks and the training are ours, as they stand."""
    monkeypatch.setitem(LOSSES, "hinge", Auxiliary)
    options = {
        "loss": "hinge",
        "decay": "none",
        "batch": 64,
        "network": {"width": 8, "blocks": 2, "latent": 8},
    }
    training = GanTraining(small_gan(options=options | {"discriminator_lr": 5e-3}), seed=0)
    assert training.loss.head.out_features == 10
    shown = training.images.float() / 127.5 - 1

    def right() -> float:
        with torch.no_grad():
            told = training.loss.head(training.discriminator.features(shown)).argmax(1)
        return float((told == training.labels).float().mean())

    assert right() < 0.3
    for _ in range(30):
        training.step()
    assert right() > 0.6


def test_scores_come_apart_as_they_went_in() -> None:
    judge = PixelJudge().double()
    on_real, on_fake = scores(judge, pixels(1.0, 2.0, 3.0), pixels(4.0, 5.0))
    assert (on_real.tolist(), on_fake.tolist()) == ([1, 2, 3], [4, 5])
    assert len(judge.labels) == 1  # one pass over both


def test_the_contract_cannot_be_used_unfinished() -> None:
    with pytest.raises(TypeError, match="abstract"):
        Loss(PixelJudge())  # type: ignore[abstract]
