"""Where the trials' folders lie: below a path that all machines reach, or below an fsspec address."""

import contextlib
import logging
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import fsspec

LOG = "log.txt"  # what a trial printed
PICTURES = "pictures"  # and drew
_LOOK = 1.0  # seconds between two looks for a checkpoint that was saved
_MARK = ".study"  # holds the study's uuid, for workers to know the place by


def place(storage: str | None, folder: Path, uuid: str) -> str:
    """Where a study's trials lie: in its own folder, or in one of their own below the spec's `storage`.

    `folder` is ROOT/NAME. A storage may be shared by studies, and by other things.
    """
    return str(folder / "trials") if storage is None else f"{storage.rstrip('/')}/{folder.name}-{uuid[:8]}"


class Storage:
    """The trials' folders of one study.

    With a path a trial works in its folder there. With an fsspec address (`s3://bucket/…`) it works in a
    temporary local folder; what changes there is copied to the address, after each evaluation and, by
    `Mirror`, whenever a checkpoint is saved.

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
            return folder
        folder = Path(tempfile.mkdtemp(prefix="sparsity-tuner-"))
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

    def put(self, name: str, path: Path) -> None:
        """Bring a local file to the storage as `name` (`7/log.txt`), whole or not at all."""
        files, there = self._at(name)
        files.makedirs(there.rpartition("/")[0], exist_ok=True)
        if "file" in (files.protocol if isinstance(files.protocol, tuple) else (files.protocol,)):
            files.put_file(str(path), f"{there}.part")  # an object store shows whole objects by itself
            files.mv(f"{there}.part", there)
        else:
            files.put_file(str(path), there)

    def write(self, name: str, content: bytes) -> None:
        """Put a small file with that content there as `name`; OSError, or what the storage raises, if not."""
        files, there = self._at(name)
        files.makedirs(there.rpartition("/")[0], exist_ok=True)
        files.pipe_file(there, content)

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


class Mirror:
    """Copies what a trial writes in its local folder to the storage, each file whole or not at all.

    `keep` copies all that has changed. A thread does so whenever another file than the log or a picture has,
    so that a checkpoint that was saved by the clock survives the loss of this machine.

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
        """Copy what has changed."""
        if self._folder is None:
            return
        with self._copying:
            for path, state in _states(self._folder).items():
                if self._copied.get(path) != state:
                    with contextlib.suppress(FileNotFoundError):  # a temporary file that has its name by now
                        self._storage.put(f"{self._label}/{path.relative_to(self._folder).as_posix()}", path)
                        self._copied[path] = state

    def close(self) -> None:
        """End the thread."""
        self._closed.set()
        if self._folder is not None:
            self._thread.join()

    def _run(self) -> None:
        pause = _LOOK
        while not self._closed.wait(pause):
            began = time.monotonic()
            try:
                if self._has_more_than_words():
                    self.keep()
            except Exception:  # the evaluation to come copies again, and tells what is wrong
                logging.getLogger(__name__).debug("a copy to the storage failed", exc_info=True)
            pause = max(_LOOK, 9 * (time.monotonic() - began))  # a tenth of the time at most

    def _has_more_than_words(self) -> bool:
        folder = self._folder
        return folder is not None and any(
            self._copied.get(path) != state
            for path, state in _states(folder).items()
            if is_kept_for_going_on(path.relative_to(folder))
        )


def is_kept_for_going_on(name: Path) -> bool:
    """Whether a file of a trial's folder, named from there, may be what its training goes on from.

    >>> is_kept_for_going_on(Path("checkpoint.pt")), is_kept_for_going_on(Path("pictures/30-output.png"))
    (True, False)
    """
    return name.parts[0] not in (LOG, PICTURES) and not name.name.startswith(".")


def _states(folder: Path) -> dict[Path, tuple[int, ...]]:
    """All files below a folder, each with what changes when it is written."""
    found: dict[Path, tuple[int, ...]] = {}
    for path in sorted(folder.rglob("*")):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                state = path.stat()
                found[path] = (state.st_ino, state.st_size, state.st_mtime_ns)
    return found
