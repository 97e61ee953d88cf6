"""Fréchet and kernel distance against pytorch-fid, closed forms, the samples themselves and brute force."""

import itertools
import math
import warnings

import numpy as np
import pytest
import torch
from feature_sets import Floats, gaussian, mixing, normal, of_samples, scale, seen
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_fid.fid_score import calculate_frechet_distance

from trainers.frechet import frechet_distance, kernel_distance, root
from trainers.settings import Mistake

# A diverged or a collapsed generator is no news to numpy: nothing here may warn.
pytestmark = pytest.mark.filterwarnings("error")


@pytest.mark.parametrize(("count", "dim"), [(50, 2), (50, 4), (400, 16), (65, 64), (1000, 64)])
def test_it_is_that_of_pytorch_fid(count: int, dim: int) -> None:
    a = seen(normal(count, dim) @ mixing(dim))
    b = seen(normal(2 * count, dim, 1) @ mixing(dim, 8) + 0.3)
    with warnings.catch_warnings():  # it calls SciPy in a way that SciPy is about to drop
        warnings.simplefilter("ignore", DeprecationWarning)
        theirs = calculate_frechet_distance(a.mean, a.covariance, b.mean, b.covariance)
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-6)
    assert frechet_distance(a, b, root_b=root(b.covariance)) == pytest.approx(theirs, rel=1e-6)


VARIANCE = st.floats(1e-2, 1e3)


@settings(deadline=None, max_examples=40)
@given(
    directions=st.lists(st.tuples(VARIANCE, VARIANCE, st.floats(-10, 10)), min_size=1, max_size=8),
    seed=st.integers(0, 99),
)
def test_covariances_that_commute_have_a_closed_form(
    directions: list[tuple[float, float, float]], seed: int
) -> None:
    first, second, apart = np.array(directions).T
    turn = np.linalg.qr(normal(len(first), len(first), seed))[0]
    a = gaussian(np.zeros(len(first)), (turn * first) @ turn.T)
    b = gaussian(turn @ apart, (turn * second) @ turn.T)
    expected = np.sum(apart**2) + np.sum((np.sqrt(first) - np.sqrt(second)) ** 2)
    traces = np.sum(first + second)
    assert frechet_distance(a, b) == pytest.approx(expected, rel=1e-9, abs=1e-10 * traces)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(VARIANCE | st.just(0.0), VARIANCE | st.just(0.0)), min_size=1, max_size=8))
def test_features_without_variance_have_it_too(directions: list[tuple[float, float]]) -> None:
    first, second = np.array(directions).T
    zero = np.zeros(len(first))
    expected = np.sum((np.sqrt(first) - np.sqrt(second)) ** 2)
    distance = frechet_distance(gaussian(zero, np.diag(first)), gaussian(zero, np.diag(second)))
    assert distance == pytest.approx(expected, rel=1e-9, abs=1e-10 * np.sum(first + second))


def test_equal_covariances_leave_the_squared_distance_of_the_means() -> None:
    covariance = mixing(6) @ mixing(6).T
    shift = normal(1, 6)[0]
    a, b = gaussian(np.zeros(6), covariance), gaussian(shift, covariance)
    assert frechet_distance(a, b) == pytest.approx(float(shift @ shift), rel=1e-12)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(2, 40), m=st.integers(2, 40), dim=st.integers(1, 12), seed=st.integers(0, 99))
def test_it_is_a_distance_that_moves_with_both(n: int, m: int, dim: int, seed: int) -> None:
    x, y = normal(n, dim, seed), normal(m, dim, seed + 100) * 2 + 1
    expected = of_samples(x, y)
    near = pytest.approx(expected, rel=1e-9, abs=1e-10 * scale(x, y))
    assert frechet_distance(seen(x), seen(y)) == near
    assert frechet_distance(seen(y), seen(x)) == near
    turn = np.linalg.qr(normal(dim, dim, seed + 200))[0]
    assert frechet_distance(seen(x @ turn + 5), seen(y @ turn + 5)) == near
    assert frechet_distance(seen(x * 8), seen(y * 8)) / 64 == near


def blind(x: Floats, live: int) -> Floats:
    x = x.copy()
    x[:, live:] = 0
    return x


SINGULAR = {
    "fewer samples than dimensions": (normal(20, 64), normal(300, 64, 1)),
    "fewer of both": (normal(20, 64), normal(30, 64, 1)),
    "two samples": (normal(2, 64), normal(2, 64, 1)),
    "dead features": (np.maximum(blind(normal(300, 64), 20), 0), np.maximum(normal(300, 64, 1), 0)),
    "other dead features": (blind(normal(300, 64), 20), blind(normal(300, 64, 1)[:, ::-1], 50)[:, ::-1]),
    "a feature twice": (np.tile(normal(300, 32), 2), normal(300, 64, 1)),
    "a subspace": (normal(300, 10) @ normal(10, 64, 2), normal(300, 10, 1) @ normal(10, 64, 3)),
    "the same subspace": (normal(300, 10) @ normal(10, 64, 2), normal(300, 10, 1) @ normal(10, 64, 2)),
    "twelve decades": (
        normal(300, 64) * np.logspace(0, -12, 64),
        normal(300, 64, 1) * np.logspace(0, -12, 64),
    ),
    "one picture over and over": (np.tile(normal(1, 64), (300, 1)), normal(300, 64, 1)),
    "two pictures over and over": (np.tile(normal(2, 64), (150, 1)), normal(300, 64, 1)),
    "an offset": (normal(300, 64) + 1e6, normal(300, 64, 1) + 1e6),
    "an offset and few samples": (normal(20, 64) + 1e6, normal(300, 64, 1) + 1e6),
    "huge": (normal(300, 64) * 1e60, normal(300, 64, 1) * 2e60),
    "tiny": (normal(300, 64) * 1e-60, normal(300, 64, 1) * 2e-60),
}


@pytest.mark.parametrize("case", SINGULAR)
def test_it_is_right_where_a_covariance_is_singular_or_extreme(case: str) -> None:
    x, y = SINGULAR[case]
    a, b = seen(*np.split(x, 2)), seen(*np.split(y, 2))
    # Where covariances share some directions only, an eigenvalue of 0 comes out as 1e-16, its root as 1e-8.
    expected = pytest.approx(of_samples(x, y), rel=1e-8, abs=1e-12 * scale(x, y))
    assert frechet_distance(a, b) == expected
    assert frechet_distance(b, a) == expected
    assert frechet_distance(a, b, root_b=root(b.covariance)) == expected


@pytest.mark.parametrize("case", SINGULAR)
def test_identical_sets_are_at_distance_zero(case: str) -> None:
    for x in SINGULAR[case]:
        distance = frechet_distance(seen(x), seen(x))
        assert 0 <= distance <= 1e-12 * scale(x, x)


def test_a_collapsed_generator_is_as_far_as_the_data_are_wide() -> None:
    y = normal(300, 64, 1)
    for value in (0.0, 0.1, 1e6 / 3):
        expected = np.sum((y.mean(0) - value) ** 2) + np.trace(np.cov(y, rowvar=False))
        assert frechet_distance(seen(np.full((100, 64), value)), seen(y)) == pytest.approx(
            expected, rel=1e-12
        )
    constant = frechet_distance(seen(np.full((9, 64), 0.1)), seen(np.full((8, 64), 0.3)))
    assert constant == pytest.approx(64 * 0.2**2, rel=1e-12)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e200, 1e308])
def test_features_that_are_not_finite_give_nan(value: float) -> None:
    x, y = normal(30, 4), normal(20, 4, 1)
    x[3, 2] = value
    first = x[:10]
    diverged, sound = seen(first, x[10:]), seen(y)
    sound.merge(seen(y))
    assert math.isnan(frechet_distance(diverged, sound))
    assert math.isnan(frechet_distance(sound, diverged))
    assert math.isnan(frechet_distance(diverged, diverged))
    assert math.isnan(frechet_distance(sound, diverged, root_b=root(diverged.covariance)))
    sound.merge(diverged)
    assert math.isnan(frechet_distance(sound, seen(y)))
    assert math.isnan(kernel_distance(x, y))
    assert math.isnan(kernel_distance(y, x))


def test_statistics_that_do_not_fit_are_refused() -> None:
    a, b = seen(normal(9, 2)), seen(normal(9, 3))
    with pytest.raises(ValueError, match="dimensions 2 and 3, but they must be equal"):
        frechet_distance(a, b)
    with pytest.raises(ValueError, match=r"root_b has the shape \(3, 3\), but .* has 2 rows"):
        frechet_distance(a, a, root_b=root(b.covariance))


def kernel(u: Floats, v: Floats) -> float:
    return float((u @ v / len(u) + 1) ** 3)


def by_definition(x: Floats, y: Floats) -> float:
    n, m = len(x), len(y)
    within_x = sum(kernel(x[i], x[j]) for i in range(n) for j in range(n) if i != j)
    within_y = sum(kernel(y[i], y[j]) for i in range(m) for j in range(m) if i != j)
    across = sum(kernel(u, v) for u in x for v in y)
    return within_x / (n * (n - 1)) + within_y / (m * (m - 1)) - 2 * across / (n * m)


@settings(deadline=None, max_examples=30)
@given(n=st.integers(2, 8), m=st.integers(2, 8), dim=st.integers(1, 5), seed=st.integers(0, 99))
def test_the_kernel_distance_is_its_definition(n: int, m: int, dim: int, seed: int) -> None:
    x, y = normal(n, dim, seed), normal(m, dim, seed + 100) + 0.5
    assert kernel_distance(x, y) == pytest.approx(by_definition(x, y), rel=1e-9, abs=1e-10)
    assert kernel_distance(y, x) == pytest.approx(by_definition(x, y), rel=1e-9, abs=1e-10)
    assert kernel_distance(torch.from_numpy(x), torch.from_numpy(y)) == kernel_distance(x, y)


def test_blocks_leave_no_pair_out() -> None:
    x, y = normal(2500, 3), normal(1030, 3, 1) + 0.5

    def mean(values: Floats, pairs: int) -> float:
        return float(values.sum() / pairs)

    xx, yy, xy = ((p @ q.T / 3 + 1) ** 3 for p, q in ((x, x), (y, y), (x, y)))
    np.fill_diagonal(xx, 0)
    np.fill_diagonal(yy, 0)
    expected = mean(xx, 2500 * 2499) + mean(yy, 1030 * 1029) - 2 * mean(xy, 2500 * 1030)
    assert kernel_distance(x, y) == pytest.approx(expected, rel=1e-9)


def test_it_is_unbiased() -> None:
    """Its mean over all samples that two small populations can give is the distance of the populations."""
    p, q = np.array([[0.0, 1.0], [2.0, -1.0], [0.5, 0.5]]), np.array([[1.0, 1.0], [-1.0, 0.0]])
    xs = [p[list(picked)] for picked in itertools.product(range(3), repeat=2)]
    ys = [q[list(picked)] for picked in itertools.product(range(2), repeat=3)]
    mean = np.mean([kernel_distance(x, y) for x in xs for y in ys])

    def population(a: Floats, b: Floats) -> float:
        return float(np.mean([kernel(u, v) for u in a for v in b]))

    assert mean == pytest.approx(population(p, p) + population(q, q) - 2 * population(p, q), rel=1e-12)


def test_it_may_be_negative_for_equal_distributions_and_grows_with_their_distance() -> None:
    equal = [kernel_distance(normal(50, 4, seed), normal(50, 4, seed + 100)) for seed in range(20)]
    assert min(equal) < 0 < max(equal)
    far, farther = (kernel_distance(normal(200, 4), normal(200, 4, 1) + shift) for shift in (0.5, 1.0))
    assert max(equal) < far < farther


def test_kernel_distance_refuses_what_it_cannot_take() -> None:
    with pytest.raises(Mistake, match="1 and 3 feature vectors, but a kernel distance takes at least 2"):
        kernel_distance(normal(1, 2), normal(3, 2))
    with pytest.raises(Mistake, match="3 and 0 feature vectors"):
        kernel_distance(normal(3, 2), normal(0, 2))
    with pytest.raises(ValueError, match=r"shape \(3, 4\), but it must be N×2"):
        kernel_distance(normal(3, 2), normal(3, 4))
    with pytest.raises(ValueError, match=r"shape \(3,\), but it must be N×d"):
        kernel_distance(np.zeros(3), normal(3, 4))
