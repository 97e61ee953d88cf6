"""Regularizers as data, and the exported file: every way in which it can be wrong is one sentence."""

import doctest
import json
import math
import os
import threading
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from kinds import EXAMPLES
from settings_files import FULL, finite, minimal, sentence, values, written

from trainers import regularizers as regularizers_
from trainers import settings
from trainers.settings import (
    L0,
    L1,
    REGULARIZERS,
    L0Inf,
    Mistake,
    Regularizer,
    SettingsFile,
    from_json,
    load,
    strength_of,
    to_json,
    write,
)

# --- regularizers ----------------------------------------------------------------------------------


def test_the_list_and_the_examples_hold_every_regularizer() -> None:
    classes = [one for one in vars(regularizers_).values() if isinstance(one, type) and "kind" in vars(one)]
    assert set(classes) == set(REGULARIZERS.values()) == {type(example) for example in EXAMPLES.values()}
    assert EXAMPLES.keys() == REGULARIZERS.keys()


@pytest.mark.parametrize("kind", REGULARIZERS)
def test_the_contract_of_a_regularizer(kind: str) -> None:
    regularizer = EXAMPLES[kind]
    strength = strength_of(kind)
    assert regularizer.kind == kind == type(regularizer).kind
    assert strength_of(regularizer) == strength_of(type(regularizer)) == strength
    entry = to_json(regularizer, (16, 8, 4))
    assert list(entry)[:2] == ["kind", strength]
    assert entry.get("of") == regularizer.out_of((16, 8, 4))
    assert "of" not in to_json(regularizer)
    assert from_json(json.loads(json.dumps(entry)), "here") == regularizer
    assert hash(regularizer) == hash(type(regularizer)(getattr(regularizer, strength)))
    with pytest.raises(AttributeError):
        setattr(regularizer, strength, 1)
    for wrong in (
        None,
        "1",
        True,
        [1],
        math.nan,
        math.inf,
        -math.inf,
        -1,
        1j,
        10**400,
        np.array([1, 2]),
        10**5000,
    ):
        with pytest.raises(Mistake, match=f"^{strength} is .*, but it has to be ") as mistake:
            type(regularizer)(wrong)
        sentence(mistake)


def test_the_numbers_that_strengths_are_out_of() -> None:
    out_of = {kind: one.out_of((16, 8, 4)) for kind, one in EXAMPLES.items()}
    assert {kind: of for kind, of in out_of.items() if of} == {"l0": 512, "l0inf": 16, "spatial_topk": 32}


@pytest.mark.parametrize(
    "wrong", [lambda: L0(0), lambda: L0(1.0000001), lambda: L0Inf(0), lambda: L0Inf(2.0), lambda: L1(-1e-9)]
)
def test_strengths_just_outside_are_refused(wrong: Any) -> None:
    with pytest.raises(Mistake, match="for example"):
        wrong()


def test_strengths_at_the_ends_and_of_other_number_types_become_plain_numbers() -> None:
    assert (L0(1).keep, L0(5e-324).keep, L1(0).weight, L0Inf(1).k) == (1, 5e-324, 0, 1)
    for regularizer, kind in (
        (L1(np.float32(0.5)), float),
        (L0(Fraction(1, 2)), float),
        (L0Inf(np.int64(3)), int),
    ):
        assert type(getattr(regularizer, strength_of(regularizer))) is kind
        json.dumps(to_json(regularizer))


def test_an_unknown_kind_lists_the_known_ones() -> None:
    for ask in (lambda: strength_of("l2"), lambda: from_json({"kind": "l2", "weight": 1}, "sites.up1")):
        with pytest.raises(Mistake, match=r"'l2'.*the known ones are l1, l0, l0inf, gr") as mistake:
            ask()
        sentence(mistake)


# --- the file --------------------------------------------------------------------------------------


def test_what_was_written_is_read_again_with_keys_in_order(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    write(path, FULL)
    assert load(path) == load(str(path)) == FULL
    content = json.loads(path.read_text(encoding="utf-8"))
    assert " ".join(content) == (
        "schema note task network sites metric direction value step baseline confirmed attained plan "
        "provenance"
    )
    assert content["sites"] == {
        "down1": {"kind": "l0", "keep": 0.2, "of": 2304},
        "up0": {"kind": "l1", "weight": 0.01},
        "code": {"kind": "l0inf", "k": 4, "of": 16},
    }
    assert "assumption" in content["note"]
    assert os.listdir(tmp_path) == ["s.json"]


def test_it_acts_as_the_mapping_from_site_to_regularizer() -> None:
    assert isinstance(FULL, Mapping) and dict(FULL) == FULL.sites
    assert list(FULL) == ["down1", "up0", "code"] and len(FULL) == 3 and "up9" not in FULL
    assert not SettingsFile(sites={})


def test_a_file_made_by_hand_needs_schema_and_sites_alone(tmp_path: Path) -> None:
    read = load(
        written(tmp_path, "\ufeff" + json.dumps(minimal(kind="l0", keep=0.2)))
    )  # an editor's byte order mark
    assert read == SettingsFile(sites={"up1": L0(0.2)})
    assert (read.value, read.step, read.plan, read.of) == (None, None, {}, {})


regularizers = (
    st.builds(L1, st.floats(0, 1e300))
    | st.builds(L0, st.floats(0, 1, exclude_min=True))
    | st.builds(L0Inf, st.integers(1, 10**6))
    | st.sampled_from(list(EXAMPLES.values()))
)


@hypothesis_settings(deadline=None)
@given(
    st.dictionaries(st.text(), regularizers, max_size=4),
    st.dictionaries(st.text(), values, max_size=3),
    finite,
)
def test_any_settings_survive_the_round_trip(
    tmp_path_factory: pytest.TempPathFactory,
    sites: dict[str, Regularizer],
    plan: dict[str, Any],
    value: float,
) -> None:
    path = tmp_path_factory.mktemp("round") / "s.json"
    written_file = SettingsFile(sites=sites, plan=plan, value=value, of=dict.fromkeys(sites, 7))
    write(path, written_file)
    assert load(path) == written_file


# --- writing ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"schema": 2},
        {"schema": True},
        {"task": None},
        {"sites": [("up1", L0(0.5))]},
        {"sites": {"up1": 0.5}},
        {"sites": {"up1": L0}},
        {"of": {"up9": 3}},
        {"of": {"up1": 0}},
        {"value": math.nan},
        {"value": "27"},
        {"step": 1.0},
        {"baseline": 27.0},
    ],
)
def test_the_constructor_checks_each_field(wrong: dict[str, Any]) -> None:
    with pytest.raises(Mistake, match=next(iter(wrong))) as mistake:
        SettingsFile(**{"sites": {"up1": L0(0.5)}, **wrong})
    sentence(mistake)


@pytest.mark.parametrize(
    "plan", [{"lr": math.nan}, {"a": [math.inf]}, {"path": Path("x")}, {(1, 2): 3}, {"half": "\ud800"}]
)
def test_what_json_cannot_hold_is_refused_and_leaves_the_file_that_was_there(
    plan: Any, tmp_path: Path
) -> None:
    path = tmp_path / "s.json"
    write(path, FULL)
    bad = SettingsFile(sites={}, plan=plan)
    if plan == {"half": "\ud800"}:  # JSON writes it as an escape
        write(path, bad)
        assert load(path) == bad
        return
    with pytest.raises(Mistake, match="as JSON") as mistake:
        write(path, bad)
    sentence(mistake)
    assert load(path) == FULL and os.listdir(tmp_path) == ["s.json"]


def test_settings_that_contain_themselves_are_refused(tmp_path: Path) -> None:
    plan: dict[str, Any] = {}
    plan["plan"] = plan
    with pytest.raises(Mistake, match="as JSON"):
        write(tmp_path / "s.json", SettingsFile(sites={}, plan=plan))
    assert os.listdir(tmp_path) == []


def test_a_place_that_cannot_be_written_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "absent" / "s.json", tmp_path / "file" / "s.json", tmp_path):
        with pytest.raises(Mistake, match="a folder that is there") as mistake:
            write(path, FULL)
        assert "\n" not in str(mistake.value)
    with pytest.raises(RuntimeError, match="cannot write"):
        write(tmp_path / ("x" * 300), FULL)
    assert os.listdir(tmp_path) == ["file"]


def test_readers_never_see_a_half_written_file_with_writers_beside_each_other(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    write(path, FULL)
    files = [SettingsFile(sites={}, plan={"filling": [number] * 20_000}) for number in range(2)]
    writers = [threading.Thread(target=lambda f=f: [write(path, f) for _ in range(15)]) for f in files]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        assert load(path) in (FULL, *files)
    for writer in writers:
        writer.join()
    assert load(path) in files and os.listdir(tmp_path) == ["s.json"]


def test_the_examples_run() -> None:
    result = doctest.testmod(settings)
    assert result.attempted >= 3 and result.failed == 0
