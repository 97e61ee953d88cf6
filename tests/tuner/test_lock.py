"""The lock: one holder, named to who comes second, gone with its process."""

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from trainers.settings import Mistake
from tuner.lock import StudyLock

HOLD = """
import sys
from pathlib import Path
from tuner.lock import StudyLock
with StudyLock(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_driver_is_told_who_holds_the_study(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    with StudyLock(folder):
        rule = rf"study 'mine' is being run by process {os.getpid()} on {socket.gethostname()} since \d{{4}}-"
        with pytest.raises(Mistake, match=rule), StudyLock(folder):
            pass
    with StudyLock(folder):
        pass


def test_the_lock_of_a_killed_driver_needs_no_waiting(tmp_path: Path) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(Mistake, match=f"by process {holder.pid} on"), StudyLock(tmp_path):
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with StudyLock(tmp_path):
        pass


def test_a_folder_that_its_holder_removes_meanwhile_is_locked_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, flock = tmp_path / "mine", fcntl.flock

    def removed_first(file: IO[str], how: int) -> None:
        monkeypatch.setattr(fcntl, "flock", flock)
        shutil.rmtree(folder)
        flock(file, how)

    monkeypatch.setattr(fcntl, "flock", removed_first)
    with StudyLock(folder):
        with pytest.raises(Mistake, match="is being run by process"), StudyLock(folder):
            pass
        assert (folder / "lock").is_file()


def test_a_folder_whose_lock_is_never_the_same_file_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a file system numbers its files anew each time."""
    monkeypatch.setattr(os.path, "samestat", lambda one, other: False)
    with (
        pytest.raises(RuntimeError, match=r"lock' cannot be locked, .* name another --root"),
        StudyLock(tmp_path),
    ):
        pass
