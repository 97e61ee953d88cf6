"""A picture of which single pixels are missing at random."""

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from trainers.degradations.degradation import Degradation, Observation, Picture


class MissingPixels(Degradation):
    """A fraction of the pixels, all channels of each, drawn anew for each seed."""

    DRAWN: ClassVar[bool] = True

    kind: Literal["missing_pixels"] = "missing_pixels"
    missing: float = Field(default=0.5, gt=0, lt=1, description="fraction of the pixels that is missing")

    def degrade(self, clean: Picture, generator: np.random.Generator) -> Observation:
        """Seen is all but round(missing · H · W) pixels, every choice equally likely; never none, never all.

        >>> white = np.ones((20, 20, 1), np.float32)
        >>> int(MissingPixels(missing=0.9).degrade(white, np.random.default_rng(0)).seen.sum())
        40
        """
        pixels = clean.shape[0] * clean.shape[1]
        count = min(max(1, round(self.missing * pixels)), pixels - 1)
        seen = np.ones(pixels, np.bool_)
        seen[generator.choice(pixels, count, replace=False)] = False
        return Observation(clean, seen.reshape(clean.shape[:2]))
