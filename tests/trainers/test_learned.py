"""The small classifier and the principal components against what they claim and other ways there."""

import numpy as np
import pytest
import torch
from extractors import noise, small_digits
from torch import Tensor

from trainers import datasets, learned
from trainers.learned import SmallClassifier, principal_components, train_classifier
from trainers.networks.draws import DrawFrom


def test_digits_are_told_apart() -> None:
    digits = datasets.load("digits", size=8)
    network, accuracy = train_classifier(digits.images, digits.labels, digits.classes)
    assert accuracy > 0.98
    with torch.no_grad():
        right = (network(digits.images).argmax(1) == digits.labels).double().mean()
    assert right > 0.99  # most of these it was trained on
    features = network.features(digits.images)
    assert features.shape == (1797, learned.WIDTH)
    assert features.min() >= 0
    assert (features.std(dim=0) > 0).sum() > learned.WIDTH / 2


def test_accuracy_is_that_of_pictures_it_never_saw() -> None:
    """Labels without any relation to the pictures can be learnt by heart, and not be guessed."""
    pictures = noise(600, 1, 8, 8)
    labels = torch.randint(0, 2, (600,), generator=torch.Generator().manual_seed(1))
    network, accuracy = train_classifier(pictures, labels, 2)
    with torch.no_grad():
        known = (network(pictures).argmax(1) == labels).double().mean()
    assert known > 0.8
    assert 0.3 < accuracy < 0.7


def test_the_seed_alone_decides() -> None:
    digits = small_digits(120)
    before = torch.get_rng_state()
    first, accuracy = train_classifier(digits.images, digits.labels, 10, seed=1)
    torch.rand(5)
    again, accuracy_again = train_classifier(digits.images, digits.labels, 10, seed=1)
    other, _ = train_classifier(digits.images, digits.labels, 10, seed=2)
    assert accuracy == accuracy_again
    for name, weight in first.state_dict().items():
        assert torch.equal(weight, again.state_dict()[name])
    assert not torch.equal(first.last.weight, other.last.weight)
    torch.set_rng_state(before)
    train_classifier(digits.images, digits.labels, 10)
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 9, 16, 28, 32, 64])
def test_every_size_and_colour_trains(channels: int, size: int) -> None:
    pictures, labels = noise(20, channels, size, size), torch.arange(20) % 3
    network, accuracy = train_classifier(pictures, labels, 3)
    assert 0 <= accuracy <= 1
    assert network(pictures).shape == (20, 3)
    features = network.features(pictures)
    assert features.shape == (20, 64)
    assert features.isfinite().all()
    assert features.std(dim=0).max() > 0


def test_two_pictures_are_enough_to_run() -> None:
    _, accuracy = train_classifier(noise(2, 1, 8, 8), torch.tensor([0, 1]), 2)
    assert accuracy in (0, 1)


def test_normalisation_folds_away() -> None:
    with DrawFrom(torch.Generator().manual_seed(0)):
        network = SmallClassifier(3, 16, 5, normalised=True)
    pictures = noise(50, 3, 16, 16)
    network(pictures)  # gives the normalisation statistics of its own
    plain = network.plain()
    kinds = {type(module).__name__ for module in plain.modules()}
    assert "BatchNorm2d" not in kinds
    network.eval()
    with torch.no_grad():
        assert torch.allclose(plain(pictures), network(pictures), atol=1e-5)
        assert torch.allclose(plain.features(pictures), network.features(pictures), atol=1e-5)
        network.last.weight.zero_()
        assert plain.last.weight.abs().max() > 0, "it shares its weights with the one it came from"
    assert network.norms[0].weight.requires_grad, "the one it came from stays as it was"
    assert not any(parameter.requires_grad for parameter in plain.parameters())


def pixels_of(pictures: Tensor) -> np.ndarray:
    return pictures.flatten(1).numpy().astype(np.float64) / 255


def test_components_are_those_of_the_singular_value_decomposition() -> None:
    digits = small_digits()
    mean, components = principal_components(digits.images)
    pixels = pixels_of(digits.images)
    _, _, expected = np.linalg.svd(pixels - pixels.mean(axis=0))
    assert mean == pytest.approx(pixels.mean(axis=0), abs=1e-6)
    assert components.shape == (32, 64)
    assert components @ components.T == pytest.approx(np.eye(32), abs=1e-5)
    assert np.abs((components * expected[:32]).sum(axis=1)) == pytest.approx(np.ones(32), abs=1e-4)
    assert {mean.dtype, components.dtype} == {np.dtype(np.float32)}


def test_as_many_components_as_the_data_have() -> None:
    three = noise(3, 3, 8, 8)
    chosen = torch.arange(90) % 3
    mean, components = principal_components(three[chosen])
    assert components.shape == (2, 192)  # three points span a plane
    rest = pixels_of(three) - mean
    assert rest @ components.T @ components == pytest.approx(rest, abs=1e-4)
    assert principal_components(noise(5, 1, 8, 8))[1].shape == (4, 64)


def test_pictures_that_are_all_the_same_have_none() -> None:
    with pytest.raises(ValueError, match=r"all 40 pictures are the same"):
        principal_components(noise(1, 1, 8, 8).expand(40, 1, 8, 8))


def test_of_many_pictures_some_are_drawn_by_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "MOST_VALUES", 1)  # so 320 pictures
    digits = small_digits()
    first, again, other = (principal_components(digits.images, seed=seed)[0] for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, principal_components(digits.images[:320])[0])  # they may be sorted


def test_large_pictures_cost_no_square_of_their_pixels() -> None:
    """A covariance of 49,152 pixels would take 19 GB."""
    assert principal_components(noise(40, 3, 128, 128))[1].shape == (32, 49_152)
