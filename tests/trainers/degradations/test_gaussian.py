"""Gaussian noise: its level, its independence, and what is no level."""

from typing import Any

import numpy as np
import pytest

from trainers.degradations.gaussian import Gaussian
from trainers.dip_options import DipOptions
from trainers.settings import Mistake
from trainers.tasks import find_task, make_plan


@pytest.mark.parametrize("sigma", [1.0, 25.0, 50.0])
def test_the_noise_has_its_sigma_in_grey_levels(sigma: float) -> None:
    clean = np.full((200, 200, 3), 0.5, np.float32)
    noise = 255 * (Gaussian(sigma=sigma).degrade(clean, np.random.default_rng(0)).values - clean)
    assert noise.mean() == pytest.approx(0, abs=4 * sigma / np.sqrt(noise.size))
    assert noise.std() == pytest.approx(sigma, rel=0.02)
    channels = noise.reshape(-1, 3).T
    assert abs(np.corrcoef(channels)[0, 1]) < 0.02  # each channel has noise of its own
    assert abs(np.corrcoef(noise[:, 1:, 0].ravel(), noise[:, :-1, 0].ravel())[0, 1]) < 0.02


def test_the_noisy_picture_is_clipped() -> None:
    clean = np.tile(np.float32([0.0, 1.0]), (50, 25))[..., None]
    noisy = Gaussian(sigma=50).degrade(clean, np.random.default_rng(0)).values
    assert (noisy.min(), noisy.max()) == (0, 1)


def test_another_generator_draws_other_noise() -> None:
    clean = np.full((16, 16, 1), 0.5, np.float32)
    first, other = (Gaussian().degrade(clean, np.random.default_rng(seed)).values for seed in (0, 1))
    assert not np.array_equal(first, other)


def test_sigma_is_a_number_or_to_be_estimated_from_a_degraded_picture() -> None:
    read = DipOptions.model_validate({"degradation": {"sigma": "1e1"}}).degradation
    assert read == Gaussian(sigma=10)
    assert read.sd(np.zeros((16, 16, 1), np.float32)) == pytest.approx(10 / 255)
    noisy = np.random.default_rng(0).normal(0.5, 0.1, (128, 128, 3)).astype(np.float32)
    assert Gaussian(sigma="estimate").sd(noisy) == pytest.approx(0.1, rel=0.05)
    told = "plan.degradation.sigma is 'estimate', but plan.image_is says that the picture is clean"
    with pytest.raises(Mistake, match=told):
        make_plan(find_task("dip"), {"degradation": {"sigma": "estimate"}}, evaluate_at=(1,))


@pytest.mark.parametrize("sigma", [0, -1, "much", True, float("nan"), float("inf"), None, [25]])
def test_what_is_no_sigma_is_refused(sigma: Any) -> None:
    with pytest.raises(Mistake, match=r"plan.degradation.sigma is .*, but it must be greater than 0, a numb"):
        make_plan(find_task("dip"), {"degradation": {"sigma": sigma}}, evaluate_at=(1,))
