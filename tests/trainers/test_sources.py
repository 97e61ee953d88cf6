"""Data sets by name, read from files that the test writes."""

import gzip
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import COLOUR, IMAGES, LABELS, idx, is_what_was_written, pictures, write_cifar10, write_idx
from sklearn.datasets import load_digits
from torchvision.datasets import MNIST, FashionMNIST

from trainers.datasets import load
from trainers.picture_options import SOURCES
from trainers.settings import Mistake
from trainers.sources import READERS

IDX = {"mnist": MNIST, "fashion_mnist": FashionMNIST}


def test_every_named_source_has_a_reader() -> None:
    assert sorted(READERS) == sorted(SOURCES)


# --- digits ----------------------------------------------------------------------------------------


def test_digits_are_scikit_learns_stretched_to_8_bits(tmp_path: Path) -> None:
    digits = load("digits", root=str(tmp_path / "not there"), size=8)
    theirs = load_digits()
    assert digits.images.shape == (1797, 1, 8, 8)
    assert np.array_equal(np.round(digits.images[:, 0].numpy() * (16 / 255)), theirs.images)
    assert digits.images.min() == 0 and digits.images.max() == 255
    assert np.array_equal(digits.labels, theirs.target)
    assert (digits.classes, digits.name) == (10, "digits")


# --- idx files -------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("data", IDX)
def test_idx_files_lie_where_torchvision_puts_them_or_in_root_itself(
    data: str, packed: bool, tmp_path: Path
) -> None:
    for folder in (tmp_path / "a", tmp_path / "b" / IDX[data].__name__ / "raw"):
        write_idx(folder, IMAGES, LABELS, packed=packed)
    for root in "ab":
        dataset = load(data, root=str(tmp_path / root), size=28)
        assert is_what_was_written(dataset)
        assert (dataset.classes, dataset.name) == (10, data)


def test_the_training_split_is_read_and_a_folder_of_that_name_goes_first(tmp_path: Path) -> None:
    write_idx(tmp_path, 255 - IMAGES, LABELS)
    write_idx(tmp_path / "MNIST" / "raw", IMAGES, LABELS)
    write_idx(tmp_path / "MNIST" / "raw", IMAGES[:3], LABELS[:3], split="t10k")
    assert is_what_was_written(load("mnist", root=str(tmp_path), size=28))
    assert not is_what_was_written(load("fashion_mnist", root=str(tmp_path), size=28))


def refused(told: str, *, data: str = "mnist", root: Path, size: int = 28) -> None:
    with pytest.raises(Mistake, match=told) as caught:
        load(data, root=str(root), size=size)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("data", IDX)
def test_idx_files_that_are_not_there_are_named_with_the_ways_out(data: str, tmp_path: Path) -> None:
    raw = tmp_path / IDX[data].__name__ / "raw"
    told = rf"'{data}', but it was not found as {raw}/train-\*-ubyte.gz or {tmp_path}/train-\*-ubyte.gz"
    refused(f"{told}: set plan.root .* idx files, or plan.download to true", data=data, root=tmp_path)
    write_idx(raw, IMAGES, LABELS)
    (raw / "train-labels-idx1-ubyte.gz").unlink()
    refused("was not found", data=data, root=tmp_path)


def cut(share: float) -> Callable[[bytes], bytes]:
    return lambda content: content[: int(share * len(content))]


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "empty": cut(0),
    "half": cut(0.5),
    "almost whole": lambda content: content[:-1],
    "longer": lambda content: content + b"0123456789",
    "another kind of file": lambda content: b"<html>404</html>",
    "another type": lambda content: b"\0\0\x0d" + content[3:],
    "no such type": lambda content: b"\0\0\x63" + content[3:],
    "another number of axes": lambda content: content[:3] + b"\x02" + content[4:],
    "too many axes": lambda content: content[:3] + b"\xff" + content[4:],
    "more pictures than there are": lambda content: content[:4] + b"\x7f\xff\xff\xff" + content[8:],
    "none": lambda content: content[:4] + bytes(4) + content[8:16],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("packed", [True, False])
def test_a_damaged_idx_file_is_named(damage: str, packed: bool, tmp_path: Path) -> None:
    write_idx(tmp_path, IMAGES, LABELS, packed=packed)
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' if packed else ''}"
    content = DAMAGES[damage](idx(IMAGES))
    path.write_bytes(gzip.compress(content) if packed else content)
    refused(
        f"'mnist', but '{path}' is damaged or cannot be read .*: remove it and fetch it again", root=tmp_path
    )


@pytest.mark.parametrize("which", ["images-idx3", "labels-idx1"])
@pytest.mark.parametrize("share", [0, 0.3, 0.9])
def test_a_truncated_gz_is_refused(which: str, share: float, tmp_path: Path) -> None:
    write_idx(tmp_path, IMAGES, LABELS)
    path = tmp_path / f"train-{which}-ubyte.gz"
    path.write_bytes(cut(share)(path.read_bytes()))
    refused(f"'{path}' is damaged or cannot be read", root=tmp_path)


def test_a_flipped_bit_in_a_gz_is_refused(tmp_path: Path) -> None:
    write_idx(tmp_path, IMAGES, LABELS)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    refused("is damaged or cannot be read", root=tmp_path)


def test_pictures_that_are_not_square_are_refused(tmp_path: Path) -> None:
    write_idx(tmp_path, pictures(20, 20, 28), LABELS)
    refused("says that its pictures have 28×20 pixels", root=tmp_path)


def test_pictures_and_labels_must_be_as_many_and_labels_below_ten(tmp_path: Path) -> None:
    write_idx(tmp_path, IMAGES, LABELS[:-1])
    refused("hold 20 pictures and 19 labels: take both files from one source", root=tmp_path)
    write_idx(tmp_path, IMAGES, LABELS + 1)
    refused("labels of 'mnist' run from 1 to 10, but with 10 classes they must lie in 0 to 9", root=tmp_path)


# --- CIFAR-10 --------------------------------------------------------------------------------------


def test_cifar10_is_in_colour_and_turned_grey_if_asked(tmp_path: Path, monkeypatch: Any) -> None:
    write_cifar10(tmp_path, COLOUR, LABELS.tolist(), monkeypatch)
    dataset = load("cifar10", root=str(tmp_path), size=32, channels=3)
    assert is_what_was_written(dataset, COLOUR)
    assert (dataset.classes, dataset.name) == (10, "cifar10")
    grey = load("cifar10", root=str(tmp_path), size=32, channels=1)
    luma = np.tensordot(COLOUR, [0.299, 0.587, 0.114], (1, 0))
    assert grey.images.shape == (20, 1, 32, 32)
    assert np.abs(grey.images[:, 0].numpy() - luma).max() < 0.501


def test_a_cifar10_that_is_not_there_is_looked_for_in_the_open(tmp_path: Path) -> None:
    told = rf"'cifar10', but it was not found as {tmp_path}/cifar-10-batches-py: set plan.root to the folder"
    refused(f"{told} .* or plan.download to true", data="cifar10", root=tmp_path, size=32)


class Evil:
    """Unpickled, it touches a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_5", "test_batch", "batches.meta"])
def test_only_the_genuine_pickles_are_unpickled(name: str, tmp_path: Path, monkeypatch: Any) -> None:
    folder = write_cifar10(tmp_path, COLOUR, LABELS.tolist(), monkeypatch)
    content = pickle.dumps(Evil(tmp_path / "touched"))
    (folder / name).write_bytes(content)
    told = f"'cifar10', but {name} in '{folder}' is missing or damaged .* or set plan.download to true"
    refused(told, data="cifar10", root=tmp_path, size=32)
    (folder / name).unlink()
    refused(told, data="cifar10", root=tmp_path, size=32)
    assert not (tmp_path / "touched").exists()
    pickle.loads(content)
    assert (tmp_path / "touched").exists()
