"""The contract of all feature extractors, and what is particular to those that are learned from the data."""

from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extractors import LEARNED, PRETRAINED, check_contract, noise, small_digits

from trainers import features, prepared
from trainers.datasets import Dataset
from trainers.features import EXTRACTORS, Classifier, Extractor, Pixels, extractor
from trainers.picture_options import FEATURES
from trainers.prepared import PLACE
from trainers.settings import Mistake

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(PLACE, str(tmp_path))
    return tmp_path


def test_every_extractor_is_tested() -> None:
    assert sorted(LEARNED + PRETRAINED) == sorted(EXTRACTORS)


def test_every_extractor_has_names_for_its_distances_and_the_other_way_round() -> None:
    assert list(EXTRACTORS) == list(FEATURES)


@pytest.mark.parametrize("name", LEARNED)
def test_the_contract_holds(name: str) -> None:
    digits = small_digits(200)
    made = extractor(name, dataset=digits, device="cpu")
    check_contract(made, name, digits.images[:7])
    assert made.shape == (1, 8, 8)
    assert dict(made.files) == {file: prepared.sha256_of(file) for file in made.files}
    assert made.digest in made.files.values()


@pytest.mark.parametrize("name", LEARNED)
@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 8, 8), (3, 64, 64)])
def test_colour_and_larger_pictures(name: str, shape: tuple[int, int, int]) -> None:
    data = Dataset(noise(40, *shape), torch.arange(40) % 2, 2, "noise")
    check_contract(extractor(name, dataset=data, device="cpu"), name, data.images[:4])


@pytest.mark.parametrize("name", LEARNED)
def test_what_was_made_is_kept(name: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digits = small_digits(200)
    first = extractor(name, dataset=digits, device="cpu")
    monkeypatch.setattr(features, "train_classifier", None)
    monkeypatch.setattr(features, "principal_components", None)
    again = extractor(name, dataset=digits, device="cpu")
    assert again.digest == first.digest
    assert torch.equal(again(digits.images), first(digits.images))
    assert [path.suffix for path in sorted(place.iterdir())] == [".lock", ".npz"]


@pytest.mark.parametrize("name", LEARNED)
def test_other_data_give_other_features(name: str) -> None:
    digits = small_digits(200)
    first = extractor(name, dataset=digits, device="cpu")
    other = extractor(name, dataset=small_digits(201), device="cpu")
    assert first.digest != other.digest
    assert not torch.equal(first(digits.images), other(digits.images))


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("classifier", "torch"),
        ("classifier", "numpy"),
        ("pixels", "torch"),
        ("pixels", "numpy"),
        ("pixels", "scikit-learn"),
    ],
)
def test_what_another_version_has_made_is_not_used(
    name: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    digits, installed = small_digits(100), metadata.version
    first = extractor(name, dataset=digits, device="cpu").files
    other = {package: "9.9"}
    monkeypatch.setattr(metadata, "version", lambda asked: other.get(asked) or installed(asked))
    assert not first.keys() & extractor(name, dataset=digits, device="cpu").files.keys()


def test_the_classifier_says_how_good_it_is_and_leaves_the_threads() -> None:
    threads = torch.get_num_threads()
    made = Classifier(small_digits(400), CPU)
    assert 0.8 < made.accuracy <= 1
    assert Classifier(small_digits(400), CPU).accuracy == made.accuracy
    assert made.dim == 64
    assert torch.get_num_threads() == threads


def test_pixels_are_a_projection() -> None:
    digits = small_digits(200)
    made = Pixels(digits, CPU)
    rows = digits.images.flatten(1).double().numpy() / 255
    projected = made(digits.images).numpy()
    assert made.dim == 32
    assert projected.mean(axis=0) == pytest.approx(np.zeros(32), abs=1e-5)
    variances = np.linalg.eigvalsh(np.cov(rows.T))[::-1]
    assert projected.var(axis=0, ddof=1) == pytest.approx(variances[:32], rel=1e-3)


def test_pixels_have_as_many_dimensions_as_the_data() -> None:
    few = Dataset(noise(3, 1, 8, 8)[torch.arange(30) % 3], torch.zeros(30).long(), 1, "few")
    made = Pixels(few, CPU)
    assert made.dim == 2
    assert made(few.images).shape == (30, 2)


class Mean(Extractor):
    """Features that a user might add."""

    name, dim, digest, device = "pixels", 1, "0" * 64, CPU

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return images.float().mean((1, 2, 3))[:, None]


CUDNN: Any = torch.backends.cudnn  # whose `conv` torch does not declare
PLACES = CUDNN.conv, torch.backends.cuda.matmul


class Precision(Mean):
    """Notes what a GPU would round to while features are computed."""

    def features(self, images: torch.Tensor) -> torch.Tensor:
        self.noted = [place.fp32_precision for place in PLACES]
        return super().features(images)


class Fails(Mean):
    def features(self, images: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("features failed")


@pytest.fixture
def tf32_everywhere() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    yield
    torch.set_float32_matmul_precision(before)


def test_features_are_computed_in_whole_floats(tf32_everywhere: None) -> None:
    """By default a GPU's convolutions round to 10 bits, so that its distances were not a CPU's."""
    images, by = small_digits(3).images, Precision()
    assert [place.fp32_precision for place in PLACES] == ["tf32", "tf32"]
    by(images)
    assert by.noted == ["ieee", "ieee"]
    with pytest.raises(RuntimeError, match="features failed"):
        Fails()(images)
    assert [place.fp32_precision for place in PLACES] == ["tf32", "tf32"]
    assert torch.backends.cudnn.allow_tf32 and torch.backends.cuda.matmul.allow_tf32


@pytest.mark.parametrize(
    "images",
    [
        torch.zeros(2, 1, 8, 8),
        torch.zeros(2, 2, 8, 8, dtype=torch.uint8),
        torch.zeros(2, 8, 8, dtype=torch.uint8),
    ],
)
def test_other_things_than_pictures_are_refused(images: torch.Tensor) -> None:
    with pytest.raises(
        ValueError, match=r"the pictures are .*, but features are taken of N×1×S×S or N×3×S×S"
    ):
        Mean()(images)


def test_pictures_of_another_shape_are_refused() -> None:
    made = Pixels(small_digits(50), CPU)
    with pytest.raises(ValueError, match=r"have the shape \(1, 16, 16\), but .* 'pixels' .* \(1, 8, 8\)"):
        made(noise(2, 1, 16, 16))


@pytest.mark.parametrize("name", LEARNED)
def test_without_data_there_is_nothing_to_make_them_from(name: str) -> None:
    with pytest.raises(Mistake, match=f"the features '{name}' are made from a data set, but there is none"):
        extractor(name, dataset=None, device="cpu")


def test_a_classifier_needs_labels() -> None:
    unlabelled = Dataset(noise(20, 1, 8, 8), torch.zeros(20).long(), 1, "holidays")
    with pytest.raises(
        Mistake, match=r"fd_classifier needs labels, but holidays has none: take fd_\w+ or fd"
    ):
        extractor("classifier", dataset=unlabelled, device="cpu")


def test_pictures_that_are_all_the_same_have_no_pixel_features(place: Path) -> None:
    black = Dataset(torch.zeros(20, 1, 8, 8, dtype=torch.uint8), torch.zeros(20).long(), 1, "black")
    with pytest.raises(Mistake, match=r"fd_pixels cannot be measured on black: all 20 pictures are the same"):
        extractor("pixels", dataset=black, device="cpu")
    assert list(place.glob("*.npz")) == []


def test_unknown_features_are_refused_with_the_known_ones() -> None:
    with pytest.raises(
        Mistake, match="'vgg', but the known ones are inception, efficientnet_lite0, classifier"
    ):
        extractor("vgg", dataset=None, device="cpu")
