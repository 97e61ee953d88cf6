"""Training pictures as one 8-bit tensor: data sets by name, and folders of pictures."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from trainers import images
from trainers.folders import SMALLEST, read_folder
from trainers.settings import Mistake
from trainers.sources import CLASSES, READERS

CHUNK = 1000  # pictures that are resized at a time, so that floats of all of them never exist at once


@dataclass(frozen=True, eq=False)
class Dataset:
    """Pictures to train on, in memory.

    images: N×C×S×S, uint8, C 1 (grey) or 3 (colour). labels: N, int64, 0 to classes - 1; zeros where the
    data have none, and then `classes` is 1. name: the data set's, or its folder's. class_names: those of the
    classes, where they have any. A Mistake names what does not fit.

    >>> black = Dataset(torch.zeros(5, 1, 8, 8).byte(), torch.zeros(5).long(), 1, "black")
    >>> black.fingerprint()[:8]
    '6b93e107'
    """

    images: Tensor
    labels: Tensor
    classes: int
    name: str
    class_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shape, labels = tuple(self.images.shape), self.labels
        if (
            len(shape) != 4
            or shape[1] not in (1, 3)
            or shape[2] != shape[3]
            or self.images.dtype != torch.uint8
        ):
            raise Mistake(
                f"the images of {self.name!r} are {self.images.dtype} of shape {shape}, "
                "but they must be torch.uint8 of N×C×S×S with 1 or 3 channels: convert them"
            )
        if labels.shape != shape[:1] or labels.dtype != torch.int64:
            raise Mistake(
                f"the labels of {self.name!r} are {labels.dtype} of shape {tuple(labels.shape)}, "
                f"but there must be one torch.int64 for each of {shape[0]} images"
            )
        if len(labels) and (labels.min() < 0 or labels.max() >= self.classes):
            raise Mistake(
                f"the labels of {self.name!r} run from {int(labels.min())} to {int(labels.max())}, "
                f"but with {self.classes} classes they must lie in 0 to {self.classes - 1}: "
                "take another label file"
            )

    def __len__(self) -> int:
        return len(self.images)

    def class_text(self, number: int) -> str:
        """A class in a sentence, by its number and by its name if it has one.

        >>> Dataset(torch.zeros(2, 1, 8, 8).byte(), torch.arange(2), 2, "pets", ("cat", "dog")).class_text(1)
        "class 1 ('dog')"
        """
        return f"class {number} ({self.class_names[number]!r})" if self.class_names else f"class {number}"

    def part(self, chosen: Tensor, name: str | None = None) -> "Dataset":
        """The pictures at these places, with the same classes, under a name of their own if they have one."""
        return replace(self, images=self.images[chosen], labels=self.labels[chosen], name=name or self.name)

    def fingerprint(self) -> str:
        """The SHA-256 of images and labels and their shapes; names do not enter. Computed once."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        digest = hashlib.sha256(f"{tuple(self.images.shape)} {self.classes}".encode())
        for part in (self.images, self.labels):
            digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()


def load(
    data: str,
    *,
    root: str = "data",
    download: bool = False,
    size: int,
    channels: int | None = None,
    folders_are_classes: bool = False,
) -> Dataset:
    """The training pictures of a data set by name, or all pictures of a folder, as size×size.

    data: `digits` comes inside scikit-learn (1,797 of 8×8, values 0 to 16 stretched to 0 to 255); `mnist` and
    `fashion_mnist` (60,000 of 28×28) and `cifar10` (50,000 of 32×32, colour) lie in `root` as torchvision
    lays them out, and are fetched into it if they are not there and `download` is set; for the first two,
    root may also be the folder that holds their idx files, plain or .gz. Anything else is a folder: see
    `read_folder`, which alone reads `folders_are_classes`. size: pictures of another size are resized,
    bilinear, antialiased where they shrink (so MNIST at 32 is enlarged, not padded). channels: 1 turns colour
    grey (ITU-R 601 luma), 3 refuses grey data, None leaves either as it is. Data that are missing or damaged
    raise a Mistake, a download that fails RuntimeError.

    >>> digits = load("digits", size=8)
    >>> digits.images.shape, digits.classes
    (torch.Size([1797, 1, 8, 8]), 10)
    """
    if size < SMALLEST:
        raise Mistake(f"size is {size}, but pictures need at least {SMALLEST} pixels a side: raise it")
    if channels not in (None, 1, 3):
        raise Mistake(
            f"channels is {channels}, but it must be 1 (grey), 3 (colour) or None (as the data are)"
        )
    if data not in READERS:
        found = read_folder(data, size=size, grey=channels == 1, folders_are_classes=folders_are_classes)
        _refuse_grey(data, found.images.shape[1] == 3, channels)
        classes, name = max(len(found.classes), 1), Path(data).expanduser().resolve().name
        return Dataset(found.images, found.labels, classes, name, found.classes)
    pictures, labels = READERS[data](Path(root).expanduser(), download)
    if len(pictures) != len(labels):
        raise Mistake(
            f"plan.data is {data!r}, but its files in {root!r} hold {len(pictures)} pictures and "
            f"{len(labels)} labels: take both files from one source"
        )
    _refuse_grey(data, pictures.shape[1] == 3, channels)
    return Dataset(_fitted(pictures, size, grey=channels == 1), labels.long(), CLASSES, data)


def _refuse_grey(data: str, colour: bool, channels: int | None) -> None:
    if channels == 3 and not colour:
        raise Mistake(
            f"plan.channels is 3, but the pictures of {data!r} are grey: leave it out or set it to 1, "
            "or name data in colour"
        )


def _fitted(pictures: Tensor, size: int, *, grey: bool) -> Tensor:
    """N×C×H×H, uint8, as N×C×size×size, uint8."""
    grey = grey and pictures.shape[1] == 3
    if pictures.shape[2] == size and not grey:
        return pictures.contiguous()
    return torch.cat([_fitted_chunk(chunk, size, grey) for chunk in pictures.split(CHUNK)])


def _fitted_chunk(pictures: Tensor, size: int, grey: bool) -> Tensor:
    # Everything that is kept between trainings is kept under a hash of the data: every machine must round
    # alike. In doubles sums differ by 1e-13 between processors; what lies half-way is pushed clear of that.
    values = pictures.double()
    if grey:
        luma = torch.from_numpy(images.LUMA).double().view(1, 3, 1, 1)
        values = (values * luma).sum(1, keepdim=True)
    if values.shape[2] != size:
        values = F.interpolate(values, (size, size), mode="bilinear", antialias=True)
    return (values + (0.5 + 1e-6)).clamp(0, 255).byte()


# --- a part of the data ----------------------------------------------------------------------------


def limited(
    dataset: Dataset, limit: int | float | None, *, generator: np.random.Generator, batch: int
) -> Dataset:
    """So many pictures of a data set, drawn from each class in proportion, in the data's order.

    limit: a count n, a fraction 0 < f < 1 (then n is f·N, rounded), or None for all. Class c, which has N_c
    of the N pictures, gives n·N_c / N, rounded so that the sum is n: the largest remainders go up. A Mistake
    where n is more than there are, fewer than a batch, or leaves a class without a picture.

    >>> digits = load("digits", size=8)
    >>> fifth = limited(digits, 0.2, generator=np.random.default_rng(0), batch=64)
    >>> len(fifth), fifth.labels.bincount().tolist()
    (359, [36, 36, 35, 37, 36, 36, 36, 36, 35, 36])
    """
    count = _count(dataset, limit, batch)
    if count == len(dataset):
        return dataset
    labels = dataset.labels.numpy()
    sizes = np.bincount(labels, minlength=dataset.classes)
    shares = _apportioned(sizes, count)
    without = np.flatnonzero((shares == 0) & (sizes > 0))
    if len(without):
        raise Mistake(
            f"plan.limit is {limit}, but that leaves no picture of {dataset.class_text(without[0])} of "
            f"{dataset.name!r}: "
            "raise it"
        )
    drawn = [generator.choice(np.flatnonzero(labels == c), n, replace=False) for c, n in enumerate(shares)]
    return dataset.part(torch.from_numpy(np.sort(np.concatenate(drawn))))


def _count(dataset: Dataset, limit: int | float | None, batch: int) -> int:
    """How many pictures a limit means; checked against what there is and what a batch needs."""
    whole, name = len(dataset), dataset.name
    if limit is None:
        if whole < batch:
            raise Mistake(
                f"{name!r} has {whole} of the {batch} pictures that a batch needs: "
                "name more data, or lower plan.batch"
            )
        return whole
    if isinstance(limit, bool) or not (0 < limit < 1 or (limit >= 1 and float(limit).is_integer())):
        raise Mistake(f"plan.limit is {limit!r}, but it must be a count of at least 1, or a fraction below 1")
    count = round(limit * whole) if limit < 1 else int(limit)
    if count > whole:
        raise Mistake(f"plan.limit is {limit}, but {name!r} has {whole} pictures: lower it, or leave it out")
    if count < batch:
        raise Mistake(
            f"plan.limit is {limit}, which leaves {count} of the pictures of {name!r}, "
            f"but a batch needs {batch}: raise it, or lower plan.batch"
        )
    return count


def _apportioned(sizes: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Whole numbers in proportion to sizes that add up to count, by largest remainder, without floats."""
    whole = int(sizes.sum())
    shares, remainders = np.divmod(sizes * count, whole)
    largest = np.argsort(-remainders, kind="stable")[: count - int(shares.sum())]
    shares[largest] += 1
    return shares
