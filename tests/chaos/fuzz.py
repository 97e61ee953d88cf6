"""Damaged and hostile files by the thousand: `python tests/chaos/fuzz.py [N] [SEED]`; ends with a table.

Each mutated spec, settings file, `--set` and `--where` must end in one sentence, or be read as what stands
there: a frozen spec comes back from its YAML, a settings file from what `write` makes of it, and each number
lies in its range. All is drawn from SEED, so a case can be had again; those that fail are printed, and then
the exit status is 1.
"""

# ruff: noqa: E402

import contextlib
import io
import json
import math
import os
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(_TESTS.parent), str(_TESTS / "helpers")]

import yaml
from settings_files import FULL

from search_spaces.presets import preset_names, preset_text
from trainers.settings import L0, Mistake, SettingsFile, load, strength_of, write
from tuner.cli import sentence
from tuner.spec import freeze, load_spec, to_yaml

ACCEPTED, REFUSED, TRACEBACK, WRONG = "accepted", "refused", "tracebacks", "silent wrong reads"
LONGEST = 1200  # characters of a sentence; those that list known names are long

DEEP: Any = [1]
for _ in range(40):
    DEEP = [DEEP]
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2, 3, 0.5, 1e-3, 10**9, 10**18, 10**400, -(10**400), 1e308, 5e-324, -0.0,
    math.inf, -math.inf, math.nan, "", " ", "x" * 300, "x" * 5000, "\u202e", "é☃", "\x00", "a\nb", "../../x",
    "/", "/dev/zero", "/dev/stdin", "~nobody-here/x", "a/b", "all", "null", "1e3", "5m", "-5m", "9" * 400,
    "no_such_module:x", "a:b:c", ":", "s3://k:s@b", "dip", "gan", [], [[]], [None], [1, 2], [2, 1],
    [1e-3, 1.0], [0, 1], ["code"], ["code", "code"], list(range(500)), {}, {"": 1}, {"a": {}}, {"kind": "l0"},
    {"code": [1, 2]}, {"kind": "skip"}, {"kind": "a:b"}, DEEP,
]  # fmt: skip
FINE: list[Any] = [
    None, True, 1, 2, 3, 7, 50, 0.25, 0.5, 1e-3, "5m", "1h", 45, "all", [1, 2], [0.25, 0.5], [1e-3, 1.0],
    ["code"], ["up0", "code"], "asha", "none", "random", "tpe", "chelsea", {"code": [1, 2]}, "a-study",
    "9" * 32,
]  # fmt: skip
NAMES = [
    "metrics.score", "metrics.up0.keep", "metrics.`up0.keep`", 'metrics."up0.keep"', "params.up0.kind",
    "tags.role", "tags.state", "tags.trial", "attributes.start_time", "attributes.status",
    "attributes.run_id", "run_name",
    "metrics", "datasets.name", "tags.`a b`", "metrics.score.x", "tag.study_uuid", "end_time", "inputs.x",
]  # fmt: skip
OPERATORS = [
    "=",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "LIKE",
    "ILIKE",
    "IN",
    "NOT IN",
    "IS NULL",
    "IS NOT NULL",
    "==",
    "~",
]
OPERANDS = [
    "1", "20.5", "-1", "'l0'", "'COMPLETE'", "'%'", "'baseline'", "('0', '1')", "()", "1e999", "9" * 30, "''",
    "'",
    "NULL", '"x"', "'a' OR 1=1", "'x'; DROP TABLE runs", "(SELECT 1)", "'" + "x" * 9000 + "'",
    "(" + ",".join(["'a'"] * 2000) + ")",
]  # fmt: skip
KEYS = ["x", "of", "kind", "uuid", "prepared", "k", "", "é", "a.b", "__class__"]
TEXTS = [
    "!!python/object/apply:os.system ['touch PWNED']", "!!python/name:os.system", "!x y", "&a [*a]", "*a",
    "<<: *a", "{" * 50, "[" * 5000, "a: &a [x, x]\nb: &b [*a, *a]\n", "\t", "\x00", "\ufeff", "\u2028",
    "---\n", "...\n", "%YAML 1.1\n", "? [a]\n: b\n", "'", '"', "|\n", ">\n", "NaN", "1e999", "-Infinity",
    "null", ",", "}", "]", ":", "\\ud800", "é", "9" * 5000, "0x10", "on", '{"a":' * 3000, "\r", "# ",
    "- - - - x",
]  # fmt: skip

ANALYTIC: dict[str, Any] = {
    "name": "fuzz",
    "task": "analytic:TASK",
    "plan": {"lr": 0.01},
    "space": {
        "sites": ["down0", "up0", "code"],
        "regularizers": {
            "l0": {"keep": {"code": [0.1, 0.5]}},
            "l1": {"weight": [0.1, 1.0]},
            "l0inf": {"k": [1, 4]},
        },
        "extras": {"lr": [1e-4, 1e-2]},
    },
    "budget": {"trials": 6, "steps": 90, "grace": 30, "reduction": 3, "evaluate_at": [60]},
    "resources": {"cpu": 1, "gpu": 0.5, "concurrent": 2},
    "checkpoint_every": "90s",
    "time": "1h",
    "retries": 1,
    "storage": None,
    "database": None,
    "tracking": "sqlite:///x.db",
}  # fmt: skip


class Found(Exception):
    """What was read is not what stands there."""


# mutations


def mutated(tree: Any, rng: random.Random) -> Any:
    """A copy of nested dicts and lists, with places dropped, retitled, moved, wrapped or replaced."""
    tree = json.loads(json.dumps(tree))
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        holder, key = rng.choice(list(_places(tree)) or [({"": tree}, "")])
        match rng.randrange(8):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, dict):
                holder[_retitled(key, rng)] = holder.pop(key)
            case 2:
                holder[key] = [holder[key]]
            case 3:
                holder[key] = {"a": holder[key]}
            case 4:
                other, name = rng.choice(list(_places(tree)))
                holder[key] = json.loads(json.dumps(other[name]))
            case 5 if isinstance(holder, dict):
                holder[rng.choice(KEYS)] = holder[key]
            case _:
                holder[key] = rng.choice(rng.choice((VALUES, FINE)))
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(tree) if isinstance(tree, dict) else list(range(len(tree))) if isinstance(tree, list) else []
    for key in keys:
        yield tree, key
        yield from _places(tree[key])


def _retitled(key: str, rng: random.Random) -> str:
    at = rng.randrange(len(key) + 1)
    return rng.choice(
        [key.upper(), key[:at] + key[at + 1 :], key[:at] + "s" + key[at:], key + " ", "", "ключ"]
    )


def damaged(text: str, rng: random.Random) -> bytes:
    """The text cut off, with a piece left out, doubled or put in, or with bits flipped."""
    at, to = sorted(rng.randrange(len(text) + 1) for _ in range(2))
    match rng.randrange(6):
        case 0:
            text = text[:at]
        case 1:
            text = text[:at] + text[min(to, at + 40) :]
        case 2:
            text = text[:to] + text[at:]
        case 3:
            lines = text.splitlines(keepends=True)
            text = "".join([*lines, rng.choice(lines)]) if lines else text
        case _:
            text = text[:at] + rng.choice(TEXTS) + text[at:]
    content = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(rng.choice((0, 0, 1, 3)) if content else 0):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return bytes(content)


# what is read, and what must hold of it


def spec_file(rng: random.Random, folder: Path) -> tuple[object, Callable[[], None]]:
    """A study's file: mutated as data, as text, or both."""
    base = rng.choice([ANALYTIC, ANALYTIC, *(yaml.safe_load(preset_text(name)) for name in preset_names())])
    tree = mutated(base, rng) if rng.random() < 0.7 else base
    text = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    content = damaged(text, rng) if tree is base or rng.random() < 0.2 else text.encode()
    path = folder / "study.yaml"
    path.write_bytes(content)
    return content, lambda: _same_spec(path, folder)


def _same_spec(path: Path, folder: Path) -> None:
    spec = load_spec(path)
    frozen = freeze(spec)
    again = folder / "frozen.yaml"
    again.write_text(to_yaml(frozen), encoding="utf-8")
    if load_spec(again) != frozen or freeze(frozen) != frozen:
        raise Found("the frozen spec does not come back from its YAML")
    if not 1 <= spec.budget.grace < spec.budget.steps or not spec.evaluate_at()[-1] == spec.budget.steps:
        raise Found("the budget is out of its range")
    for kinds in frozen.sparsity_space().ranges.values():
        for kind, (low, high) in kinds.items():
            most = 1.0 if kind == "l0" else sys.float_info.max
            if not 0 < low <= high <= most:
                raise Found(f"the range of {kind} is {low}, {high}")


def settings_file(rng: random.Random, folder: Path) -> tuple[object, Callable[[], None]]:
    """An exported settings file: mutated as data, as text, or both."""
    path = folder / "settings.json"
    write(path, FULL)
    base = json.loads(path.read_text(encoding="utf-8"))
    tree = mutated(base, rng) if rng.random() < 0.7 else base
    text = json.dumps(tree, indent=rng.choice((None, 2)))
    content = damaged(text, rng) if tree is base or rng.random() < 0.2 else text.encode()
    path.write_bytes(content)
    return content, lambda: _same_settings(path, folder)


def _same_settings(path: Path, folder: Path) -> None:
    found = load(path)
    stands = json.loads(path.read_bytes().decode("utf-8-sig"))
    for key, value in stands.items():
        if key != "sites" and getattr(found, key) != value:
            raise Found(f"{key} was read as {getattr(found, key)!r}")
    if set(found.sites) != set(stands["sites"]):
        raise Found(f"the sites were read as {list(found.sites)}")
    for site, entry in stands["sites"].items():
        one = found[site]
        number = getattr(one, strength_of(one))
        most = 1 if one.kind == "l0" else sys.float_info.max
        least = 1 if one.kind == "l0inf" else 0 if one.kind == "l1" else 5e-324
        as_written = (one.kind, number) == (entry["kind"], entry[strength_of(one)])
        if not as_written or not least <= number <= most or found.of.get(site) != entry.get("of"):
            raise Found(f"{site} was read as {one}")
    again = folder / "again.json"
    write(again, found)
    if not _equal(load(again), found):
        raise Found("the settings do not come back from what is written of them")


def _equal(one: SettingsFile, other: SettingsFile) -> bool:
    return vars(one) == vars(other)


def override(rng: random.Random, folder: Path) -> tuple[object, Callable[[], None]]:
    """One or two `--set`, of any key and any text."""
    keys = [".".join(map(str, path)) for path in _paths(ANALYTIC)]
    strange = ["", ".", "a..b", "plan", "é", "uuid", "prepared.x"]
    texts = []
    for _ in range(rng.choice((1, 1, 2))):
        key = rng.choice(keys if rng.random() < 0.8 else strange)
        given = rng.choice(rng.choice((VALUES, FINE)))
        value = yaml.safe_dump(given, default_flow_style=True, width=10**6).strip().removesuffix("\n...")
        text = f"{key}{rng.choice(['=', '=', '=', '=', ' = ', '', '=='])}{value}"
        texts.append(damaged(text, rng).decode("utf-8", "surrogateescape") if rng.random() < 0.3 else text)
    return texts, lambda: _overridden(texts)


def _overridden(texts: list[str]) -> None:
    frozen = freeze(load_spec(ANALYTIC, overrides=texts))
    if load_spec(yaml.safe_load(to_yaml(frozen))) != frozen:
        raise Found("the frozen spec does not come back from its YAML")


def _paths(tree: Any, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in tree.items() if isinstance(tree, dict) else ():
        yield (*above, key)
        yield from _paths(value, (*above, key))


def filter_of_mlflow(rng: random.Random, folder: Path) -> tuple[object, Callable[[], None]]:
    """A `--where`: clauses with other operators, values and names, then as a text damaged or not."""
    clauses = []
    for _ in range(rng.choice((1, 1, 2, 3))):
        name = (
            rng.choice(NAMES)
            if rng.random() < 0.8
            else damaged(rng.choice(NAMES), rng).decode("utf-8", "replace")
        )
        value = rng.choice(OPERANDS) if rng.random() < 0.8 else repr(rng.choice(VALUES))
        clauses.append(f"{name} {rng.choice(OPERATORS)} {value}")
    text = rng.choice([" AND ", " and ", " AND ", " OR ", " "]).join(clauses)
    if rng.random() < 0.3:
        text = damaged(text, rng).decode("utf-8", "surrogateescape")
    return text, lambda: _filtered(text, folder)


def _filtered(text: str, folder: Path) -> None:
    from tuner.query import best_trials

    for row in best_trials("mine", root=folder, where=text):
        if row["trial"].rpartition(":")[2] not in ("0", "1", "2") or row["metric"] != "score":
            raise Found(f"{row} is no trial of this study")


def _store(folder: Path) -> None:
    """An MLflow store with the study `mine` of three trials and a baseline, and another study beside it."""
    from tracked import play, study, tracker

    for name, count in (("mine", 3), ("other", 5)):
        record = study(folder / name, name=name, uuid=name)
        play(record, "baseline", [20, 21])
        for number in range(count):
            play(record, "proposal", [20, 20 + number], settings={"up0": L0(keep=0.25)})
        one = tracker(record, f"sqlite:///{folder}/mlflow.db", folder / name)
        if not one.project():
            raise RuntimeError(one.problem)


# the count

FILES = {"study.yaml", "frozen.yaml", "settings.json", "again.json"}  # the fuzz's own

KINDS: dict[str, tuple[float, Callable[[random.Random, Path], tuple[object, Callable[[], None]]]]] = {
    "spec": (0.35, spec_file),
    "settings": (0.4, settings_file),
    "--set": (0.15, override),
    "--where": (0.1, filter_of_mlflow),
}  # fmt: skip


def outcome(case: Callable[[], None]) -> tuple[str, str]:
    """What became of it: accepted, refused in a sentence, or one of the two that must not be."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            case()
    except Mistake as mistake:
        told = sentence(mistake)  # as the program prints it
        told.encode("utf-8")
        if "\n" in str(mistake) or not 10 < len(told) <= LONGEST:
            return TRACEBACK, f"no sentence: {told[:2000]!r}"
        return REFUSED, told
    except Found as wrong:
        return WRONG, str(wrong)
    except Exception as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        return (
            TRACEBACK,
            f"{type(error).__name__} in {last.name}, {last.filename}:{last.lineno}: {str(error)[:300]}",
        )
    if printed.getvalue():
        return TRACEBACK, f"it printed {printed.getvalue()[:300]!r}"
    return ACCEPTED, ""


def fuzz(count: int, seed: int, tell: Callable[[str], None]) -> dict[str, Counter[str]]:
    """So many cases of all kinds, from one seed; `tell` hears of each that must not be."""
    counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    told: set[str] = set()
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        _store(Path(place))
        before = set(os.listdir(place))
        for kind, (share, make) in KINDS.items():
            for number in range(round(count * share)):
                rng = random.Random(f"{seed} {kind} {number}")
                content, case = make(rng, Path(place))
                became, why = outcome(case)
                counts[kind][became] += 1
                if became in (TRACEBACK, WRONG) and why not in told:
                    told.add(why)
                    tell(f"{kind} {number} of seed {seed}: {became}: {why}\n  {str(content)[:1500]}")
        strange = sorted(set(os.listdir(place)) - before - FILES)
        if strange:
            tell(f"files were made: {strange}")
            counts["spec"][TRACEBACK] += 1
    return counts


def table(counts: dict[str, Counter[str]]) -> str:
    """Kind, how many, and what became of them."""
    rows = [("kind", "files", ACCEPTED, REFUSED, TRACEBACK, WRONG)]
    for kind, each in counts.items():
        rows.append((kind, *map(str, (each.total(), *(each[name] for name in rows[0][2:])))))
    return "\n".join("  ".join(cell.rjust(18 if i else 9) for i, cell in enumerate(row)) for row in rows)


def failures(counts: dict[str, Counter[str]]) -> int:
    """How many cases ended as none may."""
    return sum(each[TRACEBACK] + each[WRONG] for each in counts.values())


if __name__ == "__main__":
    words = [*map(int, sys.argv[1:]), *(10_000, 0)[len(sys.argv) - 1 :]]
    began = time.monotonic()
    counted = fuzz(words[0], words[1], lambda text: print(text, flush=True))
    print(table(counted))
    print(f"seed {words[1]}, {time.monotonic() - began:.0f} s")
    sys.exit(1 if failures(counted) else 0)
