"""PSNR and SSIM against closed forms, their definitions and another implementation."""

import math

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio

from trainers.images import load
from trainers.psnr import METRICS, SMALLEST, psnr, ssim


def pair(size: int = 48, sigma: float = 0.1) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    clean = load("chelsea", size=size)
    noise = np.random.default_rng(0).normal(0, sigma, clean.shape).astype(np.float32)
    return clean, np.clip(clean + noise, 0, 1)


def test_a_constant_error_has_a_closed_form() -> None:
    clean = np.zeros((8, 9, 3), np.float32)
    assert psnr(clean + np.float32(0.1), clean) == pytest.approx(20, abs=1e-5)
    assert psnr(clean + np.float32(1), clean) == pytest.approx(0, abs=1e-9)
    assert psnr(clean, clean) == math.inf


def test_psnr_is_that_of_scikit_image() -> None:
    clean, noisy = pair()
    assert psnr(noisy, clean) == pytest.approx(peak_signal_noise_ratio(clean, noisy, data_range=1), abs=1e-4)


def test_ssim_is_its_definition() -> None:
    clean, noisy = pair()
    a, b = clean.astype(float), noisy.astype(float)
    line = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(line, line) / line.sum() ** 2

    def mean(x: NDArray[np.float64]) -> NDArray[np.float64]:
        weighted = sliding_window_view(x, (11, 11), axis=(0, 1)) * window  # type: ignore[call-overload]
        return np.asarray(weighted.sum((-1, -2)))

    m_a, m_b = mean(a), mean(b)
    v_a, v_b, covariance = mean(a * a) - m_a**2, mean(b * b) - m_b**2, mean(a * b) - m_a * m_b
    c1, c2 = 0.01**2, 0.03**2
    values = (2 * m_a * m_b + c1) * (2 * covariance + c2) / ((m_a**2 + m_b**2 + c1) * (v_a + v_b + c2))
    assert ssim(noisy, clean) == pytest.approx(values.mean(), abs=1e-9)
    assert ssim(clean, clean) == pytest.approx(1)
    assert ssim(noisy, clean) == pytest.approx(ssim(clean, noisy))


def test_both_fall_with_noise_for_grey_pictures_too() -> None:
    clean, little = pair(sigma=0.02)
    _, much = pair(sigma=0.2)
    for measure in (psnr, ssim):
        assert measure(little, clean) > measure(much, clean)
        assert measure(little[..., :1], clean[..., :1]) > measure(much[..., :1], clean[..., :1])


def test_what_is_not_finite_stays_so() -> None:
    clean, noisy = pair()
    noisy[3, 3, 0] = math.nan
    assert math.isnan(psnr(noisy, clean))
    assert math.isnan(ssim(noisy, clean))


@pytest.mark.parametrize("measure", [psnr, ssim])
@pytest.mark.parametrize("shapes", [((16, 16, 3), (16, 16, 1)), ((16, 16), (16, 16))])
def test_pictures_of_other_shapes_are_refused(measure: object, shapes: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(ValueError, match=r"have the shapes .* same H×W×C"):
        measure(*(np.zeros(shape, np.float32) for shape in shapes))  # type: ignore[operator]


def test_ssim_needs_its_window() -> None:
    small = np.zeros((SMALLEST - 1, 30, 1), np.float32)
    with pytest.raises(ValueError, match=r"\(10, 30, 1\), but SSIM needs sides of at least 11"):
        ssim(small, small)


def test_every_metric_has_its_direction() -> None:
    assert METRICS == {"psnr": "maximize", "psnr_raw": "maximize", "ssim": "maximize", "loss": "minimize"}
