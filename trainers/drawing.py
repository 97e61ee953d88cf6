"""What a generator draws for an evaluation: pictures from fixed latents, as bytes, a part at a time."""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainers.pair_options import Sites

AT_ONCE = 500  # pictures, at most
MOST_ENTRIES = 1 << 26  # of one activation: 256 MB
WARM_UP = 4  # parts from which BatchNorm's statistics are estimated
SIDE = 8  # pictures a side of what is shown
GREY = 128  # between them


def at_once(sites: Sites) -> int:
    """How many pictures are drawn at once: 500, or fewer where the largest activation would fill a device.

    >>> at_once({"code": (16, 8, 8)}), at_once({"code": (256, 32, 32)})
    (500, 256)
    """
    largest = max(channels * height * width for channels, height, width in sites.values())
    return max(2, min(AT_ONCE, MOST_ENTRIES // largest))


def estimate_norms(generator: nn.Module, latents: Tensor, labels: Tensor, part: int) -> None:
    """Make BatchNorm's running statistics those of the generator's weights as they are now.

    They become the mean over at most four parts, each whole, since one of a few pictures would weigh as much
    as the others. Those that training left are of other weights where weights were averaged.
    """
    norms = [module for module in generator.modules() if isinstance(module, _BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # all parts weigh the same
    generator.train()
    whole = max(1, min(WARM_UP, len(latents) // part)) * part
    with torch.no_grad():
        for z, y in zip(latents[:whole].split(part), labels[:whole].split(part), strict=True):
            generator(z, y)


class Drawing:
    """Iterates over a generator's pictures from fixed latents: parts of N×C×S×S, uint8, on its device.

    generator: in evaluation from here on. latents: N×L; labels: N, int64. After the last part, `finite` says
    whether all values were (bytes hide that), and `shown` holds the first 64 as one picture H×W×C.
    """

    def __init__(self, generator: nn.Module, latents: Tensor, labels: Tensor, part: int) -> None:
        self.generator, self.latents, self.labels, self.part = generator.eval(), latents, labels, part
        self.finite, self.shown = True, np.zeros((0, 0, 1), np.uint8)

    @torch.no_grad()
    def __iter__(self) -> Iterator[Tensor]:
        first: list[Tensor] = []
        for z, y in zip(self.latents.split(self.part), self.labels.split(self.part), strict=True):
            pictures = self.generator(z, y)
            self.finite = self.finite and bool(pictures.isfinite().all())
            drawn = as_bytes(pictures)
            if sum(map(len, first)) < SIDE * SIDE:
                first.append(drawn[: SIDE * SIDE].cpu())
            yield drawn
        self.shown = grid(torch.cat(first))


def as_bytes(pictures: Tensor) -> Tensor:
    """[-1, 1] → 0 … 255 by (x + 1) / 2, never by a picture's own extremes; NaN is black.

    >>> as_bytes(torch.tensor([-1.0, 0.0, 1.0, 7.0])).tolist()
    [0, 128, 255, 255]
    """
    return ((pictures + 1) * 127.5).round().clamp(0, 255).nan_to_num(0).to(torch.uint8)


def grid(samples: Tensor) -> NDArray[np.uint8]:
    """The first 64 of N×C×S×S, uint8, as one picture of 8×8 in reading order, a grey line between: H×W×C."""
    tiles = F.pad(samples[: SIDE * SIDE], (0, 1, 0, 1), value=GREY).permute(0, 2, 3, 1).numpy()
    _, height, width, channels = tiles.shape
    rows = tiles.reshape(SIDE, SIDE, height, width, channels).swapaxes(1, 2)
    return np.ascontiguousarray(rows.reshape(SIDE * height, SIDE * width, channels)[:-1, :-1])
