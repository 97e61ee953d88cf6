"""PSNR and SSIM against closed forms, their definitions and another implementation."""

import math

import numpy as np
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio

from trainers.images import load
from trainers.psnr import METRICS, SMALLEST, held_out_error, psnr, ssim, sure


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
    assert METRICS == {
        "psnr": "maximize", "psnr_raw": "maximize", "ssim": "maximize",
        "held_out": "minimize", "sure": "minimize", "loss": "minimize",
    }  # fmt: skip


# --- without a clean picture -------------------------------------------------------------------------


def test_the_held_out_error_is_that_of_the_held_pixels_alone() -> None:
    clean, noisy = pair(16)
    held = np.random.default_rng(1).random((16, 16)) < 0.3
    by_hand = [
        (clean[i, j, c] - noisy[i, j, c]) ** 2 for i, j in zip(*held.nonzero(), strict=True) for c in range(3)
    ]
    assert held_out_error(clean, noisy, held) == pytest.approx(np.mean(by_hand), rel=1e-5)
    changed = np.where(held[..., None], clean, 7)
    assert held_out_error(changed.astype(np.float32), noisy, held) == held_out_error(clean, noisy, held)


def test_sure_of_a_linear_filter_is_its_closed_form_and_estimates_its_error() -> None:
    clean, sd = load("chelsea", size=96), 0.1
    estimates, truths = [], []
    for seed in range(8):
        draws = np.random.default_rng(seed)
        noisy = (clean + draws.normal(0, sd, clean.shape)).astype(np.float32)
        direction = draws.choice([-1.0, 1.0], clean.shape).astype(np.float32)

        def smooth(x: NDArray[np.float32]) -> NDArray[np.float32]:
            return np.asarray(ndimage.uniform_filter(x, (3, 3, 1)), np.float32)

        found = [
            sure(
                smooth(noisy),
                smooth(noisy + nudge * direction),
                noisy,
                direction=direction,
                nudge=nudge,
                sd=sd,
            )
            for nudge in (0.01, 0.1)
        ]
        assert found[0] == pytest.approx(found[1], abs=1e-6)  # it is linear, so ε does not matter
        closed = np.mean((noisy - smooth(noisy)) ** 2) - sd**2 + 2 * sd**2 / 9  # its divergence is N/9
        assert found[0] == pytest.approx(closed, abs=2e-4)
        estimates.append(found[0])
        truths.append(np.mean((smooth(noisy) - clean) ** 2))
    assert np.mean(estimates) == pytest.approx(np.mean(truths), rel=0.05)
