"""What ends a trial that hangs or crawls: it took `times` as long as usual, and at least `at_least`.

For a step, the usual is the median of the trial's own steps, and a thread of its process looks. For the way
to an evaluation, it is the median of the study's other trials, and the driver looks, which also finds a
process that stands still as a whole. Either way the process ends, and the trial is tried again as after any
death.
"""

import contextlib
import os
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from tuner.sections import Stall

if TYPE_CHECKING:
    from tuner.rows import Row  # a worker does without a database

_LOOK = 0.5  # seconds between two looks
_STEPS = 1000  # of the trial's newest steps, the median is the usual
_WORDS = 10.0  # seconds for telling the reason: the storage may be what hangs


class Watch:
    """A thread beside a training: hears that the study stops, and ends this process where nothing moves.

    Args:
        stall: the study's limits.
        stops: asked twice a second whether the study stops.
        tell: told the reason before the process ends.
        end: ends the process.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        stall: Stall,
        *,
        stops: Callable[[], bool] = lambda: False,
        tell: Callable[[str], None] = print,
        end: Callable[[], None] = lambda: os._exit(1),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stall, self._stops, self._tell, self._end, self._clock = stall, stops, tell, end, clock
        self._stopping, self._closed = threading.Event(), threading.Event()
        self._took: deque[float] = deque(maxlen=_STEPS)
        self._since: float | None = None  # when the last step ended; None: none is waited for
        self._hears = False  # of steps: a training of a user's own may tell of its evaluations alone
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    @property
    def stopping(self) -> bool:
        """Whether the study stops."""
        return self._stopping.is_set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closed.set()

    def begin(self) -> None:
        """From now on steps are waited for; else only once the first has been heard of."""
        self._hears = True
        self.goes_on()

    def goes_on(self) -> None:
        """The training has its turn."""
        self._since = self._clock() if self._hears else None

    def rest(self) -> None:
        """The driver has its turn, and no step is waited for."""
        self._since = None

    def after_each(self) -> bool:
        """Hear of a step, or of an evaluation; whether to save and end."""
        now, since = self._clock(), self._since
        if since is not None:
            self._took.append(now - since)
        self._since, self._hears = now, True
        return self.stopping

    def _run(self) -> None:
        while not self._closed.wait(_LOOK):
            with contextlib.suppress(Exception):  # Ray's store did not answer: it is asked again
                if not self.stopping and self._stops():
                    self._stopping.set()
            reason = self.stalled()
            if reason is not None:
                telling = threading.Thread(target=self._tell, args=(reason,), daemon=True)
                telling.start()
                telling.join(_WORDS)
                self._end()
                return

    def stalled(self) -> str | None:
        """Why the process has to end now; None where it has not."""
        since = self._since
        if since is None or self._clock() - since <= self._stall.seconds:
            return None
        silent, usual = self._clock() - since, statistics.median(self._took) if self._took else 0.0
        limit = self._stall.limit(usual)
        return None if silent <= limit else _reason("step", silent, limit)


def overdue(
    row: "Row", others: "Sequence[Row]", waited: float, steps: Sequence[int], stall: Stall
) -> str | None:
    """Why a trial's process has to end that has `waited` so many seconds for its next evaluation; or None.

    The usual is the median of the other trials; before one came that far, what the way takes at the pace of
    the evaluations that there are; before the first evaluation of all, `at_least`.

    Args:
        row: the trial.
        others: trials of its study, of any role.
        waited: since it began in its process, or since its last evaluation.
        steps: at which a trial is evaluated, ascending.
        stall: the study's limits.
    """
    next_step = next((step for step in steps if row.at(step) is None), None)
    if waited <= stall.seconds or next_step is None:
        return None
    all_ways = [_ways(one, steps) for one in (row, *(one for one in others if one.label != row.label))]
    known = [ways[next_step] for ways in all_ways[1:] if next_step in ways]
    if not known:
        before = dict(zip(steps, (0, *steps), strict=False))
        length = next_step - before[next_step]
        known = [took * length / (step - before[step]) for ways in all_ways for step, took in ways.items()]
    limit = stall.limit(statistics.median(known) if known else stall.seconds)
    return None if waited <= limit else _reason(f"evaluation at step {next_step}", waited, limit)


def _ways(row: "Row", steps: Sequence[int]) -> dict[int, float]:
    """The seconds that a trial took to each evaluation it has, from the one before."""
    at = {step: one.time for step in steps if (one := row.at(step)) is not None}
    return {
        step: time - before
        for (step, time), before in zip(at.items(), (row.started, *at.values()), strict=False)
    }


def _reason(what: str, waited: float, limit: float) -> str:
    return (
        f"it stalled: no {what} in {_words(waited)}, and the limit is {_words(limit)} "
        "(stall.at_least and stall.times)"
    )


def _words(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.1f} s"
