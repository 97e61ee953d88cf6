"""What all trials of a study share (`Task.prepare`): made by its driver, kept beside the trials' folders, and
brought to each worker that lacks it.

Its names and SHA-256 stand in the frozen spec and, through the plan, in every checkpoint and exported file.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from trainers import prepared as cache
from trainers.settings import Mistake
from trainers.tasks import companions_of, find_task, measured_of, prepared_of
from tuner.storage import Storage

if TYPE_CHECKING:
    from tuner.spec import StudySpec

FOLDER = "prepared"  # in the storage
_FILE = ".npz"  # ends the name of a file; any other name is that of a fingerprint, which has nothing to bring


def begun(frozen: "StudySpec") -> "StudySpec":
    """The spec of a new study with what its trials share, which is made where it is not there yet.

    Raises:
        Mistake: a function of the task gives what it must not, or names a file that it has not made.
    """
    bare = frozen.model_copy(update={"prepared": {}})  # as with the uuid, what a user wrote there is nothing
    task, plan = find_task(bare.task), bare.plan_with({}, {})
    measured_of(task, plan)  # both are asked for later, where a wrong one would stop a study that has begun
    companions_of(task, plan)
    shared = prepared_of(task, plan)
    for name, digest in _files(shared).items():
        found = cache.sha256_of(name)
        if found != digest:
            there = "there is no such file" if found is None else f"that file has {found[:12]}…"
            raise Mistake(
                f"prepare of task {task.name} names {name} of SHA-256 {digest[:12]}…, but in "
                f"{str(cache.folder())!r} {there}: make it with trainers.prepared.made_once"
            )
    return bare.model_copy(update={"prepared": shared})


def checked(spec: "StudySpec", storage: Storage) -> None:
    """Before a study goes on: its files are at hand here, and what it shares is still what it began with.

    A file that neither the storage nor this machine has is made again; the same one serves.

    Raises:
        Mistake: it is not, so every trial to come would be refused; or nobody has its files any more.
    """
    if spec.prepared:
        before = os.environ.get(cache.PLACE)
        try:
            _keep_apart(spec.prepared)
            for name, digest in _files(spec.prepared).items():
                _taken(name, digest, storage)
            plan = spec.plan_with({}, {})
            plan.refuse_another(prepared_of(find_task(spec.task), plan))
            bring(spec.prepared, storage)
        finally:
            os.environ.pop(cache.PLACE, None)
            if before is not None:
                os.environ[cache.PLACE] = before


def bring(shared: Mapping[str, str], storage: Storage) -> None:
    """Put the files among them into the storage, as far as they are not there whole.

    Raises:
        Mistake: neither the storage nor this machine has one of them.
    """
    for name, digest in _files(shared).items():
        if _digest(_stored(name, storage)) == digest:
            continue
        if cache.sha256_of(name) != digest:
            raise Mistake(
                f"the study was begun with {name} of SHA-256 {digest[:12]}…, which is neither in its storage "
                f"{storage.where!r} nor here as {str(cache.path_of(name))!r}: go on where it is, or begin "
                "another study"
            )
        storage.put(f"{FOLDER}/{name}", cache.path_of(name))


def fetch(shared: Mapping[str, str], storage: Storage) -> None:
    """Bring the files among them from the storage to this machine, as far as it lacks them or has others.

    For a worker's process, which trains for one study: where this machine has a file of the same name with
    another content, the process keeps its own apart from then on.

    Raises:
        OSError: the storage does not have them, or not as they were, as this machine sees it. That is no
            fault of the plan: the trial is tried again, on another machine or once the file is there.
    """
    _keep_apart(shared)
    for name, digest in _files(shared).items():
        if not _taken(name, digest, storage):
            state = "is damaged" if _stored(name, storage) else "is not there"
            raise OSError(
                f"{FOLDER}/{name} in the storage {storage.where!r} {state}: `resume` on a machine that has "
                "that file brings it again"
            )


def _keep_apart(shared: Mapping[str, str]) -> None:
    """Take a cache folder of its own where the usual one has other content under these names.

    It may be another study's, whose trainings read it now; the folder is named after all of the content.
    """
    files = _files(shared)
    if any(cache.sha256_of(name) not in (None, digest) for name, digest in files.items()):
        own = _digest(json.dumps(files, sort_keys=True).encode())[:16]
        os.environ[cache.PLACE] = str(cache.folder() / own)


def _taken(name: str, digest: str, storage: Storage) -> bool:
    """Whether this machine has the file, which is brought from the storage where that has it whole."""
    if cache.sha256_of(name) == digest:
        return True
    content = _stored(name, storage)
    if _digest(content) != digest:
        return False
    cache.keep_if_absent(name, content)
    return cache.sha256_of(name) == digest


def _files(shared: Mapping[str, str]) -> dict[str, str]:
    return {name: digest for name, digest in shared.items() if name.endswith(_FILE)}


def _stored(name: str, storage: Storage) -> bytes:
    """What the storage has of the file; nothing where it does not have it."""
    try:
        with storage.local(f"{FOLDER}/{name}") as path:
            return path.read_bytes()
    except FileNotFoundError:
        return b""


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
