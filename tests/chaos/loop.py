"""A study in one process: all of the program but Ray, whose questions a few lines ask here.

The searcher, the scheduler, the worker's code, the record, the folders and the copy to MLflow are the real
ones; only who calls them is not. So a study takes a second, and a process can be killed in it at a point that
is named.
"""

import contextlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

from sqlalchemy.engine.default import DefaultDialect

import tuner.queue
import tuner.study
from tuner.queue import METRIC, Queue, RecordScheduler, RecordSearcher
from tuner.record import Record
from tuner.storage import Storage
from tuner.study import Study
from tuner.tracker import WAIT, Tracker
from tuner.trial import OpenTrial

SPEC: dict[str, Any] = {
    "name": "small",
    "task": "strolling:TASK",
    "budget": {"trials": 4, "steps": 18, "grace": 2, "reduction": 3, "baseline_seeds": 1},
    "resources": {"concurrent": 1},
}


class Points:
    """Counts the moments at which a file or a database changes for good, and kills this process at one.

    A moment is the end of a transaction that wrote, the making of a table, and both sides of a rename.

    Args:
        at: the moment to be killed at, from 1; None: never.
    """

    def __init__(self, at: int | None = None) -> None:
        self.at, self.count = at, 0
        self.names: list[str] = []

    def pass_(self, name: str) -> None:
        self.count += 1
        self.names.append(name)
        if self.count == self.at:
            os.kill(os.getpid(), signal.SIGKILL)

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        commit, execute = DefaultDialect.do_commit, DefaultDialect.do_execute
        replace, rename = os.replace, os.rename

        def do_commit(dialect: Any, connection: Any) -> None:
            wrote = connection.in_transaction
            commit(dialect, connection)
            if wrote:
                self.pass_("commit")

        def do_execute(dialect: Any, cursor: Any, statement: str, *more: Any) -> None:
            if statement.lstrip().startswith("CREATE"):  # which SQLite writes by itself
                self.pass_("before a table or an index")
            execute(dialect, cursor, statement, *more)

        def moved(move: Any) -> Any:
            def call(source: Any, target: Any, **more: Any) -> None:
                self.pass_(f"before {Path(target).name}")
                move(source, target, **more)
                self.pass_(f"after {Path(target).name}")

            return call

        with (
            mock.patch.object(DefaultDialect, "do_commit", do_commit),
            mock.patch.object(DefaultDialect, "do_execute", do_execute),
            mock.patch.object(os, "replace", moved(replace)),
            mock.patch.object(os, "rename", moved(rename)),
        ):
            yield


class InlineTracker(Tracker):
    """The tracker without its thread: each change is copied before the study goes on, so moments repeat."""

    def start(self) -> None:
        self.project()

    def wake(self) -> None:
        self.project()

    def close(self, timeout: float = WAIT, waiting: Callable[[], None] = lambda: None) -> int:
        self._closing.set()
        self.project()
        self.project(afresh=True)
        return self.behind()


class _Room:
    """As many slots as are asked for."""

    def __init__(self, slots: int) -> None:
        self._slots = slots

    def have_room(self, live: int, waiting: int, left: int) -> bool:
        return live < self._slots

    def close(self) -> None:
        pass


class _Trial:
    """A trial that runs, as Tune keeps one and as its process does."""

    def __init__(self, number: int, config: dict[str, Any]) -> None:
        self.told = SimpleNamespace(trial_id=str(number), config=config, status="RUNNING")
        self.open = OpenTrial(json.loads(config["job"]))
        self._afresh = self.open.afresh

    def step(self) -> dict[str, Any]:
        given = self.open.step()
        metrics = {METRIC + name: value for name, value in given.pop("metrics", {}).items()}
        told = {"node": "here", "afresh": self._afresh} | given | metrics
        self._afresh = False
        return told


def drain_without_ray(
    record: Record, *, storage: str, scratch: Path, listen: Any = lambda: None, propose: bool = True, **_: Any
) -> None:
    """What `tuner.queue.drain` does, a step of each live trial in turn."""
    record.settle()
    queue = Queue(record, propose=propose, deadline=None)
    searcher = RecordSearcher(
        queue,
        lambda row: tuner.queue._job(record, row, storage) | {"path": [], "versions": {}},
        _Room(record.spec.resources.concurrent or 1),  # type: ignore[arg-type]
        listen,
    )
    place = Storage(storage)
    scheduler = RecordScheduler(queue, None, listen, place)  # type: ignore[arg-type]  # asked of a dead process
    place.mark(record.uuid)
    live: list[_Trial] = []
    begun = 0
    while True:
        config = searcher.suggest(str(begun))
        while isinstance(config, dict):
            trial = _Trial(begun, config)
            scheduler.on_trial_add(_Controller(), trial.told)
            live.append(trial)
            begun += 1
            config = searcher.suggest(str(begun))
        if not live:
            return
        for trial in list(live):
            if scheduler.on_trial_result(None, trial.told, trial.step()) == scheduler.STOP:
                trial.open.close()
                live.remove(trial)
                searcher.on_trial_complete(trial.told.trial_id)


class _Controller:
    """Of Tune, what the scheduler asks when a trial is added; no process of it dies."""

    _actor_manager = SimpleNamespace(_actor_task_failed=None)


def search(root: Path, spec: dict[str, Any], points: Points) -> Study:
    """`tuner.study.run`, in this process and without Ray."""
    with (
        mock.patch.object(tuner.queue, "drain", drain_without_ray),
        mock.patch.object(tuner.queue, "node_called", str),
        mock.patch.object(tuner.study, "_ray", lambda *_: contextlib.nullcontext()),
        mock.patch.object(tuner.study, "Tracker", InlineTracker),
        points.counted(),
    ):
        return tuner.study.run(spec, root=root, tracking=f"sqlite:///{root}/mlflow.db")
