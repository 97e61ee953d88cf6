"""ASHA's rule: closed cases, agreement with Ray's own bracket, and both directions."""

from types import SimpleNamespace

import numpy as np
import pytest
from ray.tune.schedulers.async_hyperband import _Bracket

from tuner.pruning import goes_on


def test_the_first_at_a_rung_goes_on() -> None:
    assert goes_on(-1e9, [], direction="maximize", reduction=3)


@pytest.mark.parametrize("reduction", [2, 3, 4, 2.5])
def test_agrees_with_rays_bracket_on_random_streams(reduction: float) -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        bracket = _Bracket(min_t=1, max_t=10, reduction_factor=reduction, s=0)
        earlier: list[float] = []
        for number in range(30):
            value = float(np.round(random.normal(), 1))  # rounded: ties at the cutoff happen
            trial = SimpleNamespace(trial_id=str(number))
            rays = bracket.on_result(trial, cur_iter=1, cur_rew=value) == "CONTINUE"
            ours = goes_on(value, earlier, direction="maximize", reduction=reduction)
            mirrored = goes_on(-value, [-one for one in earlier], direction="minimize", reduction=reduction)
            assert ours == rays
            assert mirrored == ours
            earlier.append(value)


def test_one_of_eta_goes_on_in_the_long_run() -> None:
    random = np.random.default_rng(1)
    values = random.normal(size=3000).tolist()
    kept = sum(goes_on(v, values[:i], direction="maximize", reduction=3) for i, v in enumerate(values))
    assert kept / len(values) == pytest.approx(1 / 3, abs=0.03)
