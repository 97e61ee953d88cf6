"""Training pictures: what a data set is, resizing, colour and grey, and a part of the data."""

import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from data_files import pictures, write_idx
from hypothesis import given
from hypothesis import strategies as st

from trainers import images
from trainers.datasets import Dataset, limited, load
from trainers.settings import Mistake


@pytest.fixture(autouse=True)
def every_warning_counts() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def dataset(sizes: list[int], name: str = "made") -> Dataset:
    """So many pictures of each class, in random order; a picture's first two pixels are its number."""
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    made = torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8)
    made[:, 0, 0, 0] = torch.arange(len(labels)) // 256
    made[:, 0, 0, 1] = torch.arange(len(labels)) % 256
    return Dataset(made, torch.from_numpy(labels), len(sizes), name)


def numbers(part: Dataset) -> list[int]:
    return (part.images[:, 0, 0, 0].int() * 256 + part.images[:, 0, 0, 1]).tolist()


# --- what a data set is ----------------------------------------------------------------------------


def test_the_fingerprint_is_that_of_pixels_labels_and_shape_alone() -> None:
    whole = Dataset(torch.from_numpy(pictures(6, 3, 8, 8)), torch.tensor([0, 1, 2, 0, 1, 2]), 3, "a")
    same = Dataset(whole.images.clone(), whole.labels.clone(), 3, "another name")
    assert whole.fingerprint() == same.fingerprint()
    channels_last = whole.images.contiguous(memory_format=torch.channels_last)
    assert Dataset(channels_last, whole.labels, 3, "a").fingerprint() == whole.fingerprint()
    pixel, label = whole.images.clone(), whole.labels.clone()
    pixel[5, 2, 7, 7] ^= 1
    label[5] = 1
    others = [
        Dataset(pixel, whole.labels, 3, "a"),
        Dataset(whole.images, label, 3, "a"),
        Dataset(whole.images, whole.labels, 4, "a"),
        Dataset(whole.images.flip(0), whole.labels, 3, "a"),
    ]
    assert len({one.fingerprint() for one in [whole, *others]}) == 5


def test_the_shape_enters_the_fingerprint() -> None:
    flat = torch.zeros(12 * 64, dtype=torch.uint8)
    grey = Dataset(flat.view(12, 1, 8, 8), torch.zeros(12).long(), 1, "a")
    large = Dataset(flat.view(3, 1, 16, 16), torch.zeros(3).long(), 1, "a")
    assert grey.fingerprint() != large.fingerprint()


@pytest.mark.parametrize(
    ("images", "labels", "told"),
    [
        (torch.zeros(4, 1, 8, 8), torch.zeros(4).long(), r"images of 'a' are torch.float32 of shape \(4, 1"),
        (
            torch.zeros(4, 8, 8).byte(),
            torch.zeros(4).long(),
            r"shape \(4, 8, 8\), but they must be torch.uint8",
        ),
        (torch.zeros(4, 2, 8, 8).byte(), torch.zeros(4).long(), "with 1 or 3 channels"),
        (torch.zeros(4, 1, 8, 9).byte(), torch.zeros(4).long(), "N×C×S×S"),
        (torch.zeros(4, 1, 8, 8).byte(), torch.zeros(3).long(), "one torch.int64 for each of 4 images"),
        (torch.zeros(4, 1, 8, 8).byte(), torch.zeros(4).int(), "labels of 'a' are torch.int32"),
        (torch.zeros(2, 1, 8, 8).byte(), torch.tensor([0, 2]), "run from 0 to 2, but with 2 classes"),
        (torch.zeros(2, 1, 8, 8).byte(), torch.tensor([-1, 1]), "run from -1 to 1.* must lie in 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused(images: torch.Tensor, labels: torch.Tensor, told: str) -> None:
    with pytest.raises(Mistake, match=told):
        Dataset(images, labels, 2, "a")


# --- size and channels -----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [8, 13, 16, 32, 50])
def test_resizing_is_bilinear_with_antialiasing_rounded_once(size: int, tmp_path: Path) -> None:
    made = pictures(1010, 28, 28)  # more than are resized at a time
    write_idx(tmp_path, made, np.zeros(1010, np.uint8))
    ours = load("mnist", root=str(tmp_path), size=size).images
    assert ours.shape == (1010, 1, size, size) and ours.dtype == torch.uint8
    exact = F.interpolate(
        torch.from_numpy(made)[:, None].double(), (size, size), mode="bilinear", antialias=True
    )
    assert (ours - exact).abs().max() <= 0.5 + 1e-5
    for i in (0, 1009):
        pillow = images.square(made[i, :, :, None] / np.float32(255), size)[..., 0] * 255
        assert np.abs(ours[i, 0].numpy() - pillow).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("size", [9, 13, 27, 55])
def test_halves_are_rounded_up_whatever_a_processors_last_bit_says(size: int, tmp_path: Path) -> None:
    made = np.zeros((4, 28, 28), np.uint8)
    made[:, :, 14:] = 1
    write_idx(tmp_path, made, np.zeros(4, np.uint8))
    resized = load(
        "mnist", root=str(tmp_path), size=size
    ).images  # its middle column weighs both halves alike
    middle = size // 2
    assert resized[..., :middle].max() == 0 and resized[..., middle:].min() == 1


def test_black_and_white_stay_black_and_white(tmp_path: Path) -> None:
    made = np.zeros((4, 28, 28), np.uint8)
    made[2:] = 255
    write_idx(tmp_path, made, np.zeros(4, np.uint8))
    for size in (9, 32, 61):
        large = load("mnist", root=str(tmp_path), size=size).images
        assert large[:2].max() == 0 and large[2:].min() == 255


def refused(told: str, data: str, **options: Any) -> None:
    with pytest.raises(Mistake, match=told) as caught:
        load(data, **{"size": 16} | options)
    assert "\n" not in str(caught.value)


def test_grey_where_colour_is_asked_is_refused() -> None:
    refused(
        "plan.channels is 3, but the pictures of 'digits' are grey: leave it out or set", "digits", channels=3
    )
    assert load("digits", size=8, channels=1).images.shape == (1797, 1, 8, 8)


def test_impossible_sizes_and_channels_are_refused() -> None:
    refused("size is 7, but pictures need at least 8 pixels a side", "digits", size=7)
    refused(r"channels is 2, but it must be 1 \(grey\), 3 \(colour\) or None", "digits", channels=2)


# --- a part of the data ----------------------------------------------------------------------------


def draw(whole: Dataset, limit: float | None, seed: int = 0, batch: int = 2) -> Dataset:
    return limited(whole, limit, generator=np.random.default_rng(seed), batch=batch)


def too_few(whole: Dataset, limit: Any, told: str, batch: int = 2) -> None:
    with pytest.raises(Mistake, match=told):
        draw(whole, limit, batch=batch)


def test_without_a_limit_or_with_all_the_data_stay_as_they_are() -> None:
    whole = dataset([10, 20])
    assert draw(whole, None) is whole
    assert draw(whole, 30) is whole


@pytest.mark.parametrize(("limit", "counts"), [(0.25, [25, 10, 50]), (0.1, [10, 4, 20]), (17, [5, 2, 10])])
def test_a_part_keeps_the_shares_of_the_classes(limit: float, counts: list[int]) -> None:
    whole = dataset([100, 40, 200])
    part = draw(whole, limit)
    assert part.labels.bincount().tolist() == counts
    assert (part.classes, part.name) == (3, "made")
    kept = numbers(part)
    assert kept == sorted(set(kept))
    assert torch.equal(part.labels, whole.labels[kept])
    assert torch.equal(part.images, whole.images[kept])


@given(st.lists(st.integers(0, 40), min_size=1, max_size=6), st.data())
def test_any_count_is_met_exactly_and_each_class_to_less_than_one(sizes: list[int], data: Any) -> None:
    whole = dataset(sizes)
    if len(whole) < 2:
        return
    limit = data.draw(st.integers(2, len(whole)))
    exact = np.array(sizes) * limit / len(whole)
    try:
        part = draw(whole, limit)
    except Mistake as error:
        assert "leaves no picture of class" in str(error)
        assert exact[exact > 0].min() < 1
        return
    assert len(part) == limit
    counts = part.labels.bincount(minlength=len(sizes)).numpy()
    assert np.all(np.abs(counts - exact) < 1)


def test_a_seed_draws_the_same_and_another_others() -> None:
    whole = dataset([100, 100])
    assert numbers(draw(whole, 0.2, seed=1)) == numbers(draw(whole, 0.2, seed=1))
    assert numbers(draw(whole, 0.2, seed=1)) != numbers(draw(whole, 0.2, seed=2))
    drawn = Counter(n for seed in range(200) for n in numbers(draw(whole, 0.2, seed=seed)))
    assert len(drawn) == 200 and min(drawn.values()) > 15 and max(drawn.values()) < 70  # 40 ± 5.7


def test_limits_that_cannot_be_are_refused() -> None:
    whole = dataset([50, 50])
    too_few(whole, 101, "plan.limit is 101, but 'made' has 100 pictures: lower it")
    too_few(
        whole, 63, "plan.limit is 63, which leaves 63 of the pictures of 'made', but a batch needs 64", 64
    )
    too_few(
        whole, 0.63, r"plan.limit is 0.63, which leaves 63 .* but a batch needs 64: raise it, or lower", 64
    )
    too_few(
        whole, None, "'made' has 100 of the 128 pictures that a batch needs: name more data, or lower", 128
    )
    too_few(dataset([100, 2]), 0.1, "limit is 0.1, but that leaves no picture of class 1 of 'made': raise it")
    for wrong in (0, -3, 1.5, True, float("nan"), float("inf"), -0.5):
        too_few(whole, wrong, "it must be a count of at least 1, or a fraction below 1")


def test_a_class_that_the_data_lack_is_not_missed() -> None:
    assert draw(dataset([10, 0, 10]), 0.5).labels.bincount().tolist() == [5, 0, 5]


def test_a_fingerprint_is_computed_once() -> None:
    """All that is made once is kept under it, and a training asks for it several times."""
    digits = load("digits", size=8)
    first = digits.fingerprint()
    assert digits.fingerprint() is first
    assert load("digits", size=8).fingerprint() == first
