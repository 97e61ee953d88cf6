"""The keys of task `gan`: which pictures, networks and loss, how they train and are scored. No torch."""

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    PlainValidator,
    Tag,
    field_validator,
    model_validator,
)

from trainers.losses.names import LOSSES
from trainers.own_options import OWN, OwnModule, OwnNetwork, from_name, kind_of
from trainers.pair_options import PAIRS, DcganNetwork, Pair, Sites
from trainers.plan import Frozen, Plan, RampFraction
from trainers.settings import Mistake

if TYPE_CHECKING:  # a Literal made from a list says nothing to a type checker
    LossName = str
else:
    LossName = Literal[*LOSSES]

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

Augmentation = Literal["color", "translation", "cutout"]  # `trainers/augment.py` does them

SOURCES = (
    "cifar10",
    "digits",
    "fashion_mnist",
    "mnist",
)  # data sets by name; `trainers/datasets.py` reads them


def _kind(network: Any) -> str:
    """Which model an entry means; `{width: 16}` is a dcgan."""
    return kind_of(network, tuple(PAIRS.values()), "gan", "plan.network")


def _kind_of_judge(network: Any) -> str:
    return kind_of(network, tuple(PAIRS.values()), "gan", "plan.network.discriminator")


Judge = Annotated[
    Pair | Annotated[OwnModule, Tag(OWN)],
    Discriminator(_kind_of_judge),
    BeforeValidator(from_name),
]


class OwnPair(OwnNetwork):
    """A generator of the user's: N×L or N×L×1×1 → N×C×S×S in [-1, 1]; its argument `labels` gets classes."""

    LOSS: ClassVar[str] = "non_saturating"

    output: Literal["none", "tanh"] = Field(
        default="none", description="what is put behind it; none: it ends in [-1, 1] itself"
    )
    latent: int | None = Field(
        default=None, ge=1, description="length of the latent vector; null: as the generator says"
    )
    discriminator: Judge = Field(
        default=DcganNetwork(spectral_norm=True),
        description="that of a network of ours, or a factory of one of your own: N×C×S×S → N scores",
    )

    def inputs(self) -> tuple[tuple[int, ...], ...] | None:
        """The shapes in which the generator may take a latent vector; None: as it says itself."""
        return None if self.latent is None else ((self.latent,), (self.latent, 1, 1))

    def sites(self, size: int) -> Sites:
        """The generator's sites with their (C, H, W), found by a forward pass."""
        from trainers.networks.own import sites  # torch, and what the user's module imports

        return sites(self, self.inputs())


Network = Annotated[
    Pair | Annotated[OwnPair, Tag(OWN)],
    Discriminator(_kind),
    BeforeValidator(from_name),
]


def _limit(value: Any) -> int | float | None:
    """A count, also one written as 500.0, or a fraction."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise ValueError("it must be a count of pictures, a fraction of them between 0 and 1, or null")
    if value >= 1 and value != int(value):
        raise ValueError("it must be a whole count of pictures, or a fraction below 1")
    return int(value) if value >= 1 else float(value)


class GanOptions(Frozen):
    """The keys of task `gan`; the defaults are the field's reference on CIFAR-10 (arXiv 2005.02494)."""

    PLACES: ClassVar[tuple[str, ...]] = ("root", "download")

    data: str = Field(
        default="cifar10", min_length=1, description=f"{', '.join(SOURCES)}, or a folder of pictures"
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
    network: Network = Field(default=DcganNetwork(), description="generator and discriminator")
    loss: LossName = Field(
        default="non_saturating",
        description=f"{', '.join(LOSSES)}; where it is left out, what the network was published with",
    )
    objective: Distance = Field(
        default="fid", description=f"what is minimised, on whose features: {', '.join(FEATURES_OF)}"
    )
    also: tuple[Distance, ...] = Field(default=(), description="distances that are shown beside it")
    samples: int = Field(default=10_000, ge=100, description="generated pictures at each evaluation")
    batch: int = Field(default=64, ge=2, description="pictures a step")
    augment: tuple[Augmentation, ...] = Field(
        default=(), description="what is done to pictures before they are judged: color, translation, cutout"
    )
    generator_lr: float = Field(default=2e-4, gt=0, description="Adam's learning rate of the generator")
    discriminator_lr: float = Field(default=2e-4, gt=0, description="and of the discriminator")
    beta1: float = Field(default=0.0, ge=0, lt=1, description="Adam's decay of the mean")
    beta2: float = Field(default=0.9, ge=0, lt=1, description="Adam's decay of the square")
    decay: Literal["linear", "none"] = Field(
        default="linear", description="of both rates, to 0 at the last step"
    )
    discriminator_steps: int = Field(default=5, ge=1, description="before each step of the generator")
    ramp: RampFraction = 0.0
    average: float = Field(
        default=0.0, ge=0, lt=1, description="decay of the averaged generator that is scored; 0: no average"
    )

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

    @model_validator(mode="before")
    @classmethod
    def _loss_of_the_network(cls, given: Any) -> Any:
        """Each family was published with its loss."""
        if isinstance(given, Mapping) and "loss" not in given and "network" in given:
            kind = _kind(from_name(given["network"]))
            return {**given, "loss": PAIRS[kind].LOSS if kind in PAIRS else OwnPair.LOSS}
        return given

    @model_validator(mode="after")
    def _suits(self) -> "GanOptions":
        """What two keys have to agree on, as far as it can be said without the data."""
        if not isinstance(self.network, OwnPair):  # what a user's own draws shows when it is built
            self.network.sites(self.size)
        if self.objective in self.also or len(set(self.also)) < len(self.also):
            raise Mistake(
                f"plan.also is {list(self.also)}, and the objective is {self.objective}, "
                "but each distance is measured once: keep one of them"
            )
        if len(set(self.augment)) < len(self.augment):
            raise Mistake(f"plan.augment is {list(self.augment)}, but each is done once: keep one of them")
        if isinstance(self.limit, int) and self.limit < self.batch:
            raise Mistake(
                f"plan.limit is {self.limit}, but a batch has {self.batch} pictures: "
                "raise the limit, or lower plan.batch"
            )
        return self

    def distances(self) -> tuple[str, ...]:
        """The Fréchet distances that are measured, the objective first."""
        return (self.objective, *self.also)


def sites(plan: Plan) -> Sites:
    """The sites of the plan's generator with their (C, H, W)."""
    options = GanOptions.model_validate(plan.options)
    return options.network.sites(options.size)


def measured(plan: Plan) -> str:
    """On what the plan's objective is measured: features, how many pictures, against which."""
    options = GanOptions.model_validate(plan.options)
    drawn = "the averaged generator" if plan.value("average") else "the generator"
    return (
        f"Fréchet distance on {FEATURES_IN_WORDS[FEATURES_OF[options.objective]]}, "
        f"{options.samples:,} pictures of {drawn} against all of {os.path.basename(options.data)} "
        f"at {options.size}×{options.size}"
    )


def companions(plan: Plan) -> tuple[str, ...]:
    """What is shown beside the objective: the plan's other distances, and the objective's kernel distance."""
    options = GanOptions.model_validate(plan.options)
    return (*options.also, FEATURES[FEATURES_OF[options.objective]][1])
