"""The command line in this process, where a fixture of a whole module has no `capsys`."""

import contextlib
import io
from pathlib import Path

from tuner.cli import main


def printed(folder: Path, *words: str) -> str:
    """What a command that must succeed prints, run where one stands in `folder`."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.chdir(folder):
        assert main(words) == 0
    return out.getvalue()
