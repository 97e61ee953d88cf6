"""A file is whole or not there, and what was there before stays until then."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_disk import fill, small_disk

from trainers.whole import remove_unfinished, written_whole


def test_a_file_appears_when_its_block_ends_and_not_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"first", b"second"):
        before = path.read_bytes() if path.exists() else None
        with written_whole(path) as stream:
            stream.write(content)
            stream.flush()
            assert (path.read_bytes() if path.exists() else None) == before
        assert path.read_bytes() == content
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_an_error_on_the_way_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(KeyError), written_whole(path) as stream:
        stream.write(b"new")
        raise KeyError
    assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [("file", b"old")]


def test_a_full_disk_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        path = disk / "file"
        path.write_bytes(b"old")
        fill(disk)
        with pytest.raises(OSError, match="No space left") as caught, written_whole(path) as stream:
            stream.write(os.urandom(2**20))
        assert caught.value.errno == errno.ENOSPC
        assert {one.name for one in disk.iterdir()} == {"file", "filler"} and path.read_bytes() == b"old"


def test_what_a_killed_writer_left_is_removed_after_an_hour_and_nothing_else(tmp_path: Path) -> None:
    writer = f"""
import os
from trainers.whole import written_whole
with written_whole({str(tmp_path / "checkpoint.pt")!r}) as stream:
    stream.write(b"half")
    os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", writer], check=False).returncode == 9
    (left,) = tmp_path.iterdir()
    for name in (".study", ".note-1", "checkpoint.pt"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (0, 0))
    remove_unfinished(tmp_path)
    assert left.exists()  # somebody may still write to it
    os.utime(left, (0, 0))
    remove_unfinished(tmp_path)
    assert {one.name for one in tmp_path.iterdir()} == {".study", ".note-1", "checkpoint.pt"}
