"""Whatever lies where a study's file should lie ends in one sentence; what is YAML is read as YAML 1.2."""

import doctest
import math
import os
from pathlib import Path
from typing import Any

import pytest

from trainers.settings import Mistake
from tuner import spec_file
from tuner.spec_file import (
    DEEPEST,
    LARGEST,
    apply_overrides,
    parse,
    parse_mapping,
    plain,
    read_source,
    seconds,
)

BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


def sentence_of(error: pytest.ExceptionInfo[Mistake]) -> str:
    """The message, which must be one line of a readable length."""
    text = str(error.value)
    assert "\n" not in text and len(text) < 400
    return text


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "here is empty: a study needs at least its name"),
        ("# only a comment\n", "here is empty"),
        ("null", "here is empty"),
        ("- a\n- b\n", r"here holds \['a', 'b'\], but a study is a mapping"),
        ("just words", "here holds 'just words', but a study is a mapping"),
        ("a: [1, 2", r"here is not YAML \(line 1: "),
        ("a: 1\n b: 2\n", r"here is not YAML \(line 2: "),
        ("a: 1\n\tb: 2\n", r"here is not YAML \(line 2: "),
        ("a: 1\n---\nb: 2\n", r"here is not YAML \(line 2: "),
        ('a: "unfinished', r"here is not YAML \(line 1: "),
        ("a: 1\x07", "here is not text: it holds characters that YAML does not allow"),
        ("a: 1\nb: 2\na: 3\n", "here, line 3: 'a' stands twice in one section"),
        ("a: {b: 1, b: 2}", "here, line 1: 'b' stands twice"),
        ("1: a", "here, line 1: a key is a word, and '1' is none; quote it"),
        ("null: a", "a key is a word, and 'null' is none"),
        ("? [a, b]\n: c\n", "a key is a word"),
        ("? {a: b}\n: c\n", "a key is a word"),
        (BOMB, "here, line 1: aliases are not read here"),
        ("a: &x 1", "here, line 1: aliases are not read here"),
        ("a: &x\n  <<: *x\n", "aliases are not read here"),
        ("a: !!python/object/apply:os.getcwd []", "here, line 1: the tag .*python.* is not read here"),
        ("a: !!timestamp x", "the tag .*timestamp is not read here"),
        ('a: "b\\0c"', r"here, line 1: a text holds the character \\0, which no name has"),
        ('"a\\0": b', r"here, line 1: a text holds the character"),
        ("a: !mine x", "the tag !mine is not read here"),
        ("a: " + "[" * 5000, f"here, line 1: nested deeper than {DEEPEST} levels"),
        ("a: " + "{b: " * 5000, f"nested deeper than {DEEPEST} levels"),
        ("\n".join(" " * n + "a:" for n in range(100)), "nested deeper than"),
        ("a: " + "- " * 2000 + "b", r"here is not YAML \(line 1"),
        ("a: " + "9" * 5000, "here holds a value that cannot be read"),
    ],
)
def test_what_is_no_study_is_refused_with_its_line(text: str, sentence: str) -> None:
    with pytest.raises(Mistake, match=sentence) as error:
        parse_mapping(text, "here")
    sentence_of(error)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3),
        ("1.0e-3", 1e-3),
        ("1E3", 1000.0),
        (".5", 0.5),
        ("-3", -3),
        ("5.", 5.0),
        ("0", 0),
        ("010", "010"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("2024-01-01", "2024-01-01"),
        ("on", "on"),
        ("no", "no"),
        ("None", "None"),
        ("none", "none"),
        ("true", True),
        ("null", None),
        ("~", None),
        ("", None),
        ("5m", "5m"),
        ("'1'", "1"),
        (".inf", math.inf),
        ("[1, 2.5, x]", [1, 2.5, "x"]),
        ("{a: {b: [1]}}", {"a": {"b": [1]}}),
    ],
)
def test_values_are_those_of_yaml_1_2(text: str, value: Any) -> None:
    found = parse(text, "here")
    assert found == value and type(found) is type(value)


def test_what_is_not_a_number_is_read_as_such() -> None:
    assert math.isnan(parse(".nan", "here"))


def write(folder: Path, content: bytes) -> Path:
    path = folder / "study.yaml"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", r"study.yaml' is empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", r"study.yaml' is not UTF-8 text"),
        (b"name: x\x00y", r"study.yaml' is not UTF-8 text"),
        ("name: é".encode("latin-1"), r"study.yaml' is not UTF-8 text"),
        ("name: x".encode("utf-16"), r"study.yaml' is not UTF-8 text"),
        (b"a: b\n" * (LARGEST // 5 + 1), r"study.yaml' is larger than 256 kB"),
        (b"name: [", r"study.yaml' is not YAML"),
    ],
)
def test_a_file_that_holds_no_study_is_refused(tmp_path: Path, content: bytes, sentence: str) -> None:
    with pytest.raises(Mistake, match=sentence) as error:
        read_source(write(tmp_path, content))
    sentence_of(error)


def test_a_place_where_no_file_is_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "locked.yaml").write_text("name: x")
    (tmp_path / "round").symlink_to("round")
    for source, sentence in {
        "folder": "'folder' is a folder, but a study is a YAML file",
        "nowhere.yaml": r"nowhere.yaml' does not exist: name a YAML file, or a preset \(classifier-digits, ",
        "locked.yaml/below.yaml": "locked.yaml/below.yaml' does not exist",
        "dip-denose": "'dip-denose' is no file here, and .* there are .* did you mean 'dip-denoise'",
        "quux": "'quux' is no file here, and 'quux' is not a preset: there are classifier-digits, ddpm",
        "a\0b": "cannot be read",
        "x" * 300 + ".yaml": "cannot be read",
        "round": "cannot be read",
        "": "'' is a folder",
    }.items():
        with pytest.raises(Mistake, match=sentence):
            read_source(source)
    with pytest.raises(Mistake, match="'dip-denoise' does not exist"):
        read_source(Path("dip-denoise"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_one_may_not_read_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, b"name: x")
    path.chmod(0)
    with pytest.raises(Mistake, match=r"study.yaml' cannot be read \(Permission denied\)"):
        read_source(path)


def test_a_file_of_another_platform_is_read(tmp_path: Path) -> None:
    assert read_source(write(tmp_path, b"\xef\xbb\xbfname: x\r\ntask: dip\r\n")) == {
        "name": "x",
        "task": "dip",
    }


def test_a_preset_is_read_by_its_name_also_beside_a_folder_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dip-denoise").mkdir()
    monkeypatch.chdir(tmp_path)
    assert read_source("dip-denoise")["name"] == "dip-denoise"


def test_an_override_sets_and_makes_sections_and_the_last_one_wins() -> None:
    content: dict[str, Any] = {"budget": {"trials": 4}, "space": None}
    apply_overrides(
        content,
        [
            "budget.trials=8",
            "budget.trials = 9",
            "space.sites=[up0, code]",
            "plan.size=null",
            "time=5m",
            "a.b=1e-3",
        ],
    )
    assert content == {
        "budget": {"trials": 9},
        "space": {"sites": ["up0", "code"]},
        "plan": {"size": None},
        "time": "5m",
        "a": {"b": 1e-3},
    }


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("budget.trials", "--set 'budget.trials' is not key=value"),
        ("=8", "--set '=8' is not key=value"),
        ("budget..trials=8", "is not key=value: write for example --set budget.trials=8"),
        (".trials=8", "is not key=value"),
        ("", "--set '' is not key=value"),
        ("name.x=1", "--set 'name.x=1' reaches below name, which is 'mine' and has no keys: set name itself"),
        ("plan.size.x=1", "reaches below plan.size, which is 96"),
        ("=" + "x" * 999, r"--set '=xxx\S* is not key=value"),
        ("plan.si\udceczes=1", r"--set 'plan.si\\udceczes=1' has a key that is no text"),
        ("plan.size=[1", r"--set 'plan.size=\[1' is not YAML"),
        ("plan.size=*a", "aliases are not read here"),
        ("plan.size={a: 1, a: 2}", "'a' stands twice"),
    ],
)
def test_an_override_that_sets_nothing_is_refused(override: str, sentence: str) -> None:
    with pytest.raises(Mistake, match=sentence) as error:
        apply_overrides({"name": "mine", "plan": {"size": 96}}, [override])
    sentence_of(error)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("30m", 1800),
        ("5m", 300),
        ("90s", 90),
        ("2h", 7200),
        ("1d", 86400),
        ("45", 45),
        (45, 45),
        (0.5, 0.5),
        ("1.5h", 5400),
    ],
)
def test_lengths_of_time(value: Any, expected: float) -> None:
    assert seconds(value) == expected


@pytest.mark.parametrize(
    "value",
    [
        "",
        "m",
        "5 m",
        "5min",
        "-5m",
        "0",
        "0m",
        0,
        -1,
        math.nan,
        math.inf,
        True,
        None,
        [5],
        "1e3",
        "5m\n",
        "٥m",
        10**400,
        -(10**400),
        "9" * 400,
    ],
)
def test_what_is_no_length_of_time_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="it must be a positive number of seconds, or as 90s, 30m, 2h"):
        seconds(value)


def test_a_copy_shares_nothing_with_its_original() -> None:
    original = {"plan": {"size": (1, 2)}}
    copy = plain(original)
    copy["plan"]["size"].append(3)
    assert original == {"plan": {"size": (1, 2)}}


def test_the_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(spec_file) == doctest.TestResults(failed=0, attempted=1)
