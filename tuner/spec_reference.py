"""`docs/spec.yaml`, made from the code: every key of a study with its default and one line of meaning.

Run `python -m tuner.spec_reference > docs/spec.yaml`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from pydantic import BaseModel

from trainers.tasks import find_task, options_model
from tuner.spec import StudySpec

HEAD = """\
# Every key of a study with its default; a study needs only its name.
# Made by `python -m tuner.spec_reference > docs/spec.yaml`: change the code, not this file.
"""
COLUMN = 38  # where the meanings stand


def reference_yaml() -> str:
    """The text of `docs/spec.yaml`; `load_spec` reads the defaults from it."""
    spec = StudySpec(name="my-study")
    plan = options_model(find_task(spec.task))()
    return HEAD + "".join(f"{line}\n" for line in _lines(spec, {"plan": plan}, ""))


def _lines(model: BaseModel, instead: Mapping[str, BaseModel], indent: str) -> Iterator[str]:
    """A line for each field of `model`, those of models in it below them; `instead` replaces plain fields."""
    values = model.model_dump(mode="json")
    for key, field in type(model).model_fields.items():
        inner = instead.get(key, getattr(model, key))
        if isinstance(inner, BaseModel):
            yield _line(f"{indent}{key}:", field.description)
            yield from _lines(inner, {}, f"{indent}  ")
        elif isinstance(inner, dict) and inner:
            yield _line(f"{indent}{key}:", field.description)
            for part, value in values[key].items():
                yield f"{indent}  {part}: {_flow(value)}"
        else:
            yield _line(f"{indent}{key}: {_flow(values[key])}", field.description)


def _line(text: str, meaning: str | None) -> str:
    return f"{text:<{COLUMN - 1}} # {meaning}" if meaning else text


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=1000)
    return text.removesuffix("\n").removesuffix("\n...")


if __name__ == "__main__":
    print(reference_yaml(), end="")
