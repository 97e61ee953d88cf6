"""So many pixels are missing, and others for another seed."""

import numpy as np
import pytest

from trainers.degradations.missing_pixels import MissingPixels
from trainers.settings import Mistake
from trainers.tasks import find_task, make_plan

CLEAN = np.full((20, 30, 3), 0.5, np.float32)


@pytest.mark.parametrize(("missing", "seen"), [(0.5, 300), (0.9, 60), (1e-9, 599), (1 - 1e-9, 1)])
def test_the_fraction_is_exact_and_something_is_always_left(missing: float, seen: int) -> None:
    degraded = MissingPixels(missing=missing).degrade(CLEAN, np.random.default_rng(0))
    assert degraded.seen is not None and degraded.seen.shape == (20, 30)
    assert degraded.seen.sum() == seen


def test_every_pixel_is_as_likely_and_another_seed_takes_others() -> None:
    drawn = [MissingPixels().degrade(CLEAN, np.random.default_rng(seed)).seen for seed in range(200)]
    often = np.mean([one for one in drawn if one is not None], axis=0)
    assert abs(often - 0.5).max() < 0.2
    assert abs(often[:, ::2].mean() - 0.5) < 0.01


@pytest.mark.parametrize("missing", [0, 1])
def test_none_and_all_are_refused(missing: int) -> None:
    with pytest.raises(Mistake, match=rf"plan.degradation.missing is {missing}, but it must be "):
        make_plan(
            find_task("dip"),
            {"degradation": {"kind": "missing_pixels", "missing": missing}},
            evaluate_at=(1,),
        )
