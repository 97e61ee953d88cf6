"""Ranges: every wrong one ends in a sentence, and what is frozen fits its site."""

import math
from typing import Any

import pytest

from search_spaces.ranges import (
    by_site,
    check_range,
    cut_to_sites,
    is_whole,
    read_pair,
    read_ranges,
)
from trainers.settings import L0, L1, L0Inf, Mistake, regularizer

SHAPES = {"down1": (16, 8, 8), "thin": (1, 8, 8), "code": (4, 16, 16)}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (0.5, r"lr: 0.5 is not a range; write two numbers, \[low, high\]"),
        ("ab", "lr: 'ab' is not a range"),
        (None, "lr: None is not a range"),
        ([0.1], r"lr: \[0.1\] is not a range"),
        ([0.1, 0.2, 0.3], "is not a range"),
        ({"low": 1, "high": 2}, "is not a range"),
        ([True, 2], "lr: True is not a finite number"),
        ([0.1, math.nan], "lr: nan is not a finite number"),
        ([0.1, math.inf], "lr: inf is not a finite number"),
        (["0.1", 1], "lr: '0.1' is not a finite number"),
        ([10**400, 10**400], "is not a finite number"),
        ([1.0, 0.1], r"lr: \[1.0, 0.1\] is upside down; write \[0.1, 1.0\]"),
        ([0, 1], r"lr: \[0, 1\] .* must start above 0"),
        ([-1, 1], r"lr: \[-1, 1\] .* must start above 0"),
    ],
)
def test_what_is_no_log_range_is_refused(value: Any, sentence: str) -> None:
    with pytest.raises(Mistake, match=sentence):
        read_pair(value, "lr")


@pytest.mark.parametrize(
    ("kind", "value", "sentence"),
    [
        ("l0", [0.1, 1.5], r"here: keep is 1.5, but"),
        ("l0", [-0.1, 0.5], "must start above 0"),
        ("l0inf", [0, 4], "must start above 0"),
        ("l0inf", [0.5, 4], "here: 0.5 is not a whole number, but k is one"),
        ("l0inf", [1.0, 4.0], "here: 1.0 is not a whole number, but k is one; write 1"),
        ("l1", [-1, 1], "must start above 0"),
        ("l1", [1, math.inf], "inf is not a finite number"),
        ("l7", [1, 2], "here: 'l7' is not a regularizer; the known ones are l1, l0, l0inf"),
    ],
)
def test_both_ends_obey_the_rule_of_the_regularizer(kind: str, value: Any, sentence: str) -> None:
    with pytest.raises(Mistake, match=sentence):
        check_range(kind, value, "here")


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (None, "space: None names no regularizer"),
        ({}, "space: {} names no regularizer"),
        ([1], r"space: \[1\] names no regularizer"),
        (
            {"l3": {"keep": [0.1, 0.2]}},
            "space.l3: 'l3' is not a regularizer; the known ones are l1, l0, l0inf",
        ),
        ({1: {"keep": [0.1, 0.2]}}, "space.1: 1 is not a regularizer"),
        ({"l0": [0.1, 0.2]}, r"space.l0: \[0.1, 0.2\] is not its range; write {keep: \[low, high\]}"),
        ({"l0": None}, r"space.l0: None is not its range; write {keep"),
        ({"l0": {"weight": [0.1, 0.2]}}, r"write {keep: \[low, high\]}, its only key"),
        ({"l0": {"keep": [0.1, 0.2], "k": [1, 2]}}, r"write {keep: \[low, high\]}, its only key"),
        ({"l0": {"keep": [0.5, 0.2]}}, r"space.l0.keep: \[0.5, 0.2\] is upside down"),
        ({"l0inf": {"k": {}}}, "space.l0inf.k: {} names no site"),
        ({"l0inf": {"k": {"code": [4, 1]}}}, r"space.l0inf.k.code: \[4, 1\] is upside down"),
    ],
)
def test_a_wrong_section_is_refused_by_its_key(value: Any, sentence: str) -> None:
    with pytest.raises(Mistake, match=sentence):
        read_ranges(value, "space")


def test_a_range_for_all_sites_and_one_a_site_are_both_read() -> None:
    ranges = read_ranges({"l1": {"weight": [0.1, 1]}, "l0inf": {"k": {"code": [1, 3]}}}, "space")
    assert ranges == {"l1": {"weight": (0.1, 1)}, "l0inf": {"k": {"code": (1, 3)}}}
    assert by_site(ranges, ["down1", "code"]) == {
        "down1": {"l1": (0.1, 1)},
        "code": {"l1": (0.1, 1), "l0inf": (1, 3)},
    }


def test_k_is_cut_to_one_below_the_channels_of_each_site() -> None:
    frozen = cut_to_sites(
        read_ranges({"l0": {"keep": [0.1, 0.5]}, "l0inf": {"k": [1, 12]}}, "space"), SHAPES, ""
    )
    assert frozen == {"l0": {"keep": (0.1, 0.5)}, "l0inf": {"k": {"down1": (1, 12), "code": (1, 3)}}}
    assert cut_to_sites(frozen, SHAPES, "") == frozen


def test_a_site_of_one_channel_is_passed_over_and_the_kind_leaves_with_the_last_site() -> None:
    ranges = read_ranges({"l0": {"keep": [0.1, 0.5]}, "l0inf": {"k": [1, 12]}}, "space")
    assert cut_to_sites(ranges, {"thin": (1, 8, 8)}, "") == {"l0": {"keep": (0.1, 0.5)}}


@pytest.mark.parametrize(
    ("k", "sentence"),
    [
        ([4, 12], r"space.l0inf.k.code: \[4, 12\] lies wholly above 3, the most .* from 4 channels"),
        ({"thin": [1, 3]}, r"space.l0inf.k.thin: \[1, 3\] lies wholly above 0"),
        ({"nowhere": [1, 3]}, r"space.l0inf.k: 'nowhere' is not among the sites .* \(down1, thin, code\)"),
    ],
)
def test_a_k_that_does_nothing_at_its_site_is_refused(k: Any, sentence: str) -> None:
    ranges = read_ranges({"l0inf": {"k": k}}, "space")
    with pytest.raises(Mistake, match=sentence):
        cut_to_sites(ranges, SHAPES, "space")


def test_kinds_and_their_strengths() -> None:
    assert [kind for kind in ("l1", "l0", "l0inf") if is_whole(kind)] == ["l0inf"]
    assert [regularizer("l1", 0.5), regularizer("l0", 0.5), regularizer("l0inf", 5)] == [
        L1(0.5),
        L0(0.5),
        L0Inf(5),
    ]
