"""Prepared files: made once, whole or not there, never read when damaged."""

import fcntl
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainers import prepared
from trainers.prepared import PLACE, folder, made_once, path_of, sha256_of
from trainers.settings import Mistake

ARRAYS = {
    "weights": np.arange(12, dtype=np.float32).reshape(3, 4),
    "scatter": np.array([[np.pi, np.nan], [np.inf, 1e-300]]),
    "count": np.array(7),
    "bytes": np.array([0, 255], np.uint8),
    "nothing": np.zeros((0, 5)),
}
KEY = {"data": "abc", "recipe": 1}


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(PLACE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def never() -> Any:
    raise AssertionError("it was made again")


def make() -> prepared.Arrays:
    return dict(ARRAYS)


def same(arrays: prepared.Arrays) -> bool:
    return arrays.keys() == ARRAYS.keys() and all(
        arrays[name].dtype == array.dtype and np.array_equal(arrays[name], array, equal_nan=True)
        for name, array in ARRAYS.items()
    )


def test_what_was_made_comes_back_and_is_not_made_again(place: Path) -> None:
    assert not place.exists()
    arrays, file, digest = made_once("classifier", KEY, make)
    assert same(arrays)
    again, file_again, digest_again = made_once("classifier", dict(reversed(KEY.items())), never)
    assert same(again)
    assert (file_again, digest_again) == (file, digest)
    assert path_of(file) == place / file and path_of(file).is_file()
    assert sha256_of(file) == digest
    assert sha256_of("other.npz") is None
    assert file.startswith("classifier-") and len(file) == len("classifier-0123456789abcdef.npz")


def test_the_same_arrays_are_the_same_file_bit_for_bit(place: Path) -> None:
    _, file, digest = made_once("a", KEY, make)
    (place / file).unlink()
    assert made_once("a", KEY, make)[1:] == (file, digest)


@pytest.mark.parametrize(
    "key", [{"data": "abd", "recipe": 1}, {"data": "abc"}, {"data": "abc", "recipe": "1"}]
)
def test_another_key_is_another_file(key: dict[str, Any]) -> None:
    _, file, _ = made_once("a", KEY, make)
    arrays, other, _ = made_once("a", key, lambda: {"x": np.ones(1)})
    assert other != file
    assert arrays["x"].tolist() == [1.0]
    assert made_once("b", KEY, lambda: {"x": np.ones(1)})[1] not in (file, other)


def test_the_folder_is_the_environments_or_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setenv(PLACE, "~/elsewhere")
    assert folder() == Path("/home/somebody/elsewhere")
    monkeypatch.setenv(PLACE, "")
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/caches")
    assert folder() == Path("/var/caches/sparsity-tuner")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert folder() == Path("/home/somebody/.cache/sparsity-tuner")
    monkeypatch.setenv(PLACE, "relative")
    with pytest.raises(Mistake, match=r"SPARSITY_TUNER_CACHE is 'relative', but it must be a whole path"):
        folder()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "../a", "/etc/passwd"])
def test_a_name_stays_in_the_folder(name: str) -> None:
    with pytest.raises(ValueError, match="has a plain name without a folder"):
        path_of(name)
    with pytest.raises(ValueError, match="has a plain name without a folder"):
        sha256_of(name)


def damages() -> dict[str, Callable[[bytes], bytes]]:
    kinds: dict[str, Callable[[bytes], bytes]] = {
        f"cut at {keep}": lambda whole, keep=keep: whole[:keep]  # type: ignore[misc]
        for keep in (0, 1, 4, 30, 100, 500, -1, -30)
    }
    bare = io.BytesIO()
    np.save(bare, np.zeros(3))
    missing = io.BytesIO()
    np.savez(missing, x=np.zeros(3))
    return kinds | {
        "text": lambda whole: b"no such format",
        "one array": lambda whole: bare.getvalue(),
        "without a checksum": lambda whole: missing.getvalue(),
    }


@pytest.mark.parametrize("kind", damages())
def test_a_damaged_file_is_made_again_and_said_so(kind: str, place: Path) -> None:
    _, file, digest = made_once("a", KEY, make)
    (place / file).write_bytes(damages()[kind]((place / file).read_bytes()))
    with pytest.warns(UserWarning, match=rf"{file} is damaged \(.*\), so it is made again"):
        arrays, _, again = made_once("a", KEY, make)
    assert same(arrays)
    assert again == digest
    assert same(made_once("a", KEY, never)[0])


def test_no_flipped_bit_reaches_the_arrays(place: Path) -> None:
    _, file, _ = made_once("a", KEY, make)
    whole = (place / file).read_bytes()
    noticed = 0
    for at in range(0, len(whole), 23):
        (place / file).write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            assert same(made_once("a", KEY, make)[0])
        noticed += len(told)
    assert noticed > 50  # the rest lies in what a zip file says twice or nobody reads


def test_an_array_that_was_exchanged_is_noticed(place: Path) -> None:
    _, file, _ = made_once("a", KEY, make)
    with np.load(place / file) as content:
        forged = {name: content[name] for name in content.files} | {"count": np.array(8)}
    np.savez(place / file, **forged)
    with pytest.warns(UserWarning, match="its checksum is wrong"):
        assert same(made_once("a", KEY, make)[0])


def test_a_file_of_another_key_under_this_name_is_noticed(place: Path) -> None:
    _, file, _ = made_once("a", KEY, make)
    _, other, _ = made_once("a", {"data": "b"}, lambda: {"x": np.ones(1)})
    shutil.copy(place / other, place / file)
    with pytest.warns(UserWarning, match="it was made from something else"):
        assert same(made_once("a", KEY, make)[0])


class Runs:
    """What a hostile pickle would do."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


def test_a_file_that_asks_for_code_to_be_run_is_not_obeyed(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _, file, _ = made_once("a", KEY, make)
    np.savez(place / file, x=np.array([Runs()], object))
    with pytest.warns(UserWarning, match="is damaged"):
        assert same(made_once("a", KEY, make)[0])
    assert not (tmp_path / "ran").exists()


def test_what_cannot_be_kept_is_refused(place: Path) -> None:
    with pytest.raises(ValueError, match=r"the arrays \['x'\] cannot be kept"):
        made_once("a", KEY, lambda: {"x": np.array([Runs()], object)})
    with pytest.raises(ValueError, match=r"the arrays \['sha256'\] cannot be kept"):
        made_once("a", KEY, lambda: {"sha256": np.zeros(1)})
    with pytest.raises(TypeError):
        made_once("a", {"data": object()}, make)
    with pytest.raises(ValueError, match="JSON"):
        made_once("a", {"rate": float("nan")}, make)


def files(place: Path) -> list[str]:
    return sorted(path.name for path in place.iterdir() if path.suffix != ".lock")


def test_what_making_raises_is_passed_on_and_leaves_nothing(place: Path) -> None:
    with pytest.raises(AssertionError, match="it was made again"):
        made_once("a", KEY, never)
    assert files(place) == []
    assert same(made_once("a", KEY, make)[0])


def test_a_full_disk_is_a_sentence_and_leaves_no_litter(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RuntimeError, match=rf"cannot be written \(No space left.*\): make room .* {PLACE}"):
        made_once("a", KEY, make)
    assert files(place) == []


def test_a_folder_that_is_none_is_a_sentence(place: Path) -> None:
    place.write_text("")
    with pytest.raises(RuntimeError, match=rf"a-.*\.npz cannot be read \(Not a directory\): .* {PLACE}"):
        made_once("a", KEY, make)


def test_a_folder_in_the_files_place_is_a_sentence(place: Path) -> None:
    _, file, _ = made_once("a", KEY, make)
    (place / file).unlink()
    (place / file).mkdir()
    with pytest.raises(RuntimeError, match=r"cannot be read \(Is a directory\)"):
        made_once("a", KEY, make)


def test_who_waited_reads_what_the_other_made(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, file, _ = made_once("a", KEY, make)
    content = (place / file).read_bytes()
    (place / file).unlink()
    waits, flock, found = threading.Event(), fcntl.flock, []

    def asked(stream: Any, operation: int) -> None:
        waits.set()
        flock(stream, operation)

    with open((place / file).with_suffix(".lock"), "ab") as held:
        flock(held, fcntl.LOCK_EX)
        monkeypatch.setattr(fcntl, "flock", asked)
        second = threading.Thread(target=lambda: found.append(made_once("a", KEY, never)))
        second.start()
        assert waits.wait(30)  # it saw no file, and asks for the lock
        (place / file).write_bytes(content)
    second.join()
    assert same(found[0][0])


MAKER = """
import json, os, signal, sys
import numpy as np
from trainers.prepared import made_once

def make():
    with open(sys.argv[1], "a") as log:
        log.write("made\\n")
    if sys.argv[2] == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"x": np.sort(np.random.default_rng(0).random(1_000_000))}

print("torch" in sys.modules, flush=True)
sys.stdin.readline()
print(json.dumps(made_once("a", {}, make)[1:]))
"""


def makers(log: Path, how: str, count: int) -> list[tuple[int, str]]:
    """Let so many processes ask at once: their exit statuses and what they print at last."""
    command = [sys.executable, "-c", MAKER, str(log), how]
    pipe = subprocess.PIPE
    running = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]
    for one in running:
        assert one.stdout is not None
        assert one.stdout.readline() == "False\n", "importing trainers.prepared imports torch"
    for one in running:
        assert one.stdin is not None
        one.stdin.write("go\n")
        one.stdin.flush()
    return [(one.wait(), out) for one in running for out in [one.communicate()[0]]]


def test_processes_that_ask_at_once_make_it_once(tmp_path: Path) -> None:
    ended = makers(tmp_path / "log", "return", 3)
    assert (tmp_path / "log").read_text() == "made\n"
    assert len({out for _, out in ended}) == 1
    file, digest = json.loads(ended[0][1])
    assert sha256_of(file) == digest


def test_one_that_is_killed_while_it_makes_stands_in_nobodys_way(tmp_path: Path, place: Path) -> None:
    assert makers(tmp_path / "log", "die", 1)[0][0] == -signal.SIGKILL
    assert files(place) == []
    assert makers(tmp_path / "log", "return", 1)[0][0] == 0


def test_a_user_without_a_home_is_told_what_to_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as a number: no HOME, and no line in /etc/passwd either."""
    for name in ("HOME", PLACE, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 54321)
    with pytest.raises(Mistake, match=f"no home folder to keep files in: name a folder with {PLACE}"):
        folder()
    monkeypatch.setenv(PLACE, "~/x")
    with pytest.raises(Mistake, match="it must be a whole path"):
        folder()
