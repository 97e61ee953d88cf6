"""How this program was called, so that every command it prints runs as pasted."""

import os
import shlex
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tuner.secrets import without_password

NAME = "sparsity-tuner"
DEFAULT_ROOT = "studies"


def program() -> str:
    """The words that call this program again: `.venv/bin/sparsity-tuner`, or `python -m tuner`.

    Called from Python (a notebook, a test), it is the program beside this interpreter.
    """
    called = Path(sys.argv[0] or "-")
    if called.name == "__main__.py" and called.parent.name == "tuner":
        return f"{shlex.quote(_shortest(sys.orig_argv[0]))} -m tuner"
    if called.name == NAME:
        return shlex.quote(_shortest(sys.argv[0]))
    return shlex.quote(_shortest(beside(NAME)))


def beside(name: str) -> str:
    """A program that was installed with this one, relative to here where it lies below."""
    path = Path(sys.executable).parent / name
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)


def _shortest(path: str) -> str:
    """The name alone where the shell finds the same file by it, else as it was given."""
    found = shutil.which(os.path.basename(path))
    return (
        os.path.basename(path) if found and os.path.exists(path) and os.path.samefile(found, path) else path
    )


@dataclass(frozen=True)
class Commands:
    """The commands that the program prints; `root` and `tracking` are what was given with these options."""

    root: str = DEFAULT_ROOT
    tracking: str | None = None

    def line(self, *words: str) -> str:
        """One command of this program, with the root where it is not the default, and the tracking.

        >>> Commands(root="runs").line("confirm", "my study")[-32:]
        "confirm 'my study' --root runs"
        """
        root = [] if self.root == DEFAULT_ROOT else ["--root", self.root]
        tracking = ["--tracking", without_password(self.tracking)] if self.tracking else []
        return f"{program()} {shlex.join([*words, *root, *tracking])}"

    @staticmethod
    def page(tracking: str) -> str:
        """What opens MLflow's page on the store `tracking`: a command, or the server's own address.

        Without user and password, which are not for a screen: MLflow takes them from the environment too.
        """
        shown = without_password(tracking)
        if tracking.startswith(("http://", "https://")):
            return shown
        return f"{shlex.quote(_shortest(beside('mlflow')))} ui --backend-store-uri {shlex.quote(shown)}"
