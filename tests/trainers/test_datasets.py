"""Training pictures: what a data set is, resizing, folders of pictures, and a part of the data."""

import os
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
from PIL import Image

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


def test_grey_where_colour_is_asked_is_refused(tmp_path: Path) -> None:
    refused(
        "plan.channels is 3, but the pictures of 'digits' are grey: leave it out or set", "digits", channels=3
    )
    save(tmp_path / "a.png", grey(20, 20))
    refused("plan.channels is 3, but the pictures of .* are grey", str(tmp_path), channels=3)
    assert load("digits", size=8, channels=1).images.shape == (1797, 1, 8, 8)


def test_impossible_sizes_and_channels_are_refused() -> None:
    refused("size is 7, but pictures need at least 8 pixels a side", "digits", size=7)
    refused(r"channels is 2, but it must be 1 \(grey\), 3 \(colour\) or None", "digits", channels=2)


# --- folders ---------------------------------------------------------------------------------------


def grey(height: int, width: int, value: int = 100) -> Image.Image:
    return Image.fromarray(np.full((height, width), value, np.uint8))


def colour(height: int, width: int, value: int = 100) -> Image.Image:
    return Image.fromarray(np.full((height, width, 3), (value, 0, 0), np.uint8))


def save(path: Path, picture: Image.Image) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture.save(path)


def test_a_folder_is_read_to_its_depths_in_the_order_of_paths(tmp_path: Path) -> None:
    names = ["b.png", "a/z.BMP", "a/deep/er/y.tiff", "c/x.webp", "a b/w.jpeg", "B.ppm"]
    for value, name in enumerate(names):
        save(tmp_path / name, grey(16, 16, 10 * value + 10))
    folder = load(str(tmp_path), size=16)
    expected = [10 * names.index(name) + 10 for name in sorted(names)]
    assert folder.images[:, 0, 5, 5].tolist() == expected
    assert folder.labels.tolist() == [0] * 6
    assert (folder.classes, folder.name) == (1, tmp_path.name)


def test_hidden_and_other_files_are_no_pictures(tmp_path: Path) -> None:
    save(tmp_path / "a.png", grey(16, 16))
    save(tmp_path / ".thumbnails" / "b.png", grey(16, 16))
    (tmp_path / "._a.png").write_bytes(b"what macOS leaves beside a.png")
    (tmp_path / "README.txt").write_text("about these pictures")
    (tmp_path / "labels.csv").write_text("a.png,3")
    assert len(load(str(tmp_path), size=16)) == 1


def test_of_each_picture_the_centre_square_is_resized(tmp_path: Path) -> None:
    wide = Image.fromarray(pictures(1, 40, 65, 3)[0])
    tall = wide.transpose(Image.Transpose.ROTATE_90)
    save(tmp_path / "tall.png", tall)
    save(tmp_path / "wide.png", wide)
    folder = load(str(tmp_path), size=20)
    for ours, path in zip(folder.images, ("tall.png", "wide.png"), strict=True):
        theirs = images.as_bytes(images.load(str(tmp_path / path), size=20))
        assert np.array_equal(ours.permute(1, 2, 0), theirs)
    assert folder.images.is_contiguous()


def test_a_folder_is_grey_where_all_are_or_where_asked_else_in_colour(tmp_path: Path) -> None:
    save(tmp_path / "grey" / "a.png", grey(16, 16))
    save(tmp_path / "both" / "a.png", grey(16, 16))
    save(tmp_path / "both" / "b.png", colour(16, 16))
    assert load(str(tmp_path / "grey"), size=16).images.shape == (1, 1, 16, 16)
    for channels in (None, 3):
        both = load(str(tmp_path / "both"), size=16, channels=channels)
        assert both.images[:, :, 3, 3].tolist() == [[100, 100, 100], [100, 0, 0]]
    turned = load(str(tmp_path / "both"), size=16, channels=1)
    assert turned.images[:, :, 3, 3].tolist() == [[100], [30]]


def test_what_cannot_be_used_is_left_out_and_told_in_one_sentence(tmp_path: Path) -> None:
    for name in "abcd":
        save(tmp_path / f"{name}.png", grey(32, 32))
    (tmp_path / "b.png").write_bytes((tmp_path / "b.png").read_bytes()[:40])
    (tmp_path / "c.png").write_text("no picture at all")
    save(tmp_path / "e.png", grey(7, 100))
    save(tmp_path / "f.png", grey(8, 30))
    with pytest.warns(UserWarning) as caught:
        folder = load(str(tmp_path), size=16)
    assert len(folder) == 3
    told = (
        rf"of the 6 pictures in '{tmp_path}', 3 left out \(the first: image is '{tmp_path}/b.png', but .*\)"
    )
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.raises(UserWarning, match=told + " and 1 enlarged to 16×16$") as once:
        raise caught[0].message  # type: ignore[misc]
    assert "\n" not in str(once.value)


def test_a_tiny_picture_is_told_with_its_size(tmp_path: Path) -> None:
    save(tmp_path / "a.png", grey(32, 32))
    save(tmp_path / "b.png", grey(7, 100))
    with pytest.warns(UserWarning, match="'.*b.png' has 100×7 pixels, but at least 8×8 are needed"):
        load(str(tmp_path), size=16)


def test_a_folder_without_a_picture_to_read_is_refused(tmp_path: Path) -> None:
    refused(
        f"plan.data is '{tmp_path}/no', but there is no such folder, .* are cifar10, digits", f"{tmp_path}/no"
    )
    refused(f"'{tmp_path}', a folder of pictures, but it has none", str(tmp_path))
    for name in "ab":
        (tmp_path / f"{name}.png").write_text("no picture")
    refused("none of its 2 can be read; of the first: image is '.*a.png', but no picture", str(tmp_path))
    refused("no such folder", str(tmp_path / "a.png"))


def test_a_folder_that_may_not_be_looked_into_is_refused(tmp_path: Path, monkeypatch: Any) -> None:
    save(tmp_path / "a.png", grey(16, 16))
    save(tmp_path / "locked" / "b.png", grey(16, 16))
    scandir = os.scandir

    def guarded(path: str) -> Any:  # chmod does not keep root out
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    refused("a folder in it cannot be read .*Permission denied.*locked", str(tmp_path))


def test_a_single_picture_is_no_batch(tmp_path: Path) -> None:
    save(tmp_path / "a.png", grey(16, 16))
    one = load(str(tmp_path), size=16)
    too_few(
        one, None, f"'{tmp_path.name}' has 1 of the 2 pictures that a batch needs: name more data", batch=2
    )


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
