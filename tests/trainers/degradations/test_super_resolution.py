"""Low resolution as by another library's filter, and sizes that do not divide."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainers.degradations.super_resolution import SuperResolution
from trainers.dip import DipTraining
from trainers.images import load
from trainers.settings import Mistake
from trainers.tasks import find_task, make_plan, prepared_of, sites_of


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_it_is_near_pillows_antialiased_bicubic_which_has_as_wide_a_kernel(factor: int) -> None:
    clean = load("camera", size=128)
    small = SuperResolution(factor=factor).degrade(clean, np.random.default_rng(0)).values[..., 0]
    sides = (128 // factor, 128 // factor)
    theirs = Image.fromarray(clean[..., 0]).resize(sides, Image.Resampling.BICUBIC)
    inner = (slice(2, -2), slice(2, -2))  # at the border Pillow has another rule
    assert np.abs(small - np.clip(np.asarray(theirs), 0, 1))[inner].max() < 0.06
    assert np.sqrt(np.mean((small - np.asarray(theirs))[inner] ** 2)) < 0.01


def test_overshoots_are_clipped() -> None:
    edge = np.zeros((32, 32, 1), np.float32)
    edge[:, 17:] = 1
    small = SuperResolution(factor=4).degrade(edge, np.random.default_rng(0)).values
    assert (small.min(), small.max()) == (0, 1)


def test_a_factor_that_does_not_divide_is_refused(tmp_path: Path) -> None:
    Image.new("L", (40, 31)).save(tmp_path / "a.png")
    options = {
        "image": str(tmp_path / "a.png"),
        "network": {"width": 4, "scales": 2},
        "degradation": {"kind": "super_resolution", "factor": 2},
    }
    plan = make_plan(find_task("dip"), options, evaluate_at=(1,))
    told = r"plan.degradation.factor is 2, but the picture has 40×31 pixels, which it does not divide: set"
    for ask in (sites_of, prepared_of, lambda _, plan: DipTraining(plan, seed=0)):
        with pytest.raises(Mistake, match=told):
            ask(find_task("dip"), plan)
    with pytest.raises(Mistake, match=r"plan.degradation.factor is 3, but it must be 2, 4 or 8"):
        make_plan(
            find_task("dip"), {"degradation": {"kind": "super_resolution", "factor": 3}}, evaluate_at=(1,)
        )


def test_the_sites_of_a_small_picture_are_those_of_the_large_one_that_is_drawn() -> None:
    options = {
        "size": 24,
        "network": {"width": 4, "scales": 2},
        "image_is": "degraded",
        "degradation": {"kind": "super_resolution", "factor": 4},
    }
    assert sites_of(find_task("dip"), make_plan(find_task("dip"), options, evaluate_at=(1,)))["code"] == (
        4,
        96,
        96,
    )
