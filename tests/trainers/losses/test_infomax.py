"""InfoMax-GAN's loss against its definition, and projections that learn which picture a part is of."""

import pytest
import torch
from gans import drawn, equal, images, labels, small, state
from torch.nn.utils import parametrize
from trainings import small_gan

from trainers import gan
from trainers.losses.build import build_loss
from trainers.losses.hinge import Hinge
from trainers.losses.infomax import Infomax, contrast
from trainers.losses.loss import Batch
from trainers.networks.pair import Discriminator
from trainers.settings import Mistake


def told(parts: torch.Tensor, pictures: torch.Tensor) -> float:
    """-log of the probability that a part is this picture's, over all of them, by its definition."""
    logs = []
    for i, picture in enumerate(pictures):
        others = sum(float((picture @ part).exp()) for j, of_j in enumerate(parts) if j != i for part in of_j)
        for part in parts[i]:
            own = float((picture @ part).exp())
            logs.append(-torch.tensor(own / (own + others), dtype=torch.float64).log().item())
    return sum(logs) / len(logs)


def projected(loss: Infomax, network: Discriminator, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Parts N×P×1024 and pictures N×1024, position by position."""
    last_map = network.last_map(x)
    height, width = last_map.shape[2:]
    parts = [loss.of_part(last_map[:, :, row, column]) for row in range(height) for column in range(width)]
    return torch.stack(parts, dim=1), loss.of_picture(network.features(x))


def test_the_contrast_is_its_definition() -> None:
    parts, pictures = (
        torch.randn(*shape, generator=drawn(seed)).double() for seed, shape in ((0, (3, 4, 5)), (1, (3, 5)))
    )
    assert contrast(parts, pictures).item() == pytest.approx(told(parts, pictures), rel=1e-12)


def test_parts_that_tell_nothing_cost_the_log_of_how_many_there_are() -> None:
    """One right part against four of each of two other pictures."""
    value = contrast(torch.zeros(3, 4, 5), torch.zeros(3, 5))
    assert value.item() == pytest.approx(torch.tensor(9.0).log().item())


@pytest.mark.parametrize("kind", ["dcgan", "infomax", "cgan"])
def test_it_is_hinge_plus_a_fifth_of_what_the_parts_tell(kind: str) -> None:
    _, discriminator = small(kind)
    discriminator.double().eval()
    loss, hinge = Infomax(discriminator).double().eval(), Hinge(discriminator)
    real, fake = (Batch(images(count=3, seed=seed).double(), labels(3)) for seed in (1, 2))
    for batch, values in (
        (real, [one.discriminator(discriminator, real, fake, drawn(0)) for one in (loss, hinge)]),
        (fake, [one.generator(discriminator, fake, drawn(0)) for one in (loss, hinge)]),
    ):
        assert values[0].shape == ()
        expected = 0.2 * told(*(one.detach() for one in projected(loss, discriminator, batch.images)))
        assert (values[0] - values[1]).item() == pytest.approx(expected, rel=1e-9)


def test_one_picture_alone_has_nothing_to_be_told_from_and_teaches_nothing() -> None:
    parts, pictures = torch.randn(1, 4, 5, requires_grad=True), torch.randn(1, 5, requires_grad=True)
    value = contrast(parts, pictures)
    value.backward()
    assert value.item() == 0
    assert (parts.grad.abs().max(), pictures.grad.abs().max()) == (0, 0)


def test_what_it_owns_is_under_spectral_norm_drawn_from_the_generator_and_saved_with_it() -> None:
    _, discriminator = small("infomax", spectral_norm=False)
    first, same, other = (
        build_loss("infomax", network=discriminator, generator=drawn(seed)) for seed in (0, 0, 1)
    )
    layers = [layer for layer in first.modules() if isinstance(layer, torch.nn.Linear)]
    assert len(layers) == 6
    assert all(parametrize.is_parametrized(layer, "weight") for layer in layers)
    assert equal(state(first), state(same))
    assert not equal(state(first), state(other))


def test_with_the_discriminator_it_learns_which_picture_a_part_is_of() -> None:
    _, discriminator = small("dcgan")
    loss = build_loss("infomax", network=discriminator, generator=drawn(0))
    real, fake = (Batch(images(16, seed=seed), labels(16)) for seed in (1, 2))
    adam = torch.optim.Adam([*discriminator.parameters(), *loss.parameters()], lr=1e-2)

    def cost() -> float:
        with torch.no_grad():
            return contrast(*projected(loss, discriminator, real.images)).item()

    before = cost()
    for _ in range(40):
        adam.zero_grad()
        loss.discriminator(discriminator, real, fake, drawn(0)).backward()
        adam.step()
    assert cost() < before - 0.3


def test_a_discriminator_without_features_is_refused_before_the_first_trial() -> None:
    network = {"kind": "own_networks:Shared", "discriminator": "own_networks:Judge"}
    plan = small_gan(options={"network": network, "loss": "infomax"})
    with pytest.raises(Mistake, match=r"plan\.loss reads features .* 'own_networks:Judge', one of your own"):
        gan.prepare(plan)
