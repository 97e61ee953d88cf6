"""What one training needs, frozen: the task, its options, the settings, the steps at which it is looked at.

A study is described, checked and compared without torch; `Plan.attach` alone imports it.
"""

import difflib
import itertools
import json
import operator
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import (
    AfterValidator,
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
from pydantic.fields import FieldInfo

from trainers.settings import Mistake, Regularizer, from_json, to_json

if TYPE_CHECKING:
    from torch import nn

    from trainers.sparsity import Attached


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


def checked_prepared(prepared: Mapping[str, str]) -> dict[str, str]:
    """What trainings share, name → SHA-256; a Mistake where a name is no plain one, or a SHA-256 none."""
    for name, digest in prepared.items():
        named = isinstance(name, str) and _NAME.fullmatch(name)
        if not named or not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise Mistake(
                f"prepared names {name!r} with {_shown(digest)}, but it must map plain names to SHA-256 "
                "in hexadecimal"
            )
    return dict(prepared)


Prepared = Annotated[dict[str, str], AfterValidator(checked_prepared)]
_NAME, _SHA256 = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}"), re.compile(r"[0-9a-f]{64}")


# An option of every task that regularizes; `trainers/ramp.py` is the schedule.
RampFraction = Annotated[
    float,
    Field(
        ge=0,
        le=1,
        description="the first fraction of the training, in which regularizers grow to full strength",
    ),
]


class Plan(Frozen):
    """One training, frozen; `trainers.tasks.make_plan` is the door that checks it against its task.

    task: the name of a `trainers.tasks.Task`. options: that task's own keys. settings: site → regularizer.
    extras: options that a search overrides (`value` looks there first). evaluate_at: ascending positive
    steps, of which the last ends the training. checkpoint_every: seconds between two saves. prepared: what
    all trainings of a study share, name → SHA-256, as `Task.prepare` gives it; empty: whatever is found.
    """

    task: str
    options: SerializeAsAny[InstanceOf[BaseModel]]
    settings: Settings = {}
    extras: dict[str, float] = {}
    evaluate_at: tuple[int, ...]
    checkpoint_every: float = Field(default=300.0, gt=0)
    prepared: Prepared = {}

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

    def attach(self, network: "nn.Module", *, names: Mapping[str, str] | None = None) -> "Attached":
        """Put the settings at the sites of a network: `trainers.sparsity.attach`, which has the details.

        names: {site: module} where the modules do not bear the sites' names. Sites without settings are
        measured too, if `names` has them.
        """
        from trainers.sparsity import attach  # torch is imported when something trains

        return attach(network, self.settings, names=names, observe=tuple(names or ()))

    def refuse_another(self, found: Mapping[str, str]) -> None:
        """Refuse what a training has found here (name → SHA-256) where its study was begun with another.

        A plan in which nothing is `prepared`, outside a study, takes what it finds.
        """
        for name, digest in found.items() if self.prepared else ():
            begun = self.prepared.get(name)
            if begun != digest:
                told = f"one of SHA-256 {begun[:12]}…" if begun else "none of that name"
                raise Mistake(
                    f"{name} has the SHA-256 {digest[:12]}… here, but the study was begun with {told}: "
                    "put the old one, or the package versions of then, back, or begin another study"
                )

    def identity(self) -> str:
        """Canonical JSON of all that changes what is computed: a checkpoint belongs to exactly this."""
        content = self.model_dump(mode="json", exclude={"checkpoint_every"})
        for name in places(type(self.options)):
            del content["options"][name]
        return json.dumps(content, sort_keys=True)


def places(options: type[BaseModel]) -> tuple[str, ...]:
    """The options that say where something lies and not what it is: another machine has them otherwise."""
    return tuple(getattr(options, "PLACES", ()))


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
    below, loc = _followed(model, first["loc"][:-1])
    key = ".".join(_named(part) for part in (*((prefix,) if prefix else ()), *loc, *first["loc"][-1:]))
    if first["type"] == "extra_forbidden":
        return _unknown_key(key, str(first["loc"][-1]), list(below.model_fields))
    field = below.model_fields.get(str(first["loc"][-1])) if first["loc"] else None
    if first["type"] == "missing":
        example = f", for example {field.examples[0]}" if field is not None and field.examples else ""
        return Mistake(f"{key} is missing, and it has no default: give it a value{example}")
    rule = str(cause) if cause else _rule(first["type"], first["input"], _followed(model, first["loc"])[0])
    rule = rule or first["msg"].replace("Input should be", "it must be") + _usual(first.get("ctx", {}), field)
    return Mistake(f"{key} is {_shown(first['input'])}, but {rule[0].lower()}{rule[1:].rstrip('.')}")


_BOUNDS: dict[str, Callable[[float, float], bool]] = {
    "gt": operator.gt,
    "ge": operator.ge,
    "lt": operator.lt,
    "le": operator.le,
}


def _usual(bounds: Mapping[str, Any], field: FieldInfo | None) -> str:
    """The way out of a number beyond its bounds: the default, where there is one that is within."""
    passed = [(_BOUNDS[name], bound) for name, bound in bounds.items() if name in _BOUNDS]
    usual = field.default if passed and field is not None else None
    if not isinstance(usual, int | float) or not all(within(usual, bound) for within, bound in passed):
        return ""
    return f": the default is {usual if isinstance(usual, int) else f'{usual:.4g}'}"


def _rule(kind: str, value: Any, model: type[BaseModel]) -> str:
    """How a list, a section or a yes is written; pydantic speaks of tuples, models and booleans.

    model: the section's, where its keys are known.
    """
    if kind in ("tuple_type", "list_type"):
        alone = isinstance(value, str | int | float) and not isinstance(value, bool) and len(str(value)) <= 60
        return f"it is a list: write {f'[{value}]' if alone else 'it in brackets, as [one, other]'}"
    if kind in ("bool_type", "bool_parsing"):
        return "it must be true or false"
    if kind not in ("model_type", "dict_type"):
        return ""
    keys = model.model_fields.items() if kind == "model_type" else ()
    plain = (f"{{{key}: {one.default}}}" for key, one in keys if type(one.default) in (str, int, float))
    example = next(plain, None)
    return f"it is a section: write {f'for example {example}' if example else 'its keys below it'}"


def _unknown_key(key: str, name: str, known: Sequence[str]) -> Mistake:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]}, or another of" if near else "the known keys there are"
    return Mistake(f"{key} is not a known key; {hint} {', '.join(known)}{'?' if near else ''}")


def _named(part: int | str) -> str:
    """A key as a user wrote it, on one short line whatever it is."""
    text = str(part)
    return text if text.isprintable() and len(text) <= 80 else _shown(text)


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _followed(model: type[BaseModel], loc: Sequence[int | str]) -> tuple[type[BaseModel], list[int | str]]:
    """The model at loc, and loc as the user wrote it: pydantic puts in which member of a union it chose."""
    written: list[int | str] = []
    members = [model]
    for part in loc:
        chosen = [one for one in members if len(members) > 1 and _kind_of(one) == part]
        if chosen:
            model, members = chosen[0], chosen
            continue
        field = model.model_fields.get(str(part))
        written.append(part)
        members = models_in(field.annotation) if field is not None else []
        model = members[0] if members else model
    return model, written


def _kind_of(model: type[BaseModel]) -> Any:
    """What pydantic calls a member of a union by: its TAG, else the kind that it has alone."""
    own = model.model_fields["kind"].default if "kind" in model.model_fields else None
    return getattr(model, "TAG", own)


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models in an annotation such as `A`, `A | None` or `Annotated[A | B, …]`, in their order."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for argument in typing.get_args(annotation) for model in models_in(argument)]
