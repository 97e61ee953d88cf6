"""A picture out of focus."""

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from trainers.degradations.degradation import Degradation, Observation, Picture
from trainers.degradations.separable import applied, gaussian_blur, radius
from trainers.settings import Mistake

if TYPE_CHECKING:
    from torch import nn


class Blur(Degradation):
    """A Gaussian kernel over every channel, and noise after it."""

    kind: Literal["blur"] = "blur"
    width: float = Field(default=1.6, gt=0, le=64, description="standard deviation of the kernel in pixels")
    sigma: float = Field(
        default=0.0, ge=0, le=255, description="standard deviation of the noise in grey levels of 0 to 255"
    )

    def degrade(self, clean: Picture, generator: np.random.Generator) -> Observation:
        """G x Gᵀ + n with G of `separable.gaussian_blur` and n ~ N(0, (σ/255)²), clipped to [0, 1]."""
        rows, columns = (gaussian_blur(side, self.width) for side in clean.shape[:2])
        noise = generator.standard_normal(clean.shape, dtype=np.float32)
        blurred = applied(rows, columns, clean) + np.float32(self.sigma / 255) * noise
        return Observation(np.clip(blurred, 0, 1))

    def operator(self, height: int, width: int) -> "nn.Module":
        from trainers.degradations.operators import Separable

        return Separable(gaussian_blur(height, self.width), gaussian_blur(width, self.width))

    def check(self, height: int, width: int) -> None:
        if radius(self.width) >= min(height, width):
            raise Mistake(
                f"plan.degradation.width is {self.width:g}, so the kernel reaches {radius(self.width)} "
                f"pixels, but the picture has {width}×{height}: take a narrower kernel or a larger picture"
            )
