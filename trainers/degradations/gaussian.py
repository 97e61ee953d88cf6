"""Gaussian noise of a known standard deviation, or of one that is estimated."""

import math
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
from pydantic import Field, PlainValidator

from trainers.degradations.degradation import Degradation, Observation, Picture
from trainers.degradations.estimate import estimated_sd
from trainers.settings import Mistake

ESTIMATE = "estimate"


def _sigma(value: Any) -> float | str:
    """A positive number, also one that YAML has read as a text, or the word."""
    if value == ESTIMATE:
        return ESTIMATE
    rule = f"it must be greater than 0, a number of grey levels, or {ESTIMATE!r}"
    if isinstance(value, bool):
        raise ValueError(rule)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(rule) from None
    if not 0 < number < math.inf:
        raise ValueError(rule)
    return number


class Gaussian(Degradation):
    """Independent normal noise on every pixel and channel."""

    KNOWN_SD: ClassVar[bool] = True

    kind: Literal["gaussian"] = "gaussian"
    sigma: Annotated[float | Literal["estimate"], PlainValidator(_sigma)] = Field(
        default=25.0,
        description="standard deviation in grey levels of 0 to 255; estimate: of a picture that is degraded",
    )

    def degrade(self, clean: Picture, generator: np.random.Generator) -> Observation:
        """clean + n, n ~ N(0, (σ/255)²) independently at every pixel and channel, clipped to [0, 1].

        The draws are numpy's, so that they are the same on every device.

        >>> grey = np.full((200, 200, 1), 0.5, np.float32)
        >>> round(float(Gaussian(sigma=25).degrade(grey, np.random.default_rng(0)).values.std() * 255))
        25
        """
        if isinstance(self.sigma, str):
            raise Mistake(
                f"plan.degradation.sigma is {self.sigma!r}, but the picture is clean, and noise is added to "
                "it: give a number of grey levels, or say image_is: degraded"
            )
        noise = generator.standard_normal(clean.shape, dtype=np.float32)
        return Observation(np.clip(clean + np.float32(self.sigma / 255) * noise, 0, 1))

    def sd(self, values: Picture) -> float:
        """σ/255; with `estimate`, what `estimated_sd` finds."""
        return estimated_sd(values) if isinstance(self.sigma, str) else self.sigma / 255
