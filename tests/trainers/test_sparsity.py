"""The mathematics of regularizers against brute force and closed forms, however a step runs them."""

import doctest
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from fixed_program import RefuseCopies
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.func import grad, vmap

from trainers import sparsity
from trainers.settings import L0, L1, REGULARIZERS, L0Inf, Mistake, Regularizer
from trainers.sparsity import MEASURES, PENALTIES, PROJECTIONS, l1, measure, project_l0, project_l0inf

EXAMPLES: dict[str, Regularizer] = {"l1": L1(0.25), "l0": L0(0.3), "l0inf": L0Inf(2)}
PROJECT: dict[str, Callable[[Tensor], Tensor]] = {
    "l0": lambda h: project_l0(h, 0.3),
    "l0inf": lambda h: project_l0inf(h, 2),
}
PURE: dict[str, Callable[[Tensor], Tensor]] = {"l1": l1, **PROJECT}


def act(regularizer: Regularizer, h: Tensor) -> Tensor:
    return (PENALTIES | PROJECTIONS)[type(regularizer)](h, regularizer)


def normal(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def survivors(row: Sequence[float], k: int) -> list[float]:
    """The k largest by magnitude, lower index first among equal ones: by sorting in Python."""
    order = sorted(range(len(row)), key=lambda index: (-abs(row[index]), index))[:k]
    return [value if index in order else 0.0 for index, value in enumerate(row)]


def brute_l0(h: Tensor, keep: float) -> Tensor:
    rows = [survivors(s.flatten().tolist(), max(1, round(keep * s.numel()))) for s in h]
    return torch.tensor(rows, dtype=h.dtype).reshape(h.shape)


def brute_l0inf(h: Tensor, k: int) -> Tensor:
    needles = h.movedim(1, -1)
    rows = [survivors(needle.tolist(), k) for needle in needles.reshape(-1, h.shape[1])]
    return torch.tensor(rows, dtype=h.dtype).reshape(needles.shape).movedim(-1, 1)


# --- all regularizers ------------------------------------------------------------------------------


def test_every_regularizer_is_a_penalty_or_a_projection_and_stands_in_the_list() -> None:
    assert not PENALTIES.keys() & PROJECTIONS.keys()
    assert PENALTIES.keys() | PROJECTIONS.keys() == set(REGULARIZERS.values())
    assert EXAMPLES.keys() == REGULARIZERS.keys() and PURE.keys() == REGULARIZERS.keys()


@pytest.mark.parametrize("kind", REGULARIZERS)
def test_the_contract_of_a_regularizers_action(kind: str) -> None:
    regularizer = EXAMPLES[kind]
    h = normal(2, 8, 5, 4)
    result = act(regularizer, h)
    assert result.shape == (() if type(regularizer) in PENALTIES else h.shape)
    assert torch.equal(act(regularizer, h), result)  # the same bits again
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        low = act(regularizer, h.to(dtype))
        assert low.isfinite().all()
        assert low.dtype == (
            dtype if type(regularizer) in PROJECTIONS else torch.promote_types(dtype, torch.float32)
        )
    nan = torch.where(normal(2, 8, 5, 4, seed=1) > 1.5, math.nan, h)
    assert act(regularizer, nan).isnan().any()
    if type(regularizer) in PROJECTIONS:
        assert (act(regularizer, nan).isnan() == nan.isnan()).all()
        assert act(regularizer, torch.full_like(h, math.nan)).isnan().all()
    assert act(regularizer, torch.zeros_like(h)).count_nonzero() == 0
    inputs = normal(1, 6, 2, 2, dtype=torch.float64, seed=2).requires_grad_()  # no ties: differentiable there
    assert torch.autograd.gradcheck(lambda x: act(regularizer, x), inputs)
    assert torch.autograd.gradgradcheck(lambda x: act(regularizer, x).square(), inputs)


@pytest.mark.parametrize("kind", REGULARIZERS)
def test_nothing_waits_for_the_device(kind: str) -> None:
    """Fake tensors have no values: asking for one raises, and so does a mixture of devices."""
    for device in ("cpu", "cuda"):  # a fake GPU needs none
        with FakeTensorMode(), RefuseCopies():
            h = torch.randn(2, 8, 5, 4, device=device, requires_grad=device == "cpu")
            result = act(EXAMPLES[kind], h)
            assert result.device.type == device
            if device == "cpu":
                result.sum().backward()
            with pytest.raises(DataDependentOutputException):  # which would also catch the functions above
                measure(h, h)


@pytest.mark.parametrize("kind", REGULARIZERS)
def test_many_members_at_once_equal_one_after_the_other(kind: str) -> None:
    members = torch.stack([normal(2, 8, 5, 4, seed=seed).relu() for seed in range(3)])
    each = torch.stack([act(EXAMPLES[kind], member) for member in members])
    torch.testing.assert_close(vmap(lambda h: act(EXAMPLES[kind], h))(members), each, rtol=1e-6, atol=0)
    moved = vmap(lambda h: act(EXAMPLES[kind], h), in_dims=2)(members.movedim(0, 2))
    torch.testing.assert_close(moved, each, rtol=1e-6, atol=0)

    def loss(h: Tensor) -> Tensor:
        return act(EXAMPLES[kind], h).square().sum()

    torch.testing.assert_close(
        vmap(grad(loss))(members), torch.stack([grad(loss)(member) for member in members])
    )


@pytest.mark.parametrize("kind", REGULARIZERS)
def test_a_compiled_step_computes_the_same(kind: str) -> None:
    h = normal(2, 8, 5, 4)
    compiled = torch.compile(lambda h: act(EXAMPLES[kind], h), backend="eager", fullgraph=True)
    assert torch.equal(compiled(h), act(EXAMPLES[kind], h))


@pytest.mark.gpu
@pytest.mark.parametrize("kind", REGULARIZERS)
@pytest.mark.parametrize("shape", [(1, 16, 96, 96), (4, 128, 32, 32)])
def test_a_captured_graph_computes_what_the_cpu_computes(kind: str, shape: tuple[int, ...]) -> None:
    static = normal(*shape).relu().cuda()
    act(EXAMPLES[kind], static)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = act(EXAMPLES[kind], static)
    for seed in (1, 2):
        h = (4 * normal(*shape, seed=seed)).round().relu()  # many ties
        static.copy_(h)
        graph.replay()
        torch.testing.assert_close(result.cpu(), act(EXAMPLES[kind], h), rtol=1e-6, atol=0)


# --- projections -----------------------------------------------------------------------------------

few_values = hnp.arrays(
    np.float32,
    st.tuples(st.integers(1, 3), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3)),
    elements=st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 0.5, 3.0]),  # so ties are everywhere
)


@settings(deadline=None, max_examples=200)
@given(few_values, st.floats(0, 1, exclude_min=True), st.integers(1, 7))
def test_projections_equal_brute_force_with_ties(values: Any, keep: float, k: int) -> None:
    h = torch.from_numpy(values)
    for laid_out in (
        h,
        h.contiguous(memory_format=torch.channels_last),
        h.transpose(2, 3).contiguous().transpose(2, 3),
    ):
        assert torch.equal(project_l0(laid_out, keep), brute_l0(h, keep))
        assert torch.equal(project_l0inf(laid_out, k), brute_l0inf(h, k))


@pytest.mark.parametrize("shape", [(2, 7), (2, 7, 5), (1, 3, 2, 2, 2)])
def test_projections_take_any_number_of_positions(shape: tuple[int, ...]) -> None:
    h = normal(*shape)
    assert torch.equal(project_l0(h, 0.4), brute_l0(h, 0.4))
    assert torch.equal(project_l0inf(h, 2), brute_l0inf(h, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_projections_in_half_precision_where_ties_come_by_themselves(dtype: torch.dtype) -> None:
    h = normal(2, 16, 12, 12, dtype=dtype)
    assert h.unique().numel() < h.numel()
    assert torch.equal(project_l0(h, 0.21), brute_l0(h, 0.21))
    assert torch.equal(project_l0inf(h, 5), brute_l0inf(h, 5))


def test_among_equal_magnitudes_the_lower_flat_index_stays() -> None:
    h = torch.tensor([[[[1.0, -2.0], [2.0, 1.0]], [[-2.0, 2.0], [0.0, 2.0]]]])
    assert project_l0(h, 3 / 8).tolist() == [[[[0, -2], [2, 0]], [[-2, 0], [0, 0]]]]
    assert project_l0inf(h, 1).tolist() == [[[[0, -2], [2, 0]], [[-2, 0], [0, 2]]]]
    assert project_l0(torch.zeros(1, 2, 2, 2), 0.5).tolist() == [[[[0, 0], [0, 0]], [[0, 0], [0, 0]]]]


def test_how_many_stay() -> None:
    h = normal(3, 4, 5, 5)
    for keep in (1e-9, 0.004, 0.01, 0.016, 0.1, 0.333, 0.999, 1.0):
        kept = project_l0(h, keep).flatten(1).count_nonzero(dim=1)
        assert kept.tolist() == [max(1, round(keep * 100))] * 3
    for k in (1, 2, 3, 4, 9):
        assert (project_l0inf(h, k).count_nonzero(dim=1) == min(k, 4)).all()
    assert project_l0(h, 1.0) is h and project_l0inf(h, 4) is h


@pytest.mark.parametrize("kind", PROJECT)
def test_gradients_flow_through_the_survivors_alone(kind: str) -> None:
    h = normal(2, 8, 5, 4).requires_grad_()
    projected = PROJECT[kind](h)
    weights = normal(2, 8, 5, 4, seed=1)
    (projected * weights).sum().backward()
    assert torch.equal(h.grad, torch.where(projected != 0, weights, 0.0))


@pytest.mark.parametrize("kind", PROJECT)
def test_the_memory_format_stays_and_the_input_is_left_alone(kind: str) -> None:
    h = normal(2, 8, 5, 4).contiguous(memory_format=torch.channels_last)
    before = h.clone()
    assert PROJECT[kind](h).stride() == h.stride()
    assert torch.equal(h, before)


@pytest.mark.parametrize("kind", PROJECT)
def test_a_projection_twice_is_the_same_as_once(kind: str) -> None:
    once = PROJECT[kind](normal(2, 8, 5, 4))
    assert torch.equal(PROJECT[kind](once), once)


def test_strengths_out_of_range_are_refused() -> None:
    for keep in (0, -0.1, 1.1, math.nan, True):
        with pytest.raises(Mistake, match="keep is"):
            project_l0(normal(1, 2, 2, 2), keep)
    for k in (0, -1, 1.5, True):
        with pytest.raises(Mistake, match="k is"):
            project_l0inf(normal(1, 2, 2, 2), k)  # type: ignore[arg-type]


# --- penalty and measures --------------------------------------------------------------------------


def test_l1_is_the_mean_magnitude_and_its_gradient_the_sign() -> None:
    h = torch.tensor([[-3.0, 0.0, 1.0, -0.5]], requires_grad=True)
    assert l1(h).item() == 4.5 / 4
    l1(h).backward()
    assert h.grad.tolist() == [[-0.25, 0, 0.25, -0.25]]


def test_l1_in_half_precision_is_summed_in_single_precision() -> None:
    assert l1(torch.full((1, 64, 64, 64), 3.0, dtype=torch.float16)).item() == 3.0
    assert l1(torch.full((1, 1, 2, 2), 60000.0, dtype=torch.float16)).item() == 60000.0 - 60000.0 % 32


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
    assert measure(low, project_l0(low, 0.5)) == pytest.approx(
        measure(300 * h, project_l0(300 * h, 0.5)), abs=2e-3, rel=2e-3
    )


def test_the_examples_run() -> None:
    result = doctest.testmod(sparsity)
    assert result.attempted >= 8 and result.failed == 0
