"""Where the trials' folders lie: below a path that all machines reach, or below an fsspec address."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import fsspec

LOG = "log.txt"  # what a trial printed


def place(storage: str | None, folder: Path, uuid: str) -> str:
    """Where a study's trials lie: in its own folder, or in one of their own below the spec's `storage`.

    `folder` is ROOT/NAME. A storage may be shared by studies, and by other things.
    """
    return str(folder / "trials") if storage is None else f"{storage.rstrip('/')}/{folder.name}-{uuid[:8]}"


class Storage:
    """The trials' folders of one study.

    With a path a trial works in its folder there. With an fsspec address (`s3://bucket/…`) it works in a
    temporary local folder, which is copied to the address after each evaluation.

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

    def keep(self, label: str, folder: Path) -> None:
        """Bring what a trial wrote in its local `folder` to the storage, each file whole or not at all."""
        if not self._remote:
            return
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            self.put(f"{label}/{path.relative_to(folder).as_posix()}", path)

    def put(self, name: str, path: Path) -> None:
        """Bring a local file to the storage as `name` (`7/log.txt`), whole or not at all."""
        files, there = self._at(name)
        files.makedirs(there.rpartition("/")[0], exist_ok=True)
        if "file" in (files.protocol if isinstance(files.protocol, tuple) else (files.protocol,)):
            files.put_file(str(path), f"{there}.part")  # an object store shows whole objects by itself
            files.mv(f"{there}.part", there)
        else:
            files.put_file(str(path), there)

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
        files, there = self._at()
        if files.exists(there):
            files.rm(there, recursive=True)

    def _at(self, name: str = "") -> tuple[fsspec.AbstractFileSystem, str]:
        where = self.where if self._remote else str(Path(self.where).resolve())
        files, there = fsspec.core.url_to_fs(where)
        return files, f"{there.rstrip('/')}/{name}".rstrip("/")
