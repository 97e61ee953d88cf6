"""What every degradation can do: y = A(x) + noise, seen at some pixels. Nothing else knows them by name."""

from abc import abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from trainers.images import Picture as Picture
from trainers.plan import Frozen

if TYPE_CHECKING:
    from torch import nn

Seen = NDArray[np.bool_]


@dataclass(frozen=True)
class Observation:
    """What is known of a picture: values h×w×C in [0, 1], and where they were seen.

    seen: h×w, False at pixels of which nothing is known; None: all were seen.
    """

    values: Picture
    seen: Seen | None = None


class Degradation(Frozen):
    """A way from a picture x, H×W×C in [0, 1], to an observation y, h×w×C in [0, 1].

    A training minimises mean (A(x) - y)² over the pixels that were seen. The keys of a study's file are the
    fields; `kind` has the name as its default. No torch at import: `operator` alone needs it.
    """

    DRAWN: ClassVar[bool] = False  # whether it is only ever simulated, and no picture comes with it
    KNOWN_SD: ClassVar[bool] = False  # whether `sd` is known, or can be estimated

    kind: str

    @abstractmethod
    def degrade(self, clean: Picture, generator: np.random.Generator) -> Observation:
        """Do it to a clean picture; a pure function of it, the fields and the generator."""

    def observed(self, values: Picture) -> Observation:
        """The observation where the picture that was given is the degraded one."""
        return Observation(values)

    def operator(self, height: int, width: int) -> "nn.Module | None":
        """A without the noise, N×C×H×W → N×C×h×w, differentiable; None: the identity."""
        return None

    def restored(self, height: int, width: int) -> tuple[int, int]:
        """The sides H, W of the picture that an observation of sides h, w is made of."""
        return height, width

    def check(self, height: int, width: int) -> None:
        """A Mistake where it cannot be done to a picture of sides H, W."""

    def files(self) -> dict[str, str]:
        """The SHA-256 of what else it reads, by name, so that it does not change within a study."""
        return {}

    def sd(self, values: Picture) -> float:
        """The standard deviation of the white Gaussian noise in an observation's values, where 1 is white.

        Asked only where `KNOWN_SD` says so.
        """
        raise NotImplementedError(f"{self.kind} has no noise of known sd")
