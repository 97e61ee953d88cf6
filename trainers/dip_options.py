"""The keys of task `dip`: which picture, what was done to it, which network undoes it. No torch."""

import os
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator

from trainers import images
from trainers.own_options import OWN, OwnNetwork, from_name, kind_of
from trainers.plan import Frozen, Plan
from trainers.settings import Mistake


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


class Gaussian(Frozen):
    """Independent normal noise on every pixel and channel."""

    kind: Literal["gaussian"] = "gaussian"
    sigma: float = Field(default=25.0, gt=0, description="standard deviation in grey levels of 0 to 255")


class DipOptions(Frozen):
    """The keys of task `dip`: which picture, what was done to it, which network undoes it."""

    image: str = Field(
        default="astronaut", min_length=1, description="a photograph that scikit-image carries, or a file"
    )
    size: int | None = Field(
        default=None,
        ge=16,
        le=4096,
        description="centre square resized to so many pixels; null: the whole picture",
    )
    grey: bool = Field(default=False, description="turn a colour picture grey; grey ones stay grey")
    degradation: Gaussian = Field(default=Gaussian(), description="what is undone")
    network: Network = Field(default=SkipNetwork(), description="what undoes it")
    objective: Literal["psnr", "ssim"] = Field(default="psnr", description="what is optimised: psnr or ssim")
    lr: float = Field(default=0.01, gt=0, description="Adam's learning rate")
    input_noise: float = Field(default=1 / 30, ge=0, description="sd of the noise added to the input")
    average: float = Field(default=0.99, ge=0, lt=1, description="decay of the averaged output")

    @field_validator("image")
    @classmethod
    def _absolute(cls, image: str) -> str:
        """A file is meant relative to where the user stands; workers and a later `resume` stand elsewhere."""
        path = os.path.abspath(os.path.expanduser(image))
        return path if os.path.isfile(path) else image


def sites(plan: Plan) -> dict[str, tuple[int, int, int]]:
    """The sites of the plan's network with their (C, H, W), for its picture."""
    options = DipOptions.model_validate(plan.options)
    return options.network.sites(*_sides(options.image, options.size))


@lru_cache(maxsize=64)
def _sides(image: str, size: int | None) -> tuple[int, int]:
    """Cached, because a search asks once a proposal, and a picture takes time to read."""
    height, width, _ = images.load(image, size=size, grey=True).shape
    return height, width


def prepare(plan: Plan) -> dict[str, str]:
    """Nothing is made, but the picture, and a network of the user's own, must not change within a study.

    A Mistake where a network of the user's own does not suit the picture.
    """
    options = DipOptions.model_validate(plan.options)
    clean = images.load(options.image, size=options.size, grey=options.grey)
    if isinstance(options.network, OwnPrior):
        from trainers.networks.build import check_restorer  # torch, and what the user's module imports

        height, width = (options.network.padded(side) for side in clean.shape[:2])
        network = check_restorer(options.network, (clean.shape[2], height, width))
        return {"picture": images.fingerprint(clean), "network": network}
    return {"picture": images.fingerprint(clean)}
