"""The façade: what a user of the Python API sees.

>>> from tuner.study import run                                                       # doctest: +SKIP
>>> study = run({"name": "first", "plan": {"image": "astronaut", "size": 96}})         # doctest: +SKIP
>>> study.best(), study.confirm(), study.export()                                      # doctest: +SKIP
"""

import contextlib
import os
import shlex
import statistics
import threading
import time as clock
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from search_spaces.ranges import shown
from trainers.plan import one_sentence
from trainers.settings import Mistake
from tuner import shared
from tuner import tracking as tracking_
from tuner.confirm import Confirmation
from tuner.folder import (
    DATABASE,
    SPEC,
    create,
    database_of,
    new_folder,
    record_exists,
    remove,
    same_study,
    settled,
    studies,
    write_spec,
)
from tuner.lock import StudyLock
from tuner.pairs import confirmations, missing_members, winners
from tuner.record import Record
from tuner.rows import Row
from tuner.sections import Resources, Stall
from tuner.spec import StudySpec, freeze, is_name, load_spec
from tuner.standing import is_done
from tuner.states import COMPLETE, RUNNING
from tuner.storage import LOG, Storage, place, temporary
from tuner.tracker import WAIT, Tracker

if TYPE_CHECKING:
    import pandas

    from tuner.progress import Listener


class Study:
    """One study, opened: its record can be read, extended, confirmed and exported.

    Args:
        folder: ROOT/NAME.
        record: its opened record.
        tracking: another MLflow address than the one that was resolved at the start.

    `lag` is how many evaluations MLflow lacked after the last run: 0, unless it was away; `sync` brings them.
    """

    def __init__(self, folder: Path, record: Record, tracking: str | None = None) -> None:
        self.folder, self.record = folder, record
        self.name, self.uuid = record.spec.name, record.uuid
        self.lag = 0
        self._tracking = tracking

    @property
    def spec(self) -> StudySpec:
        """The frozen spec."""
        return self.record.spec

    @property
    def tracking(self) -> str:
        """The MLflow address: what was given now, else what was resolved at the start."""
        return self._tracking or str(self.spec.tracking)

    @property
    def storage(self) -> Storage:
        """Where the trials' folders lie."""
        return Storage(place(self.spec.storage, self.folder.resolve(), self.uuid))

    def is_done(self) -> bool:
        """Whether every trial that was asked for has ended."""
        return is_done(self.record.rows(), self.spec.budget)

    def best(self, n: int = 5, where: str | None = None) -> list[dict[str, Any]]:
        """The best settings, asked of MLflow: rows as `best --format json` prints them."""
        from tuner.query import best_trials

        return best_trials(self.uuid, tracking=self.tracking, root=self.folder.parent, n=n, where=where)

    def trials(self) -> "pandas.DataFrame":
        """All trials of all roles, a row each, from the record."""
        import pandas

        return pandas.DataFrame([_flat(row) for row in self.record.rows()])

    def resume(
        self,
        *,
        trials: int | None = None,
        resources: Resources | None = None,
        stall: Stall | None = None,
        time: float | None = None,
        address: str | None = None,
        progress: "Listener | None" = None,
    ) -> "Study":
        """Go on after an interruption, or extend a finished study to `trials` proposals.

        `resources` and `stall` replace the record's from here on: they change where and how long trials
        run, not what they are.

        Raises:
            Mistake: `trials` is fewer than exist, no node holds `resources`, what the trials share has
                changed, another process runs the study. Nothing is written then.
        """
        return self._go_on(
            lambda: self._at_hand(address),
            trials=trials,
            resources=resources,
            stall=stall,
            time=time,
            address=address,
            progress=progress,
        )

    def _go_on(
        self,
        at_hand: Callable[[], None],
        *,
        trials: int | None = None,
        resources: Resources | None = None,
        stall: Stall | None = None,
        time: float | None,
        address: str | None,
        progress: "Listener | None",
    ) -> "Study":
        """`resume`; `at_hand` sees, before anything is written, that what the trials share is there."""
        with StudyLock(self.folder), contextlib.ExitStack() as stack:
            self.record = stack.enter_context(self._held())
            changed = self._changed(trials, resources, stall)
            ended = is_done(self.record.rows(), changed.budget)
            if resources is not None or (address is not None and not ended):  # before anything is written
                stack.enter_context(_ray(changed, address))
            if not ended:
                at_hand()
            if changed != self.spec:
                self.record.set_spec(changed)
            write_spec(self.folder, self.spec)
            if ended:
                self._copy_rest(progress)  # what a kill may have cut off
            else:
                limit = time if time is not None else self.spec.seconds("time")
                self._drain(propose=True, time=limit, address=address, progress=progress)
        return self

    def confirm(
        self, top: int = 1, seeds: int = 5, *, address: str | None = None, progress: "Listener | None" = None
    ) -> list[Confirmation]:
        """Bring the `top` winners to `seeds` pairs with the baseline over fresh seeds, and compare.

        Pairs in the record count: run again it trains nothing.

        Raises:
            Mistake: no proposal has finished, what the trials share has changed, or another process runs
                the study. Nothing is written then.
        """
        with StudyLock(self.folder), contextlib.ExitStack() as stack:
            self.record = stack.enter_context(self._held())
            chosen = winners(self.record.rows(), top, self.spec.direction())
            missing = missing_members(self.record.rows(), chosen, seeds, self.spec.search.seed)
            if missing or any(row.state == RUNNING for row in self.record.rows("confirmation")):
                if address is not None:
                    stack.enter_context(_ray(self.spec, address))
                self._at_hand(address)
            for member in missing:
                self.record.add(
                    "confirmation",
                    seed=member.seed,
                    settings=member.settings,
                    extras=member.extras,
                    pair=member.pair,
                )
            if any(row.state == RUNNING for row in self.record.rows("confirmation")):
                self._drain(propose=False, time=None, address=address, progress=progress)
            else:
                self._copy_rest(progress)
        numbers = {row.number for row in chosen}
        return [one for one in confirmations(self.record.rows(), self.spec) if one.proposal in numbers]

    def cost_of_confirmation(self, top: int = 1, seeds: int = 5) -> str:
        """How many trainings `confirm` would run, and about how long one takes, as far as that is known."""
        rows = self.record.rows()
        chosen = winners(rows, top, self.spec.direction())
        count = len(missing_members(rows, chosen, seeds, self.spec.search.seed))
        count += sum(row.state == RUNNING for row in rows)  # what is open is finished first
        if not count:
            return "all pairs are in the record: nothing to train"
        # What a confirmation trains on other data, more pictures say, the search's trials do not tell.
        others = self.spec.plan_with({}, {}) != self.spec.plan_with({}, {}, role="confirmation")
        whole = [row for row in rows if row.state == COMPLETE and row.finished]
        alike = [row for row in whole if row.role == "confirmation"] if others else whole
        said = f"{count} trainings of {self.spec.budget.steps} steps"
        if alike:
            return f"{said}, about {_seconds(alike):.0f} s each"
        return f"{said}; one of the search took about {_seconds(whole):.0f} s, but these train on other data"

    def export(
        self, path: str | Path | None = None, *, package: str | Path | None = None, weights: bool = False
    ) -> Path:
        """Write the leader's settings as JSON (default `settings.json` in the study's folder)."""
        from tuner.export import export

        return export(
            self.uuid,
            tracking=self.tracking,
            root=self.folder.parent,
            path=Path(path) if path else self.folder / "settings.json",
            package=Path(package) if package else None,
            weights=weights,
        )

    def sync(self) -> None:
        """Bring MLflow up to the record.

        Raises:
            Mistake: another process runs the study, and with it copies to MLflow.
            RuntimeError: MLflow does not take what it is given.
        """
        with StudyLock(self.folder), self._held() as self.record:
            tracker = Tracker(self.record, self.tracking, self.storage)
            if not tracker.project() or not tracker.project(afresh=True):
                raise RuntimeError(f"{tracker.problem}: sync again, which goes on from there")

    def log(self, label: str) -> str:
        """What a trial printed, by its label: `7`, `baseline:2`."""
        known = [row.label for row in self.record.rows()]
        if label not in known:
            raise Mistake(
                f"study {self.name!r} has no trial {shown(label)}: it has {', '.join(known) or 'none yet'}"
            )
        folder = self.storage.open(label)
        try:
            file = folder / LOG
            return file.read_text(encoding="utf-8") if file.exists() else ""
        finally:
            self.storage.close(folder)

    def delete(self) -> None:
        """Remove the study: its folder, its trials, its record; its MLflow runs are marked as deleted.

        Raises:
            Mistake: another process runs it, or its folder is a link, below which something else may lie.
        """
        if self.folder.is_symlink():
            raise Mistake(
                f"{str(self.folder)!r} is a link: delete the study where it lies, with --root "
                f"{shlex.quote(str(self.folder.resolve().parent))}, and then the link"
            )
        with StudyLock(self.folder), self._held() as self.record:
            tracking_.delete_runs(self.tracking, self.uuid)
            self.storage.delete()
            self.record.delete()
            remove(self.folder)

    def _held(self) -> Record:
        """The record as it is now, which no other driver on any machine writes until it is closed."""
        return Record(database_of(self.spec, self.folder), self.name, hold=True)

    def _changed(self, trials: int | None, resources: Resources | None, stall: Stall | None) -> StudySpec:
        """The spec with what may change in a study that exists."""
        exist = len(self.record.rows("proposal"))
        if trials is not None and trials < exist:
            raise Mistake(
                f"--trials {trials} is the study's total of proposals and {self.name!r} has {exist} already: "
                f"give {exist} or more"
            )
        kept = self.spec
        try:
            asked = {} if trials is None else {"trials": trials}
            budget = type(kept.budget).model_validate(kept.budget.model_dump() | asked)
        except ValidationError as error:
            raise one_sentence(error, type(kept.budget), "budget") from None
        if resources is not None and bool(resources.gpu) != bool(kept.resources.gpu):
            begun = [row.label for row in self.record.rows() if row.state == RUNNING]
            if begun:
                raise Mistake(
                    f"resources.gpu is {resources.gpu:g} and was {kept.resources.gpu:g}, and a trial goes on "
                    f"only on the device that it began on, as {', '.join(begun)} would have to: end those "
                    "first, on a machine as before"
                )
        ways = {"resources": resources or kept.resources, "stall": stall or kept.stall}
        return kept.model_copy(update={"budget": budget, **ways})

    def _at_hand(self, address: str | None) -> None:
        """See that what the trials share is there, and that the nodes of a running cluster will do."""
        if address is not None:
            _reach(self.spec, self.storage)
        shared.checked(self.spec, self.storage)

    def _copy_rest(self, progress: "Listener | None") -> None:
        """Bring MLflow up to a record to which nothing is added."""
        tracker = Tracker(self.record, self.tracking, self.storage)
        tracker.start()

        def listen() -> None:
            if progress is not None:
                progress.update(
                    self.record.rows(), spec=self.spec, elapsed=0.0, tracking_behind=tracker.lag()
                )

        self.lag = tracker.close(WAIT, listen)

    def _drain(
        self, *, propose: bool, time: float | None, address: str | None, progress: "Listener | None"
    ) -> None:
        from tuner.queue import drain

        started, telling = clock.monotonic(), threading.RLock()
        patience = WAIT  # with MLflow, at the end

        def tell() -> None:
            with telling:  # the tracker's thread tells too
                if progress is not None:
                    progress.update(
                        self.record.rows(),
                        spec=self.spec,
                        elapsed=clock.monotonic() - started,
                        tracking_behind=tracker.lag(),
                    )

        def listen() -> None:
            tracker.wake()
            tell()

        tracker = Tracker(self.record, self.tracking, self.storage, changed=tell)
        tracker.start()
        try:
            with temporary() as scratch:  # beside Ray's own files, and not on a disk that trials may fill
                drain(
                    self.record,
                    storage=self.storage.where,
                    scratch=scratch,
                    propose=propose,
                    deadline=None if time is None else started + time,  # of the monotonic clock
                    address=address,
                    listen=listen,
                )
        except KeyboardInterrupt:
            patience = 2.0
            raise
        finally:
            self.lag = tracker.close(patience, tell)
            tell()


def run(
    spec: StudySpec | Mapping[str, Any] | str | Path,
    *,
    root: str | Path = "studies",
    time: float | None = None,
    address: str | None = None,
    tracking: str | None = None,
    progress: "Listener | None" = None,
) -> Study:
    """Run a study to its end; one that exists with the same frozen spec is resumed, or just opened if done.

    Args:
        spec: a spec, a mapping, a YAML file or a preset's name.
        root: where studies live.
        time: seconds after which no trial starts.
        address: a Ray cluster to run on; None: a Ray of its own.
        tracking: an MLflow address; None: the spec's, the environment's, or SQLite under `root`.
        progress: told of each change.

    Raises:
        Mistake: the spec is wrong, or the name is taken by another spec.
        RuntimeError: storage or tracking do not answer.
    """
    wanted = spec if isinstance(spec, StudySpec) else load_spec(spec)
    folder = Path(root) / wanted.name
    if record_exists(wanted, folder):
        study = Study(folder, same_study(wanted, folder), tracking)
        return study.resume(time=time, address=address, progress=progress)
    frozen = freeze(wanted)

    shares: dict[str, str] = {}

    def reach(storage: Storage) -> None:
        if address is not None:
            _reach(frozen, storage)
        shares.update(shared.begun(frozen).prepared)  # last, for it may take hours

    with _ray(frozen, address):
        with new_folder(folder):
            if record_exists(wanted, folder):
                raise Mistake(
                    f"another driver has begun study {wanted.name!r} just now: search again to go on with it"
                )
            resolved = tracking_.resolve_tracking(tracking, wanted, root)
            frozen = settled(frozen, folder, resolved, reach).model_copy(update={"prepared": shares})
            study = Study(folder, create(frozen, folder))
        return study._go_on(
            lambda: shared.bring(study.spec.prepared, study.storage),  # made a moment ago: nothing to check
            time=time,
            address=address,
            progress=progress,
        )


@contextlib.contextmanager
def _ray(spec: StudySpec, address: str | None) -> Iterator[None]:
    """Ray, with room for the spec's trials; where it is a cluster, with what its workers import."""
    from tuner.cluster import cluster  # Ray takes seconds to import, and a spec is refused without it
    from tuner.shipped import shipped
    from tuner.slots import slots

    with cluster(address, shipped(spec.task, spec.plan) if address is not None else ()):
        slots(spec.resources)
        yield


def _reach(spec: StudySpec, storage: Storage) -> None:
    from tuner.nodes import look_at

    if not look_at(spec.resources, storage) and spec.storage is None:
        raise Mistake(
            "storage is null, and no node that could hold a trial is there yet to try whether it sees this "
            "study's folder: name with `storage` a folder or an address that all nodes share"
        )


def open_study(name: str, *, root: str | Path = "studies", tracking: str | None = None) -> Study:
    """Open a study by its name or its spec file; `tracking` is another MLflow address than its own.

    Raises:
        Mistake: there is none of that name; the sentence lists those that are there.
    """
    folder = Path(root) / name
    if not is_name(name) or not (folder / SPEC).is_file():
        wanted = load_spec(name) if os.path.isfile(name) else None
        called = wanted.name if wanted else name
        folder = Path(root) / called
        if wanted is not None and record_exists(wanted, folder):
            return Study(folder, same_study(wanted, folder), tracking)
        if is_name(called) and (folder / DATABASE).exists():  # a creation was cut off before its last file
            record = Record(f"sqlite:///{(folder / DATABASE).resolve()}", called)
            write_spec(folder, record.spec)
            return Study(folder, record, tracking)
        known = ", ".join(studies(root)) or "none"
        raise Mistake(f"no study {shown(called)} under {str(root)!r}: there is {known}")
    try:
        spec = load_spec(folder / SPEC)
    except Mistake as error:
        raise Mistake(
            f"{error}; where that file is damaged, `search` with the study's own spec mends it"
        ) from None
    try:
        return Study(folder, Record(database_of(spec, folder), spec.name), tracking)
    except Mistake:
        record_exists(spec, folder)  # says what to do where the record is gone
        raise


def _seconds(rows: Iterable[Row]) -> float:
    """What trials that have ended took, the median."""
    return statistics.median([row.finished - row.started for row in rows if row.finished])


def _flat(row: Row) -> dict[str, Any]:
    strengths = {
        f"{site}.{name}": value
        for site, regularizer in row.settings.items()
        for name, value in {"kind": regularizer.kind, **vars(regularizer)}.items()
    }
    return {
        "role": row.role,
        "trial": row.label,
        "state": row.state,
        "reason": row.reason,
        "seed": row.seed,
        "value": row.value,
        "step": row.evaluations[-1].step if row.evaluations else None,
        "nodes": list(row.nodes),
        "restarts": row.restarts,
        **strengths,
        **row.extras,
    }
