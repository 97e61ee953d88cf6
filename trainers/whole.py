"""Files that are whole or not there: written under another name, flushed, and renamed."""

import errno
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

_TEMPORARY = re.compile(r"-\d+-[0-9a-f]{32}\Z")  # ends the names that `written_whole` gives
_HOUR = 3600.0  # seconds


@contextmanager
def written_whole(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A stream whose bytes become the file `path` when the block ends; its folder must be there.

    A kill or a full disk at any moment leaves what was there before, and a loss of power the old bytes or the
    new. The temporary name is the writer's own: after a kill of the driver its worker may still be writing
    while the next one starts. It begins with a dot, by which copies of the folder leave it out.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}-{os.getpid()}-{uuid4().hex}")
    try:
        with open(temporary, "xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, target)
    finally:
        with suppress(OSError):
            temporary.unlink()
    _flush_folder(target.parent)


def remove_unfinished(folder: str | os.PathLike[str]) -> None:
    """Remove from a folder what `written_whole` left there when its process was killed.

    What was written to in the last hour stays: a process of another machine may be at it.
    """
    for path in Path(folder).glob(".*"):
        with suppress(OSError):
            if _TEMPORARY.search(path.name) and time.time() - path.stat().st_mtime > _HOUR:
                path.unlink()


def _flush_folder(folder: Path) -> None:
    """The new name, too, has to survive a loss of power; some file systems know of no such thing."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)
