"""A picture of low resolution, of which the high resolution is drawn."""

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import Field

from trainers.degradations.degradation import Degradation, Observation, Picture
from trainers.degradations.separable import applied, lanczos2
from trainers.settings import Mistake

if TYPE_CHECKING:
    from torch import nn


class SuperResolution(Degradation):
    """A picture made smaller by Lanczos2, as in Deep Image Prior's reference (arXiv 1711.10925)."""

    kind: Literal["super_resolution"] = "super_resolution"
    factor: Literal[2, 4, 8] = Field(default=4, description="2, 4 or 8")

    def degrade(self, clean: Picture, generator: np.random.Generator) -> Observation:
        """D x Dᵀ with D of `separable.lanczos2`, clipped to [0, 1], since the filter overshoots at edges.

        >>> white = np.ones((32, 48, 3), np.float32)
        >>> SuperResolution(factor=2).degrade(white, np.random.default_rng(0)).values.shape
        (16, 24, 3)
        """
        rows, columns = (lanczos2(side, self.factor) for side in clean.shape[:2])
        return Observation(np.clip(applied(rows, columns, clean), 0, 1))

    def operator(self, height: int, width: int) -> "nn.Module":
        from trainers.degradations.operators import Separable

        return Separable(lanczos2(height, self.factor), lanczos2(width, self.factor))

    def restored(self, height: int, width: int) -> tuple[int, int]:
        return height * self.factor, width * self.factor

    def check(self, height: int, width: int) -> None:
        if height % self.factor or width % self.factor:
            raise Mistake(
                f"plan.degradation.factor is {self.factor}, but the picture has {width}×{height} pixels, "
                "which it does not divide: set plan.size to a multiple of it"
            )
