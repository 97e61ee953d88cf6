"""Ranges of strengths: read from a study's file, checked, and cut to what a site can use.

In a study's file a regularizer has one range for all sites, `l0inf: {k: [1, 12]}`, or one a site,
`l0inf: {k: {down1: [1, 12], code: [1, 15]}}`, and then is tried at those sites only.
"""

from __future__ import annotations

import reprlib
import sys
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, get_type_hints

from trainers.settings import REGULARIZERS, Mistake, regularizer, strength_of

Range = tuple[float, float]  # both ends included; 0 < low <= high
Ranges = dict[str, dict[str, Range | dict[str, Range]]]  # {kind: {strength: range or {site: range}}}

_LARGEST = sys.float_info.max  # compared with, an integer is never converted: it may be too large
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = 80


def shown(value: object) -> str:
    """`value` as a sentence quotes it: one short line, whatever it is."""
    try:
        return _REPR.repr(value).replace("\n", " ")
    except Exception:  # a repr that fails (an integer of 5000 digits, say) must not hide the mistake itself
        return f"a {type(value).__name__}"


@lru_cache
def is_whole(kind: str) -> bool:
    """Whether the strength of `kind` is a whole number (k), not a real one (weight, keep)."""
    return get_type_hints(REGULARIZERS[kind])[strength_of(kind)] is int


def read_pair(value: object, where: str) -> Range:
    """Two finite numbers [low, high] with 0 < low <= high, as a log-uniform draw needs them.

    Raises:
        Mistake: `value` is anything else; the sentence begins with `where`, its dotted key.
    """
    if not isinstance(value, Sequence) or isinstance(value, str) or len(value) != 2:
        raise Mistake(f"{where}: {shown(value)} is not a range; write two numbers, [low, high]")
    for end in value:
        if isinstance(end, bool) or not isinstance(end, int | float) or not -_LARGEST <= end <= _LARGEST:
            raise Mistake(f"{where}: {shown(end)} is not a finite number; write two numbers, [low, high]")
    low, high = value
    if low > high:
        raise Mistake(f"{where}: [{low}, {high}] is upside down; write [{high}, {low}]")
    if low <= 0:
        raise Mistake(
            f"{where}: [{low}, {high}] is drawn on a logarithmic scale and must start above 0; raise {low}"
        )
    return (low, high)


def check_range(kind: str, value: object, where: str) -> Range:
    """A range for the strength of `kind`: a pair whose two ends that regularizer accepts.

    Raises:
        Mistake: not a pair, a fractional end of a whole strength, or an end outside the regularizer's rule.
    """
    if kind not in REGULARIZERS:
        raise Mistake(
            f"{where}: {shown(kind)} is not a regularizer; the known ones are {', '.join(REGULARIZERS)}"
        )
    bounds = read_pair(value, where)
    for end in bounds:
        if is_whole(kind) and not isinstance(end, int):
            raise Mistake(
                f"{where}: {shown(end)} is not a whole number, but {strength_of(kind)} is one; "
                f"write {max(1, round(end))}"
            )
        try:
            regularizer(kind, end)
        except Mistake as error:
            raise Mistake(f"{where}: {error}") from None
    return bounds


def read_ranges(value: object, where: str) -> Ranges:
    """Read `{kind: {strength: [low, high] or {site: [low, high]}}}`, all checked but the sites' names.

    Raises:
        Mistake: an unknown kind or strength (the known ones are listed), no kind at all, or a bad range.
    """
    form = "{l0: {keep: [0.05, 0.5]}}"
    if not isinstance(value, Mapping) or not value:
        raise Mistake(f"{where}: {shown(value)} names no regularizer to search; write for example {form}")
    return {kind: _read_kind(kind, entry, f"{where}.{kind}") for kind, entry in value.items()}


def _read_kind(kind: Any, entry: object, where: str) -> dict[str, Range | dict[str, Range]]:
    if kind not in REGULARIZERS:
        raise Mistake(
            f"{where}: {shown(kind)} is not a regularizer; the known ones are {', '.join(REGULARIZERS)}"
        )
    strength = strength_of(kind)
    if not isinstance(entry, Mapping) or list(entry) != [strength]:
        raise Mistake(
            f"{where}: {shown(entry)} is not its range; write {{{strength}: [low, high]}}, its only key"
        )
    bounds = entry[strength]
    where = f"{where}.{strength}"
    if not isinstance(bounds, Mapping):
        return {strength: check_range(kind, bounds, where)}
    if not bounds:
        raise Mistake(f"{where}: {{}} names no site; write [low, high] for all sites, or a range for each")
    return {
        strength: {str(site): check_range(kind, pair, f"{where}.{site}") for site, pair in bounds.items()}
    }


def cut_to_sites(ranges: Ranges, shapes: Mapping[str, tuple[int, int, int]], where: str) -> Ranges:
    """The ranges as they are frozen: a whole number site by site, its upper end below what it is out of.

    k = C removes nothing. A site of one channel cannot use k at all: a range for all sites passes it over.

    Args:
        ranges: as `read_ranges` gives them.
        shapes: {site: (C, H, W)}, the sites to search.
        where: the dotted key that sentences begin with.

    Raises:
        Mistake: a range names a site that is not searched, or lies wholly above C - 1 of its site.
    """
    result: Ranges = {}
    for kind, entry in ranges.items():
        strength, bounds = next(iter(entry.items()))
        here = f"{where}.{kind}.{strength}"
        if isinstance(bounds, dict):
            for site in bounds:
                if site not in shapes:
                    raise Mistake(
                        f"{here}: {shown(site)} is not among the sites of this space ({', '.join(shapes)})"
                    )
        elif is_whole(kind):
            bounds = {site: bounds for site, shape in shapes.items() if shape[0] > 1}
        if is_whole(kind) and isinstance(bounds, dict):
            bounds = {
                site: _cut(bounds[site], shapes[site][0], f"{here}.{site}")
                for site in shapes
                if site in bounds
            }
        if bounds:
            result[kind] = {strength: bounds}
    return result


def _cut(bounds: Range, channels: int, where: str) -> Range:
    low, high = bounds
    if low > channels - 1:
        raise Mistake(
            f"{where}: [{low}, {high}] lies wholly above {channels - 1}, the most that takes anything away "
            f"from {channels} channels; start lower, or leave the site out"
        )
    return (low, min(high, channels - 1))


def by_site(ranges: Ranges, sites: Sequence[str]) -> dict[str, dict[str, Range]]:
    """Turn the ranges round: {site: {kind: (low, high)}}, a site without any kind among them as {}."""
    result: dict[str, dict[str, Range]] = {site: {} for site in sites}
    for kind, entry in ranges.items():
        bounds = entry[strength_of(kind)]
        for site in sites:
            if not isinstance(bounds, dict):
                result[site][kind] = bounds
            elif site in bounds:
                result[site][kind] = bounds[site]
    return result
