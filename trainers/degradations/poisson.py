"""The noise of counted photons."""

from typing import Literal

import numpy as np
from pydantic import Field

from trainers.degradations.degradation import Degradation, Observation, Picture


class Poisson(Degradation):
    """Photons that are counted at every pixel and channel: bright places have more noise than dark ones."""

    kind: Literal["poisson"] = "poisson"
    peak: float = Field(
        default=30.0, gt=0, le=1e6, description="photons where the picture is white; fewer: more noise"
    )

    def degrade(self, clean: Picture, generator: np.random.Generator) -> Observation:
        """n / peak, n ~ Poisson(peak · clean) independently at every pixel and channel, clipped to [0, 1].

        Below white the mean is the clean value x and the variance x / peak.

        >>> grey = np.full((200, 200, 1), 0.25, np.float32)
        >>> round(float(Poisson(peak=100).degrade(grey, np.random.default_rng(0)).values.std()), 2)
        0.05
        """
        counts = generator.poisson(self.peak * np.clip(clean, 0, 1).astype(np.float64))
        return Observation(np.clip(counts / self.peak, 0, 1).astype(np.float32))
