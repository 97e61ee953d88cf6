"""What of a trial's folder goes to its MLflow run: pictures, the end of a failed one's log, a checkpoint."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tuner import tracking as names
from tuner.secrets import why, without_password
from tuner.states import FAILED, OUT_OF_MEMORY
from tuner.storage import LOG, Storage

if TYPE_CHECKING:
    from tuner.rows import Row
    from tuner.runs import Run

LINES = 200  # of a log, its last ones
_LONGEST_END = 1 << 18  # bytes that may hold them


class Unreadable(RuntimeError):
    """A trial's folder is there, or should be, and cannot be read now."""


def send_files(run: "Run", row: "Row", storage: Storage) -> None:
    """Send the pictures that the run lacks and, of a trial that failed, the end of its log.

    Raises:
        Unreadable: the storage fails. What is not there is not sent, and no error: the folder may be gone.
    """
    failed = row.state == FAILED or row.reason == OUT_OF_MEMORY
    if failed and not run.has(LOG):
        for log in _locally(storage, row, "", [LOG]):
            run.put(LOG, without_password(_end_of(log)))
    folder = f"/{names.PICTURES}"
    with _reading(row):
        there = storage.names(row.label + folder)
    pictures = [name for name in there if re.match(r"\d+-.*\.png$", name)]
    pictures.sort(key=lambda name: (int(name.partition("-")[0]), name))
    for picture in _locally(storage, row, folder, pictures[run.pictures :]):
        run.put_file(picture, names.PICTURES)
        run.pictures += 1


def send_checkpoint(run: "Run", row: "Row", storage: Storage) -> bool:
    """Send the trial's last checkpoint unless the run has it; say whether that was done. Errors as above."""
    if run.has(names.CHECKPOINT_FILE):
        return False
    for checkpoint in _locally(storage, row, "", [names.CHECKPOINT_FILE]):
        run.put_file(checkpoint)
        return True
    return False


def _locally(storage: Storage, row: "Row", folder: str, wanted: list[str]) -> Iterator[Path]:
    """Those of a trial's files that are there, each as a local one while it is looked at."""
    for name in wanted:
        with contextlib.ExitStack() as open_:
            with _reading(row):
                if name not in storage.names(row.label + folder):
                    continue
                path = open_.enter_context(storage.local(f"{row.label}{folder}/{name}"))
            yield path


@contextlib.contextmanager
def _reading(row: "Row") -> Iterator[None]:
    """Tell an error of the storage, which is about this trial, from one of MLflow."""
    try:
        yield
    except Exception as error:
        told = f"the folder of trial {row.label} cannot be read ({why(error)})"
        raise Unreadable(told) from error


def _end_of(log: Path) -> str:
    """The last lines of a log, which may be long."""
    with log.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - _LONGEST_END))
        text = file.read().decode("utf-8", errors="replace")
    return "".join(text.splitlines(keepends=True)[-LINES:])
