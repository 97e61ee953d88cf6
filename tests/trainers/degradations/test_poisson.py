"""Photon noise: counts over the peak, mean and variance of the definition."""

import numpy as np
import pytest

from trainers.degradations.poisson import Poisson


@pytest.mark.parametrize("value", [0.1, 0.5])
def test_mean_and_variance_are_those_of_counted_photons(value: float) -> None:
    clean = np.full((300, 300, 1), value, np.float32)
    noisy = Poisson(peak=40).degrade(clean, np.random.default_rng(0)).values.astype(np.float64)
    assert noisy.mean() == pytest.approx(value, rel=0.01)
    assert noisy.var() == pytest.approx(value / 40, rel=0.02)
    assert np.allclose(noisy * 40, np.round(noisy * 40), atol=1e-4)  # whole photons


def test_black_stays_black_and_white_is_clipped() -> None:
    clean = np.tile(np.float32([0.0, 1.0]), (20, 10))[..., None]
    noisy = Poisson(peak=5).degrade(clean, np.random.default_rng(0)).values
    assert noisy[:, ::2].max() == 0
    assert noisy.max() == 1
