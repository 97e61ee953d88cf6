"""One driver a study: a lock that vanishes with its holder.

In the study's folder the kernel keeps it, on a database's server the server, for the holder's connection.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import re
import socket
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from trainers.settings import Mistake

LOCK = "lock"
_START = "%Y-%m-%d %H:%M:%S"
_HALF = 2**32 - 1
_TRIES = 10
# A key of 64 bits stands in pg_locks as two halves.
_WHO = """
SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND granted AND classid = %s AND objid = %s AND objsubid = 1
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


class StudyLock:
    """Hold a study's folder for this process; the kernel lets go when the process dies, however it dies.

    Raises:
        Mistake: another process holds it; the sentence names its host, process and start.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / LOCK
        self._file: IO[str] | None = None

    def __enter__(self) -> "StudyLock":
        file = self._taken()
        try:
            file.truncate(0)
            started = time.strftime(_START)
            file.write(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "start": started}))
            file.flush()
        except BaseException:  # a full disk: the lock is let go of by hand, for `__exit__` is not called
            with contextlib.suppress(OSError):
                file.close()
            raise
        self._file = file
        return self

    def _taken(self) -> IO[str]:
        """The file, locked; anew where its holder removed it meanwhile, as `delete` does, a few times."""
        for _ in range(_TRIES):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileNotFoundError), contextlib.ExitStack() as stack:
                file = stack.enter_context(self._path.open("a+", encoding="utf-8"))
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    raise _held(self._path.parent.name, _holder(file)) from None
                if os.path.samestat(os.fstat(file.fileno()), self._path.stat()):
                    stack.pop_all()
                    return file
        raise RuntimeError(
            f"{str(self._path)!r} cannot be locked, for it is another file at each look: see that nothing "
            "removes it, or name another --root, on a file system that numbers its files"
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None


def take_from_server(connection: Any, study: str) -> None:
    """Hold a study on PostgreSQL for as long as that connection lives.

    The server frees it when the connection ends, and notices by its keepalives that a machine is gone.

    Args:
        connection: a driver's own (DB-API) connection.
        study: the study's name; one database holds one study of a name.

    Raises:
        Mistake: another connection holds it; the sentence names its holder's host, process and start.
    """
    key = int.from_bytes(hashlib.sha256(f"sparsity-tuner/{study}".encode()).digest()[:8], "big", signed=True)
    about = f"{os.getpid()} {time.strftime(_START)} {socket.gethostname()}"
    with connection.cursor() as cursor:
        # The server keeps so much of a name.
        cursor.execute("SELECT set_config('application_name', %s, false)", (about[:63],))
        taken = cursor.execute("SELECT pg_try_advisory_lock(%s)", (key,)).fetchone()[0]
        holder = None if taken else cursor.execute(_WHO, (key >> 32 & _HALF, key & _HALF)).fetchone()
    connection.commit()
    if not taken:
        raise _held(study, _named(str(holder[0]) if holder else ""))


def _named(about: str) -> str:
    """The holder, from what `take_from_server` called its connection; another user may not be let see it."""
    found = re.fullmatch(r"(\d+) (\S+ \S+) (\S+)", about)
    return f"by process {found[1]} on {found[3]} since {found[2]}" if found else "by another process"


def _held(study: str, holder: str) -> Mistake:
    return Mistake(f"study {study!r} is being run {holder}: wait for it, or end that process")


def _holder(file: IO[str]) -> str:
    file.seek(0)
    try:
        held = json.loads(file.read())
        return f"by process {held['process']} on {held['host']} since {held['start']}"
    except (ValueError, KeyError, TypeError):
        return "by another process"
