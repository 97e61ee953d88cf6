"""A training's state in a folder: one file, whole or not there, and never read when it is damaged."""

import hashlib
import io
import os
import zipfile
from pathlib import Path
from typing import Any

import torch

from trainers.settings import Mistake
from trainers.whole import written_whole

FILE = "checkpoint.pt"
_HEADER = b"sparsity-tuner checkpoint 1 sha256 "  # then the digest of all that follows the line


def save(folder: str | os.PathLike[str], state: dict[str, Any]) -> Path:
    """Put the state (tensors, numbers, texts, and dicts and lists of them) in place of what folder holds.

    A Mistake where it holds anything else, which could not be loaded again: reading it would run code.
    A kill at any moment leaves the old file or the new one.
    """
    target = Path(folder) / FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    strange = torch.serialization.get_unsafe_globals_in_checkpoint(buffer)
    if strange:
        raise Mistake(
            f"the state to save holds a {strange[0]}, but it must hold tensors, Python's own numbers, texts, "
            "and dicts and lists of them: turn it into such in state_dict"
        )
    body = buffer.getbuffer()
    with written_whole(target) as stream:
        stream.write(_HEADER + hashlib.sha256(body).hexdigest().encode() + b"\n")
        stream.write(body)
    return target


def load(folder: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The state that folder holds, on the CPU; None where it holds none; RuntimeError where it is damaged.

    Only data is read: a file that asks for code to be run is refused.
    """
    path = Path(folder) / FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    damage, body = _checked(content)
    if damage is not None:
        raise _damaged(path, damage)
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            if any(one.compress_type != zipfile.ZIP_STORED for one in archive.infolist()):
                raise zipfile.BadZipFile("packed: it could unfold into more than there is memory")
        state = torch.load(io.BytesIO(body), map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises several kinds, of several modules
        raise _damaged(path, f"torch cannot read it: {type(error).__name__}") from error
    if not isinstance(state, dict):
        raise _damaged(path, f"it holds a {type(state).__name__} and no state")
    return state


def set_aside(folder: str | os.PathLike[str]) -> str | None:
    """Rename a damaged file of folder, so that its training begins again; why, or None where there is none.

    Only its checksum is looked at: what is whole and cannot be read is for a person to look at.
    """
    path = Path(folder) / FILE
    try:
        damage, _ = _checked(path.read_bytes())
    except FileNotFoundError:
        return None
    if damage is None:
        return None
    kept = path.with_name(f".{FILE}-damaged")
    os.replace(path, kept)
    return (
        f"the checkpoint {path} is damaged ({damage}): it is {kept.name} now, and the training begins again"
    )


def _checked(content: bytes) -> tuple[str | None, bytes]:
    """What is wrong with a file's bytes, if anything, and the state in them."""
    header, _, body = content.partition(b"\n")
    if not header.startswith(_HEADER):
        return "it does not begin like one of ours", body
    if header[len(_HEADER) :].decode("ascii", "replace") != hashlib.sha256(body).hexdigest():
        return "its checksum is wrong, as after a full disk or a broken copy", body
    return None, body


def _damaged(path: Path, why: str) -> RuntimeError:
    return RuntimeError(
        f"the checkpoint {path} is damaged ({why}): remove that file, and the training "
        "starts from its beginning"
    )
