"""What Deep Image Prior undoes. Each is a pure function of the clean picture, its numbers and a generator."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from trainers.dip_options import Gaussian

Picture = NDArray[np.float32]


def gaussian(clean: Picture, degradation: Gaussian, generator: np.random.Generator) -> Picture:
    """clean + n, n ~ N(0, (σ/255)²) independently at every pixel and channel, clipped to [0, 1].

    clean: H×W×C in [0, 1]; σ in grey levels of 0 to 255. The draws are numpy's, so that they are the same
    on every device.

    >>> grey = np.full((200, 200, 1), 0.5, np.float32)
    >>> round(float(gaussian(grey, Gaussian(sigma=25), np.random.default_rng(0)).std() * 255))
    25
    """
    noise = generator.standard_normal(clean.shape, dtype=np.float32)
    return np.clip(clean + np.float32(degradation.sigma / 255) * noise, 0, 1)


DEGRADATIONS: dict[str, Callable[[Picture, Gaussian, np.random.Generator], Picture]] = {"gaussian": gaussian}


def degrade(clean: Picture, degradation: Gaussian, generator: np.random.Generator) -> Picture:
    """What the training sees of the clean picture; H×W×C in [0, 1] both."""
    return DEGRADATIONS[degradation.kind](clean, degradation, generator)
