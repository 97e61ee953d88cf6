"""What a cluster's workers get from the driver: this program, and the modules that a spec names."""

import contextlib
import importlib
import importlib.util
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from tuner.nodes import PACKAGES

OURS = ("trainers", "search_spaces", "tuner")
_NAMED = re.compile(r"([A-Za-z_][\w.]*):[A-Za-z_][\w.]*")  # module:attribute


def shipped(task: str, plan: object = None) -> list[Path]:
    """Folders of packages, and single files: of this program, and of the modules that task and plan name.

    A user's module is imported, and with it come those that lie beside it and are imported too, for it may
    need them; never the whole folder. A module that is installed comes alone: what it needs is installed
    too. What every node must have in the same version (`nodes.PACKAGES`) stays at home.
    """
    names = list(OURS)
    for module in _named({"kind": task, "plan": plan}):
        with contextlib.suppress(Exception):  # what is wrong with it is told where it is built
            importlib.import_module(module)
        name = module.partition(".")[0]
        names += [name, *_beside(name)]
    known = metadata.packages_distributions() if len(names) > len(OURS) else {}
    names = [name for name in names if not set(known.get(name, ())) & set(PACKAGES)]
    files = [path for name in dict.fromkeys(names) for path in _files(name)]
    return list(dict.fromkeys(files))


def _named(value: object, key: str = "") -> Iterator[str]:
    """The modules that a plan names: a text `module:factory` under a key `kind`, however deep."""
    if isinstance(value, str):
        found = _NAMED.fullmatch(value)
        if found and key == "kind":
            yield found[1]
    elif isinstance(value, Mapping):
        for name, one in value.items():
            yield from _named(one, str(name))
    elif isinstance(value, Sequence):
        for one in value:
            yield from _named(one)


def _files(name: str) -> list[Path]:
    """Where a top-level module lies; nothing where there is none, or where it is no Python source."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is not None:
        return [Path(folder).resolve() for folder in spec.submodule_search_locations]
    return [Path(spec.origin).resolve()] if spec.origin and spec.origin.endswith(".py") else []


def _beside(name: str) -> list[str]:
    folders = {path.parent for path in _files(name) if not _is_for_installed(path.parent)}
    return [
        other
        for other, module in list(sys.modules.items())
        if "." not in other and other != "__main__" and _folder(module) in folders
    ]


def _folder(module: Any) -> Path | None:
    """The folder in which a top-level module or package lies."""
    file = getattr(module, "__file__", None)
    if not file:
        return None
    path = Path(file).resolve()
    return path.parent.parent if hasattr(module, "__path__") else path.parent


def _is_for_installed(folder: Path) -> bool:
    stdlib = Path(sysconfig.get_path("stdlib")).resolve()
    return folder == stdlib or folder.name in ("site-packages", "dist-packages")
