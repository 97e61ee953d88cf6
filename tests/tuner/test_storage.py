"""Storages: a path is worked in, an fsspec address is copied to and from."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from fsspec.implementations.local import LocalFileSystem
from small_disk import fill, small_disk

from trainers.settings import Mistake
from tuner.storage import Storage, place


@pytest.fixture(params=["path", "address"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "trials") if request.param == "path" else f"file://{tmp_path}/trials")


def test_what_a_trial_wrote_is_there_when_it_is_opened_again(storage: Storage) -> None:
    folder = storage.open("baseline:0")
    mirror = storage.mirror("baseline:0", folder)
    (folder / "pictures").mkdir()
    (folder / "pictures" / "a.png").write_bytes(b"a")
    (folder / "log.txt").write_text("one")
    mirror.keep()
    (folder / "log.txt").write_text("two")
    mirror.keep()
    mirror.close()
    storage.close(folder)
    again = storage.open("baseline:0")
    assert (again / "pictures" / "a.png").read_bytes() == b"a"
    assert (again / "log.txt").read_text() == "two"
    assert sorted(path.name for path in again.iterdir()) == ["log.txt", "pictures"]
    storage.close(again)


def test_a_single_file_is_put_listed_and_read(storage: Storage, tmp_path: Path) -> None:
    assert storage.names("shared") == []
    for text in ("one", "two"):
        (tmp_path / "mine").write_text(text)
        storage.put("shared/a.npz", tmp_path / "mine")
        with storage.local("shared/a.npz") as path:
            assert path.read_text() == text and path.name == "a.npz"
    storage.put("shared/below/b.npz", tmp_path / "mine")
    assert sorted(storage.names("shared")) == ["a.npz", "below"]
    assert storage.names("shared/below") == ["b.npz"]
    assert (tmp_path / "trials" / "shared" / "a.npz").read_text() == "two"
    with pytest.raises(FileNotFoundError), storage.local("shared/c.npz") as path:
        path.read_text()


def test_what_an_address_lends_is_taken_back(tmp_path: Path) -> None:
    storage = Storage(f"file://{tmp_path}/trials")
    (tmp_path / "mine").write_text("x")
    storage.put("a.npz", tmp_path / "mine")
    with storage.local("a.npz") as path:
        assert path != tmp_path / "trials" / "a.npz"
    assert not path.exists()


def test_an_addresss_local_folder_is_removed(tmp_path: Path) -> None:
    storage = Storage(f"file://{tmp_path}/trials")
    folder = storage.open("1")
    storage.close(folder)
    assert not folder.exists()


class Tells(Storage):
    """Tells when a file has been put there."""

    def __init__(self, where: str) -> None:
        super().__init__(where)
        self.has_put = threading.Event()

    def put(self, name: str, path: Path) -> None:
        super().put(name, path)
        self.has_put.set()


def test_what_is_written_in_place_is_copied_between_steps_alone(tmp_path: Path) -> None:
    storage = Tells(f"file://{tmp_path}/trials")
    folder = storage.open("7")
    mirror = storage.mirror("7", folder)
    (folder / "state.json").write_text('{"step": 1, ')  # in the middle of a write
    (folder / ".checkpoint.pt-12-ab").write_bytes(b"not whole yet")
    (folder / "checkpoint.pt").write_bytes(b"whole")
    assert storage.has_put.wait(100)
    assert storage.names("7") == ["checkpoint.pt"]
    mirror.keep()
    assert sorted(storage.names("7")) == ["checkpoint.pt", "state.json"]
    mirror.close()
    storage.close(folder)


def test_what_a_killed_process_left_on_the_machine_is_removed(tmp_path: Path) -> None:
    storage = Storage(f"file://{tmp_path}/trials")
    program = f"""
import os
from tuner.storage import Storage
print(Storage({storage.where!r}).open("1"), flush=True)
os._exit(9)
"""
    left = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stdout.strip()
    assert Path(left).is_dir()
    folder = storage.open("2")
    assert not Path(left).exists() and folder.is_dir()
    storage.close(folder)


def test_a_checkpoint_reaches_an_address_before_the_next_evaluation(tmp_path: Path) -> None:
    storage = Tells(f"file://{tmp_path}/trials")
    folder = storage.open("7")
    mirror = storage.mirror("7", folder)
    (folder / "checkpoint.pt").write_bytes(b"saved by the clock")
    assert storage.has_put.wait(100)
    assert (tmp_path / "trials" / "7" / "checkpoint.pt").read_bytes() == b"saved by the clock"
    mirror.close()
    storage.close(folder)


def test_so_does_the_log_whose_last_lines_say_why_a_process_was_killed(tmp_path: Path) -> None:
    storage = Tells(f"file://{tmp_path}/trials")
    folder = storage.open("7")
    mirror = storage.mirror("7", folder)
    (folder / "log.txt").write_text("200 GB are asked for\n")
    assert storage.has_put.wait(100)
    assert (tmp_path / "trials" / "7" / "log.txt").read_text() == "200 GB are asked for\n"
    mirror.close()
    storage.close(folder)


@pytest.mark.parametrize(("protocol", "renames"), [("sftp", True), ("s3", False), (("gcs", "gs"), False)])
def test_a_file_is_renamed_into_its_place_but_in_an_object_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: str | tuple[str, ...], renames: bool
) -> None:
    written: list[str] = []
    monkeypatch.setattr(LocalFileSystem, "protocol", protocol)
    monkeypatch.setattr(LocalFileSystem, "pipe_file", lambda _, path, content: written.append(path))
    monkeypatch.setattr(LocalFileSystem, "mv", lambda _, old, new: written.append(new))
    Storage(str(tmp_path)).write("a", b"x")
    assert written[-1] == f"{tmp_path}/a" and len(written) == 1 + renames


def test_a_storage_that_hangs_does_not_answer_and_one_that_fails_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tuner.storage._HANGS", 0.05)
    storage, away = Storage("memory://answers"), threading.Event()
    assert storage.answers()
    monkeypatch.setattr(storage, "read", lambda name: Path(name, "nowhere").read_bytes())
    assert storage.answers()
    monkeypatch.setattr(storage, "read", lambda name: away.wait())
    assert not storage.answers()
    away.set()


def test_only_what_has_changed_is_copied_again(tmp_path: Path) -> None:
    storage = Storage(f"file://{tmp_path}/trials")
    folder = storage.open("7")
    mirror = storage.mirror("7", folder)
    (folder / "a.bin").write_bytes(b"a")
    mirror.keep()
    copied = tmp_path / "trials" / "7" / "a.bin"
    copied.unlink()
    mirror.keep()
    assert not copied.exists()
    (folder / "a.bin").write_bytes(b"another")
    mirror.keep()
    assert copied.read_bytes() == b"another"
    mirror.close()


def test_a_place_is_known_by_its_studys_mark(storage: Storage) -> None:
    assert not storage.is_marked("u1")
    storage.mark("u1")
    assert storage.is_marked("u1") and not storage.is_marked("u2")


def test_small_files_are_written_read_and_removed(storage: Storage) -> None:
    assert storage.read("check/a") is None
    storage.write("check/a", b"x")
    assert storage.read("check/a") == b"x"
    storage.remove("check")
    storage.remove("check")
    assert storage.read("check/a") is None


def test_check_and_delete(storage: Storage, tmp_path: Path) -> None:
    storage.check()
    folder = storage.open("1")
    mirror = storage.mirror("1", folder)
    (folder / "log.txt").write_text("x")
    mirror.keep()
    storage.close(folder)
    storage.delete()
    assert not (tmp_path / "trials").exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RuntimeError, match=r"the storage '.*file/trials' cannot be written and read"):
        Storage(f"{tmp_path}/file/trials").check()


def test_a_storage_that_does_not_answer_for_a_while_is_tried_again_and_a_full_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.storage._PATIENCE", (0.0, 0.0))
    storage = Storage("memory://away")
    folder = storage.open("7")
    mirror = storage.mirror("7", folder)
    (folder / "log.txt").write_text("x")
    put, errors = storage.put, [OSError(110, "Connection timed out"), ValueError("503")]

    def away(name: str, path: Path) -> None:
        if errors:
            raise errors.pop(0)
        put(name, path)

    monkeypatch.setattr(storage, "put", away)
    mirror.keep()
    assert storage.read("7/log.txt") == b"x"
    (folder / "log.txt").write_text("xy")
    errors = [OSError(28, "No space left on device"), OSError(28, "and this one is not reached")]
    with pytest.raises(OSError, match="No space left"):
        mirror.keep()
    assert len(errors) == 1
    mirror.close()
    storage.close(folder)


def test_a_storage_that_hangs_does_not_hold_the_process_that_the_next_trial_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tuner.storage._HANGS", 0.1)
    monkeypatch.setattr("tuner.storage._LOOK", 0.0)
    storage, reached, lets_go = Storage("memory://hangs"), threading.Event(), threading.Event()
    folder = storage.open("7")

    def hang(name: str, path: Path) -> None:
        reached.set()
        lets_go.wait()

    monkeypatch.setattr(storage, "put", hang)
    mirror = storage.mirror("7", folder)
    (folder / "checkpoint.pt").write_text("x")
    assert reached.wait(60)
    mirror.close()
    lets_go.set()
    storage.close(folder)


def test_a_small_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 1) as disk:
        storage = Storage(str(disk))
        storage.write("mark", b"old")
        fill(disk)
        with pytest.raises(OSError, match="No space left"):
            storage.write("mark", bytes(2**20))
        assert storage.read("mark") == b"old" and set(storage.names("")) == {"mark", "filler"}


@pytest.mark.parametrize("uuid", ["/../..", "..", "", "a/b"])
def test_a_uuid_out_of_a_file_leads_to_no_other_place(tmp_path: Path, uuid: str) -> None:
    with pytest.raises(
        Mistake, match=r"the uuid of study 'mine' is .*, but it must be letters and digits alone"
    ):
        place("s3://bucket", tmp_path / "mine", uuid)
