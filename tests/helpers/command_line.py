"""The command line in this process."""

import contextlib
import io
from pathlib import Path

import pytest

from tuner.cli import main


def printed(folder: Path, *words: str) -> str:
    """What a command that must succeed prints, run where one stands in `folder`.

    For fixtures of a whole module, which have no `capsys`.
    """
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.chdir(folder):
        assert main(words) == 0
    return out.getvalue()


class Shell:
    """Runs the program in a folder of its own, as a user would."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys

    def run(self, *words: str) -> tuple[int, str, str]:
        """Exit status, standard output, standard error."""
        self._capsys.readouterr()
        status = main(words)
        printed = self._capsys.readouterr()
        return status, printed.out, printed.err

    def fine(self, *words: str) -> str:
        status, out, err = self.run(*words)
        assert status == 0, err
        return out

    def mistake(self, *words: str, status: int = 2) -> str:
        """The one sentence that a refused command prints; nothing else is printed."""
        got, out, err = self.run(*words)
        assert got == status, (got, out, err)
        assert out == ""
        assert err.endswith("\n") and len(err.splitlines()) == 1, err
        assert "Traceback" not in err
        return err.strip()
