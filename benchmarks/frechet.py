"""What a Fréchet distance costs, and how near it is to pytorch-fid's: run `python -m benchmarks.frechet`.

Both get the same statistics: several numbers of generated samples against one reference. Where there are no
more samples than features the covariance is singular, and the value from the samples themselves, which needs
no covariance, says who is right. Takes some minutes, nearly all of them in the other forms.
"""

import argparse
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pytorch_fid.fid_score import calculate_frechet_distance

from trainers.frechet import FeatureStatistics, frechet_distance, kernel_distance, root

Floats = NDArray[np.float64]
T = TypeVar("T")


def features(count: int, dim: int, seed: int, spread: float) -> Floats:
    """Vectors as a network's last pooling gives them: never below 0, correlated, a spectrum over decades."""
    mixing = np.random.default_rng(0).standard_normal((dim, dim)) * np.logspace(0, -2, dim)[:, None]
    drawn = np.random.default_rng(seed).standard_normal((count, dim)) @ mixing
    return np.asarray(np.maximum(spread * drawn / np.sqrt(dim) + 0.1, 0))


def seen(rows: Floats) -> FeatureStatistics:
    """Their statistics, in batches of 500."""
    gathered = FeatureStatistics(rows.shape[1])
    for start in range(0, len(rows), 500):
        gathered.update(rows[start : start + 500])
    return gathered


def timed(call: Callable[[], T], repeats: int = 1) -> tuple[T, float]:
    """The value, and the median of the seconds."""
    seconds = []
    for _ in range(repeats):
        began = time.perf_counter()
        value = call()
        seconds.append(time.perf_counter() - began)
    return value, statistics.median(seconds)


def theirs(a: FeatureStatistics, b: FeatureStatistics) -> float:
    """pytorch-fid's value; nan where it gives up."""
    with warnings.catch_warnings():  # it calls SciPy in a way that SciPy is about to drop
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return float(calculate_frechet_distance(a.mean, a.covariance, b.mean, b.covariance))
        except ValueError as refused:  # the root came out complex
            print(f"pytorch-fid: {refused}")
            return float("nan")


def of_samples(x: Floats, y: Floats) -> float:
    """The same distance from the samples: the trace of the root is the nuclear norm of centred x times yᵀ."""
    p, q = ((rows - rows.mean(0)) / np.sqrt(len(rows) - 1) for rows in (x, y))
    overlap = np.linalg.svd(p @ q.T, compute_uv=False).sum()
    return float(np.sum((x.mean(0) - y.mean(0)) ** 2) + np.sum(p**2) + np.sum(q**2) - 2 * overlap)


def line(made: Floats, real: Floats, b: FeatureStatistics, root_b: Floats) -> str:
    """One row of the table."""
    a = seen(made)
    ours, seconds = timed(partial(frechet_distance, a, b), 3)
    _, rooted = timed(partial(frechet_distance, a, b, root_b=root_b), 3)
    other, took = timed(partial(theirs, a, b))
    exact = of_samples(made, real) if made.shape[0] <= made.shape[1] else None
    judged = f"{abs(ours / exact - 1):.0e}, {abs(other / exact - 1):.0e}" if exact else "–"
    return (
        f"{len(made):7} {ours:10.4f} {seconds:9.2f} s {rooted:8.2f} s {took:9.2f} s {took / seconds:7.1f} "
        f"{abs(ours / other - 1):11.0e}   {judged}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--samples", type=int, nargs="+", default=[500, 2048, 5000])
    parser.add_argument("--reference", type=int, default=5000)
    asked = parser.parse_args()
    real = features(asked.reference, asked.dim, 1, 1.0)
    b = seen(real)
    root_b, seconds = timed(partial(root, b.covariance))
    print(f"{asked.dim} features, {asked.reference} real samples, whose root takes {seconds:.2f} s; ratio is")
    print("pytorch-fid / ours, and differences are relative\n")
    print("samples   distance        ours  root known pytorch-fid   ratio  difference   ", end="")
    print("from the samples: ours, theirs")
    for count in asked.samples:
        print(line(features(count, asked.dim, 2, 1.2), real, b, root_b), flush=True)
    one, two = features(1000, asked.dim, 3, 1.2), real[:1000]
    _, seconds = timed(partial(kernel_distance, one, two), 3)
    print(f"\nkernel distance of {len(one)} and {len(two)} samples, all pairs: {seconds:.2f} s")
    print(f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}")


if __name__ == "__main__":
    main()
