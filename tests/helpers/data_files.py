"""Small data sets in the files that the real ones come in, written by the test that reads them."""

import gzip
import hashlib
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.datasets import CIFAR10

from trainers.datasets import Dataset

BATCHES = [name for name, _ in CIFAR10.train_list]


def pictures(count: int, *shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)


IMAGES, COLOUR = pictures(20, 28, 28), pictures(20, 3, 32, 32)
LABELS = np.arange(20, dtype=np.uint8) % 10


def is_what_was_written(dataset: Dataset, images: NDArray[np.uint8] = IMAGES[:, None]) -> bool:
    written = torch.from_numpy(images), torch.from_numpy(LABELS).long()
    return torch.equal(dataset.images, written[0]) and torch.equal(dataset.labels, written[1])


def idx(values: NDArray[np.uint8]) -> bytes:
    """Two zeros, the type (8: unsigned bytes), the number of axes, their lengths (big-endian), the values."""
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    return header + values.tobytes()


def write_idx(
    folder: Path,
    images: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    *,
    packed: bool = True,
    split: str = "train",
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in (("images-idx3", images), ("labels-idx1", labels)):
        path = folder / f"{split}-{name}-ubyte{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(idx(values)) if packed else idx(values))


def write_cifar10(root: Path, images: NDArray[np.uint8], labels: list[int], monkeypatch: Any) -> Path:
    """The files of CIFAR-10 with these pictures N×3×32×32, whose MD5s torchvision is told to expect."""
    folder = root / CIFAR10.base_folder
    folder.mkdir(parents=True)
    parts = np.array_split(np.arange(len(images)), len(BATCHES))
    entries: dict[str, Any] = {
        name: {"data": images[part].reshape(-1, 3072), "labels": [labels[i] for i in part]}
        for name, part in zip(BATCHES, parts, strict=True)
    }
    entries["test_batch"] = {"data": images[:1].reshape(1, 3072), "labels": labels[:1]}
    entries["batches.meta"] = {"label_names": list("abcdefghij")}
    for name, entry in entries.items():
        (folder / name).write_bytes(pickle.dumps(entry))
    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5(folder / name)] for name in BATCHES])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5(folder / "test_batch")]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5(folder / "batches.meta")})
    return folder


def pack_cifar10(folder: Path, archive: Path, monkeypatch: Any) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, folder.name)
    monkeypatch.setattr(CIFAR10, "tgz_md5", md5(archive))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
