"""`docs/spec.yaml` is made from the code, complete, fresh and itself a study."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel

from trainers.dip_options import DipOptions
from tuner.sections import Budget, Resources, Search, Space
from tuner.spec import StudySpec, freeze, load_spec
from tuner.spec_reference import reference_yaml

DOCS = Path(__file__).parents[2] / "docs" / "spec.yaml"


def test_it_is_what_the_code_says() -> None:
    found = DOCS.read_text(encoding="utf-8")
    assert found == reference_yaml(), "run: python -m tuner.spec_reference > docs/spec.yaml"


def test_it_is_a_study_and_holds_the_defaults() -> None:
    assert freeze(load_spec(DOCS)) == freeze(load_spec({"name": "my-study"}))


def keys(value: Any, above: str = "") -> Iterator[str]:
    for key, below in value.items():
        yield f"{above}{key}"
        if isinstance(below, dict):
            yield from keys(below, f"{above}{key}.")


def test_it_shows_every_key_with_its_meaning() -> None:
    shown = set(keys(yaml.safe_load(reference_yaml())))
    sections: dict[str, type[BaseModel]] = {
        "": StudySpec,
        "plan.": DipOptions,
        "space.": Space,
        "budget.": Budget,
        "search.": Search,
        "resources.": Resources,
    }
    for above, model in sections.items():
        for key, field in model.model_fields.items():
            assert f"{above}{key}" in shown
            assert field.description, f"{above}{key} has no line of meaning"
            assert re.search(rf"^ *{key}:.*# {re.escape(field.description)}$", reference_yaml(), re.MULTILINE)
