"""The examples in the docstrings run and print what they say."""

import doctest
from importlib import import_module

import pytest

MODULES = ["degradations", "dip", "images", "networks.skip", "psnr", "tasks"]


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name: str) -> None:
    result = doctest.testmod(import_module(f"trainers.{name}"))
    assert result.attempted > 0
    assert result.failed == 0
