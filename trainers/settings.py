"""Settings as data, and the file that carries them to another program; standard library alone.

*Settings* map the name of a site to a regularizer, one of `regularizers.py`; the paper's three can be
imported from here. `load` and `write` read and write them as JSON, with where they come from and what they
attained. This file ships with `regularizers.py` and `sparsity.py` in an exported package, so these import
nothing else of this project; and a file that is read never causes an import.
"""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import UnionType
from typing import Any
from uuid import uuid4

from .regularizers import L0 as L0
from .regularizers import L1 as L1
from .regularizers import REGULARIZERS as REGULARIZERS
from .regularizers import L0Inf as L0Inf
from .regularizers import Mistake as Mistake
from .regularizers import Regularizer as Regularizer
from .regularizers import number, shown
from .regularizers import regularizer as regularizer
from .regularizers import strength_of as strength_of

SCHEMA = 1
NOTE = (
    "For training from scratch with this network, plan and number of steps; carrying the settings to another "
    "width, loss or length of training is an assumption that nobody has tested."
)
DISCRIMINATOR = "discriminator"  # of a GAN: its site h0 is `discriminator.h0` beside the generator's sites
_DEEPEST = 64  # levels; a plan has about ten, and what is much deeper can be read and not be written
_LARGEST = 16 * 2**20  # bytes; settings take a few thousand, a checkpoint named by mistake far more


def to_json(one: Regularizer, shape: Sequence[int] | None = None) -> dict[str, Any]:
    """A regularizer as it stands in a file; with the site's shape (C, H, W) also what its number is out of.

    >>> to_json(L0Inf(k=4), (16, 8, 8))
    {'kind': 'l0inf', 'k': 4, 'of': 16}
    """
    strength = strength_of(one)
    of = None if shape is None else one.out_of(shape)
    entry = {"kind": one.kind, strength: getattr(one, strength)}
    return entry if of is None else entry | {"of": of}


def from_json(entry: object, where: str) -> Regularizer:
    """The regularizer that `to_json` gave; `where` stands in the `Mistake` that everything else raises.

    >>> from_json({"kind": "l1", "weight": 0.1}, "sites.up1")
    L1(weight=0.1)
    """
    if not isinstance(entry, Mapping):
        raise Mistake(f'{where} is {shown(entry)}, but it has to be like {{"kind": "l0", "keep": 0.2}}')
    kind = entry.get("kind")
    if not isinstance(kind, str) or kind not in REGULARIZERS:
        told = f"the kind {shown(kind)}" if "kind" in entry else "no kind"
        raise Mistake(f"{where} has {told}; the known ones are {', '.join(REGULARIZERS)}")
    strength = strength_of(kind)
    _check_keys(entry, f"{where}: ", needed=("kind", strength), known=("kind", strength, "of"))
    try:
        if "of" in entry:
            _check_of("of", entry["of"])
        return regularizer(kind, entry[strength])
    except Mistake as mistake:
        raise Mistake(f"{where}: {mistake}") from None


@dataclass(frozen=True, kw_only=True)
class SettingsFile(Mapping[str, Regularizer]):
    """The mapping site → regularizer as exported, with where it comes from and what it attained.

    Only `sites` is needed, so that such a file can also be made by hand. `of` says for some of the sites what
    their number is out of; `value` is the `metric` at training step `step`; `baseline` is {mean, sd, seeds};
    `attained` is {site: {density, removed_energy, baseline_density}}; `plan` holds all that the training
    needs but its settings. A field of a wrong type raises `Mistake`.

    >>> SettingsFile(sites={"up1": L0(keep=0.2)})["up1"]
    L0(keep=0.2)
    """

    schema: int = SCHEMA
    note: str = NOTE
    task: str = ""
    network: str = ""
    sites: dict[str, Regularizer]
    of: dict[str, int] = field(default_factory=dict)
    metric: str = ""
    direction: str = ""
    value: float | None = None
    step: int | None = None
    baseline: dict[str, Any] | None = None
    confirmed: dict[str, Any] | None = None
    attained: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_schema(self.schema)
        for names, known, words in _FIELD_TYPES:
            for name in names.split():
                _check_type(name, getattr(self, name), known, words)
        if self.value is not None:
            number("value", self.value, "a finite number or null", lambda found: True)
        if self.step is not None:
            number("step", self.step, "a whole number of at least 0, or null", lambda n: n >= 0, whole=True)
        for site, one in self.sites.items():
            _check_type(f"sites[{shown(site)}]", one, Regularizer, "a regularizer, L0(keep=0.2) say")
        for site, of in self.of.items():
            _check_keys({site: of}, "in of ", needed=(), known=tuple(self.sites))
            _check_of(f"of[{shown(site)}]", of)

    def __getitem__(self, site: str) -> Regularizer:
        return self.sites[site]

    def __iter__(self) -> Iterator[str]:
        return iter(self.sites)

    def __len__(self) -> int:
        return len(self.sites)


def is_discriminators(site: str) -> bool:
    """Whether that is the name of a site of a GAN's discriminator."""
    return site.startswith(_PREFIX)


def discriminators(settings: Mapping[str, Regularizer]) -> Mapping[str, Regularizer]:
    """The settings of a GAN's discriminator, by the names of its own sites; what a file says goes along.

    >>> discriminators({"h0": L1(weight=0.1), "discriminator.h0": L0(keep=0.2)})
    {'h0': L0(keep=0.2)}
    """
    return _chosen(
        settings, {site: site.removeprefix(_PREFIX) for site in settings if is_discriminators(site)}
    )


def generators(settings: Mapping[str, Regularizer]) -> Mapping[str, Regularizer]:
    """All others: the settings of a GAN's generator.

    >>> generators({"h0": L1(weight=0.1), "discriminator.h0": L0(keep=0.2)})
    {'h0': L1(weight=0.1)}
    """
    return _chosen(settings, {site: site for site in settings if not is_discriminators(site)})


def _chosen(settings: Mapping[str, Regularizer], names: Mapping[str, str]) -> Mapping[str, Regularizer]:
    sites = {name: settings[site] for site, name in names.items()}
    if not isinstance(settings, SettingsFile):
        return sites
    return replace(
        settings, sites=sites, of={names[site]: of for site, of in settings.of.items() if site in names}
    )


_PREFIX = f"{DISCRIMINATOR}."
_KEYS = tuple(item.name for item in fields(SettingsFile) if item.name != "of")  # `of` stands within each site
_FIELD_TYPES: tuple[tuple[str, type | UnionType, str], ...] = (
    ("note task network metric direction", str, "a text"),
    ("sites of attained plan provenance", dict, "an object of names and values"),
    ("baseline confirmed", dict | None, "an object of names and values, or null"),
)


def load(path: str | os.PathLike[str]) -> SettingsFile:
    """Read a file that `write` wrote, or one made by hand with at least `schema` and `sites`.

    Whatever is wrong with it (not there, not text, cut off, not JSON, nested too deeply, a key twice, unknown
    or missing keys, another schema, a regularizer out of range, NaN) raises `Mistake`.
    """
    try:
        content = _parse(_read(Path(path)))
        _check_type("its content", content, dict, "an object of names and values")
        _check_schema(content.get("schema", SCHEMA))  # before the keys: another schema has other keys
        _check_keys(content, "", needed=("schema", "sites"), known=_KEYS)
        _check_type("sites", content["sites"], dict, "an object of names and values")
        sites = {site: from_json(entry, f"sites[{shown(site)}]") for site, entry in content["sites"].items()}
        of = {site: entry["of"] for site, entry in content["sites"].items() if "of" in entry}
        return SettingsFile(**content | {"sites": sites, "of": of})
    except Mistake as mistake:
        raise Mistake(f"the settings file {str(path)!r} cannot be used: {mistake}") from None


def write(path: str | os.PathLike[str], settings_file: SettingsFile) -> None:
    """Write the file whole or not at all, over one that is there.

    What JSON cannot hold (NaN, say) and a folder that is not there raise `Mistake`, a full disk RuntimeError.
    """
    target = Path(path)
    content = {name: getattr(settings_file, name) for name in _KEYS}
    content["sites"] = {
        site: to_json(one) | ({"of": settings_file.of[site]} if site in settings_file.of else {})
        for site, one in settings_file.sites.items()
    }
    temporary = target.parent / f".settings-{os.getpid()}-{uuid4().hex}.tmp"  # no other writer has this name
    try:
        text = json.dumps(content, indent=2, allow_nan=False)
        with open(temporary, "x", encoding="utf-8") as stream:
            stream.write(text + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    except (TypeError, ValueError, RecursionError) as error:
        raise Mistake(f"the settings cannot be written to {str(target)!r} as JSON: {error}") from error
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        told = f"cannot write {str(target)!r} ({error.strerror})"
        raise Mistake(f"{told}; give the name of a file in a folder that is there") from error
    except OSError as error:
        raise RuntimeError(f"cannot write {str(target)!r} ({error.strerror})") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _read(path: Path) -> str:
    try:
        if not path.is_file():  # also keeps a pipe from being waited for
            told = "it is a folder or a device" if path.exists() else "there is no such file"
            raise Mistake(f"{told}; name a file that export wrote")
        with open(path, "rb") as stream:
            content = stream.read(_LARGEST + 1)
        if len(content) > _LARGEST:
            raise Mistake(f"it has more than {_LARGEST} bytes, so it is none; name a file that export wrote")
        return content.decode("utf-8-sig")
    except OSError as error:
        raise Mistake(f"it cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        raise Mistake(f"its byte {error.start} is not UTF-8 text; name a file that export wrote") from None


def _parse(text: str) -> Any:
    try:
        content = json.loads(text, parse_float=_finite, parse_constant=_finite, object_pairs_hook=_unique)
        return _shallow(content, _DEEPEST)
    except json.JSONDecodeError as error:
        told = "is cut off or not JSON" if text.strip() else "is empty"
        raise Mistake(f"it {told} ({error.msg}, line {error.lineno}); export it again") from None
    except RecursionError:
        raise Mistake("it is nested too deeply; export it again") from None
    except Mistake:
        raise
    except ValueError as error:  # an integer of more digits than Python reads
        raise Mistake(f"it holds a number that cannot be read ({error})") from None


def _shallow(value: Any, levels: int) -> Any:
    if isinstance(value, dict | list):
        if not levels:
            raise Mistake(f"it is nested too deeply, more than {_DEEPEST} levels; export it again")
        for inner in value.values() if isinstance(value, dict) else value:
            _shallow(inner, levels - 1)
    return value


def _finite(literal: str) -> float:
    return number("a number", float(literal), "finite", lambda found: True)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Mistake(f"the key {shown(key)} stands twice in one object; keep one of them")
        found[key] = value
    return found


def _check_of(name: str, value: object) -> None:
    number(name, value, "a whole number of at least 1", lambda number: number >= 1, whole=True)


def _check_schema(schema: object) -> None:
    if type(schema) is not int or schema != SCHEMA:
        told = f"schema is {shown(schema)}, and this program reads schema {SCHEMA} alone"
        raise Mistake(f"{told}; export the settings again with this version, or use the one that wrote them")


def _check_type(name: str, value: object, known: type | UnionType, words: str) -> None:
    if not isinstance(value, known):
        raise Mistake(f"{name} is {shown(value)}, but it has to be {words}")


def _check_keys(entry: Mapping[str, Any], where: str, needed: Sequence[str], known: Sequence[str]) -> None:
    for key in entry:
        if key not in known:
            raise Mistake(f"{where}the key {shown(key)} is unknown; the known ones are {', '.join(known)}")
    for key in needed:
        if key not in entry:
            raise Mistake(f"{where}the key {key!r} is missing; needed are {', '.join(needed)}")
