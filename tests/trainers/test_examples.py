"""The examples in docstrings are run, in every module that has one."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

import trainers

FOLDER = Path(trainers.__file__).parent
MODULES = sorted(
    ".".join(path.relative_to(FOLDER.parent).with_suffix("").parts)
    for path in FOLDER.rglob("*.py")
    if ">>> " in path.read_text(encoding="utf-8")
)


def test_modules_are_found() -> None:
    assert {"trainers.dip", "trainers.gan", "trainers.networks.skip"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name: str) -> None:
    result = doctest.testmod(import_module(name))
    assert result.attempted > 0
    assert result.failed == 0
