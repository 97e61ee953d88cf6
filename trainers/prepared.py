"""Files made once and used by many trainings: a trained classifier, statistics of a data set. No torch.

They lie in one folder of the user's, each under a name that says what it depends on, and are whole or not
there. Whoever needs one asks for it with the way to make it; who comes second waits and reads.
"""

import contextlib
import hashlib
import io
import json
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from trainers.settings import Mistake
from trainers.whole import written_whole

PLACE = "SPARSITY_TUNER_CACHE"  # the environment's variable that names the folder
Arrays = dict[str, NDArray[Any]]

_KEY, _DIGEST = "made_from", "sha256"  # stand in each file beside its arrays


def folder() -> Path:
    """Where prepared files lie: $SPARSITY_TUNER_CACHE, else `sparsity-tuner` in the user's cache folder.

    It is made when something is first written. A relative $SPARSITY_TUNER_CACHE is a Mistake, for the driver
    and its workers stand in different folders; so is a user without a home where it is not set.
    """
    named = os.environ.get(PLACE)
    if named:
        place = Path(os.path.expanduser(named))
        if not place.is_absolute():
            raise Mistake(f"{PLACE} is {named!r}, but it must be a whole path: begin it with / or ~")
        return place
    cache = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(cache if os.path.isabs(cache) else os.path.expanduser("~/.cache"))
    if not base.is_absolute():
        raise Mistake(f"this user has no home folder to keep files in: name a folder with {PLACE}")
    return base / "sparsity-tuner"


def path_of(name: str) -> Path:
    """The place of the prepared file of that name, whether it is there or not."""
    if not name or name != os.path.basename(name) or name in (".", ".."):
        raise ValueError(f"name is {name!r}, but a prepared file has a plain name without a folder")
    return folder() / name


def sha256_of(name: str) -> str | None:
    """The SHA-256 of the prepared file of that name, in hexadecimal; None where there is none."""
    content = _read(path_of(name))
    return None if content is None else hashlib.sha256(content).hexdigest()


def made_once(name: str, key: Mapping[str, Any], make: Callable[[], Arrays]) -> tuple[Arrays, str, str]:
    """The arrays that `make` gives, made where they are not there yet; the file's name and its SHA-256.

    name: says what it is, for example "classifier". key: all that the arrays depend on, as JSON can write it;
    another key is another file. make: gives arrays by name; none may hold Python objects.

    The file is NAME-<16 digits of the key's SHA-256>.npz in `folder()`. Of several processes that ask at once
    one makes it and the others wait. A damaged file is made again, with a warning. A folder that cannot be
    read or written, and a full disk, are a RuntimeError; what `make` raises is passed on.

    >>> from tempfile import TemporaryDirectory; from unittest.mock import patch
    >>> with TemporaryDirectory() as place, patch.dict(os.environ, {PLACE: place}):
    ...     first, file, _ = made_once("mean", {"data": "digits"}, lambda: {"mean": np.zeros(3)})
    ...     again, _, _ = made_once("mean", {"data": "digits"}, lambda: {"mean": 1 / 0})  # never called
    >>> file, again["mean"].tolist()
    ('mean-73cc57aeecfa89fa.npz', [0.0, 0.0, 0.0])
    """
    text = json.dumps(dict(key), sort_keys=True, allow_nan=False, separators=(",", ":"))
    path = path_of(f"{name}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.npz")
    content = _read(path)
    arrays, damage = _checked(content, text)
    if content is None or damage:
        with _alone(path):
            content = _read(path)  # while this process waited, another may have made it
            arrays, damage = _checked(content, text)
            if damage:
                warnings.warn(f"{path} is damaged ({damage}), so it is made again", stacklevel=2)
            if content is None or damage:
                content = _packed(make(), text)
                try:
                    keep(path.name, content)
                except OSError as error:
                    raise _unusable(path, "written", error) from error
                arrays = _unpacked(content)[0]
    return arrays, path.name, hashlib.sha256(content).hexdigest()


def keep(name: str, content: bytes) -> None:
    """Put that content among the prepared files, whole or not at all; OSError where it cannot be written.

    A kill at any moment leaves the old file or the new one.
    """
    path = path_of(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(path) as stream:
        stream.write(content)


def keep_if_absent(name: str, content: bytes) -> None:
    """`keep` unless a file of that name is there, whatever it holds: somebody may be reading it."""
    with _alone(path_of(name)):
        if sha256_of(name) is None:
            keep(name, content)


def versions(*packages: str) -> dict[str, str]:
    """The installed versions of packages, by the names that pip knows, for a key of `made_once`.

    What follows a + names the build, which decides how fast a thing is computed, and is left out.

    >>> list(versions("numpy", "torch"))
    ['numpy', 'torch']
    """
    return {package: metadata.version(package).partition("+")[0] for package in packages}


def _packed(arrays: Mapping[str, NDArray[Any]], text: str) -> bytes:
    plain = {name: np.asarray(array) for name, array in arrays.items()}
    barred = [name for name, array in plain.items() if array.dtype.hasobject or name in (_KEY, _DIGEST)]
    if barred:
        raise ValueError(f"the arrays {barred} cannot be kept: they hold objects, or have a name of ours")
    buffer = io.BytesIO()
    whole: Any = plain | {_KEY: np.array(text), _DIGEST: np.array(_digest(plain, text))}
    np.savez(buffer, **whole)
    return buffer.getvalue()


def _unpacked(content: bytes) -> tuple[Arrays, str, str]:
    """The arrays, the key and the digest that stand in the file's content."""
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return arrays, str(arrays.pop(_KEY)), str(arrays.pop(_DIGEST))


def _checked(content: bytes | None, text: str) -> tuple[Arrays, str]:
    """The arrays in a file's content, and what is wrong with it; nothing is where it is not there yet."""
    if content is None:
        return {}, ""
    try:
        arrays, key, digest = _unpacked(content)
    except Exception as error:  # numpy and zipfile raise many kinds over a file that is not one of theirs
        return {}, f"it cannot be read: {type(error).__name__}"
    if digest != _digest(arrays, key):
        return {}, "its checksum is wrong"
    return arrays, "" if key == text else "it was made from something else"


def _digest(arrays: Mapping[str, NDArray[Any]], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _unusable(path, "read", error) from error


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Within it, this process alone makes the file; the kernel lets go when the process dies."""
    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise _unusable(path, "locked", error) from error
    try:
        yield
    finally:
        lock.release()


def _unusable(path: Path, verb: str, error: OSError) -> RuntimeError:
    return RuntimeError(
        f"{path} cannot be {verb} ({error.strerror}): make room or give access there, or name another folder "
        f"with {PLACE}"
    )
