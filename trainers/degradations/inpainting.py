"""A picture with holes where a file says so."""

import os
from typing import Annotated, Literal

import numpy as np
from pydantic import AfterValidator, Field

from trainers import images
from trainers.degradations.degradation import Degradation, Observation, Picture, Seen
from trainers.settings import Mistake


class Inpainting(Degradation):
    """Pixels that are missing where a mask is dark, as in Deep Image Prior's reference (arXiv 1711.10925)."""

    kind: Literal["inpainting"] = "inpainting"
    mask: Annotated[str, AfterValidator(images.absolute)] = Field(
        min_length=1,
        examples=["mask.png"],
        description="a picture as large as the one that is restored: white where it was seen, black in holes",
    )

    def degrade(self, clean: Picture, generator: np.random.Generator) -> Observation:
        """The values of the clean picture, seen where the mask is at least half white."""
        return self.observed(clean)

    def observed(self, values: Picture) -> Observation:
        return Observation(values, self._seen(*values.shape[:2]))

    def check(self, height: int, width: int) -> None:
        self._seen(height, width)

    def files(self) -> dict[str, str]:
        return {"mask": images.fingerprint(self._read())}

    def _read(self) -> Picture:
        if self.mask not in images.PHOTOGRAPHS and not os.path.exists(os.path.expanduser(self.mask)):
            raise Mistake(
                f"plan.degradation.mask is {self.mask!r}, but there is no such file: name a picture that is "
                "white where pixels were seen and black in holes"
            )
        try:
            return images.load(self.mask, grey=True)
        except Mistake as error:
            raise Mistake(f"plan.degradation.mask cannot be read: {error}") from error

    def _seen(self, height: int, width: int) -> Seen:
        mask = self._read()[..., 0]
        if mask.shape != (height, width):
            raise Mistake(
                f"plan.degradation.mask is {self.mask!r}, which has {mask.shape[1]}×{mask.shape[0]} pixels, "
                f"but the picture that is restored has {width}×{height}: make the mask as large"
            )
        seen = mask >= 0.5
        if seen.all() or not seen.any():
            which = "white" if seen.all() else "black"
            raise Mistake(
                f"plan.degradation.mask is {self.mask!r}, which is all {which}, but it must be white where "
                "the picture was seen and black where it is missing"
            )
        return seen
