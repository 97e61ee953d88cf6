"""Feature vectors for tests, their statistics, and a Fréchet distance that needs no covariance."""

import math

import numpy as np
from numpy.typing import NDArray

from trainers.frechet import FeatureStatistics

Floats = NDArray[np.float64]


def normal(count: int, dim: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).standard_normal((count, dim))


def mixing(dim: int, seed: int = 7) -> Floats:
    """A matrix that correlates features and gives them scales over two decades."""
    return normal(dim, dim, seed) * np.logspace(0, -2, dim)


def seen(*batches: Floats) -> FeatureStatistics:
    statistics = FeatureStatistics(batches[0].shape[1])
    for batch in batches:
        statistics.update(batch)
    return statistics


def gaussian(mean: Floats, covariance: Floats, count: int = 10_001) -> FeatureStatistics:
    arrays = {"count": np.array(count), "mean": mean, "scatter": covariance * (count - 1)}
    return FeatureStatistics.from_arrays(arrays)


def of_samples(x: Floats, y: Floats) -> float:
    """The distance without any covariance: its trace of a root is the nuclear norm of centred x times yᵀ."""
    p, q = ((rows - rows.mean(0)) / math.sqrt(len(rows) - 1) for rows in (x, y))
    shift = float(np.sum((x.mean(0) - y.mean(0)) ** 2))
    return float(shift + np.sum(p**2) + np.sum(q**2) - 2 * np.linalg.svd(p @ q.T, compute_uv=False).sum())


def scale(x: Floats, y: Floats) -> float:
    return float(np.trace(seen(x).covariance) + np.trace(seen(y).covariance))
