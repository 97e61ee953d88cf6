"""Folders of pictures, whose own folders may be their classes."""

import os
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from trainers import images
from trainers.picture_options import SOURCES
from trainers.settings import Mistake

SMALLEST = 8  # pixels a side


class Folder(NamedTuple):
    """images: N×C×S×S, uint8; labels: N, int64; classes: their names, none where nobody asked for any."""

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]


def read_folder(data: str, *, size: int, grey: bool = False, folders_are_classes: bool = False) -> Folder:
    """All pictures in a folder and its subfolders, in the order of their paths.

    Every file whose suffix Pillow reads is a picture, hidden ones excepted; of each the centre square is
    resized to size×size, bilinear, antialiased where it shrinks. grey: turned grey; where not, and grey and
    colour are mixed, all are in colour. Pictures that are broken or below 8 pixels a side are left out; one
    warning says how many, and how many were enlarged, and cropped because they are not square. A folder that
    is not there, or has no picture that can be read, raises a Mistake.

    folders_are_classes: a picture's class is the folder just within `data` that it lies in, however deep;
    classes are in the order of these names. A Mistake where a picture lies in none, there is one alone, or
    one has no picture that can be read.

    Nothing is kept of it: every process decodes every file again, a study's driver and each of its workers.
    On one core of a small cloud machine a JPEG of 256×256 takes 3 ms, so 50,000 of them three minutes; of
    1024×1024 24 ms, of 64×64 0.4 ms. Pictures that are already small and square spare it.
    """
    folder = Path(data).expanduser()
    if folder.is_file():
        raise Mistake(f"plan.data is {data!r}, which is a file: name the folder that it lies in")
    if not folder.is_dir():
        raise Mistake(
            f"plan.data is {data!r}, but there is no such folder, and the data sets by name are "
            f"{', '.join(SOURCES)}"
        )
    paths = _picture_files(data, folder)
    classes = _classes(folder, paths) if folders_are_classes and paths else ()
    read: dict[Path, NDArray[np.uint8]] = {}
    left_out: dict[Path, str] = {}
    enlarged = cropped = 0
    for path in paths:
        try:
            pixels = _picture(path, grey=grey)
        except Mistake as error:
            left_out[path] = str(error)
            continue
        enlarged += min(pixels.shape[:2]) < size
        cropped += pixels.shape[0] != pixels.shape[1]
        read[path] = images.as_bytes(images.square(pixels, size))
    first = next(iter(left_out.values()), "")
    if not read:
        why = (
            f"none of its {len(paths)} can be read; of the first: {first}"
            if paths
            else "it has none, in its subfolders neither: name one that has, or a data set"
        )
        raise Mistake(f"plan.data is {data!r}, a folder of pictures, but {why}")
    labels = _labels(folder, classes, list(read), left_out)
    changed = {f"enlarged to {size}×{size}": enlarged, "cropped to their centre square": cropped}
    told = [f"{number} {how}" for how, number in changed.items() if number]
    told = _counted(labels, classes) + told
    if left_out:
        told.insert(0, f"{len(left_out)} left out (the first: {first})")
    if told:
        warnings.warn(f"of the {len(paths)} pictures in {data!r}, {', '.join(told)}", stacklevel=3)
    return Folder(_stacked(list(read.values()), size), labels, classes)


def _stacked(read: list[NDArray[np.uint8]], size: int) -> Tensor:
    """N×C×S×S, in colour where one of them is."""
    channels = max(pixels.shape[2] for pixels in read)
    stacked = np.stack([np.broadcast_to(pixels, (size, size, channels)) for pixels in read])
    return torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous()


def _picture_files(data: str, folder: Path) -> list[Path]:
    Image.init()
    suffixes = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}

    def refuse(error: OSError) -> None:
        raise Mistake(
            f"plan.data is {data!r}, but a folder in it cannot be read ({error}): allow it or remove it"
        )

    found = []
    for parent, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        shown = (Path(parent, name) for name in files if not name.startswith("."))
        found += [path for path in shown if path.suffix.lower() in suffixes]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _picture(path: Path, *, grey: bool) -> NDArray[np.float32]:
    pixels = images.decode(str(path), path)
    if min(pixels.shape[:2]) < SMALLEST:
        raise Mistake(
            f"image {str(path)!r} has {pixels.shape[1]}×{pixels.shape[0]} pixels, but at least "
            f"{SMALLEST}×{SMALLEST} are needed"
        )
    return images.greyed(pixels) if grey else pixels


# --- classes ---------------------------------------------------------------------------------------


def _classes(folder: Path, pictures: list[Path]) -> tuple[str, ...]:
    """The names of the folders within it, each with pictures."""
    begin = "plan.folders_are_classes is true, but"
    outside = next((path for path in pictures if path.parent == folder), None)
    if outside is not None:
        raise Mistake(
            f"{begin} {outside.name!r} lies in {str(folder)!r} itself, in no class's folder: move it into one"
        )
    names = sorted(
        one.name
        for one in folder.iterdir()
        if (one.is_dir() or (one.is_symlink() and not one.exists())) and not one.name.startswith(".")
    )
    filled = {_class_of(folder, path) for path in pictures}
    for name in names:
        if (folder / name).is_symlink():
            raise Mistake(
                f"{begin} {str(folder / name)!r} is a link, which is not followed: put the folder there"
            )
        if name not in filled:
            raise Mistake(f"{begin} {str(folder / name)!r} holds no picture: add some, or remove it")
    if len(names) == 1:
        raise Mistake(
            f"{begin} all pictures of {str(folder)!r} are in {names[0]!r}: name the folder that holds a "
            "folder for each class"
        )
    return tuple(names)


def _labels(folder: Path, classes: tuple[str, ...], read: list[Path], left_out: dict[Path, str]) -> Tensor:
    """A number for each picture that was read; each class must have one."""
    if not classes:
        return torch.zeros(len(read), dtype=torch.int64)
    numbers = {name: number for number, name in enumerate(classes)}
    labels = [numbers[_class_of(folder, path)] for path in read]
    there = set(labels)
    for name, number in numbers.items():
        if number not in there:
            first = next(why for path, why in left_out.items() if _class_of(folder, path) == name)
            raise Mistake(
                f"plan.folders_are_classes is true, but of {str(folder / name)!r} no picture can be read "
                f"(the first: {first}): mend or remove it"
            )
    return torch.tensor(labels)


def _counted(labels: Tensor, classes: tuple[str, ...]) -> list[str]:
    """How many pictures are of each class, for up to ten classes; else of the smallest and the largest."""
    counts = torch.bincount(labels, minlength=len(classes)).tolist() if classes else []
    told = [f"{count} of class {name!r}" for name, count in zip(classes, counts, strict=True)]
    if len(told) > 10:
        return [f"{len(told)} classes of {min(counts)} to {max(counts)} pictures"]
    return told


def _class_of(folder: Path, picture: Path) -> str:
    return picture.relative_to(folder).parts[0]
