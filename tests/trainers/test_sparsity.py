"""How sparse an activation is, in closed forms; what `attach` does with it is in `test_attach*.py`."""

import doctest
import math

import pytest
import torch
from torch import Tensor

from trainers import sparsity
from trainers.regularizers import L0
from trainers.sparsity import MEASURES, measure


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_measures_in_closed_form() -> None:
    assert list(measure(torch.ones(1, 4), torch.ones(1, 4))) == list(MEASURES)
    h = torch.tensor([[3.0, -4.0, 0.0, 0.0], [0.01, 1.0, 1.0, 1.0]])
    after = h * torch.tensor([[0.0, 1, 1, 1], [1, 1, 1, 1]])
    norm = math.sqrt(3.0001)
    expected = {
        "density": 5 / 8,
        "removed_energy": 9 / 28.0001,
        "mean_abs": (4 + 3.01) / 8,
        "hoyer": (1 + (2 - 3.01 / norm) / 1) / 2,
        "small": 3 / 8,  # 0.01 is more than a hundredth of its sample's rms, 0.866
    }
    assert measure(h, after) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_measures_at_the_ends(scale: float) -> None:
    equal, single, none = (
        scale * torch.tensor([row]) for row in ([2.0, -2, 2, 2], [0.0, 3, 0, 0], [0.0] * 4)
    )
    assert measure(equal, equal) == pytest.approx(
        {"density": 1, "removed_energy": 0, "mean_abs": 2 * scale, "hoyer": 0, "small": 0}
    )
    assert measure(single, single)["hoyer"] == pytest.approx(1)
    assert measure(none, none) == {"density": 0, "removed_energy": 0, "mean_abs": 0, "hoyer": 1, "small": 1}
    assert measure(equal, none)["removed_energy"] == pytest.approx(1)
    assert measure(torch.ones(2, 1), torch.ones(2, 1))["hoyer"] == 0
    for n in (2, 9, 16, 23):  # whose rounding alone would leave [0, 1]
        assert 0 <= measure(torch.full((1, n), 0.1), torch.full((1, n), 0.1))["hoyer"] <= 1


def test_measures_do_not_hide_a_divergence_and_take_half_precision() -> None:
    h = normal(1, 4, 8, 8)
    broken = torch.where(h > 1, math.nan, h)
    measured = measure(broken, broken)
    assert all(math.isnan(measured[name]) for name in ("removed_energy", "mean_abs", "hoyer"))
    low = (300 * h).half()  # whose squares exceed half precision
    assert measure(low, L0(0.5).project(low)) == pytest.approx(
        measure(300 * h, L0(0.5).project(300 * h)), abs=2e-3, rel=2e-3
    )


def test_the_examples_run() -> None:
    result = doctest.testmod(sparsity)
    assert result.attempted >= 5 and result.failed == 0
