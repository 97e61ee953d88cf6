"""Where the trials' folders lie: below a path that all machines reach, or below an fsspec address."""

import shutil
import tempfile
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
        files, there = self._at(label)
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = f"{there}/{path.relative_to(folder).as_posix()}"
            files.makedirs(name.rpartition("/")[0], exist_ok=True)
            if "file" in (files.protocol if isinstance(files.protocol, tuple) else (files.protocol,)):
                files.put_file(str(path), f"{name}.part")  # an object store shows whole objects by itself
                files.mv(f"{name}.part", name)
            else:
                files.put_file(str(path), name)

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

    def _at(self, label: str = "") -> tuple[fsspec.AbstractFileSystem, str]:
        where = self.where if self._remote else str(Path(self.where).resolve())
        files, there = fsspec.core.url_to_fs(where)
        return files, f"{there.rstrip('/')}/{label}".rstrip("/")
