"""Every way in which a settings file can be wrong is one sentence."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from settings_files import FULL, minimal, sentence, values, written
from torch import nn

from trainers.settings import L0, L1, Mistake, SettingsFile, load, to_json, write
from trainers.sparsity import attach

NOT_JSON = "is cut off or not JSON"
BAD: dict[str, tuple[object, str]] = {
    "empty": ("", "it is empty"),
    "blank": (" \n", "it is empty"),
    "not JSON": ("sites: {}", NOT_JSON),
    "two documents": ("{} {}", NOT_JSON),
    "nested deeply": ("[" * 100_000, "nested too deeply"),
    "nested deeply and closed": ('{"a":' * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
    "a list": ([], "its content is .*an object"),
    "a number": ("1", "its content is 1"),
    "null": ("null", "its content is None"),
    "no schema": ({"sites": {}}, "the key 'schema' is missing; needed are schema, sites"),
    "no sites": ({"schema": 1}, "the key 'sites' is missing"),
    "another schema": ({"schema": 2, "layers": {}}, "schema is 2, .* reads schema 1 alone"),
    "schema as text": ({"schema": "1", "sites": {}}, "schema is '1'"),
    "schema as truth": ({"schema": True, "sites": {}}, "schema is True"),
    "schema as fraction": ('{"schema": 1.0, "sites": {}}', "schema is 1.0"),
    "unknown key": (
        {"schema": 1, "sites": {}, "siets": {}},
        "'siets' is unknown; the known ones are schema, note",
    ),
    "of on top": ({"schema": 1, "sites": {}, "of": {}}, "'of' is unknown"),
    "sites as list": ({"schema": 1, "sites": []}, r"sites is \[\]"),
    "sites twice": ('{"schema": 1, "sites": {}, "sites": {}}', "'sites' stands twice"),
    "one site twice": (
        '{"schema": 1, "sites": {"a": {"kind": "l1", "weight": 1}, "a": {"kind": "l1", "weight": 2}}}',
        "'a' stands twice",
    ),
    "entry as number": (
        {"schema": 1, "sites": {"up1": 3}},
        r"sites\['up1'\] is 3, but it has to be like",
    ),
    "no kind": (minimal(keep=0.1), r"up1'\] has no kind"),
    "unknown kind": (
        minimal(kind="L0", keep=0.1),
        r"up1'\] has the kind 'L0'; the known ones are l1, l0, l0inf",
    ),
    "kind as list": (minimal(kind=["l0"], keep=0.1), "has the kind"),
    "missing strength": (minimal(kind="l0"), r"up1'\]: the key 'keep' is missing"),
    "another's strength": (minimal(kind="l0", k=3), r"up1'\]: the key 'k' is unknown; .* kind, keep, of"),
    "both strengths": (minimal(kind="l0", keep=0.1, k=3), "'k' is unknown"),
    "keep of zero": (minimal(kind="l0", keep=0), r"up1'\]: keep is 0, .* above 0 and up to 1"),
    "keep as truth": (minimal(kind="l0", keep=True), "keep is True"),
    "k as truth": (minimal(kind="l0inf", k=True), "k is True"),
    "k as fraction": (minimal(kind="l0inf", k=2.5), "k is 2.5, .* a whole number"),
    "weight as truth": (minimal(kind="l1", weight=False), "weight is False"),
    "weight as text": (minimal(kind="l1", weight="0.1"), "weight is '0.1'"),
    "weight NaN": (
        '{"schema": 1, "sites": {"a": {"kind": "l1", "weight": NaN}}}',
        "a number is nan, .* finite",
    ),
    "weight infinite": ('{"schema": 1, "sites": {"a": {"kind": "l1", "weight": Infinity}}}', "is inf"),
    "weight too large": ('{"schema": 1, "sites": {"a": {"kind": "l1", "weight": 1e999}}}', "is inf"),
    "NaN in the plan": ('{"schema": 1, "sites": {}, "plan": {"lr": [NaN]}}', "a number is nan"),
    "infinite by size in the plan": ('{"schema": 1, "sites": {}, "plan": {"lr": 1e999}}', "a number is inf"),
    "minus infinity": ('{"schema": 1, "sites": {}, "value": -Infinity}', "is -inf"),
    "huge k": ('{"schema": 1, "sites": {"a": {"kind": "l0inf", "k": ' + "9" * 400 + "}}}", "k is 9"),
    "unreadable number": (
        '{"schema": 1, "sites": {"a": {"kind": "l0inf", "k": ' + "9" * 9999 + "}}}",
        "be read",
    ),
    "of of zero": (minimal(kind="l0", keep=0.1, of=0), r"up1'\]: of is 0"),
    "of as truth": (minimal(kind="l0", keep=0.1, of=True), "of is True"),
    "of as null": (minimal(kind="l0", keep=0.1, of=None), "of is None"),
    "task as number": ({"schema": 1, "sites": {}, "task": 3}, "task is 3, but it has to be a text"),
    "plan as null": ({"schema": 1, "sites": {}, "plan": None}, "plan is None"),
    "baseline as number": ({"schema": 1, "sites": {}, "baseline": 27.0}, "baseline is 27.0, .* or null"),
    "value as truth": ({"schema": 1, "sites": {}, "value": True}, "value is True"),
    "step as fraction": ({"schema": 1, "sites": {}, "step": 1.5}, "step is 1.5"),
    "negative step": ({"schema": 1, "sites": {}, "step": -1}, "step is -1"),
    "half a surrogate as key": ('{"schema": 1, "sites": {}, "\\ud800": 1}', "unknown"),
    "line break in a key": ({"schema": 1, "sites": {}, "a\nb": 1}, "unknown"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_is_one_sentence(case: str, tmp_path: Path) -> None:
    content, expected = BAD[case]
    path = written(tmp_path, content)
    with pytest.raises(Mistake, match=expected) as mistake:
        load(path)
    assert sentence(mistake).startswith(f"the settings file {str(path)!r} cannot be used: ")
    sentence(mistake).encode("utf-8")  # and it can be printed


def test_a_file_cut_off_at_any_byte_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    write(path, FULL)
    content = path.read_bytes().rstrip()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(Mistake, match=r"cut off|is empty|UTF-8") as mistake:
            load(path)
        sentence(mistake)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_read_or_a_mistake(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.mktemp("bytes") / "s.json"
    path.write_bytes(content)
    with pytest.raises(Mistake):
        load(path)


@settings(deadline=None)
@given(values, st.sampled_from(["schema", "sites", "task", "value", "step", "baseline", "of", "plan", "x"]))
def test_any_value_under_any_key_is_read_or_a_mistake(
    tmp_path_factory: pytest.TempPathFactory, value: Any, key: str
) -> None:
    path = tmp_path_factory.mktemp("values") / "s.json"
    for content in ({"schema": 1, "sites": {}} | {key: value}, minimal(kind="l0", keep=0.5, **{key: value})):
        path.write_text(json.dumps(content))
        try:
            load(path)
        except Mistake as mistake:
            assert "\n" not in str(mistake)


def test_what_is_no_text_file_is_a_mistake(tmp_path: Path) -> None:
    pipe, picture, large, latin = (tmp_path / name for name in ("pipe", "picture", "large", "latin"))
    os.mkfifo(pipe)
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    latin.write_bytes('{"task": "é"}'.encode("latin-1"))
    with open(large, "wb") as stream:
        stream.truncate(2**34)  # sparse: 16 GiB that are never read
    expected = {
        tmp_path / "absent.json": "there is no such file",
        tmp_path / "absent" / "s.json": "there is no such file",
        latin / "s.json": "no such file|cannot be read",
        tmp_path: "a folder",
        pipe: "device",
        picture: "byte 0 is not UTF-8",
        latin: "byte 10 is not UTF-8",
        large: "more than 16777216 bytes",
        Path("x" * 5000): "cannot be read|no such file",
        Path("nul\0nul"): "no such file",
    }
    for path, told in expected.items():
        with pytest.raises(Mistake, match=told) as mistake:
            load(path)
        assert "\n" not in str(mistake.value)


@settings(deadline=None, max_examples=300)
@given(st.integers(min_value=0), st.integers(1, 255), st.integers(0, 2))
def test_a_file_with_a_byte_changed_is_read_as_it_stands_or_a_mistake(
    tmp_path_factory: pytest.TempPathFactory, place: int, mask: int, way: int
) -> None:
    """Flipped, left out or doubled: what is read is what another reader of JSON finds there."""
    path = tmp_path_factory.mktemp("changed") / "s.json"
    write(path, FULL)
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place : place + 1] = (bytes([content[place] ^ mask]), b"", bytes([content[place]] * 2))[way]
    path.write_bytes(content)
    try:
        found = load(path)
    except Mistake as mistake:
        assert "\n" not in str(mistake)
        return
    stands = json.loads(content)
    assert {site: to_json(one) for site, one in found.items()} == {
        site: {key: value for key, value in entry.items() if key != "of"}
        for site, entry in stands.pop("sites").items()
    }
    assert {key: getattr(found, key) for key in stands} == stands
    write(path, found)
    assert load(path) == found


def test_what_is_nested_too_deeply_to_be_written_again_is_not_read(tmp_path: Path) -> None:
    def nested(levels: int) -> Path:
        plan = '{"a": ' * levels + "1" + "}" * levels
        return written(tmp_path, f'{{"schema": 1, "sites": {{}}, "plan": {plan}}}')

    write(nested(60), load(nested(60)))
    for levels in (70, 300, 900, 5000):
        with pytest.raises(Mistake, match="nested too deeply"):
            load(nested(levels))


@settings(deadline=None, max_examples=100)
@given(st.integers(min_value=0), st.integers(1, 255))
def test_attach_takes_a_damaged_file_as_load_does(
    tmp_path_factory: pytest.TempPathFactory, place: int, mask: int
) -> None:
    path = tmp_path_factory.mktemp("attached") / "s.json"
    write(path, SettingsFile(sites={"0": L0(0.5), "2": L1(0.01)}, of={"0": 36}))
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= mask
    path.write_bytes(content)
    network = nn.Sequential(nn.ReLU(), nn.Conv2d(1, 1, 1), nn.ReLU())
    try:
        attach(network, path)
    except Mistake as mistake:
        assert "\n" not in str(mistake)
        assert not any(module._forward_hooks for module in network)  # nothing of it is left behind
        return
    found = load(path)  # and not one that it would refuse
    assert set(found) <= {"0", "1", "2"}
    assert sum(len(module._forward_hooks) for module in network) == len(found)
