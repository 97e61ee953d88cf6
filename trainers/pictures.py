"""The pictures of a training: read once a process, and drawn a batch at a time."""

from functools import lru_cache

import torch
from torch import Tensor

from trainers import datasets
from trainers.datasets import Dataset
from trainers.picture_options import PictureOptions
from trainers.settings import Mistake


def load(options: PictureOptions) -> Dataset:
    """The pictures that the options name; read once for the trainings that one process runs in turn."""
    return _load(
        options.data,
        options.root,
        options.download,
        options.size,
        options.channels,
        options.folders_are_classes,
    )


def load_anew(options: PictureOptions) -> Dataset:
    """The same, read now: a folder may have changed since another study."""
    _load.cache_clear()
    return load(options)


@lru_cache(maxsize=1)
def _load(
    data: str, root: str, download: bool, size: int, channels: int | None, folders_are_classes: bool
) -> Dataset:
    return datasets.load(
        data,
        root=root,
        download=download,
        size=size,
        channels=channels,
        folders_are_classes=folders_are_classes,
    )


def same_pictures(saved: str, now: str) -> None:
    """A Mistake where the fingerprint that a state was written with is not that of the pictures now."""
    if saved != now:
        raise Mistake(
            "the pictures that are trained on have changed since the checkpoint was written: "
            "put the old ones back, or begin in another folder"
        )


def batch(images: Tensor, labels: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """So many of the pictures, each drawn from all: count×C×S×S in [-1, 1], and their classes.

    images: N×C×S×S, uint8; labels: N, int64; the generator is of their device. Nothing waits for it.

    >>> black, classes = torch.zeros(3, 1, 8, 8).byte(), torch.arange(3)
    >>> x, y = batch(black, classes, 2, torch.Generator().manual_seed(0))
    >>> x.shape, x.unique().tolist(), len(y)
    (torch.Size([2, 1, 8, 8]), [-1.0], 2)
    """
    chosen = torch.randint(len(images), (count,), generator=generator, device=images.device)
    return scaled(images[chosen]), labels[chosen]


def scaled(images: Tensor) -> Tensor:
    """0 to 255 → float32 in [-1, 1], as networks take them."""
    return images.float() / 127.5 - 1
