"""Data sets by name: scikit-learn's digits, and torchvision's MNIST, Fashion-MNIST and CIFAR-10."""

import gzip
import os
import shutil
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from filelock import FileLock
from torch import Tensor

from trainers.settings import Mistake

# torchvision and scikit-learn each take seconds to import, and no data set needs both: see the functions.
if TYPE_CHECKING:
    from torchvision.datasets import CIFAR10, MNIST

CLASSES = 10  # of each of them
PICTURES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"  # idx files

Read = tuple[Tensor, Tensor]  # images N×C×H×H, uint8, and labels N
Source = TypeVar("Source", "MNIST", "CIFAR10")


def _digits(root: Path, download: bool) -> Read:
    """scikit-learn's handwritten digits; they need no file and no download."""
    from sklearn.datasets import load_digits

    found = load_digits()
    values = np.round(found.images * (255 / 16)).astype(np.uint8)
    return torch.from_numpy(values).unsqueeze(1), torch.from_numpy(found.target)


def _mnist(root: Path, download: bool) -> Read:
    from torchvision.datasets import MNIST

    return _idx("mnist", MNIST, root, download)


def _fashion_mnist(root: Path, download: bool) -> Read:
    from torchvision.datasets import FashionMNIST

    return _idx("fashion_mnist", FashionMNIST, root, download)


def _idx(data: str, source: type["MNIST"], root: Path, download: bool) -> Read:
    """The training pictures N×1×H×H and labels, from torchvision's folder in root or from root itself."""
    folders = (root / source.__name__ / "raw", root)
    read_only = root.is_dir() and not os.access(root, os.W_OK)  # nobody fetches into it, and no lock is made
    if not download or read_only:
        found = _found(data, folders)
        if found:
            return found
    if not download:
        raise _missing(data, [f"{folder.absolute()}/train-*-ubyte.gz" for folder in folders], "idx files")
    with _alone(data, root):  # before any look: torchvision writes files under the names they are found by
        try:
            found = _found(data, folders)
        except Mistake:
            _remove(data, folders[0])
            found = None
        if found:
            return found
        fetched = _fetched(data, source, root)
    return fetched.data.unsqueeze(1), fetched.targets


def _found(data: str, folders: Iterable[Path]) -> Read | None:
    """From the first of the folders that has both files."""
    from torchvision.datasets.mnist import read_image_file, read_label_file

    for folder in folders:
        pictures, labels = _idx_file(folder, PICTURES), _idx_file(folder, LABELS)
        if pictures and labels:
            read = _read_idx(data, pictures, read_image_file)
            return read.unsqueeze(1), _read_idx(data, labels, read_label_file)
    return None


def _remove(data: str, folder: Path) -> None:
    """Remove unpacked files, which torchvision would trust unseen; of a .gz it compares the MD5 itself."""
    try:
        for name in (PICTURES, LABELS):
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise _not_fetched(data, folder, error) from error


def _idx_file(folder: Path, name: str) -> Path | None:
    """The .gz before the plain file, because it carries a checksum."""
    return next((path for path in (folder / f"{name}.gz", folder / name) if path.is_file()), None)


def _read_idx(data: str, path: Path, read: Callable[[str], Tensor]) -> Tensor:
    try:
        if path.suffix != ".gz":
            return _square_only(read(str(path)))
        with NamedTemporaryFile() as plain, gzip.open(path) as packed:  # torchvision reads plain files alone
            shutil.copyfileobj(packed, plain)
            plain.flush()
            return _square_only(read(plain.name))
    # torchvision's reader raises almost anything over a damaged file, AssertionError and KeyError included.
    except Exception as error:
        raise Mistake(
            f"plan.data is {data!r}, but {str(path)!r} is damaged or cannot be read "
            f"({_one_line(error)}): remove it and fetch it again"
        ) from error


def _square_only(read: Tensor) -> Tensor:
    if read.dim() == 3 and read.shape[1] != read.shape[2]:
        raise ValueError(f"it says that its pictures have {read.shape[2]}×{read.shape[1]} pixels")
    return read


def _cifar10(root: Path, download: bool) -> Read:
    """torchvision compares the MD5 of every file before it unpickles one: only the genuine are unpickled."""
    from torchvision.datasets import CIFAR10
    from torchvision.datasets.utils import check_integrity

    folder = root / CIFAR10.base_folder
    files = [*CIFAR10.train_list, *CIFAR10.test_list, [CIFAR10.meta["filename"], CIFAR10.meta["md5"]]]
    wrong = [name for name, md5 in files if not check_integrity(folder / name, md5)]
    if wrong and not download:
        if not folder.is_dir():
            raise _missing("cifar10", [str(folder.absolute())], f"folder {CIFAR10.base_folder}")
        raise Mistake(
            f"plan.data is 'cifar10', but {wrong[0]} in {str(folder)!r} is missing or damaged (its MD5 is "
            "not the data set's): unpack its archive there again, or set plan.download to true"
        )
    if wrong:
        with _alone("cifar10", root):
            found = _fetched("cifar10", CIFAR10, root)
    else:
        found = CIFAR10(root)
    return torch.from_numpy(found.data).permute(0, 3, 1, 2), torch.tensor(found.targets)


def _missing(data: str, looked: list[str], what: str) -> Mistake:
    return Mistake(
        f"plan.data is {data!r}, but it was not found as {' or '.join(looked)}: set plan.root to the folder "
        f"that holds its {what}, or plan.download to true"
    )


@contextmanager
def _alone(data: str, root: Path) -> Iterator[None]:
    """Within it, no other process fetches that data set into root."""
    lock = FileLock(root / f".{data}.lock")
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise _not_fetched(data, root, error) from error
    try:
        yield
    finally:
        lock.release()


def _fetched(data: str, source: type[Source], root: Path) -> Source:
    """The data set fetched by torchvision, which checks its MD5, and leaves what is there and right."""
    try:
        return source(root, download=True)
    except (OSError, RuntimeError, EOFError, HTTPException, tarfile.TarError, zlib.error) as error:
        raise _not_fetched(data, root, error) from error


def _not_fetched(data: str, root: Path, error: Exception) -> RuntimeError:
    return RuntimeError(
        f"{data} could not be fetched into {str(root.absolute())!r} ({_one_line(error)}): try again "
        "where there is a network, or set plan.root to a folder that holds its files"
    )


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__


READERS: dict[str, Callable[[Path, bool], Read]] = {
    "cifar10": _cifar10,
    "digits": _digits,
    "fashion_mnist": _fashion_mnist,
    "mnist": _mnist,
}
