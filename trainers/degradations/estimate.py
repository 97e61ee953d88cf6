"""How much noise a picture has, from the picture alone."""

import numpy as np
from numpy.typing import NDArray

from trainers.degradations.degradation import Picture

# The high-pass filter of Daubechies' wavelet with two vanishing moments, as the weights of a window.
_ROOT = np.sqrt(3.0)
_DETAIL = np.array([_ROOT - 1, 3 - _ROOT, -3 - _ROOT, 1 + _ROOT]) / (4 * np.sqrt(2.0))
_QUARTILE = 0.6744897501960817  # of the standard normal: the median of its absolute value


def estimated_sd(picture: Picture) -> float:
    """The standard deviation of white Gaussian noise in H×W×C, as a fraction of its range.

    σ = median |d| / 0.6745, d the diagonal details of one step of a wavelet transform (Donoho and Johnstone,
    Biometrika 81, 1994, section 4.2), zeros left out, the mean over channels: what scikit-image's
    `estimate_sigma` computes, which needs another package for the transform.

    A smooth picture has no details of its own there; a textured one is taken for noisier than it is, one that
    a JPEG has smoothed for less noisy.

    >>> noise = np.random.default_rng(0).normal(0.5, 0.1, (128, 128, 1)).astype(np.float32)
    >>> round(estimated_sd(noise), 2)
    0.1
    """
    found = []
    for channel in np.moveaxis(picture.astype(np.float64), 2, 0):
        details = np.abs(_details(_details(channel, 0), 1))
        details = details[details > 0]
        found.append(float(np.median(details)) / _QUARTILE if details.size else 0.0)
    return float(np.mean(found))


def _details(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Every second window along an axis under the filter, the border mirrored."""
    values = np.moveaxis(values, axis, 0)
    taps, size = len(_DETAIL), values.shape[0]
    mirrored = np.pad(values, ((taps - 1, taps - 1), *((0, 0),) * (values.ndim - 1)), mode="symmetric")
    starts = range(1, size + taps - 1, 2)
    rows = [np.tensordot(_DETAIL, mirrored[start : start + taps], 1) for start in starts]
    return np.moveaxis(np.stack(rows), 0, axis)
