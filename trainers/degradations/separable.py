"""Linear maps of a picture that act on its rows and columns alike: a matrix for each side."""

import numpy as np
from numpy.typing import NDArray

from trainers.degradations.degradation import Picture

Matrix = NDArray[np.float64]


def applied(rows: Matrix, columns: Matrix, picture: Picture) -> Picture:
    """rows (h×H) · x · columnsᵀ (W×w) for each channel of H×W×C, in double precision; h×w×C."""
    halfway = np.tensordot(rows, picture.astype(np.float64), 1)
    return np.asarray(np.einsum("hWc,wW->hwc", halfway, columns, optimize=True), np.float32)


def lanczos2(size: int, factor: int) -> Matrix:
    """size/factor × size: a low resolution pixel as the mean of 4·factor high resolution ones.

    Their weights are sinc(d) sinc(d/2) for d = distance of the centres / factor, |d| < 2, divided by their
    sum; what lies beyond the border is the border's pixel. It is the downsampler of Deep Image Prior's
    reference implementation (kernel `lanczos2`, phase 0.5; arXiv 1711.10925).
    """
    taps = 4 * factor
    distance = (np.arange(taps) - (taps - 1) / 2) / factor
    weights = np.sinc(distance) * np.sinc(distance / 2)
    return _banded(size, weights / weights.sum(), starts=np.arange(size // factor) * factor - 3 * factor // 2)


def gaussian_blur(size: int, sd: float) -> Matrix:
    """size × size: exp(-d²/2sd²) for distances to `radius(sd)`, divided by their sum; the border is mirrored.

    The border's pixel comes twice, as in SciPy's mode `reflect`.
    """
    reach = radius(sd)
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sd) ** 2)
    return _banded(size, weights / weights.sum(), starts=np.arange(size) - reach, mirrored=True)


def radius(sd: float) -> int:
    """How far a Gaussian kernel reaches, in pixels: four standard deviations, and at least one pixel."""
    return max(1, int(4 * sd + 0.5))


def _banded(size: int, weights: Matrix, *, starts: NDArray[np.intp], mirrored: bool = False) -> Matrix:
    """Row i holds the weights from column starts[i] on; columns beyond the border count for those within."""
    columns = starts[:, None] + np.arange(len(weights))
    if mirrored:
        columns = np.where(columns < 0, -columns - 1, columns)
        columns = np.where(columns >= size, 2 * size - columns - 1, columns)
    matrix = np.zeros((len(starts), size))
    rows = np.arange(len(starts))[:, None]
    np.add.at(matrix, (rows, np.clip(columns, 0, size - 1)), weights)
    return matrix
