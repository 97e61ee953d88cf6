"""The least windowed variance on the device against a loop over lists."""

import math

import numpy as np
import pytest
import torch
from fixed_program import watched
from torch import Tensor

from trainers.dip_stopping import LeastVariance


def outputs(count: int, spread: list[float]) -> list[Tensor]:
    """Pictures about 0.5 that differ from step to step as `spread` says."""
    draws = torch.Generator().manual_seed(0)
    return [0.5 + spread[i] * torch.randn((1, 2, 3, 4), generator=draws) for i in range(count)]


def by_hand(seen: list[Tensor], window: int, patience: int) -> int:
    """The step, from 1, of the paper's algorithm; 0 where the window was never full."""
    least, at = math.inf, 0
    for step in range(window, len(seen) + 1):
        last = np.stack([one.numpy().astype(np.float64) for one in seen[step - window : step]])
        variance = np.mean((last - last.mean(0)) ** 2)
        if variance < least:
            least, at = variance, step
        elif step - at >= patience:
            break
    return at


DOWN_AND_UP = [1 - i / 20 for i in range(20)] + [i / 20 for i in range(20)]
TWO_VALLEYS = [1.0] * 5 + [0.3] * 6 + [1.0] * 12 + [0.01] * 17


@pytest.mark.parametrize("spread", [DOWN_AND_UP, TWO_VALLEYS])
@pytest.mark.parametrize(("window", "patience"), [(1, 3), (4, 3), (4, 6), (4, 100), (50, 3)])
def test_it_keeps_the_picture_of_the_step_that_a_loop_finds(
    spread: list[float], window: int, patience: int
) -> None:
    seen = outputs(40, spread)
    kept = LeastVariance(seen[0], window=window, patience=patience)
    for step, output in enumerate(seen, start=1):
        kept.see(torch.tensor(step), output, 2 * output)
    at = by_hand(seen, window, patience)
    assert int(kept.at) == at
    otherwise = torch.zeros_like(seen[0])
    assert torch.equal(kept.kept(otherwise), 2 * seen[at - 1] if at else otherwise)


def test_patience_tells_the_first_valley_from_a_deeper_one_later() -> None:
    seen, steps = outputs(40, TWO_VALLEYS), []
    for patience in (6, 100):
        kept = LeastVariance(seen[0], window=4, patience=patience)
        for step, output in enumerate(seen, start=1):
            kept.see(torch.tensor(step), output, output)
        steps.append(int(kept.at))
    assert steps[0] < 15 < steps[1]


def test_it_goes_on_from_its_state_and_waits_for_nothing() -> None:
    seen = outputs(40, DOWN_AND_UP)
    whole, first, second = (LeastVariance(seen[0], window=4, patience=6) for _ in range(3))
    for step, output in enumerate(seen, start=1):
        whole.see(torch.tensor(step), output, output)
        (first if step <= 15 else second).see(torch.tensor(step), output, output)
        if step == 15:
            second.load_state_dict(first.state_dict())
    assert int(second.at) == int(whole.at) > 0
    assert torch.equal(second.picture, whole.picture)
    step = torch.tensor(41)
    with watched():
        whole.see(step, seen[0], seen[0])
