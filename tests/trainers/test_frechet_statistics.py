"""Mean and covariance that come in batches against np.cov, and the root of a covariance."""

import io
import math

import numpy as np
import pytest
import torch
from feature_sets import mixing, normal, seen
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from trainers.frechet import FeatureStatistics, frechet_distance, root
from trainers.settings import Mistake

pytestmark = pytest.mark.filterwarnings("error")


@settings(deadline=None, max_examples=60)
@given(
    sizes=st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(lambda sizes: sum(sizes) > 1),
    dim=st.integers(1, 6),
    offset=st.sampled_from([0.0, -3.0, 1e6]),
    stretch=st.sampled_from([1e-3, 1.0, 1e5]),
    data=st.data(),
)
def test_any_split_merged_in_any_order_is_np_cov(
    sizes: list[int], dim: int, offset: float, stretch: float, data: st.DataObject
) -> None:
    rows = normal(sum(sizes), dim, seed=sum(sizes)) * stretch + offset
    parts = [seen(part) for part in np.split(rows, np.cumsum(sizes)[:-1])]
    while len(parts) > 1:
        other = parts.pop(data.draw(st.integers(0, len(parts) - 1)))
        parts[data.draw(st.integers(0, len(parts) - 1))].merge(other)
    (merged,) = parts
    assert merged.count == len(rows)
    np.testing.assert_allclose(merged.mean, rows.mean(0), rtol=1e-12, atol=1e-12 * stretch)
    expected = np.atleast_2d(np.cov(rows, rowvar=False))
    size = np.trace(expected)
    rounded = 1e-15 * abs(offset) * math.sqrt(size)  # what the mean's last digit moves a covariance by
    np.testing.assert_allclose(merged.covariance, expected, rtol=0, atol=1e-12 * size + rounded)
    np.testing.assert_array_equal(merged.covariance, merged.covariance.T)


def test_batches_one_after_the_other_are_one_batch() -> None:
    rows = normal(50, 4)
    batched = seen(rows[:1], rows[1:1], rows[1:30], rows[30:])
    np.testing.assert_allclose(batched.covariance, seen(rows).covariance, rtol=1e-12)
    np.testing.assert_allclose(batched.mean, rows.mean(0), rtol=1e-12)


@pytest.mark.parametrize("offset", [1e6, -1e8])
def test_a_huge_offset_costs_no_digits(offset: float) -> None:
    rows = np.round(normal(300, 3) * 1024) / 1024  # the offset is added without rounding
    shifted = seen(*np.split(rows + offset, 6))
    np.testing.assert_allclose(shifted.covariance, np.cov(rows, rowvar=False), rtol=1e-9, atol=1e-9)


def test_merging_leaves_the_other_alone_and_may_meet_itself() -> None:
    a, b = seen(normal(5, 2)), seen(normal(6, 2, 1))
    before = b.arrays()
    a.merge(b)
    a.update(normal(3, 2, 2))
    for name, array in b.arrays().items():
        np.testing.assert_array_equal(array, before[name])
    b.merge(b)
    twice = np.concatenate([normal(6, 2, 1)] * 2)
    assert b.count == 12
    np.testing.assert_allclose(b.covariance, np.cov(twice, rowvar=False), rtol=1e-12)


def test_what_was_given_out_is_not_changed_later() -> None:
    statistics = seen(normal(5, 2))
    mean, arrays = statistics.mean, statistics.arrays()
    kept = mean.copy(), {name: array.copy() for name, array in arrays.items()}
    FeatureStatistics.from_arrays(arrays).update(normal(4, 2, 1))
    statistics.update(normal(4, 2, 1))
    np.testing.assert_array_equal(mean, kept[0])
    for name, array in arrays.items():
        np.testing.assert_array_equal(array, kept[1][name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.uint8])
def test_tensors_of_any_type_are_taken(dtype: torch.dtype) -> None:
    features = (torch.from_numpy(normal(20, 3)) * 10).abs().to(dtype)
    statistics = FeatureStatistics(3)
    statistics.update(features.requires_grad_(dtype.is_floating_point))
    expected = np.cov(features.detach().double().numpy(), rowvar=False)
    np.testing.assert_allclose(statistics.covariance, expected, rtol=1e-12)


def test_arrays_carry_on_bit_for_bit() -> None:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **seen(normal(9, 3)).arrays(), root=np.zeros(2))
    file.seek(0)
    with np.load(file, allow_pickle=False) as arrays:
        again = FeatureStatistics.from_arrays(arrays)
    again.update(normal(5, 3, 1))
    straight = seen(normal(9, 3), normal(5, 3, 1))
    assert again.count == straight.count == 14
    np.testing.assert_array_equal(again.mean, straight.mean)
    np.testing.assert_array_equal(again.scatter, straight.scatter)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": None}, "arrays are count, scatter, but feature statistics also need mean"),
        ({"mean": np.zeros((1, 2))}, r"shapes \(1, 2\) and \(2, 2\), but they must be .* d and d×d"),
        ({"scatter": np.zeros((2, 3))}, r"shapes \(2,\) and \(2, 3\)"),
        ({"count": np.array(-1)}, "count is -1"),
        ({"count": np.array([3, 4])}, r"count is \[3 4\]"),
        ({"mean": np.zeros(0), "scatter": np.zeros((0, 0))}, "dim is 0"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(
    change: dict[str, NDArray[np.float64] | None], message: str
) -> None:
    arrays = {
        name: array for name, array in (seen(normal(4, 2)).arrays() | change).items() if array is not None
    }
    with pytest.raises(ValueError, match=message):
        FeatureStatistics.from_arrays(arrays)


def test_bad_features_are_refused() -> None:
    with pytest.raises(ValueError, match=r"shape \(4, 3\), but it must be N×2"):
        FeatureStatistics(2).update(np.zeros((4, 3)))
    with pytest.raises(ValueError, match=r"shape \(2,\), but it must be N×2"):
        FeatureStatistics(2).update(torch.zeros(2))
    with pytest.raises(ValueError, match="type complex128, but they must be real numbers"):
        FeatureStatistics(2).update(np.zeros((3, 2), complex))
    with pytest.raises(ValueError, match="complex64"):
        FeatureStatistics(2).update(torch.zeros(3, 2, dtype=torch.complex64))
    with pytest.raises(ValueError, match="dimensions 2 and 3, but only equal ones are merged"):
        FeatureStatistics(2).merge(FeatureStatistics(3))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_feature_vectors_have_no_covariance(count: int) -> None:
    few = seen(np.zeros((count, 2)))
    with pytest.raises(Mistake, match=f"hold {count} feature vectors, but a covariance takes at least 2"):
        _ = few.covariance
    for a, b in [(few, seen(normal(5, 2))), (seen(normal(5, 2)), few)]:
        with pytest.raises(Mistake, match="give more pictures"):
            frechet_distance(a, b)


@pytest.mark.parametrize(("count", "rank"), [(100, 12), (13, 12), (8, 7), (2, 1)])
def test_a_root_gives_its_covariance_and_has_its_rank(count: int, rank: int) -> None:
    covariance = seen(normal(count, 12) @ mixing(12)).covariance
    factor = root(covariance)
    assert factor.shape == (12, rank)
    np.testing.assert_allclose(factor @ factor.T, covariance, rtol=0, atol=1e-14 * np.trace(covariance))


def test_a_root_of_nothing_and_of_what_is_not_finite() -> None:
    assert root(np.zeros((3, 3))).shape == (3, 0)
    assert np.isnan(root(np.diag([1.0, math.inf]))).all()
    with pytest.raises(ValueError, match=r"shape \(2, 3\), but it must be d×d"):
        root(np.zeros((2, 3)))
