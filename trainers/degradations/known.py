"""The list of degradations, and the key of a plan that names one of them."""

import reprlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Union

from pydantic import BeforeValidator, Discriminator, Tag

from trainers.degradations.blur import Blur
from trainers.degradations.degradation import Degradation
from trainers.degradations.gaussian import Gaussian
from trainers.degradations.inpainting import Inpainting
from trainers.degradations.missing_pixels import MissingPixels
from trainers.degradations.poisson import Poisson
from trainers.degradations.super_resolution import SuperResolution
from trainers.own_options import from_name
from trainers.settings import Mistake

# The first is meant where no kind is given.
DEGRADATIONS: tuple[type[Degradation], ...] = (
    Gaussian,
    Poisson,
    SuperResolution,
    Inpainting,
    MissingPixels,
    Blur,
)
KINDS = {str(one.model_fields["kind"].default): one for one in DEGRADATIONS}


def _kind_of(degradation: Any) -> str:
    key = "plan.degradation"
    if isinstance(degradation, Degradation):
        return degradation.kind
    if not isinstance(degradation, Mapping):
        raise Mistake(
            f"{key} is {reprlib.repr(degradation)}, but it is a section: write for example {{kind: gaussian}}"
        )
    kind = degradation.get("kind", next(iter(KINDS)))
    if not isinstance(kind, str) or kind not in KINDS:
        raise Mistake(f"{key}.kind is {reprlib.repr(kind)}, but the degradations are {', '.join(KINDS)}")
    return kind


if TYPE_CHECKING:
    AnyDegradation = Degradation
else:  # a union of what is in the list
    AnyDegradation = Annotated[
        Union[tuple(Annotated[one, Tag(kind)] for kind, one in KINDS.items())],  # noqa: UP007
        Discriminator(_kind_of),
        BeforeValidator(from_name),
    ]
