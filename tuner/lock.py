"""One driver a study: a lock that vanishes with its holder."""

import fcntl
import json
import os
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import IO

from trainers.settings import Mistake


class StudyLock:
    """Hold a study's folder for this process; the kernel lets go when the process dies, however it dies.

    Raises:
        Mistake: another process holds it; the sentence names its host, process and start.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "lock"
        self._file: IO[str] | None = None

    def __enter__(self) -> "StudyLock":
        self._path.parent.mkdir(parents=True, exist_ok=True)
        file = self._path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = _holder(file)
            file.close()
            raise Mistake(
                f"study {self._path.parent.name!r} is being run {holder}: wait for it, or end that process"
            ) from None
        file.truncate(0)
        started = time.strftime("%Y-%m-%d %H:%M:%S")
        file.write(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "start": started}))
        file.flush()
        self._file = file
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        held = json.loads(file.read())
        return f"by process {held['process']} on {held['host']} since {held['start']}"
    except (ValueError, KeyError, TypeError):
        return "by another process"
