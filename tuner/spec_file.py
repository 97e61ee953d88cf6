"""What a user wrote, as plain data: YAML text, `--set key=value`, lengths of time."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from search_spaces.presets import preset_names, preset_text
from search_spaces.ranges import shown
from trainers.settings import Mistake

LARGEST = 256 * 1024  # bytes; a frozen study with a hundred sites has a tenth of it
DEEPEST = 32  # levels; a study has seven
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(value: object) -> float:
    """A length of time in seconds: a positive number of them, or text as `90s`, `30m`, `2h`, `1d`.

    Raises:
        ValueError: anything else; the message is the rule alone.

    >>> seconds("30m"), seconds(45)
    (1800.0, 45.0)
    """
    length = math.nan
    if isinstance(value, str) and (found := re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([smhd]?)", value)):
        length = float(found[1]) * _UNITS[found[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= sys.float_info.max:
        length = float(value)
    if not 0 < length < math.inf:
        raise ValueError("it must be a positive number of seconds, or as 90s, 30m, 2h")
    return length


def read_source(source: str | Path) -> dict[str, Any]:
    """The mapping that a preset (by name) or a YAML file holds.

    Raises:
        Mistake: neither a preset nor a readable file; not text, not YAML, no mapping, too large, nested too
            deep, a key twice, an alias or a tag in it.
    """
    if isinstance(source, str) and source in preset_names():
        return parse_mapping(preset_text(source), f"preset {source}")
    path, quoted = Path(source), repr(str(source))
    try:
        if path.is_dir():
            raise Mistake(f"{quoted} is a folder, but a study is a YAML file: name a file in it")
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        raise _missing(source) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Mistake(f"{quoted} cannot be read ({reason}): name a YAML file or a preset") from None
    if len(content) > LARGEST:
        raise Mistake(f"{quoted} is larger than {LARGEST // 1024} kB: that is not a study's file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise Mistake(f"{quoted} is not UTF-8 text, but a study is a YAML file")
    return parse_mapping(text, quoted)


def _missing(source: str | Path) -> Mistake:
    text = str(source)
    if isinstance(source, str) and "/" not in text and not text.endswith((".yaml", ".yml")):
        try:
            preset_text(text)
        except Mistake as error:
            return Mistake(f"{text!r} is no file here, and {error}")
    return Mistake(f"{text!r} does not exist: name a YAML file, or a preset ({', '.join(preset_names())})")


def kept(path: Path) -> dict[str, Any]:
    """What a study's own copy of its spec says; nothing where it is not there or cannot be read."""
    try:
        return read_source(path) if path.is_file() else {}
    except Mistake:
        return {}


def parse_mapping(text: str, where: str) -> dict[str, Any]:
    """YAML text whose top level is a mapping; errors begin with `where`."""
    content = parse(text, where)
    if content is None:
        raise Mistake(f"{where} is empty: a study needs at least its name, as in `name: my-study`")
    if not isinstance(content, dict):
        raise Mistake(
            f"{where} holds {shown(content)}, but a study is a mapping: start with `name: my-study`"
        )
    return content


def parse(text: str, where: str) -> Any:
    """Plain YAML 1.2 data: `1e-3` is a number, `on` a word; no aliases, no tags, no key twice.

    Raises:
        Mistake: it is not that; the sentence names `where` and the line.
    """
    try:
        loader = _Loader(text)
        loader.where = where
        return loader.get_single_data()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        problem = error.problem or "it cannot be parsed"
        raise Mistake(f"{where} is not YAML (line {line}: {problem}): correct that line") from None
    except yaml.YAMLError:
        raise Mistake(f"{where} is not text: it holds characters that YAML does not allow") from None
    except ValueError as error:  # an integer of thousands of digits, say
        if isinstance(error, Mistake):
            raise
        raise Mistake(f"{where} holds a value that cannot be read ({error})") from None


def apply_overrides(content: dict[str, Any], overrides: Sequence[str]) -> None:
    """Set `key.below=VALUE`, the value in YAML, in place; sections on the way are made.

    Whether a key is known is for the model that reads the whole to say, which then lists the known ones.

    Raises:
        Mistake: no `=`, an empty key, a key below a value that has none, or a value that is not YAML.
    """
    for override in overrides:
        key, equals, text = override.partition("=")
        parts = key.strip().split(".")
        if not equals or not all(parts):
            raise Mistake(
                f"--set {shown(override)} is not key=value: write for example --set budget.trials=8"
            )
        if any("\ud800" <= letter <= "\udfff" for letter in key):  # bytes of the command line that are none
            raise Mistake(
                f"--set {shown(override)} has a key that is no text: the keys are letters and digits"
            )
        section = content
        for depth, part in enumerate(parts[:-1], start=1):
            if section.get(part) is None:
                section[part] = {}
            if not isinstance(section[part], dict):
                above = shown(".".join(parts[:depth]))[1:-1]
                raise Mistake(
                    f"--set {shown(override)} reaches below {above}, which is {shown(section[part])} "
                    f"and has no keys: set {above} itself"
                )
            section = section[part]
        section[parts[-1]] = parse(text, f"--set {shown(override)}")


def plain(value: Any, depth: int = 0) -> Any:
    """A copy of nested mappings and sequences as dicts and lists: overrides never touch the original.

    Raises:
        Mistake: a key that is no text, or nested too deep (something that contains itself, say).
    """
    if depth > DEEPEST:
        raise Mistake(f"{shown(value)} is nested deeper than {DEEPEST} levels: no study is")
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise Mistake(f"{shown(key)} is no key: a key is text")
        return {key: plain(entry, depth + 1) for key, entry in value.items()}
    return [plain(entry, depth + 1) for entry in value] if isinstance(value, list | tuple) else value


class _Loader(yaml.SafeLoader):
    """SafeLoader with the scalars of YAML 1.2's core schema, and without aliases, tags and double keys.

    YAML 1.1, PyYAML's own, reads `1e-3` as text, `on` as true and `1:30` as ninety; an alias can unfold a
    few lines into gigabytes.
    """

    where = ""
    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise Mistake(f"{self.where}, line {line}: aliases are not read here; write the value out")
        if getattr(event, "tag", None):
            raise Mistake(
                f"{self.where}, line {line}: the tag {event.tag} is not read here; write a plain value"
            )
        if "\0" in (getattr(event, "value", None) or ""):
            raise Mistake(f"{self.where}, line {line}: a text holds the character \\0, which no name has")
        if self._depth >= DEEPEST:
            raise Mistake(f"{self.where}, line {line}: nested deeper than {DEEPEST} levels; no study is")
        self._depth += 1
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            place = f"{self.where}, line {key.start_mark.line + 1}"
            if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
                raise Mistake(
                    f"{place}: a key is a word, and {shown(getattr(key, 'value', ''))} is none; quote it"
                )
            if key.value in seen:
                raise Mistake(f"{place}: {key.value!r} stands twice in one section; keep one of them")
            seen.add(key.value)
        return super().construct_mapping(node, deep)


_Loader.yaml_implicit_resolvers = {}
for _name, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+|\.(?:inf|Inf|INF))"
        r"|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(rf"(?:{_pattern})\Z"), _first)
