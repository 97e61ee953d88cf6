"""`docs/spec.yaml` is made from the code, complete, fresh and itself a study."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from trainers.dip_options import DipOptions, EarlyStopping, OwnPrior
from trainers.gan_options import OwnPair
from trainers.pair_options import PAIRS
from trainers.tasks import TASKS, make_plan, options_model
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


def below(text: str, heading: str) -> dict[str, Any]:
    """The keys that stand as comments below a heading, without the comment's sign."""
    lines = iter(text.splitlines())
    begin = next(line for line in lines if line.strip() == heading).index("#")
    shown = itertools.takewhile(
        lambda line: line[begin:].startswith("# ") and not line[begin:].startswith("# with "), lines
    )
    found: dict[str, Any] = yaml.safe_load("\n".join(line[begin + 2 :] for line in shown))
    return found


@pytest.mark.parametrize("name", [name for name in TASKS if name != "dip"])
def test_the_keys_of_every_other_task_are_comments_that_make_a_plan_of_it(name: str) -> None:
    keys = below(reference_yaml(), f"# with task: {name}")
    assert keys.keys() == options_model(TASKS[name]).model_fields.keys()
    assert make_plan(TASKS[name], keys, evaluate_at=(1,)) == make_plan(TASKS[name], {}, evaluate_at=(1,))


def test_so_are_those_of_other_networks() -> None:
    gan = reference_yaml().partition("# with task: gan")[2]
    inner = "\n".join(line.removeprefix("  # ") for line in gan.splitlines())
    for kind, made in [*PAIRS.items()][1:]:  # the default stands above
        plan = make_plan(TASKS["gan"], {"network": below(inner, f"# with kind: {kind}")}, evaluate_at=(1,))
        assert plan.options.network == made()
    own = make_plan(TASKS["gan"], {"network": below(inner, "# with kind: module:factory")}, evaluate_at=(1,))
    assert own.options.network == OwnPair(kind="module:factory")
    own = make_plan(
        TASKS["dip"], {"network": below(reference_yaml(), "# with kind: module:factory")}, evaluate_at=(1,)
    )
    assert own.options.network == OwnPrior(kind="module:factory")


def test_so_are_those_of_a_section_that_is_left_out() -> None:
    text = reference_yaml()
    assert "\n  early_stopping: null  " in text
    assert DipOptions(early_stopping=below(text, "# in place of null")).early_stopping == EarlyStopping()
    assert re.search(r"# window: 100 +# outputs whose variance is measured", text)


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
