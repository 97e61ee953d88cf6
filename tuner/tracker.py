"""The one thread that copies a study's record to MLflow, and what MLflow lacks while it cannot.

MLflow is a projection: everything in it can be made again from the record. So a server that is away delays
it and harms nothing, and the same evaluation copied twice stays one point.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tuner.secrets import why, without_password
from tuner.tracking import reason

if TYPE_CHECKING:
    from tuner.projection import Projection
    from tuner.record import Record
    from tuner.storage import Storage

WAIT = 60.0  # seconds that a study's end waits for MLflow to take what is left
_PAUSE = 0.5  # seconds between two passes: what arrives meanwhile travels together
_PAUSE_AFTER_PROBLEM = 3.0
_RETRY = 15.0  # seconds after which a pass that failed is tried again without being woken
_SLOW = 30.0  # seconds that a pass may take before MLflow is said to lag behind
_UNNOTICED = 2.0  # seconds of waiting at the end of which nothing is said


@dataclass(frozen=True)
class Lag:
    """What MLflow lacks: so many evaluations, since so many seconds, and the reason in a few words.

    A change of a trial's state alone counts as one. `at_most`: what an earlier process has delivered is not
    known yet. `waiting`: the seconds for which the study's end still waits for it; None: it has not come.
    """

    evaluations: int
    reason: str
    seconds: float
    at_most: bool = False
    waiting: float | None = None


class Tracker:
    """The thread that copies a study's record to MLflow: woken after each change, never in the study's way.

    A pass that fails is repeated by the next one, and every pass begins where MLflow stands, so the copy is
    also complete after a kill. The last pass looks at MLflow once more, for what a request left there whose
    answer was lost. `problem` says what is wrong while MLflow does not take what it is given.

    Args:
        record: the study's record.
        tracking: an address that `resolve_tracking` gave.
        storage: where the trials' folders lie, for their pictures, checkpoints and logs.
        changed: called in the thread when MLflow stops taking things, and when it has them all again.
    """

    def __init__(
        self,
        record: "Record",
        tracking: str,
        storage: "Storage",
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.problem: str | None = None
        self._reason = ""
        self._record, self._tracking, self._storage, self._changed = record, tracking, storage, changed
        self._projection: Projection | None = None
        self._since: float | None = None  # when the pass began, of those that failed the first
        self._until: float | None = None  # when `close` stops waiting
        self._passing = threading.Lock()
        self._woken, self._closing, self._given_up = threading.Event(), threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)

    def start(self) -> None:
        """Start the thread; its first pass copies what the record holds already."""
        self._woken.set()
        self._thread.start()

    def wake(self) -> None:
        """Say that the record has grown; returns at once."""
        self._woken.set()

    def close(self, timeout: float = WAIT, waiting: Callable[[], None] = lambda: None) -> int:
        """Copy what is left, end the thread, and return what MLflow still lacks (0: nothing).

        Args:
            timeout: seconds after which it returns whatever MLflow does.
            waiting: called once if that takes longer than a moment; `lag` then says what is waited for.
        """
        self._until = time.monotonic() + timeout
        self._closing.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(min(timeout, _UNNOTICED))
            if self._thread.is_alive() and timeout > _UNNOTICED:
                waiting()
                self._thread.join(max(0.0, self._until - time.monotonic()))
            self._given_up.set()
        return self.behind()

    def behind(self) -> int:
        """How many evaluations MLflow lacks, as `lag` counts them."""
        lag = self.lag()
        return lag.evaluations if lag else 0

    def lag(self) -> Lag | None:
        """What MLflow lacks and why; None where it lacks nothing.

        While the thread runs and MLflow takes what it is given, None: what is a moment old is on its way.
        """
        since, now = self._since, time.monotonic()
        seconds = 0.0 if since is None else now - since
        if (
            self._thread.is_alive()
            and self.problem is None
            and seconds < _SLOW
            and not self._closing.is_set()
        ):
            return None
        rows, projection = self._record.rows(), self._projection
        if projection is None:
            lacking, known = sum(max(1, len(row.evaluations)) for row in rows), False
        else:
            lacking, known = projection.behind(rows), projection.is_known
        if not lacking:
            return None
        why_so = self._reason if self.problem else "it takes its time"
        waiting = None if self._until is None else max(0.0, self._until - now) * self._thread.is_alive()
        return Lag(lacking, why_so, seconds, not known, waiting)

    def project(self, afresh: bool = False) -> bool:
        """Copy what MLflow lacks, once and in this thread; never raises, but says whether all went well.

        Args:
            afresh: ask MLflow first what it has, whatever this process knows of that.
        """
        with self._passing:
            if self._since is None:
                self._since = time.monotonic()
            try:
                if self._projection is None:
                    from tuner.projection import Projection

                    self._projection = Projection(self._record, self._tracking, self._storage)
                self._projection.bring_up_to_date(afresh)
            except Exception as error:
                self._reason = reason(error)
                self.problem = f"MLflow at {without_password(self._tracking)} lags behind: {why(error)}"
                logging.getLogger(__name__).debug(self.problem, exc_info=True)
                return False
            self.problem = self._since = None
            return True

    def _run(self) -> None:
        while True:
            self._woken.wait(_RETRY if self.problem else None)
            self._woken.clear()
            closing = self._closing.is_set()  # before the pass, which then copies all that was written before
            had_problem = self.problem is not None
            fine = self.project() and (not closing or self.project(afresh=True))
            if closing and (fine or self._given_up.wait(_PAUSE_AFTER_PROBLEM)):
                return
            if closing:
                self._woken.set()
                continue
            if had_problem == fine:
                with contextlib.suppress(Exception):  # a listener's, which is told so by the driver as well
                    self._changed()
            self._closing.wait(_PAUSE if fine else _PAUSE_AFTER_PROBLEM)
