"""A checkpoint is whole or not there, and a damaged one ends in a sentence."""

import hashlib
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainers import checkpoint
from trainers.checkpoint import FILE
from trainers.settings import Mistake

STATE = {
    "step": 3, "name": "x", "rate": 0.1, "none": None,
    "nested": {"weights": torch.arange(6.0).reshape(2, 3), "groups": [{"lr": torch.tensor(0.5)}]},
    "generator": torch.Generator().manual_seed(1).get_state(),
}  # fmt: skip


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path / "new" / "folder", STATE)
    assert path == tmp_path / "new" / "folder" / FILE
    loaded = checkpoint.load(path.parent)
    assert loaded is not None
    assert {key: loaded[key] for key in ("step", "name", "rate", "none")} == {
        "step": 3, "name": "x", "rate": 0.1, "none": None,
    }  # fmt: skip
    assert torch.equal(loaded["nested"]["weights"], STATE["nested"]["weights"])  # type: ignore[index]
    assert torch.equal(loaded["nested"]["groups"][0]["lr"], torch.tensor(0.5))
    assert torch.equal(loaded["generator"], STATE["generator"])  # type: ignore[arg-type]


def test_no_folder_and_no_file_are_no_checkpoint(tmp_path: Path) -> None:
    assert checkpoint.load(tmp_path) is None
    assert checkpoint.load(tmp_path / "never") is None


def test_one_file_a_folder_however_often_it_is_saved(tmp_path: Path) -> None:
    for step in range(3):
        checkpoint.save(tmp_path, {"step": step})
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert checkpoint.load(tmp_path) == {"step": 2}


@pytest.mark.parametrize("keep", [0, 1, 20, 60, 99, 100, 101, 500, -1])
def test_a_truncated_file_is_refused_with_the_way_out(keep: int, tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, STATE)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(RuntimeError, match=rf"{FILE} is damaged \(.*\): remove that file"):
        checkpoint.load(tmp_path)


def test_a_single_flipped_bit_is_found(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, STATE)
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(RuntimeError, match="is damaged"):
            checkpoint.load(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\n", b"PK\x03\x04", "keine Prüfsumme".encode(), os.urandom(2000)])
def test_a_file_of_another_kind_is_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(content)
    with pytest.raises(RuntimeError, match=r"is damaged \(it does not begin like one of ours\)"):
        checkpoint.load(tmp_path)


class Runs:
    """What a hostile pickle would do."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


def test_a_file_that_asks_for_code_to_be_run_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    # `save` refuses it, so it is put in by hand
    monkeypatch.setattr(torch.serialization, "get_unsafe_globals_in_checkpoint", lambda file: [])
    checkpoint.save(tmp_path, {"step": Runs()})
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RuntimeError, match=r"torch cannot read it: UnpicklingError"):
        checkpoint.load(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_file_that_holds_no_state_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, [1, 2])  # type: ignore[arg-type]
    with pytest.raises(RuntimeError, match="it holds a list and no state"):
        checkpoint.load(tmp_path)


def test_a_state_that_cannot_be_written_leaves_the_old_one_and_no_litter(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {"step": 1})
    with pytest.raises((pickle.PicklingError, AttributeError)):
        checkpoint.save(tmp_path, {"step": lambda: 2})
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert checkpoint.load(tmp_path) == {"step": 1}


def test_a_full_disk_leaves_the_old_one_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, {"step": 1})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoint.save(tmp_path, {"step": 2})
    assert [path.name for path in tmp_path.iterdir()] == [FILE]
    assert checkpoint.load(tmp_path) == {"step": 1}


WRITER = """
import sys, torch
from trainers import checkpoint
print("ready", flush=True)
while True:
    checkpoint.save(sys.argv[1], {"step": 7, "weights": torch.ones(200_000)})
"""


def test_a_kill_in_the_middle_leaves_a_whole_file(tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {"step": 0})
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE)
    assert writer.stdout is not None
    writer.stdout.readline()
    for _ in range(200):  # reading while it is replaced; then the kill lands anywhere in a save
        state = checkpoint.load(tmp_path)
        assert state is not None
        assert state["step"] in (0, 7)
    writer.kill()
    writer.wait()
    state = checkpoint.load(tmp_path)
    assert state is not None
    assert state["step"] in (0, 7)


@pytest.mark.parametrize("strange", [np.float64(1), np.zeros(2), deque([1])])
def test_what_could_not_be_loaded_again_is_refused_when_it_is_saved(strange: Any, tmp_path: Path) -> None:
    checkpoint.save(tmp_path, {"step": 1})
    with pytest.raises(Mistake, match=r"the state to save holds a \w+\.[\w.]+, but it must hold tensors"):
        checkpoint.save(tmp_path, {"step": 2, "state": [strange]})
    assert checkpoint.load(tmp_path) == {"step": 1}


def test_a_damaged_file_is_set_aside_and_a_whole_one_is_left(tmp_path: Path) -> None:
    assert checkpoint.set_aside(tmp_path) is None
    path = checkpoint.save(tmp_path, STATE)
    assert checkpoint.set_aside(tmp_path) is None and path.is_file()
    whole = path.read_bytes()
    for content in (b"", whole[:-1], whole[:300] + bytes([whole[300] ^ 1]) + whole[301:]):
        path.write_bytes(content)
        told = checkpoint.set_aside(tmp_path)
        assert told is not None and told.startswith(f"the checkpoint {path} is damaged (")
        assert checkpoint.load(tmp_path) is None
        assert [(one.name, one.read_bytes()) for one in tmp_path.iterdir()] == [(f".{FILE}-damaged", content)]


def test_every_truncation_and_every_flipped_byte_is_found(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, {"step": 3, "weights": torch.arange(4.0)})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(RuntimeError, match="is damaged"):
            checkpoint.load(tmp_path)
    for place in range(len(whole)):
        others = (
            (0xFF, 0x20) if place < 110 else (0xFF,)
        )  # the latter turns a letter's case, in the checksum too
        for other in (whole[place] ^ mask for mask in others):
            path.write_bytes(whole[:place] + bytes([other]) + whole[place + 1 :])
            with pytest.raises(RuntimeError, match="is damaged"):
                checkpoint.load(tmp_path)


def test_bytes_that_follow_are_found(tmp_path: Path) -> None:
    path = checkpoint.save(tmp_path, STATE)
    for more in (b"\0", b"\n", path.read_bytes()):
        path.write_bytes(checkpoint.save(tmp_path, STATE).read_bytes() + more)
        with pytest.raises(RuntimeError, match="its checksum is wrong"):
            checkpoint.load(tmp_path)


def signed(folder: Path, body: bytes) -> None:
    """Write a checkpoint whose checksum is right, whatever it holds."""
    header = f"sparsity-tuner checkpoint 1 sha256 {hashlib.sha256(body).hexdigest()}\n"
    (folder / FILE).write_bytes(header.encode() + body)


def test_a_checksum_that_is_right_makes_no_code_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    archive = io.BytesIO()
    torch.save({"step": Runs()}, archive)
    legacy = io.BytesIO()
    torch.save({"step": Runs()}, legacy, _use_new_zipfile_serialization=False)
    for body in (
        archive.getvalue(),
        legacy.getvalue(),
        pickle.dumps(Runs()),
        pickle.dumps({"step": Runs()}),
        b"",
    ):
        signed(tmp_path, body)
        with pytest.raises(RuntimeError, match=r"is damaged \(torch cannot read it: \w+\): remove that file"):
            checkpoint.load(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


def rewritten(body: bytes, change: Callable[[zipfile.ZipInfo, bytes], bytes], compression: int) -> bytes:
    """A checkpoint's archive with other content in its files."""
    given, made = zipfile.ZipFile(io.BytesIO(body)), io.BytesIO()
    with zipfile.ZipFile(made, "w", compression) as archive:
        for one in given.infolist():
            archive.writestr(one.filename, change(one, given.read(one)))
    return made.getvalue()


def test_a_small_file_that_unfolds_into_a_large_one_is_refused(tmp_path: Path) -> None:
    """Ours are stored as they are; one that is packed could hold gigabytes of zeros."""
    saved = io.BytesIO()
    torch.save({"weights": torch.zeros(100_000)}, saved)
    signed(tmp_path, rewritten(saved.getvalue(), lambda one, content: content, zipfile.ZIP_DEFLATED))
    with pytest.raises(RuntimeError, match=r"is damaged \(torch cannot read it: BadZipFile"):
        checkpoint.load(tmp_path)
    signed(tmp_path, rewritten(saved.getvalue(), lambda one, content: content, zipfile.ZIP_STORED))
    assert torch.equal((checkpoint.load(tmp_path) or {})["weights"], torch.zeros(100_000))


def test_a_tensor_larger_than_what_is_there_is_refused(tmp_path: Path) -> None:
    saved = io.BytesIO()
    torch.save({"weights": torch.zeros(7)}, saved)

    def larger(one: zipfile.ZipInfo, content: bytes) -> bytes:
        """Seven entries, as the pickle has them three times, become 2⁴⁰."""
        return content.replace(b"K\x07", b"\x8a\x06\x00\x00\x00\x00\x00\x01")

    signed(tmp_path, rewritten(saved.getvalue(), larger, zipfile.ZIP_STORED))
    with pytest.raises(RuntimeError, match="is damaged"):
        checkpoint.load(tmp_path)
