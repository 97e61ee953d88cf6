"""The blur's noise and its refusals; the kernel is tested with its matrix."""

import numpy as np
import pytest
from scipy import ndimage

from trainers.degradations.blur import Blur
from trainers.images import load
from trainers.settings import Mistake
from trainers.tasks import find_task, make_plan, sites_of


def test_it_is_scipys_filter_and_then_noise() -> None:
    clean = load("coffee", size=64)
    theirs = ndimage.gaussian_filter(clean.astype(np.float64), (1.6, 1.6, 0), mode="reflect")
    still = Blur(width=1.6).degrade(clean, np.random.default_rng(0)).values
    assert np.abs(still - theirs).max() < 1e-6
    noise = Blur(width=1.6, sigma=5).degrade(clean, np.random.default_rng(0)).values - still
    assert 255 * noise.std() == pytest.approx(5, rel=0.05)


def test_a_kernel_wider_than_the_picture_is_refused() -> None:
    told = r"plan.degradation.width is 5, so the kernel reaches 20 pixels, but the picture has 20×20: take a"
    plan = make_plan(
        find_task("dip"), {"size": 20, "degradation": {"kind": "blur", "width": 5}}, evaluate_at=(1,)
    )
    with pytest.raises(Mistake, match=told):
        sites_of(find_task("dip"), plan)


@pytest.mark.parametrize(("given", "told"), [
    ({"width": 0}, "plan.degradation.width is 0, but it must be greater than 0"),
    ({"sigma": -1}, "plan.degradation.sigma is -1, but it must be greater than or equal to 0"),
    ({"peak": 3}, "plan.degradation.peak is not a known key; the known keys there are kind, width, sigma"),
])  # fmt: skip
def test_numbers_without_sense_are_refused(given: dict[str, float], told: str) -> None:
    with pytest.raises(Mistake, match=told):
        make_plan(find_task("dip"), {"degradation": {"kind": "blur", **given}}, evaluate_at=(1,))
