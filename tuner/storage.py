"""Where the trials' folders lie: a path that all machines reach, or an fsspec address."""

import shutil
import tempfile
from pathlib import Path

import fsspec


class Storage:
    """The trials' folders of one study.

    With a path a trial works in its folder there. With an fsspec address (`s3://bucket/study`) it works in a
    temporary local folder, which is copied to the address after each evaluation.

    Args:
        where: a path or an fsspec address.
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
        files, there = fsspec.core.url_to_fs(f"{self.where}/{label}")
        if files.exists(there):
            files.get(f"{there}/", f"{folder}/", recursive=True)
        return folder

    def keep(self, label: str, folder: Path) -> None:
        """Bring what a trial wrote in its local `folder` to the storage."""
        if self._remote:
            files, there = fsspec.core.url_to_fs(f"{self.where}/{label}")
            files.makedirs(there, exist_ok=True)
            files.put(f"{folder}/", f"{there}/", recursive=True)

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
            files, there = fsspec.core.url_to_fs(
                self.where if self._remote else str(Path(self.where).resolve())
            )
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
        """Remove the folders of all trials."""
        files, there = fsspec.core.url_to_fs(self.where if self._remote else str(Path(self.where).resolve()))
        if files.exists(there):
            files.rm(there, recursive=True)
