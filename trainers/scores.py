"""How near generated pictures are to a data set: the distances of a plan, on features made once for all."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from trainers.features import Extractor, extractor
from trainers.frechet import FeatureStatistics, frechet_distance, kernel_distance, root
from trainers.picture_options import FEATURES, FEATURES_OF, GenerativeOptions
from trainers.prepared import Arrays, made_once, versions
from trainers.settings import Mistake
from trainers.training import after_each

if TYPE_CHECKING:
    from trainers.datasets import Dataset

RECIPE = 1  # raise it with any change of what `reference` keeps: what another recipe made is not used
KERNEL_PICTURES = 1000  # of each set, at most: the kernel distance takes every pair of them
_AT_ONCE = 512


@dataclass(frozen=True)
class Reference:
    """What is kept of a data set's features to compare with: the statistics of all, and some of them.

    root: `trainers.frechet.root` of their covariance. kernel: n×dim, float32, of at most 1,000 pictures.
    files: the prepared files that it rests on, with their SHA-256.
    """

    statistics: FeatureStatistics
    root: NDArray[np.float64]
    kernel: NDArray[np.float32]
    files: Mapping[str, str]


def reference(by: Extractor, dataset: "Dataset") -> Reference:
    """The reference of that data set for these features; made once, and kept in `prepared.folder()`.

    It is made on the extractor's device; devices differ by round-off only, so they share it.
    """
    key = {
        "recipe": RECIPE,
        "features": by.name,
        "extractor": by.digest,
        "data": dataset.fingerprint(),
        "kernel": KERNEL_PICTURES,
        **versions("torch", "numpy", "scipy"),
    }
    arrays, file, digest = made_once(f"reference-{by.name}", key, lambda: _reference_arrays(by, dataset))
    statistics = FeatureStatistics.from_arrays(arrays)
    return Reference(statistics, arrays["root"], arrays["kernel"], {**by.files, file: digest})


def _reference_arrays(by: Extractor, dataset: "Dataset") -> Arrays:
    statistics = FeatureStatistics(by.dim)
    for part in dataset.images.split(_AT_ONCE):
        statistics.update(by(part.to(by.device)))
    # Data sets may be sorted by class, so the pictures are drawn; from a seed, so always the same ones.
    drawn = np.random.default_rng(0).permutation(len(dataset.images))[:KERNEL_PICTURES]
    chosen = dataset.images[torch.from_numpy(drawn)].to(by.device)
    kernel = torch.cat([by(part) for part in chosen.split(_AT_ONCE)])
    kept: Arrays = {"root": root(statistics.covariance), "kernel": kernel.cpu().numpy()}
    return {**statistics.arrays(), **kept}


@dataclass(frozen=True)
class Score:
    """The Fréchet and the kernel distance to one data set on one extractor's features.

    The Fréchet distance takes all pictures, the kernel distance the first 1,000 of them.
    """

    extractor: Extractor
    reference: Reference

    @property
    def names(self) -> tuple[str, str]:
        """Of the Fréchet and of the kernel distance."""
        return FEATURES[self.extractor.name]


def measure(scores: Sequence[Score], images: Iterable[Tensor]) -> dict[str, float]:
    """All distances of all scores, {"fid": …, "kid": …, …} by their `names`, in one pass over the pictures.

    images: batches of N×C×S×S, uint8, on the extractors' device; fewer than two pictures are a Mistake.
    Features that are not finite, as of a training that diverged, measure as NaN.
    """
    gathered = [_Gathered(score) for score in scores]
    for batch in images:
        for one in gathered:
            one.add(batch)
        after_each.get()()  # it is alive, however many pictures there are
    return {name: value for one in gathered for name, value in one.distances().items()}


def halve(scores: Iterable[Score]) -> None:
    """Let their extractors compute half as many pictures at once."""
    for score in scores:
        score.extractor.at_once = max(1, score.extractor.at_once // 2)


class _Gathered:
    """The features of generated pictures, as far as the distances of one score need them."""

    def __init__(self, score: Score) -> None:
        self.score = score
        self.statistics = FeatureStatistics(score.extractor.dim)
        self.first: list[Tensor] = []
        self.missing = KERNEL_PICTURES

    def add(self, images: Tensor) -> None:
        features = self.score.extractor(images)
        self.statistics.update(features)
        if self.missing > 0:
            self.first.append(features[: self.missing])
            self.missing -= len(self.first[-1])

    def distances(self) -> dict[str, float]:
        target = self.score.reference
        frechet = frechet_distance(self.statistics, target.statistics, root_b=target.root)
        kernel = kernel_distance(torch.cat(self.first), target.kernel)
        return dict(zip(self.score.names, (frechet, kernel), strict=True))


def prepare(options: GenerativeOptions, dataset: "Dataset") -> dict[str, str]:
    """Make what the plan's distances need and is not there yet: prepared file → its SHA-256.

    It is made on the first GPU where there is one, of which nothing is kept but what CUDA itself needs.
    Errors and warnings are those of `scores`.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    made = files(scores(options, dataset, device))
    if device.type == "cuda":
        torch.cuda.empty_cache()  # a driver lives as long as its study, whose trainings need that memory
    return made


def files(scores: Sequence[Score]) -> dict[str, str]:
    """The prepared files that the scores rest on: file → SHA-256. Distances compare where these agree."""
    return {file: digest for score in scores for file, digest in score.reference.files.items()}


def scores(options: GenerativeOptions, dataset: "Dataset", device: torch.device | str) -> list[Score]:
    """The scores of the plan's distances, the objective's first; what they need is made where it is missing.

    As many vectors as features are the fewest whose covariance can have full rank: fewer `samples` are a
    Mistake, a smaller data set, which nobody may be able to help, is a warning. Other errors are those of
    `trainers.features.extractor`.

    >>> from trainers import datasets
    >>> from trainers.gan_options import GanOptions
    >>> options = GanOptions(data="digits", size=8, objective="fd_pixels", network={"blocks": 2})
    >>> digits = datasets.load("digits", size=8)
    >>> measured = measure(scores(options, digits, "cpu"), [digits.images])
    >>> list(measured), measured["fd_pixels"] < 1e-9
    (['fd_pixels', 'kd_pixels'], True)
    """
    found = []
    for distance in options.distances():
        by = extractor(FEATURES_OF[distance], dataset=dataset, device=device)
        _enough(distance, by.dim, options.samples, dataset)
        found.append(Score(by, reference(by, dataset)))
    return found


def _enough(distance: str, dim: int, samples: int, dataset: "Dataset") -> None:
    if samples < dim:
        raise Mistake(
            f"plan.samples is {samples}, but {distance} has {dim} features: "
            "draw at least so many, or take another distance"
        )
    if len(dataset) < dim:
        warnings.warn(
            f"{dataset.name} has {len(dataset)} pictures, but {distance} has {dim} features: such distances "
            "rank generators of these pictures, and compare with no others",
            stacklevel=3,
        )
