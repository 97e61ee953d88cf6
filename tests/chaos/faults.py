"""The faults: what is done to a study that runs, at a moment that the caller has drawn."""

import contextlib
import random
import signal
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
from proxy import Mode, Proxy
from small_disk import fill
from studies import Driver

_SEEN = 60.0  # seconds in which a process of that name has to be there
# A trial's process between two calls, in one, and stock Tune's.
_WORKERS = ("ray::TrialActor", "ray::ResourceTrainable", "ray::ImplicitFunc")


@dataclass
class Arena:
    """What a fault can reach: the study's process, the way to MLflow, and where the study is written."""

    driver: Driver
    proxy: Proxy
    folder: Path
    draw: random.Random


def _driver(arena: Arena) -> None:
    arena.driver.process.kill()


def _clock(arena: Arena) -> None:
    """As the driver's death; the harness sets the clock of the next one back by an hour."""
    arena.driver.process.kill()


def _child(names: tuple[str, ...]) -> Callable[[Arena], None]:
    def kill(arena: Arena) -> None:
        end = time.monotonic() + _SEEN
        while arena.driver.runs() and time.monotonic() < end:
            found = [one for one in arena.driver.children() if _is(one, names)]
            if found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    arena.draw.choice(found).kill()
                    return
            arena.driver.wait(0.1)
        raise NotInjected

    return kill


def _is(process: psutil.Process, names: tuple[str, ...]) -> bool:
    try:
        return any(name in word for word in [process.name(), *process.cmdline()[:1]] for name in names)
    except psutil.Error:
        return False


def _mlflow(*modes: Mode) -> Callable[[Arena], None]:
    def fault(arena: Arena) -> None:
        arena.proxy.delay = arena.draw.uniform(0.5, 3)
        with arena.proxy.during(arena.draw.choice(modes)):
            arena.driver.wait(arena.draw.uniform(1, 10))

    return fault


def _full(arena: Arena) -> None:
    with full(arena.folder / "studies"):
        arena.driver.wait(arena.draw.uniform(2, 10))


@contextlib.contextmanager
def full(folder: Path) -> Iterator[None]:
    """Take all the room that there is below `folder`, and give it back."""
    filler = fill(folder)
    try:
        yield
    finally:
        filler.unlink()


def _signals(number: int, *more: float) -> Callable[[Arena], None]:
    def send(arena: Arena) -> None:
        arena.driver.process.send_signal(number)
        for pause in more:
            if not arena.driver.wait(pause):
                arena.driver.process.send_signal(number)

    return send


class NotInjected(Exception):
    """There was nothing to do it to: the study had ended, or hung."""


FAULTS: dict[str, Callable[[Arena], None]] = {
    "driver killed": _driver,
    "worker killed": _child(_WORKERS),
    "raylet killed": _child(("raylet",)),
    "MLflow refuses": _mlflow("refuse"),
    "MLflow stalls": _mlflow("stall", "late", "swallow"),
    "MLflow answers 500": _mlflow("error", "error after", "cut after"),
    "MLflow is slow": _mlflow("slow"),
    "storage full": _full,
    "Ctrl-C": _signals(signal.SIGINT),
    "Ctrl-C twice": _signals(signal.SIGINT, 0.5),
    "SIGTERM": _signals(signal.SIGTERM),
    "clock set back": _clock,
}
SIGNALS = ("Ctrl-C", "Ctrl-C twice", "SIGTERM")
KILLS = ("driver killed", "clock set back")
ENDS_IT = (*KILLS, *SIGNALS)
MAY_END_IT = ("raylet killed", "storage full")  # with a sentence
