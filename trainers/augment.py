"""DiffAugment (arXiv 2006.10738): what is done to pictures, real and drawn, before they are judged.

A generator learns through it, so that few pictures train a discriminator longer before it knows them by
heart. Each picture is changed by numbers of its own, which come from the generator that is given. A
classifier is trained with translation and flip, which is not the paper's.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

SHIFT, HOLE = 1 / 8, 1 / 2  # of a side: the paper's


def augmented(images: Tensor, kinds: Sequence[str], draw: torch.Generator) -> Tensor:
    """N×C×H×W in [-1, 1] → the same shape, changed in the kinds' order; differentiable in the pictures.

    kinds: of `KINDS`; none leaves the pictures as they are and draws nothing. draw: on their device. Color
    may leave the range, as the paper's does.

    >>> pictures = torch.rand(2, 3, 8, 8) * 2 - 1
    >>> changed = augmented(pictures, ("translation", "cutout"), torch.Generator().manual_seed(0))
    >>> changed.shape, torch.equal(augmented(pictures, (), torch.Generator()), pictures)
    (torch.Size([2, 3, 8, 8]), True)
    """
    for kind in kinds:
        images = KINDS[kind](images, draw)
    return images


def color(images: Tensor, draw: torch.Generator) -> Tensor:
    """Brightness x + b, b from U(-½, ½); saturation: the distance from the mean over channels times U(0, 2);
    contrast: that from the mean over the whole picture times U(½, 3/2). Grey pictures have no saturation.
    """
    brightness, saturation, contrast = (_uniform(images, draw) for _ in range(3))
    x = images + (brightness - 0.5)
    grey = x.mean(dim=1, keepdim=True)
    x = grey + (x - grey) * (2 * saturation)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    return mean + (x - mean) * (0.5 + contrast)


def translation(images: Tensor, draw: torch.Generator) -> Tensor:
    """Moved by whole pixels, up to an eighth of each side either way, all equally likely; 0 moves in."""
    shifted = images
    for dim in (2, 3):
        side = images.shape[dim]
        most = int(side * SHIFT + 0.5)
        by = torch.randint(-most, most + 1, (len(images), 1), generator=draw, device=images.device)
        index = torch.arange(side, device=images.device) - by  # N×side: where each pixel comes from
        inside = _along((index >= 0) & (index < side), dim)
        source = _along(index.clamp(0, side - 1), dim).expand_as(images)
        shifted = shifted.gather(dim, source) * inside
    return shifted


def cutout(images: Tensor, draw: torch.Generator) -> Tensor:
    """A square hole of 0, half as wide as the picture, centred on any pixel: part of it may lie outside."""
    return images * ~(_within_hole(images, 2, draw) & _within_hole(images, 3, draw))


def flip(images: Tensor, draw: torch.Generator) -> Tensor:
    """Left and right change places in half of the pictures."""
    return torch.where(_uniform(images, draw) < 0.5, images.flip(3), images)


KINDS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "color": color,
    "translation": translation,
    "cutout": cutout,
    "flip": flip,
}


def _within_hole(images: Tensor, dim: int, draw: torch.Generator) -> Tensor:
    """True where a row (dimension 2) or column (3) of each picture lies in its hole."""
    side = images.shape[dim]
    wide = int(side * HOLE + 0.5)
    # One centre more where the hole is even, as it then has none among the pixels.
    centre = torch.randint(0, side + 1 - wide % 2, (len(images), 1), generator=draw, device=images.device)
    index = torch.arange(side, device=images.device) - (centre - wide // 2)
    return _along((index >= 0) & (index < wide), dim)


def _along(values: Tensor, dim: int) -> Tensor:
    """N×side → N×1×side×1 for dimension 2, N×1×1×side for 3."""
    return values[:, None, :, None] if dim == 2 else values[:, None, None, :]


def _uniform(images: Tensor, draw: torch.Generator) -> Tensor:
    """A number from U(0, 1) for each picture: N×1×1×1."""
    shape = (len(images), 1, 1, 1)
    return torch.rand(shape, generator=draw, dtype=images.dtype, device=images.device)
