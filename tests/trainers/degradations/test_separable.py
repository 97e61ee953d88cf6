"""The matrices against SciPy's filters, and the kernel's values against their closed form."""

import numpy as np
import pytest
from scipy import ndimage

from trainers.degradations.separable import applied, gaussian_blur, lanczos2, radius


def picture(height: int, width: int, channels: int = 3) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).random((height, width, channels)).astype(np.float32)


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_lanczos2_is_a_filter_with_replicated_borders_and_then_every_nth_pixel(factor: int) -> None:
    taps, pixels = 4 * factor, picture(8 * factor, 5 * factor)
    x = (np.arange(taps) + 0.5 - 2 * factor) / factor
    kernel = 2 * np.sin(np.pi * x) * np.sin(np.pi * x / 2) / (np.pi * x) ** 2
    expected = pixels.astype(np.float64)
    for axis in (0, 1):
        # SciPy centres an even kernel on its later middle tap: shifted so that it begins 3f/2 pixels before
        filtered = ndimage.correlate1d(
            expected, kernel / kernel.sum(), axis, mode="nearest", origin=-factor // 2
        )
        expected = filtered.take(range(0, filtered.shape[axis], factor), axis)
    ours = applied(lanczos2(8 * factor, factor), lanczos2(5 * factor, factor), pixels)
    assert ours.shape == (8, 5, 3)
    assert np.abs(ours - expected).max() < 1e-6


def test_lanczos2_keeps_what_is_flat_and_is_symmetric() -> None:
    matrix = lanczos2(32, 4)
    assert np.allclose(matrix.sum(1), 1)
    assert np.allclose(matrix, matrix[::-1, ::-1])
    assert matrix.min() < 0  # the side lobes by which it keeps edges sharp


@pytest.mark.parametrize("sd", [0.2, 1.0, 1.6, 3.3])
def test_the_blur_is_scipys(sd: float) -> None:
    pixels = picture(17, 30)
    ours = applied(gaussian_blur(17, sd), gaussian_blur(30, sd), pixels)
    theirs = ndimage.gaussian_filter(
        pixels.astype(np.float64), (sd, sd, 0), mode="reflect", radius=(radius(sd), radius(sd), 0)
    )
    assert np.abs(ours - theirs).max() < 1e-6
