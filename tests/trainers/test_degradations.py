"""What is done to a clean picture: known noise, within [0, 1], the same for the same generator."""

from typing import get_args

import numpy as np
import pytest

from trainers.degradations import DEGRADATIONS, degrade
from trainers.dip_options import DipOptions, Gaussian


def test_no_degradation_of_the_plan_is_left_out() -> None:
    known = DipOptions.model_fields["degradation"].annotation
    kinds = {model.model_fields["kind"].default for model in (get_args(known) or (known,))}
    assert DEGRADATIONS.keys() == kinds


@pytest.mark.parametrize("sigma", [1.0, 25.0, 50.0])
def test_gaussian_noise_has_its_sigma_in_grey_levels(sigma: float) -> None:
    clean = np.full((200, 200, 3), 0.5, np.float32)
    noise = 255 * (degrade(clean, Gaussian(sigma=sigma), np.random.default_rng(0)) - clean)
    assert noise.mean() == pytest.approx(0, abs=4 * sigma / np.sqrt(noise.size))
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    channels = noise.reshape(-1, 3).T
    assert abs(np.corrcoef(channels)[0, 1]) < 0.02  # each channel has noise of its own
    assert abs(np.corrcoef(noise[:, 1:, 0].ravel(), noise[:, :-1, 0].ravel())[0, 1]) < 0.02


def test_the_noisy_picture_stays_within_its_range_and_the_clean_one_as_it_was() -> None:
    clean = np.tile(np.float32([0.0, 1.0]), (50, 25))[..., None]
    before = clean.copy()
    noisy = degrade(clean, Gaussian(sigma=50), np.random.default_rng(0))
    assert noisy.dtype == np.float32
    assert (noisy.min(), noisy.max()) == (0, 1)
    assert np.array_equal(clean, before)


def test_a_generator_repeats_and_another_differs() -> None:
    clean = np.full((16, 16, 1), 0.5, np.float32)
    first, same, other = (degrade(clean, Gaussian(), np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)
