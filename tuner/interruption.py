"""What Ctrl-C and SIGTERM do to this process, where they must not just be a KeyboardInterrupt."""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

_Handler = Callable[[int, FrameType | None], object]

INTERRUPTED = 130  # the exit status of a program that Ctrl-C has ended, for a shell
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_LATEST = (9.0, 3.0)  # seconds after the first signal and after the second


class Interruption:
    """Ctrl-C and SIGTERM while it is entered: the first is noted, the second is a KeyboardInterrupt.

    In a thread other than the main one nothing is noted, for Python hands signals to that one alone.
    """

    def __init__(self) -> None:
        self.asked = False
        self._handled = _handled(self._note, *_SIGNALS)

    def __enter__(self) -> "Interruption":
        self._handled.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._handled.__exit__(None, None, None)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def end_in_time(say: Callable[[], None]) -> None:
    """From now on this process ends within ten seconds of a signal, whatever hangs; `say` is called before.

    Python's own handlers wait for the main thread, which may wait for a Ray whose processes the same signal
    has ended, or for a database that is away; this hears of a signal in a thread. The record is whole at any
    moment, and the kernel ends Ray's processes with this one.
    """
    heard, tells = os.pipe()
    os.set_blocking(tells, False)
    signal.set_wakeup_fd(tells, warn_on_full_buffer=False)

    def listen() -> None:
        until: list[float] = []  # moments at which it has to be over, one a signal
        while not until or time.monotonic() < min(until):
            left = None if not until else max(0.0, min(until) - time.monotonic())
            if select.select([heard], [], [], left)[0]:
                come = [number for number in os.read(heard, 64) if number in _SIGNALS]
                until += [time.monotonic() + _LATEST[min(len(until), 1)] for _ in come]
        say()
        os._exit(INTERRUPTED)

    threading.Thread(target=listen, name="end in time", daemon=True).start()


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Hear of Ctrl-C and SIGTERM at its end: for what is short, and must not be left half done.

    Raises:
        KeyboardInterrupt: at its end, where there was one.
    """
    heard: list[int] = []
    try:
        with _handled(lambda number, _: heard.append(number), *_SIGNALS):
            yield
    finally:
        if heard:
            raise KeyboardInterrupt


def sigterm_as_ctrl_c() -> contextlib.AbstractContextManager[None]:
    """Let a job's end be a KeyboardInterrupt while it is entered."""
    return _handled(signal.default_int_handler, signal.SIGTERM)


@contextlib.contextmanager
def _handled(by: _Handler, *signals: signal.Signals) -> Iterator[None]:
    """Handle these signals so while it is entered; in a thread, which Python hands none, do nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {one: signal.signal(one, by) for one in signals}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
