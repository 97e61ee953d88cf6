"""Where the trials' folders lie: below a path that all machines reach, or below an fsspec address."""

import contextlib
import errno
import logging
import os
import re
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import fsspec

from trainers.settings import Mistake
from trainers.whole import remove_unfinished
from tuner.secrets import why, without_password
from tuner.tracking import CHECKPOINT_FILE, within

LOG = "log.txt"  # what a trial printed
PICTURES = "pictures"  # and drew
TRIALS = "trials"  # in a study's own folder, where its spec names no storage
T = TypeVar("T")

_LOOK = 1.0  # seconds between two looks for a checkpoint that was saved
_TEMPORARY = f"sparsity-tuner-{socket.gethostname()}-"  # then a process, of this machine or container
_MARK = ".study"  # holds the study's uuid, for workers to know the place by
_PATIENCE = (1.0, 5.0, 25.0)  # seconds between two tries to reach a storage that does not answer
_HANGS = 60.0  # seconds that an answer is waited for, or a thread's last copy
_RENAMING = {"file", "sftp"}  # fsspec's names of file systems
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
# What others say of the same in their own words: Rust's libraries, torch, SQLite.
_NO_ROOM_WORDS = (
    "no space left on device",
    "disk quota exceeded",
    "read-only file system",
    "file write failed",
    "database or disk is full",
)


def no_room(error: BaseException) -> str | None:
    """Why nothing can be written, where an error tells of a full or a read-only disk; None where it does not.

    >>> no_room(OSError(errno.ENOSPC, "x")), no_room(FileNotFoundError(errno.ENOENT, "x"))
    ('No space left on device', None)
    """
    number = getattr(error, "errno", None)
    if number in _NO_ROOM:
        return os.strerror(number)
    return next((words for words in _NO_ROOM_WORDS if words in str(error).lower()), None)


def place(storage: str | None, folder: Path, uuid: str) -> str:
    """Where a study's trials lie: in its own folder, or in one of their own below the spec's `storage`.

    `folder` is ROOT/NAME. A storage may be shared by studies, and by other things.

    Raises:
        Mistake: the uuid, which comes out of a file, would lead to another place.
    """
    if not re.fullmatch(r"[A-Za-z0-9-]+", uuid):
        raise Mistake(
            f"the uuid of study {folder.name!r} is {uuid[:80]!r}, but it must be letters and digits alone"
        )
    return str(folder / TRIALS) if storage is None else f"{storage.rstrip('/')}/{folder.name}-{uuid[:8]}"


class Storage:
    """The trials' folders of one study.

    With a path a trial works in its folder there. With an fsspec address (`s3://bucket/…`) it works in a
    temporary local folder; what changes there is copied to the address, after each evaluation and, by
    `Mirror`, checkpoint and log whenever they are written.

    Args:
        where: a path or an fsspec address that this study has for itself.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._remote = "://" in where

    def open(self, label: str) -> Path:
        """The local folder of a trial, with what the storage already has of it."""
        if not self._remote:
            folder = Path(self.where) / label
            folder.mkdir(parents=True, exist_ok=True)
            remove_unfinished(folder)
            return folder
        folder = _local_folder()
        files, there = self._at(label)
        if files.exists(there):
            files.get(f"{there}/", f"{folder}/", recursive=True)
        return folder

    def mark(self, uuid: str) -> None:
        """Let this be known as the place of that study."""
        if self.read(_MARK) != uuid.encode():
            self.write(_MARK, uuid.encode())

    def is_marked(self, uuid: str) -> bool:
        """Whether this is the place of that study, seen from here."""
        return self.read(_MARK) == uuid.encode()

    def answers(self) -> bool:
        """Whether it answers at all, and be it with an error: of a server that is away NFS waits for ever."""

        def ask() -> bool:
            with contextlib.suppress(Exception):  # a TimeoutError of its own, too
                self.read(_MARK)
            return True

        try:
            return within(_HANGS, ask)
        except TimeoutError:
            return False

    def put(self, name: str, path: Path) -> None:
        """Bring a local file to the storage as `name` (`7/log.txt`), whole or not at all."""
        files, there = self._at(name)
        _whole(files, there, lambda target: files.put_file(str(path), target))

    def write(self, name: str, content: bytes) -> None:
        """Put a small file with that content there as `name`, whole or not at all.

        OSError, or whatever the storage raises, where that cannot be done.
        """
        files, there = self._at(name)
        _whole(files, there, lambda target: files.pipe_file(target, content))

    def refusal(self, error: Exception, label: str, place: str | Path) -> str | None:
        """Why no trial can be saved, in a sentence, where an error of one tells that; None where it does not.

        A full or read-only disk is known by the error. After any other error of a file system the storage is
        tried: its mount may be gone, or the right to write there.

        Args:
            error: what saving the trial `label` raised.
            place: where it was saved to: this storage, or the local folder that a trial works in.
        """
        reason = no_room(error)
        if reason is None and isinstance(error, OSError):
            probe = f"{label}/.probe-{os.getpid()}-{uuid4().hex}"
            try:
                self.write(probe, b"sparsity-tuner")
                self.remove(probe)
            except Exception as refused:  # whatever the storage raises
                reason = why(refused)
        if reason is None:
            return None
        shown = without_password(str(place))
        return (
            f"trial {label} cannot be saved on {socket.gethostname()}: the storage {shown!r} cannot be "
            f"written ({reason}): free room there, or mend what is in the way, and `resume`"
        )

    def read(self, name: str) -> bytes | None:
        """The content of a file; None where it is not there."""
        files, there = self._at(name)
        files.invalidate_cache()
        try:
            return bytes(files.cat_file(there))
        except FileNotFoundError:
            return None

    def remove(self, name: str) -> None:
        """Remove a file, or a folder with all that lies in it, if it is there."""
        files, there = self._at(name)
        files.invalidate_cache()
        if files.exists(there):
            files.rm(there, recursive=True)

    def names(self, folder: str) -> list[str]:
        """What lies in a folder of the storage (`7`, `7/pictures`), in no order; nothing where it is not."""
        files, there = self._at(folder)
        files.invalidate_cache()
        try:
            return [str(name).rpartition("/")[2] for name in files.ls(there, detail=False)]
        except FileNotFoundError:
            return []

    @contextlib.contextmanager
    def local(self, name: str) -> Iterator[Path]:
        """A file of the storage as a local one, to be read; FileNotFoundError where it is not there."""
        files, there = self._at(name)
        if not self._remote:
            yield Path(there)
            return
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name.rpartition("/")[2]
            files.get_file(there, str(path))
            yield path

    def close(self, folder: Path) -> None:
        """Let go of a local folder that `open` gave; a temporary one is removed."""
        if self._remote:
            shutil.rmtree(folder, ignore_errors=True)

    def mirror(self, label: str, folder: Path) -> "Mirror":
        """What copies a trial's local `folder` to the storage; with a path there is nothing to copy."""
        return Mirror(self, label, folder if self._remote else None)

    def check(self) -> None:
        """Write, read and remove a small file.

        Raises:
            RuntimeError: that cannot be done.
        """
        try:
            files, there = self._at()
            files.makedirs(there, exist_ok=True)
            probe = f"{there}/.probe"
            files.pipe_file(probe, b"sparsity-tuner")
            read = files.cat_file(probe)
            files.rm_file(probe)
        except Exception as error:
            raise RuntimeError(
                f"the storage {self.where!r} cannot be written and read ({error}): "
                "free room, or name another `storage`"
            ) from error
        if read != b"sparsity-tuner":
            raise RuntimeError(f"the storage {self.where!r} gave back other bytes than it was given")

    def delete(self) -> None:
        """Remove the folders of all trials, which are all that `where` holds."""
        self.remove("")

    def _at(self, name: str = "") -> tuple[fsspec.AbstractFileSystem, str]:
        where = self.where if self._remote else str(Path(self.where).resolve())
        files, there = fsspec.core.url_to_fs(where)
        return files, f"{there.rstrip('/')}/{name}".rstrip("/")


def _whole(files: fsspec.AbstractFileSystem, there: str, write: Callable[[str], object]) -> None:
    """Let `write` make the file `there`; where it is cut off, nothing of it is seen.

    Files are renamed into their place where a rename takes that of another; an object store shows whole
    objects by itself. Of other file systems it is not known.
    """
    before, _, last = there.rpartition("/")
    files.makedirs(before, exist_ok=True)
    protocols = files.protocol if isinstance(files.protocol, tuple) else (files.protocol,)
    if not _RENAMING.intersection(protocols):
        write(there)
        return
    part = f"{before}/.{last}-{os.getpid()}-{uuid4().hex}"
    try:
        write(part)
        files.mv(part, there)
    except BaseException:
        with contextlib.suppress(OSError):
            files.rm_file(part)
        raise


@contextlib.contextmanager
def temporary() -> Iterator[Path]:
    """A local folder for this process; what one leaves behind that is killed, a later one removes."""
    folder = _local_folder()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _local_folder() -> Path:
    """A new one whose name says which process it belongs to; those of dead processes are removed."""
    _remove_what_the_dead_left()
    return Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{os.getpid()}-"))


def _remove_what_the_dead_left() -> None:
    """A process that is killed leaves its local folder behind, on a cluster that lives on."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_TEMPORARY}*-*"):
        pid = folder.name.removeprefix(_TEMPORARY).partition("-")[0]
        try:
            os.kill(int(pid), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, PermissionError):
            continue


def patiently(ask: Callable[[], T]) -> T:
    """What a storage answers; one that does not is asked again for half a minute, unless it has no room."""
    for pause in _PATIENCE:
        try:
            return ask()
        except Exception as error:  # whatever the storage raises
            if no_room(error) is not None:
                raise
            time.sleep(pause)
    return ask()


class Mirror:
    """Copies what a trial writes in its local folder to the storage.

    `keep` copies all that has changed, between two steps. A thread copies the checkpoint whenever it was
    saved, so that one saved by the clock survives the loss of this machine, and the log, whose last lines say
    what became of it. It takes no other file, for another may be there in part.

    Args:
        storage: where to.
        label: the trial's.
        folder: where from; None: there is nothing to copy.
    """

    def __init__(self, storage: Storage, label: str, folder: Path | None) -> None:
        self._storage, self._label, self._folder = storage, label, folder
        self._copied: dict[Path, tuple[int, ...]] = {} if folder is None else _states(folder)
        self._copying = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mirror", daemon=True)
        if folder is not None:
            self._thread.start()

    def keep(self) -> None:
        """Copy what has changed; a storage that does not answer is given half a minute."""
        if self._folder is not None:
            patiently(self._copy_all)

    def _copy_all(self) -> None:
        if self._folder is not None:
            with self._copying:
                for path, state in _states(self._folder).items():
                    self._copy(path, state)

    def _copy(self, path: Path, state: tuple[int, ...]) -> None:
        if self._folder is not None and self._copied.get(path) != state:
            with contextlib.suppress(FileNotFoundError):
                self._storage.put(f"{self._label}/{path.relative_to(self._folder).as_posix()}", path)
                self._copied[path] = state

    def close(self) -> None:
        """End the thread; one that hangs in the storage is left: the next trial waits for this process."""
        self._closed.set()
        if self._folder is not None:
            self._thread.join(_HANGS)

    def _run(self) -> None:
        pause = _LOOK
        while not self._closed.wait(pause):
            began = time.monotonic()
            try:
                self._keep_newest()
            except Exception:  # the evaluation to come copies again, and tells what is wrong
                logging.getLogger(__name__).debug("a copy to the storage failed", exc_info=True)
            pause = max(_LOOK, 9 * (time.monotonic() - began))  # a tenth of the time at most

    def _keep_newest(self) -> None:
        for path in () if self._folder is None else (self._folder / CHECKPOINT_FILE, self._folder / LOG):
            with self._copying:
                found = _state(path)
                if found is not None:
                    self._copy(path, found)


def is_kept_for_going_on(name: Path) -> bool:
    """Whether a file of a trial's folder, named from there, may be what its training goes on from.

    >>> is_kept_for_going_on(Path("checkpoint.pt")), is_kept_for_going_on(Path("pictures/30-output.png"))
    (True, False)
    """
    return name.parts[0] not in (LOG, PICTURES) and not name.name.startswith(".")


def _states(folder: Path) -> dict[Path, tuple[int, ...]]:
    """The files below a folder, each with what changes when it is written; none that begins with a dot."""
    found = {path: _state(path) for path in sorted(folder.rglob("[!.]*"))}
    return {path: state for path, state in found.items() if state is not None}


def _state(path: Path) -> tuple[int, ...] | None:
    """What changes when a file is written; None where there is none."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_file():
            state = path.stat()
            return state.st_ino, state.st_size, state.st_mtime_ns
    return None
