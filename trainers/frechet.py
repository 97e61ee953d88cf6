"""How far generated pictures are from real ones, by their feature vectors: Fréchet and kernel distance; pure.

`FeatureStatistics` gathers mean and covariance batch by batch; `frechet_distance` compares two of them;
`kernel_distance` compares the feature vectors themselves. All in float64 on the CPU: float32 loses a
hundredth of a distance, and what a distance costs is little beside making the pictures.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpstrf
from torch import Tensor

from trainers.settings import Mistake

Floats = NDArray[np.float64]

_TILE = 1024  # feature vectors a side of one block of kernel values: 8 MB


class FeatureStatistics:
    """Count, mean and covariance of feature vectors that come in batches, in any order and split.

    Kept are the count n, the mean μ (dim) and the scatter S = Σ (x - μ)(x - μ)ᵀ (dim×dim), in float64. Two
    sets are joined by S = S₁ + S₂ + (n₁n₂/n) δδᵀ with δ = μ₂ - μ₁ (Chan, Golub and LeVeque, 1979): unlike
    Σ xxᵀ - nμμᵀ it keeps its digits however far from zero the features lie.

    dim: length of a feature vector, at least 1; else ValueError. Features that are not finite make what is
    kept not finite, and a distance nan.

    >>> statistics = FeatureStatistics(2)
    >>> statistics.update(np.array([[0.0, 1.0], [2.0, 1.0]]))
    >>> statistics.update(np.array([[4.0, 4.0]]))
    >>> statistics.count, statistics.mean.tolist(), statistics.covariance.tolist()
    (3, [2.0, 2.0], [[4.0, 3.0], [3.0, 3.0]])
    """

    def __init__(self, dim: int) -> None:
        if dim < 1:
            raise ValueError(f"dim is {dim}, but a feature vector has a length of at least 1")
        self.dim = dim
        self.count = 0
        self.mean: Floats = np.zeros(dim)  # zeros as long as count is 0
        self.scatter: Floats = np.zeros((dim, dim))

    def update(self, features: Tensor | NDArray[np.generic]) -> None:
        """Add a batch, N×dim real numbers of any type on any device; N may be 0. Other shapes: ValueError."""
        rows = _rows(features, self.dim)
        if len(rows):
            with np.errstate(invalid="ignore", over="ignore"):
                mean = rows.mean(axis=0)
                centred = rows - mean
                self._join(len(rows), mean, centred.T @ centred)

    def merge(self, other: "FeatureStatistics") -> None:
        """Add what another one has seen, which stays as it is. Another dim: ValueError."""
        if other.dim != self.dim:
            raise ValueError(
                f"the statistics have dimensions {self.dim} and {other.dim}, but only equal ones are merged"
            )
        if other.count:
            self._join(other.count, other.mean, other.scatter)

    @property
    def covariance(self) -> Floats:
        """S / (n - 1), dim×dim, as `np.cov` has it. Fewer than 2 feature vectors raise `Mistake`."""
        if self.count < 2:
            raise Mistake(
                f"the statistics hold {self.count} feature vectors, but a covariance takes at least 2: "
                "give more pictures"
            )
        return self.scatter / (self.count - 1)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Copies of all that is kept, to be written with `np.savez`: `count`, `mean` and `scatter`."""
        return {"count": np.array(self.count), "mean": self.mean.copy(), "scatter": self.scatter.copy()}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> "FeatureStatistics":
        """What `arrays()` gave, continued bit for bit; further names are left alone.

        A missing name or shapes that do not belong together raise ValueError.
        """
        missing = [name for name in ("count", "mean", "scatter") if name not in arrays]
        if missing:
            raise ValueError(
                f"the arrays are {', '.join(arrays) or 'none'}, "
                f"but feature statistics also need {', '.join(missing)}"
            )
        count, mean, scatter = arrays["count"], arrays["mean"], arrays["scatter"]
        if mean.ndim != 1 or scatter.shape != mean.shape * 2 or count.shape or int(count) < 0:
            raise ValueError(
                f"count is {count}, and mean and scatter have the shapes {mean.shape} and {scatter.shape}, "
                "but they must be a whole number of at least 0, d and d×d"
            )
        statistics = cls(len(mean))
        statistics.count = int(count)
        statistics.mean = mean.astype(np.float64)  # astype copies: an update must not reach the caller's
        statistics.scatter = scatter.astype(np.float64)
        return statistics

    def _join(self, count: int, mean: Floats, scatter: Floats) -> None:
        total = self.count + count
        with np.errstate(invalid="ignore", over="ignore"):
            delta = mean - self.mean
            # Weighted after the product, so that S stays symmetric to the last bit.
            between = np.outer(delta, delta)
            between *= self.count * count / total
            self.scatter += scatter
            self.scatter += between
            self.mean = self.mean + delta * (count / total)
        self.count = total


def root(covariance: Floats) -> Floats:
    """A root R of a covariance C, R Rᵀ = C: d×r of full column rank, by Cholesky with pivoting.

    covariance: d×d, symmetric positive semi-definite (other shapes: ValueError). Directions that differ from
    none by round-off alone (d·2⁻⁵²·max C_ii) have no column, so r is C's numerical rank: 0 for a zero
    covariance, below d for fewer than d + 1 samples. One that is not finite gives d×d nan.

    It is many times as fast as the symmetric root by eigenvectors, and its rank keeps the noise in C's null
    space, of which `frechet_distance` would take square roots, out of the distance.

    >>> root(np.array([[4.0, 2.0], [2.0, 1.0]])).tolist()
    [[2.0], [1.0]]
    """
    if covariance.ndim != 2 or covariance.shape[0] != covariance.shape[1]:
        raise ValueError(f"the covariance has the shape {covariance.shape}, but it must be d×d")
    if not np.isfinite(covariance).all():
        return np.full(covariance.shape, np.nan)
    factor, order, rank, _ = dpstrf(covariance, lower=1)
    unordered = np.empty((len(covariance), rank))
    unordered[order - 1] = np.tril(factor)[:, :rank]
    return unordered


def frechet_distance(a: FeatureStatistics, b: FeatureStatistics, *, root_b: Floats | None = None) -> float:
    """Squared Fréchet distance of Gaussians: ‖μ₁ - μ₂‖² + tr C₁ + tr C₂ - 2 tr √(C₁C₂) (arXiv 1706.08500).

    With roots R₁R₁ᵀ = C₁ and R₂R₂ᵀ = C₂ the last trace is the sum of the singular values of R₁ᵀR₂, the
    square roots of the eigenvalues of its smaller Gram matrix, which is symmetric and has no more rows than
    the smaller rank: real always, right where a covariance is singular, and fast where a set has fewer
    samples than dimensions.

    a, b: at least 2 feature vectors each (else `Mistake`), of one dim (else ValueError). root_b: `root` of
    b's covariance, where b is compared with many. Returns at least 0, and nan where features were not finite
    or so large that their squares are not.

    The distance falls with the number of samples: compare only distances of equal counts.

    >>> a, b = FeatureStatistics(1), FeatureStatistics(1)
    >>> a.update(np.array([[0.0], [2.0]]))
    >>> b.update(np.array([[5.0], [7.0]]))
    >>> round(frechet_distance(a, b), 9)
    25.0
    """
    if a.dim != b.dim:
        raise ValueError(f"the statistics have dimensions {a.dim} and {b.dim}, but they must be equal")
    if root_b is not None and (root_b.ndim != 2 or len(root_b) != b.dim):
        raise ValueError(
            f"root_b has the shape {root_b.shape}, but the root of b's covariance has {b.dim} rows"
        )
    first, second = a.covariance, b.covariance
    with np.errstate(invalid="ignore", over="ignore"):
        apart = float(np.sum(np.square(a.mean - b.mean)) + np.trace(first) + np.trace(second))
    if not (np.isfinite(apart) and np.isfinite(first).all() and np.isfinite(second).all()):
        return float("nan")
    # n samples span at most n - 1 directions; a column more is round-off.
    root_a = root(first)[:, : a.count - 1]
    root_b = (root(second) if root_b is None else root_b)[:, : b.count - 1]
    return max(apart - 2 * _singular_values_sum(root_a.T @ root_b), 0.0)


def _singular_values_sum(matrix: Floats) -> float:
    scale = float(np.abs(matrix).max(initial=0))
    if scale == 0:
        return 0.0
    narrow = (matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T) / scale
    # The Gram matrix has fourth powers of features: unscaled, it leaves float64's range long before they do.
    return scale * float(np.sqrt(np.linalg.eigvalsh(narrow @ narrow.T).clip(min=0)).sum())


def kernel_distance(x: Tensor | NDArray[np.generic], y: Tensor | NDArray[np.generic]) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel k(u, v) = (u·v/d + 1)³ (arXiv 1801.01401).

    mean over i≠j of k(xᵢ, xⱼ) + mean over i≠j of k(yᵢ, yⱼ) - 2 · mean of k(xᵢ, yⱼ), over *all* pairs: no
    subsets are drawn, so there is nothing random in it, and the pairs of one block are in memory at a time.

    x: N×d, y: M×d, real numbers of any type on any device; N and M at least 2 (else `Mistake`), of one d
    (else ValueError). Time grows as (N + M)²·d: give it some thousand of each. Its expectation is 0 for two
    sets of one distribution whatever N and M, so it may be negative; nan where features are not finite, or so
    large that their sixth powers are not.

    >>> round(kernel_distance(np.array([[0.0], [1.0]]), np.array([[1.0], [1.0]])), 9)
    0.0
    >>> kernel_distance(np.array([[0.0], [0.0]]), np.array([[1.0], [1.0]]))
    7.0
    """
    first = _rows(x)
    second = _rows(y, first.shape[1])
    if min(len(first), len(second)) < 2:
        raise Mistake(
            f"there are {len(first)} and {len(second)} feature vectors, "
            "but a kernel distance takes at least 2 of each: give more pictures"
        )
    n, m = len(first), len(second)
    with np.errstate(invalid="ignore", over="ignore"):
        within = _within(first) / (n * (n - 1)) + _within(second) / (m * (m - 1))
        across = sum(float(_cubic(p, q).sum()) for p in _tiles(first) for q in _tiles(second)) / (n * m)
        distance = within - 2 * across
    return distance if np.isfinite(distance) else float("nan")


def _within(rows: Floats) -> float:
    """The kernel summed over all pairs of different rows, each taken both ways."""
    tiles, total = _tiles(rows), 0.0
    for i, tile in enumerate(tiles):
        values = _cubic(tile, tile)
        np.fill_diagonal(values, 0)
        total += float(values.sum()) + 2 * sum(float(_cubic(tile, later).sum()) for later in tiles[i + 1 :])
    return total


def _cubic(p: Floats, q: Floats) -> Floats:
    base = p @ q.T
    base /= p.shape[1]
    base += 1
    return base * base * base


def _tiles(rows: Floats) -> list[Floats]:
    return [rows[i : i + _TILE] for i in range(0, len(rows), _TILE)]


def _rows(features: Tensor | NDArray[np.generic], dim: int | None = None) -> Floats:
    """The features as N×dim float64, wherever they were; complex ones are refused, not cut."""
    if features.ndim != 2 or features.shape[1] != (dim or features.shape[1]) or features.shape[1] < 1:
        raise ValueError(
            f"the features have the shape {tuple(features.shape)}, but it must be N×{dim or 'd'}"
        )
    real = not features.is_complex() if isinstance(features, Tensor) else features.dtype.kind in "fiu"
    if not real:
        raise ValueError(f"the features have the type {features.dtype}, but they must be real numbers")
    if isinstance(features, Tensor):
        return np.asarray(features.detach().cpu().double().numpy())
    return features.astype(np.float64, copy=False)
