"""The keys of all tasks that train on a set of pictures: which, and how what is drawn is scored. No torch."""

import math
import os
from abc import abstractmethod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PlainValidator, field_validator, model_validator

from trainers.pair_options import Sites
from trainers.plan import Frozen, Plan, RampFraction
from trainers.settings import Mistake

# The feature networks, with the names of the Fréchet and the kernel distance on their features. Only
# Inception with the weights of the original FID may call its distance `fid`.
FEATURES: dict[str, tuple[str, str]] = {
    "inception": ("fid", "kid"),
    "efficientnet_lite0": ("fd_efficientnet_lite0", "kd_efficientnet_lite0"),
    "classifier": ("fd_classifier", "kd_classifier"),
    "pixels": ("fd_pixels", "kd_pixels"),
}
Distance = Literal["fid", "fd_efficientnet_lite0", "fd_classifier", "fd_pixels"]
FEATURES_OF: dict[str, str] = {distances[0]: name for name, distances in FEATURES.items()}

FEATURES_IN_WORDS: dict[str, str] = {
    "inception": "the 2048 pooled features of Inception with the weights of the original FID",
    "efficientnet_lite0": "1280 features of EfficientNet-Lite0 for ImageNet",
    "classifier": "64 features of a classifier trained on these pictures",
    "pixels": "the principal components of the pixels",
}

Augmentation = Literal["color", "translation", "cutout", "flip"]  # `trainers/augment.py` does them

SOURCES = (
    "cifar10",
    "digits",
    "fashion_mnist",
    "mnist",
)  # data sets by name; `trainers/datasets.py` reads them


def refuse_repeated(augment: tuple[Augmentation, ...]) -> None:
    """A Mistake where a way of augmenting is named twice."""
    if len(set(augment)) < len(augment):
        raise Mistake(f"plan.augment is {list(augment)}, but each is done once: keep one of them")


def _limit(value: Any) -> int | float | None:
    """A count, also one written as 500.0, or a fraction."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError("it must be a count of pictures, a fraction of them between 0 and 1, or null")
    if value >= 1 and value != int(value):
        raise ValueError("it must be a whole count of pictures, or a fraction below 1")
    return int(value) if value >= 1 else float(value)


class PictureOptions(Frozen):
    """Which pictures a training sees, and how many at a time; a task adds its network and how it trains."""

    PLACES: ClassVar[tuple[str, ...]] = ("root", "download")

    data: str = Field(
        default="cifar10", min_length=1, description=f"{', '.join(SOURCES)}, or a folder of pictures"
    )
    folders_are_classes: bool = Field(
        default=False, description="whether each folder within the folder `data` is a class"
    )
    root: str = Field(
        default="data",
        min_length=1,
        validate_default=True,
        description="the folder of data sets by name, or of idx.gz files",
    )
    download: bool = Field(default=False, description="whether a data set that is not there may be fetched")
    limit: Annotated[int | float | None, PlainValidator(_limit)] = Field(
        default=None, description="train on so many pictures, or on a fraction of each class; null: on all"
    )
    size: int = Field(default=32, ge=8, le=256, description="side of the pictures in pixels")
    channels: Literal[1, 3] | None = Field(
        default=None, description="1: turned grey; 3: colour, which the data must have; null: as the data are"
    )
    batch: int = Field(default=64, ge=2, description="pictures a step")
    ramp: RampFraction = 0.0

    @field_validator("root")
    @classmethod
    def _absolute_root(cls, root: str) -> str:
        """It is meant relative to where the user stands; workers and a later `resume` stand elsewhere."""
        return os.path.abspath(os.path.expanduser(root))

    @field_validator("data")
    @classmethod
    def _absolute_folder(cls, data: str) -> str:
        """The same for a folder of pictures; a data set's name goes before a folder of that name."""
        path = os.path.abspath(os.path.expanduser(data))
        return path if os.path.isdir(path) and data not in SOURCES else data

    @model_validator(mode="after")
    def _labels_of_one_kind(self) -> "PictureOptions":
        if self.folders_are_classes and self.data in SOURCES:
            raise Mistake(
                f"plan.folders_are_classes is true, but plan.data is {self.data!r}, which has labels of its "
                "own: name a folder, or leave folders_are_classes out"
            )
        return self

    @model_validator(mode="after")
    def _enough_for_a_batch(self) -> "PictureOptions":
        if isinstance(self.limit, int) and self.limit < self.batch:
            raise Mistake(
                f"plan.limit is {self.limit}, but a batch has {self.batch} pictures: "
                "raise the limit, or lower plan.batch"
            )
        return self

    @abstractmethod
    def sites(self) -> Sites:
        """The sites of the task's network with their (C, H, W) in order of execution."""


class GenerativeOptions(PictureOptions):
    """How what a generator draws is scored."""

    objective: Distance = Field(
        default="fid", description=f"what is minimised, on whose features: {', '.join(FEATURES_OF)}"
    )
    also: tuple[Distance, ...] = Field(default=(), description="distances that are shown beside it")
    samples: int = Field(default=10_000, ge=100, description="generated pictures at each evaluation")
    average: float = Field(
        default=0.0, ge=0, lt=1, description="decay of the averaged weights that are scored; 0: no average"
    )

    @model_validator(mode="after")
    def _each_distance_once(self) -> "GenerativeOptions":
        if self.objective in self.also or len(set(self.also)) < len(self.also):
            raise Mistake(
                f"plan.also is {list(self.also)}, and the objective is {self.objective}, "
                "but each distance is measured once: keep one of them"
            )
        return self

    def distances(self) -> tuple[str, ...]:
        """The Fréchet distances that are measured, the objective first."""
        return (self.objective, *self.also)


def sites(plan: Plan) -> Sites:
    """The sites of the plan's network with their (C, H, W)."""
    return PictureOptions.model_validate(plan.options).sites()


def measured(plan: Plan) -> str:
    """On what the plan's objective is measured: features, how many pictures, against which."""
    options = GenerativeOptions.model_validate(plan.options)
    drawn = "the averaged generator" if plan.value("average") else "the generator"
    return (
        f"Fréchet distance on {FEATURES_IN_WORDS[FEATURES_OF[options.objective]]}, "
        f"{options.samples:,} pictures of {drawn} against all of {os.path.basename(options.data)} "
        f"at {options.size}×{options.size}"
    )


def companions(plan: Plan) -> tuple[str, ...]:
    """What is shown beside the objective: the plan's other distances, and the objective's kernel distance."""
    options = GenerativeOptions.model_validate(plan.options)
    return (*options.also, FEATURES[FEATURES_OF[options.objective]][1])
