"""How a study ends before its end: Ctrl-C, SIGTERM, or its time is up; what runs is saved first, then left.

Ray's own store, which all workers of a cluster reach, tells them; each saves after the step that it is in,
and says so (`trial.py`).
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import tuner.ray_quiet  # noqa: F401  before ray

# isort: split
from ray.experimental import internal_kv
from ray.tune import Stopper

if TYPE_CHECKING:
    from tuner.queue import Queue

_SPACE = "sparsity-tuner"  # of keys in Ray's store
_STOPS, _STALLED = "stops", "stalled/"
_LOOK = 1.0  # seconds between two looks for trials that crawl
# How many seconds a step, or a training that cannot be saved between its evaluations, may take to answer.
# After a signal all has to be over in ten, with some left for Ray's processes and for MLflow.
PATIENCE = 4.0
PATIENCE_IN_TIME = 30.0


class Stopped(BaseException):
    """Leaves Tune's loop: what ran is saved, or had its time. No Exception, or Tune would wait for more."""


class Call:
    """What the driver and the workers of one run tell each other through Ray's store.

    Args:
        key: begins the names of its entries, and is this run's alone: a later one is not stopped by them.
    """

    def __init__(self, key: str | None = None) -> None:
        self.key = key or f"{uuid4().hex}/"

    def stop(self) -> None:
        """Tell all workers that the study stops."""
        _briefly(lambda: internal_kv._internal_kv_put(self.key + _STOPS, b"1", namespace=_SPACE))

    def stops(self) -> bool:
        """Whether the study stops."""
        return bool(internal_kv._internal_kv_exists(self.key + _STOPS, namespace=_SPACE))

    def stalled(self, label: str, reason: str) -> None:
        """Tell the driver why a trial's process ends itself."""
        internal_kv._internal_kv_put(f"{self.key}{_STALLED}{label}", reason.encode(), namespace=_SPACE)

    def why_stalled(self, label: str) -> str | None:
        """What `stalled` told of a trial, once."""
        key = f"{self.key}{_STALLED}{label}"
        told = internal_kv._internal_kv_get(key, namespace=_SPACE)
        if told is None:
            return None
        internal_kv._internal_kv_del(key, namespace=_SPACE)
        return str(told.decode())

    def forget(self) -> None:
        """Remove all entries."""
        _briefly(lambda: internal_kv._internal_kv_del(self.key, del_by_prefix=True, namespace=_SPACE))


def _briefly(call: Callable[[], object]) -> None:
    """Call, and go on after a second: where a signal has ended Ray's processes too, nobody answers."""

    def attempt() -> None:
        with contextlib.suppress(Exception):
            call()

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(1.0)


class Ending(Stopper):
    """Asked by Tune after every event: whether the study stops, and whether what runs has been saved by now.

    Args:
        queue: the study's trials.
        call: to the workers.
        each_second: called so often, while the study goes on.
    """

    def __init__(self, queue: "Queue", call: Call, each_second: Callable[[], None]) -> None:
        self._queue, self._call, self._each_second = queue, call, each_second
        self._until: float | None = None  # when patience ends
        self._looked = time.monotonic()
        self._said = False

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        """No: a trial that Tune stops by this would not be recorded."""
        return False

    def stop_all(self) -> bool:
        """Never true, because Tune would then wait for what does not answer.

        Raises:
            Stopped: the study stops, and nothing runs that might still be saved in time.
        """
        asked, late = self._queue.interruption.asked, self._queue.is_late()
        now = time.monotonic()
        if not asked and not late:
            if now - self._looked >= _LOOK:
                self._looked = now
                self._each_second()
            return False
        if asked and not self._said:
            self._said = True
            print("Stopping: what runs is saved first; again: at once.", file=sys.stderr, flush=True)
        if not self._queue.stopping:
            self._queue.stopping = True
            self._call.stop()
        patience = now + (PATIENCE if asked else PATIENCE_IN_TIME)
        self._until = patience if self._until is None else min(self._until, patience)
        if now >= self._until or not self._queue.any_runs():
            raise Stopped
        return False

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tuner pickles what it is given; nothing is ever restored from there
