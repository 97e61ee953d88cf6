"""The ready studies are found by name; that each of them runs is tested with the spec."""

import doctest

import pytest

from search_spaces import presets
from search_spaces.presets import preset_names, preset_text
from trainers.settings import Mistake


def test_the_presets_are_listed() -> None:
    assert preset_names() == [
        "classifier-digits", "ddpm-digits", "dip-denoise", "dip-denoise-full", "dip-noisy-photo",
        "gan-cifar10", "gan-cifar10-low-data", "gan-digits", "gan-digits-low-data", "gan-fashion",
        "vae-digits",
    ]  # fmt: skip


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_called_as_its_file(name: str) -> None:
    assert f"\nname: {name}\n" in preset_text(name)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        (
            "dip-denose",
            "'dip-denose' is not a preset: there are .*dip-denoise, .*; did you mean 'dip-denoise'?",
        ),
        (
            "quux",
            r"'quux' is not a preset: there are .*dip-denoise, dip-denoise-full, dip-noisy-photo, gan-",
        ),
        ("../presets/dip-denoise", "is not a preset"),
    ],
)
def test_an_unknown_one_is_answered_with_the_known(name: str, sentence: str) -> None:
    with pytest.raises(Mistake, match=sentence):
        preset_text(name)


def test_the_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(presets) == doctest.TestResults(failed=0, attempted=1)
