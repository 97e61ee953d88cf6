"""The keys of task `dip`: which picture, what was done to it, which network undoes it. No torch."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag, model_validator

from trainers import images
from trainers.degradations.gaussian import ESTIMATE, Gaussian
from trainers.degradations.known import KINDS, AnyDegradation
from trainers.own_options import OWN, OwnNetwork, from_name, kind_of
from trainers.plan import Frozen, Plan, RampFraction
from trainers.psnr import HELD_OUT, ORACLE, ORACLES, PSNR, SURE
from trainers.settings import Mistake

HELD_OUT_SHARE = 0.02  # of the observed pixels, where the objective is their error


class SkipNetwork(Frozen):
    """The encoder-decoder with skips of Deep Image Prior (arXiv 1711.10925); the defaults are its size."""

    kind: Literal["skip"] = "skip"
    width: int = Field(default=128, ge=1, description="channels at every scale")
    scales: int = Field(default=5, ge=1, le=8, description="how often the picture is halved")
    skip: int = Field(default=4, ge=0, description="channels of a skip connection; 0: none")
    upsample: Literal["bilinear", "nearest"] = Field(default="bilinear", description="bilinear or nearest")
    input_channels: int = Field(default=32, ge=1, description="channels of the random input")

    def sites(self, height: int, width: int) -> dict[str, tuple[int, int, int]]:
        """The sites with their (C, H, W) in order of execution, for a picture of these sides.

        Arithmetic and not a run of the network, so that a study is described without torch; a test holds it
        to what the network computes.
        """
        sides = self.padded(height), self.padded(width)
        halved = [(self.width, sides[0] >> i, sides[1] >> i) for i in range(self.scales + 1)]
        ups = {f"up{j}": halved[self.scales - 1 - j] for j in range(self.scales - 1)}
        return {f"down{i}": halved[i + 1] for i in range(self.scales)} | ups | {"code": halved[0]}

    def padded(self, side: int) -> int:
        """The side that so many halvings need: a multiple of 2^scales, and at least twice it.

        The innermost scale keeps two pixels, since its reflection padding needs one beyond the border.
        """
        unit = 1 << self.scales
        if side <= unit:
            raise Mistake(
                f"the picture has a side of {side} pixels, but a network of {self.scales} scales "
                f"needs more than {unit}: take fewer scales or a larger picture"
            )
        return max(2 * unit, -(-side // unit) * unit)


class OwnPrior(OwnNetwork):
    """A network of the user's: N×input_channels×H×W → N×C×H×W in [0, 1]."""

    output: Literal["none", "sigmoid"] = Field(
        default="none", description="what is put behind it; none: it ends in [0, 1] itself"
    )
    input_channels: int = Field(default=32, ge=1, description="channels of the random input")
    multiple: int = Field(
        default=32, ge=1, description="the picture's sides are padded to a multiple, as the network needs"
    )

    def sites(self, height: int, width: int) -> dict[str, tuple[int, int, int]]:
        """The sites with their (C, H, W), found by a forward pass for a picture of these sides."""
        from trainers.networks.own import sites  # torch, and what the user's module imports

        return sites(self, ((self.input_channels, self.padded(height), self.padded(width)),))

    def padded(self, side: int) -> int:
        """The next multiple; reflection has fewer pixels to give than the side has."""
        padded = -(-side // self.multiple) * self.multiple
        if padded - side >= side:
            raise Mistake(
                f"the picture has a side of {side} pixels, but plan.network.multiple is {self.multiple}: "
                "lower it, or take a larger picture"
            )
        return padded


Network = Annotated[
    Annotated[SkipNetwork, Tag("skip")] | Annotated[OwnPrior, Tag(OWN)],
    Discriminator(lambda network: kind_of(network, (SkipNetwork,), "dip", "plan.network")),
    BeforeValidator(from_name),
]


class EarlyStopping(Frozen):
    """ES-WMV (arXiv 2112.06074): the step whose last outputs agree best; the defaults are the paper's."""

    window: int = Field(
        default=100, ge=2, description="outputs whose variance is measured, all kept in memory"
    )
    patience: int = Field(default=1000, ge=1, description="steps without a lower one that end it")


ImageName = Annotated[str, Field(min_length=1), AfterValidator(images.absolute)]


class DipOptions(Frozen):
    """The keys of task `dip`: which picture, what was done to it, which network undoes it."""

    image: ImageName = Field(
        default="astronaut", description="a photograph that scikit-image carries, or a file"
    )
    more_images: tuple[ImageName, ...] = Field(
        default=(), description="further ones, each with a network of its own: the score is the mean over all"
    )
    unseen_images: tuple[ImageName, ...] = Field(
        default=(), description="those that no search sees: confirm restores them in place of the others"
    )
    image_is: Literal["clean", "degraded"] = Field(
        default="clean",
        description="clean: it is degraded first; degraded: it is what is restored, and no clean one exists",
    )
    size: int | None = Field(
        default=None,
        ge=16,
        le=4096,
        description="the centre square resized to so many pixels, of a degraded picture its centre's pixels "
        "as they are; null: the whole picture",
    )
    grey: bool = Field(default=False, description="turn a colour picture grey; grey ones stay grey")
    degradation: AnyDegradation = Field(default=Gaussian(), description="what is undone")
    network: Network = Field(default=SkipNetwork(), description="what undoes it")
    objective: Literal["psnr", "ssim", "held_out", "sure"] = Field(
        default="psnr",
        description="what is optimised: psnr, ssim; without a clean picture held_out, sure",
    )
    lr: float = Field(default=0.01, gt=0, description="Adam's learning rate")
    input_noise: float = Field(default=1 / 30, ge=0, description="sd of the noise added to the input")
    average: float = Field(default=0.99, ge=0, lt=1, description="decay of the averaged output")
    ramp: RampFraction = 0.0
    early_stopping: EarlyStopping | None = Field(
        default=None,
        description="keeps the picture of the step where outputs vary least; null: of the last one",
    )

    @property
    def pictures(self) -> tuple[str, ...]:
        """The names of those that a training restores."""
        return self.image, *self.more_images

    @model_validator(mode="before")
    @classmethod
    def _objective_of_the_picture(cls, given: Any) -> Any:
        """Where no clean picture exists, what is optimised is what can be."""
        if isinstance(given, Mapping) and given.get("image_is") == "degraded" and "objective" not in given:
            return {**given, "objective": HELD_OUT}
        return given

    @model_validator(mode="after")
    def _suits(self) -> "DipOptions":
        """What keys have to agree on, as far as it can be said without the picture."""
        degradation, several = self.degradation, (*self.more_images, *self.unseen_images)
        if several and self.size is None:
            raise Mistake(
                f"plan.size is null, but there are {1 + len(several)} pictures, which must be equally large: "
                "set it to a number of pixels"
            )
        twice = [name for name in several if (self.image, *several).count(name) > 1]
        if twice:
            raise Mistake(
                f"plan.image, plan.more_images and plan.unseen_images name {twice[0]!r} more than once, but "
                "each picture counts once, and an unseen one is in no other place: keep one of them"
            )
        if self.image_is == "clean" and getattr(degradation, "sigma", None) == ESTIMATE:
            raise Mistake(
                f"plan.degradation.sigma is {ESTIMATE!r}, but plan.image_is says that the picture is clean, "
                "and noise is added to it: give a number of grey levels"
            )
        if self.image_is == "degraded" and self.objective in ORACLES:
            raise Mistake(
                f"plan.objective is {self.objective}, which compares with the clean picture, but "
                "plan.image_is says that none exists: take held_out, or sure where the noise is known"
            )
        if self.image_is == "degraded" and degradation.DRAWN:
            raise Mistake(
                f"plan.degradation.kind is {degradation.kind}, which draws what is done to a clean picture, "
                "but plan.image_is says that the picture is degraded already: take inpainting with its mask"
            )
        if self.objective == SURE and self.early_stopping:
            raise Mistake(
                "plan.objective is sure, which asks how the restored picture follows the observed one, and "
                "with plan.early_stopping it jumps: leave early_stopping out, or take held_out"
            )
        if self.objective == SURE and not degradation.KNOWN_SD:
            able = ", ".join(kind for kind, one in KINDS.items() if one.KNOWN_SD)
            raise Mistake(
                "plan.objective is sure, which needs white noise of a known sd on every pixel, but the "
                f"degradation is {degradation.kind}: take held_out, or one of {able}"
            )
        return self


def sites(plan: Plan) -> dict[str, tuple[int, int, int]]:
    """The sites of the plan's network with their (C, H, W), for its picture."""
    options = DipOptions.model_validate(plan.options)
    sides = _sides(options.image, options.size, options.image_is == "clean")
    return options.network.sites(*restored_sides(options, *sides))


def restored_sides(options: DipOptions, height: int, width: int) -> tuple[int, int]:
    """The sides of the picture that is drawn, from those of the one that was read, or a Mistake."""
    if options.image_is == "degraded":
        height, width = options.degradation.restored(height, width)
    options.degradation.check(height, width)
    return height, width


@lru_cache(maxsize=64)
def _sides(image: str, size: int | None, resized: bool) -> tuple[int, int]:
    """Cached, because a search asks once a proposal, and a picture takes time to read."""
    height, width, _ = images.load(image, size=size, grey=True, resized=resized).shape
    return height, width


def read(options: DipOptions) -> tuple[list[images.Picture], dict[str, str]]:
    """The pictures, each H×W×C in [0, 1], and the SHA-256 of all that was read, which a study keeps."""
    resized = options.image_is == "clean"
    pictures = [
        images.load(name, size=options.size, grey=options.grey, resized=resized) for name in options.pictures
    ]
    found = {
        _kept_as(number): images.fingerprint(picture) for number, picture in enumerate(pictures, start=1)
    }
    return pictures, found | options.degradation.files()


def _kept_as(number: int) -> str:
    """What a study calls the SHA-256 of a picture, by its place."""
    return "picture" if number == 1 else f"picture-{number}"


def confirmation(plan: Plan) -> Plan:
    """The plan that a confirmation trains: of the unseen pictures alone, where there are any."""
    options = DipOptions.model_validate(plan.options)
    if not options.unseen_images:
        return plan
    first, *others = options.unseen_images
    changed = {"image": first, "more_images": tuple(others), "unseen_images": ()}
    prepared = {name: digest for name, digest in plan.prepared.items() if not name.startswith("picture")}
    for number in range(1, 1 + len(options.unseen_images)):
        if (digest := prepared.pop(f"unseen-{number}", None)) is not None:
            prepared[_kept_as(number)] = digest
    return plan.model_copy(update={"options": options.model_copy(update=changed), "prepared": prepared})


def scope(plan: Plan) -> str:
    """Where what a confirmation finds holds: noise that is simulated is another in each of its pairs."""
    options = DipOptions.model_validate(plan.options)
    count = len(options.unseen_images) or 1 + len(options.more_images)
    said = "on this picture" if count == 1 else f"on these {count} pictures"
    if options.unseen_images:
        said = f"on {'a picture' if count == 1 else f'{count} pictures'} that the search never saw"
    its = "it has" if count == 1 else "they have"
    return f"{said}, with the noise that {its}" if options.image_is == "degraded" else said


def prepare(plan: Plan) -> dict[str, str]:
    """Nothing is made, but what is read, and a network of the user's own, must not change within a study.

    A Mistake where the degradation, or a network of the user's own, does not suit the picture.
    """
    options = DipOptions.model_validate(plan.options)
    if options.early_stopping and options.early_stopping.window > plan.steps:
        raise Mistake(
            f"plan.early_stopping.window is {options.early_stopping.window}, but a training has "
            f"{plan.steps} steps, so none would ever be kept: take a smaller window, or more steps"
        )
    pictures, found = read(options)
    _check(options, pictures)
    if options.unseen_images:
        confirmed = DipOptions.model_validate(confirmation(plan).options)
        others, unseen = read(confirmed)
        _check(confirmed, others)
        found |= {
            f"unseen-{number}": unseen[_kept_as(number)]
            for number in range(1, 1 + len(options.unseen_images))
        }
        pictures += others
    if isinstance(options.network, OwnPrior):
        found["network"] = _check_network(options, options.network, pictures)
    return found


def _check_network(options: DipOptions, network: OwnPrior, pictures: list[images.Picture]) -> str:
    """The fingerprint of a user's network; a Mistake where it does not draw each form that pictures have."""
    from trainers.networks.build import check_restorer  # torch, and what the user's module imports

    forms: dict[tuple[int, int, int], None] = {}  # in the pictures' order: the fingerprint is the first one's
    for picture in pictures:
        height, width = map(network.padded, restored_sides(options, *picture.shape[:2]))
        forms[picture.shape[2], height, width] = None
    first, *_ = [check_restorer(network, form) for form in forms]
    return first


def _check(options: DipOptions, pictures: list[images.Picture]) -> None:
    """Refuse what can be seen in the pictures alone, before the first of many trials meets it."""
    from trainers.dip_subject import subject  # which imports this file

    for picture in pictures:
        subject(options, picture, data=np.random.SeedSequence(0), evaluation=np.random.SeedSequence(0))


def measured(plan: Plan) -> str:
    """How the plan's objective is measured, in one clause."""
    options, said = DipOptions.model_validate(plan.options), ORACLE
    if options.objective == HELD_OUT:
        said = f"mean squared error at {HELD_OUT_SHARE:.0%} of the observed pixels, which no training sees"
    if options.objective == SURE:
        sigma = getattr(options.degradation, "sigma", None)
        known = "an estimated σ" if sigma == ESTIMATE else f"σ = {sigma:g}"
        said = f"Stein's estimate of the mean squared error, from {known}"
    return f"{said}; the mean over {1 + len(options.more_images)} pictures" if options.more_images else said


def companions(plan: Plan) -> tuple[str, ...]:
    """Beside an objective that needs no clean picture, psnr where there is one: is it to be trusted?"""
    options = DipOptions.model_validate(plan.options)
    known = options.image_is == "clean" and options.objective not in ORACLES
    return (PSNR,) if known else ()
