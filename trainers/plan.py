"""What one training needs, frozen: the task, its options, the settings, the steps at which it is looked at.

Nothing here imports torch: a study is described, checked and compared without it.
"""

import difflib
import itertools
import json
import os
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    InstanceOf,
    PlainSerializer,
    PlainValidator,
    SerializeAsAny,
    ValidationError,
    field_validator,
)

from trainers.settings import Mistake, Regularizer, from_json, to_json


class Frozen(BaseModel):
    """Base of everything a user writes: frozen, unknown keys refused, no NaN and no infinity."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=())


def _read_settings(entries: Any) -> dict[str, Regularizer]:
    """Accept regularizers and their JSON entries alike, so that a dumped plan is read back."""
    if not isinstance(entries, Mapping):
        raise Mistake(
            f"settings is {entries!r}, but it maps a site to a regularizer: "
            "write for example {up0: {kind: l0, keep: 0.2}}"
        )
    return {
        site: entry if isinstance(entry, Regularizer) else from_json(entry, f"settings.{site}")
        for site, entry in entries.items()
    }


def _write_settings(settings: Mapping[str, Regularizer]) -> dict[str, dict[str, Any]]:
    return {site: to_json(regularizer) for site, regularizer in settings.items()}


Settings = Annotated[
    dict[str, Regularizer],
    PlainValidator(_read_settings),
    PlainSerializer(_write_settings, when_used="json"),
]


class Plan(Frozen):
    """One training, frozen; `trainers.tasks.make_plan` is the door that checks it against its task.

    task: the name of a `trainers.tasks.Task`. options: that task's own keys. settings: site → regularizer.
    extras: options that a search overrides (`value` looks there first). evaluate_at: ascending positive
    steps, of which the last ends the training. checkpoint_every: seconds between two saves.
    """

    task: str
    options: SerializeAsAny[InstanceOf[BaseModel]]
    settings: Settings = {}
    extras: dict[str, float] = {}
    evaluate_at: tuple[int, ...]
    checkpoint_every: float = Field(default=300.0, gt=0)

    @field_validator("evaluate_at")
    @classmethod
    def _ascending(cls, steps: tuple[int, ...]) -> tuple[int, ...]:
        if not steps or steps[0] < 1 or any(a >= b for a, b in itertools.pairwise(steps)):
            raise ValueError("it needs at least one step, all positive and in ascending order")
        return steps

    @property
    def steps(self) -> int:
        """The last step."""
        return self.evaluate_at[-1]

    def value(self, name: str) -> float:
        """The number that an extra overrides, else the option of that name."""
        return float(self.extras[name] if name in self.extras else getattr(self.options, name))

    def identity(self) -> str:
        """Canonical JSON of all that changes what is computed: a checkpoint belongs to exactly this."""
        return json.dumps(self.model_dump(mode="json", exclude={"checkpoint_every"}), sort_keys=True)


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
        default=None, ge=16, description="centre square resized to so many pixels; null: the whole picture"
    )
    grey: bool = Field(default=False, description="turn a colour picture grey; grey ones stay grey")
    degradation: Gaussian = Field(default=Gaussian(), description="what is undone")
    network: SkipNetwork = Field(default=SkipNetwork(), description="what undoes it")
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


def one_sentence(error: ValidationError, model: type[BaseModel], prefix: str = "") -> Mistake:
    """Turn pydantic's report into a Mistake: the first offending key, its value, the rule, the way out.

    model is what was validated (its keys are listed where one is unknown), prefix the place of the whole in
    the user's file, for example "plan".
    """
    errors = error.errors(include_url=False)
    # A misspelt key is both unknown and missing; the first of these says what to do.
    first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, Mistake):
        return cause
    key = ".".join(str(part) for part in ((prefix,) if prefix else ()) + first["loc"])
    if first["type"] == "extra_forbidden":
        return _unknown_key(key, str(first["loc"][-1]), known_keys(model, first["loc"][:-1]))
    if first["type"] == "missing":
        return Mistake(f"{key} is missing, and it has no default: give it a value")
    rule = str(cause) if cause else first["msg"].replace("Input should be", "it must be")
    return Mistake(f"{key} is {_shown(first['input'])}, but {rule[0].lower()}{rule[1:].rstrip('.')}")


def _unknown_key(key: str, name: str, known: Sequence[str]) -> Mistake:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}, or another of" if near else "the known keys there are"
    return Mistake(f"{key} is not a known key; {hint} {', '.join(known)}{'?' if near else ''}")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def known_keys(model: type[BaseModel], loc: Sequence[int | str] = ()) -> list[str]:
    """The keys of the model that lies at loc inside model, as far as the path can be followed."""
    for part in loc:
        field = model.model_fields.get(str(part))
        inner = _model_in(field.annotation) if field is not None else None
        model = inner if inner is not None else model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The first model in an annotation such as `A`, `A | None` or `Annotated[A, …]`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    found = (_model_in(argument) for argument in typing.get_args(annotation))
    return next((model for model in found if model is not None), None)
