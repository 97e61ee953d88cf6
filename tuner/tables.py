"""Tables as text: the best settings, a confirmation, the sites of a network. Pure."""

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from tuner.screen import better, caption, difference, number, seeds_text, shown_metric

if TYPE_CHECKING:
    from tuner.confirm import Confirmation

BEST = (
    "run_id",
    "role",
    "trial",
    "state",
    "reason",
    "metric",
    "value",
    "step",
    "settings",
    "baseline",
    "confirmed",
    "extras",
    "attained",
    "oracle",
    "direction",
    "measured",
    "companions",
)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of texts, aligned.

    >>> print(columns([("a", "long heading"), ("wide cell", "1")]))
    a          long heading
    wide cell  1
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def best_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `best` for people: value, difference to the baseline's mean, settings and what they did."""
    if not rows:
        return "no trial matches"
    metric, baseline = shown_metric(str(rows[0]["metric"])), rows[0]["baseline"]
    beside = rows[0]["companions"]
    heading = ("trial", "state", metric, "− baseline", *map(shown_metric, beside), "step", "settings")
    heading += ("attained density", "confirmed")
    table = columns([heading, *(_best_row(row) for row in rows)])
    ways = {name: entry["direction"] for name, entry in beside.items()}
    table += f"\n{caption(str(rows[0]['direction']), rows[0]['measured'], ways)}"
    if not baseline:
        return f"{table}\nno baseline has finished"
    spread = "" if baseline.get("sd") is None else f" ± {number(baseline['sd'], baseline['sd'])}"
    mean = number(baseline["mean"], baseline.get("sd"))
    seeds = seeds_text(baseline["seeds"])
    means = {shown_metric(name): entry["baseline"] for name, entry in beside.items()}
    more = "".join(f", {name} {number(one)}" for name, one in means.items() if one is not None)
    told = "no difference is evidence until it is confirmed"
    return f"{table}\nbaseline {mean}{spread} over {seeds}{more}; {told}"


def _best_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    value, baseline = row["value"], row["baseline"] or {}
    sd = baseline.get("sd")
    gap = "" if value is None or "mean" not in baseline else difference(value, baseline["mean"], sd)
    state = str(row["state"]) + (f" ({row['reason']})" if row["reason"] else "")
    confirmed = row["confirmed"] or {}
    sites = [entry_text(site, entry) for site, entry in row["settings"].items()]
    extras = [f"{name}={value:.4g}" for name, value in row["extras"].items()]
    return (
        str(row["trial"]),
        state,
        "" if value is None else number(value, sd),
        gap,
        *("" if one["value"] is None else number(one["value"]) for one in row["companions"].values()),
        "" if row["step"] is None else str(row["step"]),
        ", ".join([*sites, *extras]) or "nothing",
        ", ".join(attained_text(site, entry) for site, entry in row["attained"].items()),
        str(confirmed.get("verdict", "")),
    )


def entry_text(site: str, entry: Mapping[str, Any]) -> str:
    """One site of an exported file in words.

    >>> entry_text("code", {"kind": "l0inf", "k": 4, "of": 16})
    'code l0inf k=4 of 16'
    """
    strengths = [f"{key}={value:.4g}" for key, value in entry.items() if key not in ("kind", "of")]
    of = f" of {entry['of']}" if entry.get("of") is not None else ""
    return f"{site} {entry['kind']} {' '.join(strengths)}{of}"


def attained_text(site: str, entry: Mapping[str, float | None]) -> str:
    """What the settings did at one site: its density beside the baseline's, and the energy that they removed.

    >>> attained_text("up0", {"density": 0.203, "removed_energy": 0.1, "baseline_density": 0.999})
    'up0 0.203 (baseline 0.999, removed 0.1 of the energy)'
    """
    density, removed, before = (entry.get(key) for key in ("density", "removed_energy", "baseline_density"))
    if density is None:
        return f"{site} not known"
    beside = [] if before is None else [f"baseline {before:.3g}"]
    beside += [f"removed {removed:.2g} of the energy"] if removed else []
    return f"{site} {density:.3g}" + (f" ({', '.join(beside)})" if beside else "")


def best_csv(rows: Sequence[Mapping[str, Any]]) -> str:
    """The rows of `best` for a spreadsheet; what is nested stays JSON in its cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(BEST)
    for row in rows:
        cells = (row[key] for key in BEST)
        writer.writerow([json.dumps(cell) if isinstance(cell, dict | list) else cell for cell in cells])
    return text.getvalue().rstrip("\n")


def confirmation_text(one: "Confirmation", settings: str, measured: str) -> str:
    """A winner's confirmation: every evaluation step, what stands beside it, then the one sentence."""
    lines = [
        f"Trial {one.proposal}: {settings}",
        f"{shown_metric(one.metric)}, winner − baseline over pairs; intervals hold for all winners together",
        "  " + columns(one.table()).replace("\n", "\n  "),
        caption(one.direction, measured),
    ]
    if one.target is not None:
        reach, other = (str(step) if step else "never" for step in (one.reach, one.baseline_reach))
        goal = f"the baseline's mean at the end, {one.target:.4g}"
        lines.append(f"Steps to {goal}: winner {reach}, baseline {other} (medians).")
    for name, last in one.companions.items():
        difference_, interval = last.texts()[4:6]
        way = "" if last.direction == one.direction else f", of which {better(last.direction)}"
        lines.append(
            f"Beside it, {shown_metric(name)}{way}: difference {difference_}, 95% interval {interval} over "
            f"{last.pairs} pairs; no verdict."
        )
    return "\n".join([*lines, f"Trial {one.proposal} is {one.sentence}."])


def sites_table(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Sites in order of execution; `k` is out of the channels, `keep` out of all entries.

    A shape is (C, H, W); one that is not shows its product alone, but for its channels.
    """
    heading = ("site", "channels", "height", "width", "entries")
    rows = []
    for site, (channels, *sides) in shapes.items():
        height, width = sides if len(sides) == 2 else ("", "")
        entries = math.prod([channels, *sides])
        rows.append((site, str(channels), str(height), str(width), str(entries)))
    return columns([heading, *rows])
