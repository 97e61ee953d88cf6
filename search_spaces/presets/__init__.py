"""Ready studies, one YAML file each, runnable by name; read `dip-denoise.yaml` first."""

from __future__ import annotations

import difflib
from importlib import resources

from trainers.settings import Mistake


def preset_names() -> list[str]:
    """The names of the ready studies, sorted."""
    files = resources.files(__name__).iterdir()
    return sorted(file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml"))


def preset_text(name: str) -> str:
    """The YAML text of the ready study `name`.

    Raises:
        Mistake: there is none of that name; the sentence lists those that there are, and the nearest.

    >>> preset_text("dip-denoise").splitlines()[0]
    '# Which activations of Deep Image Prior to make sparse, denoising a small photograph: minutes on 2 cores'
    """
    names = preset_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise Mistake(f"{name!r} is not a preset: there are {', '.join(names)}{hint}")
    return (resources.files(__name__) / f"{name}.yaml").read_text(encoding="utf-8")
