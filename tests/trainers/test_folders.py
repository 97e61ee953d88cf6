"""A folder of pictures: which files are read, how, and the sentence for each that is not."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_files import pictures
from PIL import Image

from trainers import images
from trainers.datasets import limited, load
from trainers.settings import Mistake


@pytest.fixture(autouse=True)
def every_warning_counts() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def refused(told: str, data: str, **options: Any) -> None:
    with pytest.raises(Mistake, match=told) as caught:
        load(data, **{"size": 16} | options)
    assert "\n" not in str(caught.value)


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


def test_folders_are_classes_where_they_are_said_to_be(tmp_path: Path) -> None:
    for name, value in (("b/2.png", 20), ("a/deep/1.png", 10), ("b/er/3.png", 30), ("a/4.png", 40)):
        save(tmp_path / name, grey(16, 16, value))
    with pytest.warns(
        UserWarning, match=f"of the 4 pictures in '{tmp_path}', 2 of class 'a', 2 of class 'b'$"
    ):
        folder = load(str(tmp_path), size=16, folders_are_classes=True)
    shown = dict(zip(folder.images[:, 0, 5, 5].tolist(), folder.labels.tolist(), strict=True))
    assert shown == {10: 0, 40: 0, 20: 1, 30: 1}
    assert (folder.classes, folder.labels.dtype) == (2, torch.int64)
    assert load(str(tmp_path), size=16).classes == 1


def test_pictures_of_no_class_of_one_alone_and_a_class_without_any_are_refused(tmp_path: Path) -> None:
    refused("it has none, in its subfolders neither", str(tmp_path), folders_are_classes=True)
    save(tmp_path / "a" / "1.png", grey(16, 16))
    (tmp_path / "a" / "0.png").write_text("no picture, in a class that has one")
    told = f"all pictures of '{tmp_path}' are in 'a': name the folder that holds a folder for each class"
    refused(told, str(tmp_path), folders_are_classes=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.png").write_text("no picture")
    told = f"of '{tmp_path}/b' no picture can be read .the first: image is '{tmp_path}/b/2.png'"
    refused(told, str(tmp_path), folders_are_classes=True)
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "3.txt").write_text("about this class")
    refused(f"'{tmp_path}/c' holds no picture: add some", str(tmp_path), folders_are_classes=True)
    (tmp_path / "c" / "3.txt").unlink()
    (tmp_path / "c").rmdir()
    for target in ("a", "nowhere"):
        (tmp_path / "c").symlink_to(tmp_path / target, target_is_directory=True)
        refused(f"'{tmp_path}/c' is a link, which is not followed", str(tmp_path), folders_are_classes=True)
        (tmp_path / "c").unlink()
    save(tmp_path / "3.png", grey(16, 16))
    told = f"'3.png' lies in '{tmp_path}' itself, in no class's folder: move it into one"
    refused(told, str(tmp_path), folders_are_classes=True)


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
    with pytest.warns(UserWarning, match=f"of the 2 pictures in '{tmp_path}', 2 cropped to their centre"):
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
    changed = "1 enlarged to 16×16, 1 cropped to their centre square"
    assert len(caught) == 1
    assert caught[0].filename == __file__
    with pytest.raises(UserWarning, match=told + f", {changed}$") as once:
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
    refused("which is a file: name the folder that it lies in", str(tmp_path / "a.png"))


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
    with pytest.raises(Mistake, match=f"'{tmp_path.name}' has 1 of the 2 pictures that a batch needs"):
        limited(one, None, generator=np.random.default_rng(0), batch=2)


def test_grey_pictures_where_colour_is_asked_are_refused(tmp_path: Path) -> None:
    save(tmp_path / "a.png", grey(20, 20))
    refused("plan.channels is 3, but the pictures of .* are grey", str(tmp_path), channels=3)
