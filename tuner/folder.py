"""A study's folder ROOT/NAME: its frozen spec, where its record is, and how both come to be."""

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from trainers.settings import Mistake
from trainers.whole import written_whole
from tuner import tracking as tracking_
from tuner.lock import LOCK, StudyLock
from tuner.record import Record
from tuner.secrets import refuse_password, without_password
from tuner.spec import StudySpec, differences, freeze, to_yaml
from tuner.storage import TRIALS, Storage, place

DATABASE = "study.db"
SPEC = "spec.yaml"


def studies(root: str | Path) -> list[str]:
    """The names of the studies under `root`."""
    return sorted(path.parent.name for path in Path(root).glob(f"*/{SPEC}"))


def database_of(spec: StudySpec, folder: Path) -> str:
    """The address of a study's record."""
    return spec.database or f"sqlite:///{(folder / DATABASE).resolve()}"


def write_spec(folder: Path, spec: StudySpec) -> None:
    """Copy the frozen spec beside the record, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    with written_whole(folder / SPEC) as stream:
        stream.write(to_yaml(spec).encode())


def record_exists(wanted: StudySpec, folder: Path) -> bool:
    """Whether there is a study of that name, in the folder or in the database that the spec names.

    A creation that was interrupted is none, and is finished.

    Raises:
        RuntimeError: the folder's spec, which is written after the record, says that there was one; or the
            record is damaged or does not answer.
    """
    there = wanted.database is not None or (folder / DATABASE).exists()
    if there and Record.exists(database_of(wanted, folder), wanted.name):
        return True
    if (folder / SPEC).is_file():
        lost = wanted.database or str(folder / DATABASE)
        raise RuntimeError(
            f"study {wanted.name!r} has its {SPEC} in {str(folder)!r} and its record is not in "
            f"{without_password(lost)}: put back a copy of it, or remove that folder to begin anew"
        )
    return False


def same_study(wanted: StudySpec, folder: Path) -> Record:
    """The record of the study that exists under the name of `wanted`.

    Raises:
        Mistake: it has another frozen spec; the sentence lists the keys.
    """
    record = Record(database_of(wanted, folder), wanted.name)
    frozen = freeze(wanted, startup_trials=record.spec.search.startup_trials)
    changed = differences(record.spec, frozen)
    if changed:
        raise Mistake(
            f"study {wanted.name!r} exists with another {', '.join(changed)}: "
            "give this one another name with --name, or delete that one"
        )
    if not (folder / SPEC).is_file():  # another machine, whose `database` has found the record
        write_spec(folder, record.spec)
    return record


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Hold a study's folder while the study comes to be; where none does, the folders made for it go.

    Raises:
        Mistake: another process holds it.
    """
    trials = folder / TRIALS
    made = [one for one in (trials, folder, *folder.parents) if not one.exists()]
    with StudyLock(folder):
        try:
            yield
        except BaseException:
            if made and not any((folder / one).exists() for one in (DATABASE, SPEC)):
                if trials in made:
                    shutil.rmtree(trials, ignore_errors=True)
                if folder in made:
                    (folder / LOCK).unlink()
                for one in made:
                    with contextlib.suppress(OSError):  # somebody has put something there meanwhile
                        one.rmdir()
            raise


def remove(folder: Path) -> None:
    """Remove a study's folder, whose lock is held: that goes last, so that nobody takes it in between."""
    for one in folder.iterdir():
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        elif one.name != LOCK:
            one.unlink()
    shutil.rmtree(folder)


def create(frozen: StudySpec, folder: Path) -> Record:
    """Write a new study, in a `new_folder`: the record first, then the copy of its spec.

    Raises:
        Mistake: a driver with another folder has put one of that name into the database meanwhile.
    """
    record = Record.create(database_of(frozen, folder), frozen)
    if record.spec.uuid != frozen.uuid:
        record.close()
        raise Mistake(
            f"another driver has begun a study {frozen.name!r} in that database just now: give this one "
            "another name with --name, or search again to go on with that one"
        )
    write_spec(folder, record.spec)
    return record


def settled(
    frozen: StudySpec, folder: Path, tracking: str, reach: Callable[[Storage], None] = lambda storage: None
) -> StudySpec:
    """The frozen spec with its places resolved, each of them tried before anything is written.

    `reach` tries the storage from where the trials will run, and whatever else may refuse the study.

    Raises:
        Mistake: `reach` says so, or a password stands in the address.
        RuntimeError: the tracking or the storage does not answer.
    """
    storage = frozen.storage
    if storage is not None and "://" not in storage:
        storage = os.path.abspath(storage)  # workers and later commands stand elsewhere
    refuse_password("tracking", tracking)  # it may come from the environment
    places = {"uuid": uuid.uuid4().hex, "storage": storage, "tracking": tracking}
    there = Storage(place(storage, folder.resolve(), places["uuid"] or ""))
    there.check()
    held = there.names("")
    try:
        reach(there)
        tracking_.check(tracking)  # last, for it makes a SQLite file
    except BaseException:
        if not held:
            there.delete()
        raise
    return frozen.model_copy(update=places)
