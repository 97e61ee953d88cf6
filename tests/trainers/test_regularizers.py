"""The mathematics of regularizers against brute force and closed forms, however a step runs them."""

import doctest
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fixed_program import RefuseCopies
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from kinds import EXAMPLES
from torch import Tensor
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.func import grad, vmap

from trainers import regularizers
from trainers.regularizers import (
    L0,
    L1,
    REGULARIZERS,
    GroupLasso,
    HardThreshold,
    Hoyer,
    L0Inf,
    Mistake,
    Penalty,
    Projection,
    Regularizer,
    SoftThreshold,
    SpatialTopK,
)
from trainers.sparsity import measure

PROJECTIONS = [kind for kind, one in EXAMPLES.items() if isinstance(one, Projection)]
SELECTIONS = [kind for kind in PROJECTIONS if kind != "soft_threshold"]  # what stays, stays as it is


def act(regularizer: Regularizer, h: Tensor) -> Tensor:
    if isinstance(regularizer, Projection):
        return regularizer.project(h)
    assert isinstance(regularizer, Penalty)
    return regularizer.cost(h)


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


def brute_spatial_topk(h: Tensor, keep: float) -> Tensor:
    maps = h.reshape(-1, h.shape[2:].numel()).tolist()
    rows = [survivors(row, max(1, round(keep * len(row)))) for row in maps]
    return torch.tensor(rows, dtype=h.dtype).reshape(h.shape)


# --- all regularizers ------------------------------------------------------------------------------


def test_every_regularizer_is_a_penalty_or_a_projection_and_stands_in_the_list() -> None:
    kinds = [*Penalty.__subclasses__(), *Projection.__subclasses__()]
    assert sorted(one.kind for one in kinds) == sorted(REGULARIZERS) == sorted(EXAMPLES)
    assert all(type(EXAMPLES[kind]) is one for kind, one in REGULARIZERS.items())


@pytest.mark.parametrize("kind", REGULARIZERS)
def test_the_contract_of_a_regularizers_action(kind: str) -> None:
    regularizer = EXAMPLES[kind]
    h = normal(2, 8, 5, 4)
    result = act(regularizer, h)
    assert result.shape == (() if isinstance(regularizer, Penalty) else h.shape)
    assert torch.equal(act(regularizer, h), result)  # the same bits again
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        low = act(regularizer, h.to(dtype))
        assert low.isfinite().all()
        assert low.dtype == (
            dtype if isinstance(regularizer, Projection) else torch.promote_types(dtype, torch.float32)
        )
    nan = torch.where(normal(2, 8, 5, 4, seed=1) > 1.5, math.nan, h)
    assert act(regularizer, nan).isnan().any()
    if isinstance(regularizer, Projection):
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
        assert torch.equal(L0(keep).project(laid_out), brute_l0(h, keep))
        assert torch.equal(L0Inf(k).project(laid_out), brute_l0inf(h, k))
        assert torch.equal(SpatialTopK(keep).project(laid_out), brute_spatial_topk(h, keep))


@pytest.mark.parametrize("shape", [(2, 7), (2, 7, 5), (1, 3, 2, 2, 2)])
def test_projections_take_any_number_of_positions(shape: tuple[int, ...]) -> None:
    h = normal(*shape)
    assert torch.equal(L0(0.4).project(h), brute_l0(h, 0.4))
    assert torch.equal(L0Inf(2).project(h), brute_l0inf(h, 2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_projections_in_half_precision_where_ties_come_by_themselves(dtype: torch.dtype) -> None:
    h = normal(2, 16, 12, 12, dtype=dtype)
    assert h.unique().numel() < h.numel()
    assert torch.equal(L0(0.21).project(h), brute_l0(h, 0.21))
    assert torch.equal(L0Inf(5).project(h), brute_l0inf(h, 5))


def test_among_equal_magnitudes_the_lower_flat_index_stays() -> None:
    h = torch.tensor([[[[1.0, -2.0], [2.0, 1.0]], [[-2.0, 2.0], [0.0, 2.0]]]])
    assert L0(3 / 8).project(h).tolist() == [[[[0, -2], [2, 0]], [[-2, 0], [0, 0]]]]
    assert L0Inf(1).project(h).tolist() == [[[[0, -2], [2, 0]], [[-2, 0], [0, 2]]]]
    assert L0(0.5).project(torch.zeros(1, 2, 2, 2)).tolist() == [[[[0, 0], [0, 0]], [[0, 0], [0, 0]]]]


def test_how_many_stay() -> None:
    h = normal(3, 4, 5, 5)
    for keep in (1e-9, 0.004, 0.01, 0.016, 0.1, 0.333, 0.999, 1.0):
        kept = L0(keep).project(h).flatten(1).count_nonzero(dim=1)
        assert kept.tolist() == [max(1, round(keep * 100))] * 3
    for k in (1, 2, 3, 4, 9):
        assert (L0Inf(k).project(h).count_nonzero(dim=1) == min(k, 4)).all()
    assert L0(1.0).project(h) is h and L0Inf(4).project(h) is h


@pytest.mark.parametrize("kind", SELECTIONS)
def test_gradients_flow_through_the_survivors_alone(kind: str) -> None:
    h = normal(2, 8, 5, 4).requires_grad_()
    projected = EXAMPLES[kind].project(h)
    weights = normal(2, 8, 5, 4, seed=1)
    (projected * weights).sum().backward()
    assert torch.equal(h.grad, torch.where(projected != 0, weights, 0.0))


@pytest.mark.parametrize("kind", PROJECTIONS)
def test_the_memory_format_stays_and_the_input_is_left_alone(kind: str) -> None:
    h = normal(2, 8, 5, 4).contiguous(memory_format=torch.channels_last)
    before = h.clone()
    assert EXAMPLES[kind].project(h).stride() == h.stride()
    assert torch.equal(h, before)


@pytest.mark.parametrize("kind", SELECTIONS)
def test_a_projection_twice_is_the_same_as_once(kind: str) -> None:
    once = EXAMPLES[kind].project(normal(2, 8, 5, 4))
    assert torch.equal(EXAMPLES[kind].project(once), once)


def test_strengths_out_of_range_are_refused() -> None:
    for keep in (0, -0.1, 1.1, math.nan, True):
        with pytest.raises(Mistake, match="keep is"):
            L0(keep).project(normal(1, 2, 2, 2))
    for k in (0, -1, 1.5, True):
        with pytest.raises(Mistake, match="k is"):
            L0Inf(k).project(normal(1, 2, 2, 2))  # type: ignore[arg-type]


@settings(deadline=None, max_examples=100)
@given(few_values, st.sampled_from([0.0, 0.5, 0.7, 1.0, 2.5]))
def test_thresholds_equal_those_of_pytorch(values: Any, threshold: float) -> None:
    h = torch.from_numpy(values)
    assert torch.equal(SoftThreshold(threshold).project(h), F.softshrink(h, threshold))
    assert torch.equal(HardThreshold(threshold).project(h), F.hardshrink(h, threshold))


def test_what_soft_thresholding_minimises() -> None:
    """It is the proximal map of the L1 norm: the x of least ½(x - h)² + τ|x|, found here by looking."""
    grid = torch.linspace(-4, 4, 8001, dtype=torch.float64)
    for h in (-2.5, -0.7, 0.0, 0.3, 1.9):
        best = grid[(0.5 * (grid - h).square() + 0.7 * grid.abs()).argmin()]
        found = SoftThreshold(0.7).project(torch.tensor([[h]], dtype=torch.float64))
        assert abs(float(found) - float(best)) < 1e-3


# --- penalties --------------------------------------------------------------------------------------


def test_l1_is_the_mean_magnitude_and_its_gradient_the_sign() -> None:
    h = torch.tensor([[-3.0, 0.0, 1.0, -0.5]], requires_grad=True)
    assert L1(1).cost(h).item() == 4.5 / 4
    L1(1).cost(h).backward()
    assert h.grad.tolist() == [[-0.25, 0, 0.25, -0.25]]


def test_l1_in_half_precision_is_summed_in_single_precision() -> None:
    assert L1(1).cost(torch.full((1, 64, 64, 64), 3.0, dtype=torch.float16)).item() == 3.0
    assert L1(1).cost(torch.full((1, 1, 2, 2), 60000.0, dtype=torch.float16)).item() == 60000.0 - 60000.0 % 32


def test_a_group_is_the_map_of_a_channel() -> None:
    h = normal(2, 3, 4, 5, dtype=torch.float64)
    sizes = np.linalg.norm(h.numpy().reshape(6, 20), axis=1) / np.sqrt(20)
    assert GroupLasso(0.5).cost(h).item() == pytest.approx(0.5 * sizes.mean())
    flat = normal(4, 7)
    torch.testing.assert_close(GroupLasso(1).cost(flat), L1(1).cost(flat))  # where a map is one position


def test_hoyers_ratio_is_that_of_the_measure_and_knows_no_scale() -> None:
    h = normal(3, 4, 5, 5, dtype=torch.float64)
    measured = np.mean([measure(one[None], one[None])["hoyer"] for one in h])
    assert Hoyer(2).cost(h).item() == pytest.approx(2 * (10 - measured * 9) / 10)  # n = 100
    torch.testing.assert_close(Hoyer(2).cost(1e-3 * h), Hoyer(2).cost(h))


@pytest.mark.parametrize("kind", ["group_lasso", "hoyer"])
def test_a_penalty_on_zeros_has_the_gradient_zero(kind: str) -> None:
    h = torch.zeros(2, 3, 4, 4)
    h[1] = normal(3, 4, 4)
    h.requires_grad_()
    act(EXAMPLES[kind], h).backward()
    assert h.grad is not None
    assert h.grad[0].count_nonzero() == 0 and h.grad.isfinite().all() and h.grad[1].count_nonzero() > 0


def test_the_examples_run() -> None:
    result = doctest.testmod(regularizers)
    assert result.attempted >= 15 and result.failed == 0
