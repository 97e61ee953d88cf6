"""Live progress: rich on a terminal, plain lines otherwise."""

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType
from typing import IO, TYPE_CHECKING, Protocol, Self

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from tuner.screen import failure_line, lag_line, leader_line, status, time_left, timing
from tuner.states import RUNNING

if TYPE_CHECKING:
    from tuner.rows import Row
    from tuner.spec import StudySpec
    from tuner.tracker import Lag


class Listener(Protocol):
    """Told of each change of a study while it runs, and of MLflow's going and coming, inside a `with`.

    `update` is called by one thread at a time, and must return quickly: trials wait for it.
    """

    def update(
        self, rows: "list[Row]", *, spec: "StudySpec", elapsed: float, tracking_behind: "Lag | None"
    ) -> None:
        """Take the rows as they are now, seconds since this run began, and what MLflow lacks, if anything."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Progress:
    """A listener that shows a study on a stream.

    On a terminal it redraws in a thread of its own, so an update costs nothing; elsewhere it prints a line at
    first and when trials have ended, at most one in `every` seconds, and at once when MLflow stops taking
    what it is given, when it has all again, and when it is waited for.

    Args:
        confirming: show the confirmations, not the proposals.
        stream: where to; by default the standard output as it is now (Ray's own is redirected while it runs).
        every: seconds between two plain lines.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        *,
        confirming: bool = False,
        stream: IO[str] | None = None,
        every: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._confirming = confirming
        self._stream = stream if stream is not None else sys.stdout
        self._every = every
        self._clock = clock
        self._seen: tuple[list[Row], StudySpec, float, Lag | None] | None = None
        self._at = clock()
        self._printed_at: float | None = None
        self._printed = (-1, False, False)  # trials that had ended, whether MLflow lagged, was waited for
        console = Console(file=self._stream)
        live = console.is_terminal and not console.is_dumb_terminal
        self._live = (
            Live(get_renderable=self._draw, console=console, refresh_per_second=2, transient=True)
            if live
            else None
        )

    def update(
        self, rows: "list[Row]", *, spec: "StudySpec", elapsed: float, tracking_behind: "Lag | None"
    ) -> None:
        """Take what is new."""
        self._seen, self._at = (rows, spec, elapsed, tracking_behind), self._clock()
        if self._live is None:
            self._print(at_once=False)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()
        else:
            self._print(at_once=True)

    def _print(self, *, at_once: bool) -> None:
        if self._seen is None:
            return
        rows, _, _, lag = self._seen
        said = (sum(row.state != RUNNING for row in rows), lag is not None, bool(lag and lag.waiting))
        early = self._printed_at is not None and self._at - self._printed_at < self._every
        if said != self._printed and (at_once or not early or said[1:] != self._printed[1:]):
            print(" | ".join(self._lines()), file=self._stream, flush=True)
            self._printed, self._printed_at = said, self._at

    def _draw(self) -> Group:
        return Group(*(Text(line) for line in self._lines()))

    def _lines(self) -> list[str]:
        if self._seen is None:
            return ["starting Ray, and preparing what trials share …"]
        rows, spec, elapsed, lag = self._seen
        passed = self._clock() - self._at
        elapsed += passed
        left = time_left(rows, spec, elapsed=elapsed, now=time.time(), confirming=self._confirming)
        said = f"{spec.name}: {status(rows, spec, confirming=self._confirming)}"
        lines = [said, timing(elapsed, left)]
        if lag is not None:
            waiting = None if lag.waiting is None else max(0.0, lag.waiting - passed)
            lines.append(lag_line(replace(lag, seconds=lag.seconds + passed, waiting=waiting)))
        if not self._confirming:
            lines.append(leader_line(rows, spec))
        failed = failure_line([row for row in rows if (row.role == "confirmation") == self._confirming])
        return [*lines, failed] if failed else lines
