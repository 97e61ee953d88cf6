"""`docs/spec.yaml`, made from the code: every key of a study with its default and one line of meaning.

Run `python -m tuner.spec_reference > docs/spec.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trainers.plan import models_in
from trainers.tasks import TASKS, find_task, options_model
from tuner.spec import StudySpec

HEAD = """\
# Every key of a study with its default; a study needs only its name.
# Made by `python -m tuner.spec_reference > docs/spec.yaml`: change the code, not this file.
"""
COLUMN = 38  # where the meanings stand


def reference_yaml() -> str:
    """The text of `docs/spec.yaml`; `load_spec` reads the defaults from it.

    The keys of other tasks, and of what else may stand in a place, are comments below the default's.
    """
    spec = StudySpec(name="my-study")
    ours = [spec.task, *(name for name in TASKS if name != spec.task)]
    plans = {f"task: {name}": options_model(find_task(name))() for name in ours}
    return HEAD + "".join(f"{line}\n" for line in _lines(spec, {"plan": plans}, ""))


def _lines(model: BaseModel, instead: Mapping[str, Mapping[str, BaseModel]], indent: str) -> Iterator[str]:
    """A line for each field of `model`, those of models in it below them.

    Args:
        instead: what stands in place of plain fields, by what chooses it, the default first.
        indent: begins each line; a comment's has its sign in it.
    """
    values = model.model_dump(mode="json")
    for key, field in type(model).model_fields.items():
        inner = getattr(model, key)
        choices = instead.get(key) or _choices(field, inner)
        if choices:
            yield _line(f"{indent}{key}:", field.description)
            for number, (chosen_by, choice) in enumerate(choices.items()):
                deeper = f"{indent}  # " if number else f"{indent}  "
                if number:
                    yield f"{indent}  # with {chosen_by}"
                yield from _lines(choice, {}, deeper)
        elif isinstance(inner, dict) and inner:
            yield _line(f"{indent}{key}:", field.description)
            for part, value in values[key].items():
                yield f"{indent}  {part}: {_flow(value)}"
        else:
            # A path is made absolute where it is read, and here it stays as it is.
            value = field.default if isinstance(field.default, str) else values[key]
            yield _line(f"{indent}{key}: {_flow(value)}", field.description)
            for absent in models_in(field.annotation) if inner is None else ():
                yield f"{indent}  # in place of null"
                yield from _lines(absent(), {}, f"{indent}  # ")


def _choices(field: FieldInfo, inner: object) -> dict[str, BaseModel]:
    """The models that may stand in a field, the default first; none where it holds something else."""
    if not isinstance(inner, BaseModel):
        return {}
    others = [model for model in models_in(field.annotation) if not isinstance(inner, model)]
    kinds = {model: getattr(model, "TAG", model.model_fields["kind"].default) for model in others}
    return {"": inner} | {f"kind: {kind}": _shown(model, kind) for model, kind in kinds.items()}


def _shown(model: type[BaseModel], kind: str) -> BaseModel:
    """The model with its defaults; what has none stands as its example, a user's own factory as its rule."""
    fields = model.model_fields.items()
    examples = {key: field.examples[0] for key, field in fields if field.is_required() and field.examples}
    return model.model_construct(**{**examples, "kind": kind})


def _line(text: str, meaning: str | None) -> str:
    return f"{text:<{COLUMN - 1}} # {meaning}" if meaning else text


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


if __name__ == "__main__":
    print(reference_yaml(), end="")
