"""Many small trials in one study: whether the driver's memory and open files stay bounded, and its speed.

    python -m benchmarks.soak [--trials 2000] [--sampler tpe] [--plot docs/soak.png]

A trial trains nothing, so all that is measured is what the program itself takes: proposing, scheduling,
recording, the copy to MLflow. A trial at the end is compared with one at the beginning in seconds and in the
driver's CPU seconds, with and without the sampler, and also in a loop that is always the same and is timed
beside it: a machine that others use runs faster and slower within minutes.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from trainers.plan import Plan
from trainers.tasks import Task
from trainers.training import Evaluation
from tuner.record import Record
from tuner.rows import Row
from tuner.spec import StudySpec
from tuner.states import RUNNING
from tuner.study import run
from tuner.tracker import Lag


def train(plan: Plan, *, seed: int, device: str = "cpu", folder: Path | None = None) -> Iterator[Evaluation]:
    """Values that depend on the settings alone, at once."""
    worth = sum(sum(v for v in vars(one).values()) for one in plan.settings.values())
    for step in plan.evaluate_at:
        yield Evaluation(step, {"score": step / 90 + worth % 0.7})


TASK = Task("soak", "score", "maximize", train, sites={"up0": (8, 8, 8), "code": (16, 16, 16)})


@dataclass(frozen=True)
class Look:
    """The driver when a trial has ended: seconds, CPU seconds and those of proposing, MiB, open files.

    `loop` is what a loop that is always the same took just now, in CPU seconds.
    """

    trials: int
    seconds: float
    cpu: float
    proposing: float
    memory: float
    files: int
    loop: float


def looped() -> float:
    """The CPU seconds of a loop that is always the same."""
    began, found = time.thread_time(), {}
    for number in range(50_000):
        found[number % 999] = (number, str(number))
    return time.thread_time() - began


class Watch:
    """A listener that looks at this process at each end of a trial."""

    def __init__(self) -> None:
        self.looks: list[Look] = []
        self._process, self._began, self._proposing = psutil.Process(), time.monotonic(), 0.0
        self._loop = looped()
        propose = Record.propose

        def timed(record: Record) -> Row:
            began = time.thread_time()
            try:
                return propose(record)
            finally:
                self._proposing += time.thread_time() - began

        Record.propose = timed  # type: ignore[method-assign]

    def update(
        self, rows: list[Row], *, spec: StudySpec, elapsed: float, tracking_behind: Lag | None
    ) -> None:
        ended = sum(row.state != RUNNING for row in rows)
        if self.looks and self.looks[-1].trials == ended:
            return
        if ended % 20 == 0:
            self._loop = looped()
        with self._process.oneshot():
            spent = self._process.cpu_times()
            look = Look(
                ended,
                time.monotonic() - self._began,
                spent.user + spent.system,
                self._proposing,
                self._process.memory_info().rss / 2**20,
                self._process.num_fds(),
                self._loop,
            )
        self.looks.append(look)
        if ended % 100 == 0:
            print(f"{ended} trials: {look}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def between(looks: list[Look], first: int, last: int) -> dict[str, float]:
    """What a trial took between two numbers of trials, on average."""
    one = next(look for look in looks if look.trials >= first)
    other = next(look for look in looks if look.trials >= last)
    n = other.trials - one.trials
    cpu, proposing = (other.cpu - one.cpu) / n, (other.proposing - one.proposing) / n
    loop = statistics.fmean(look.loop for look in looks if first <= look.trials <= last)
    return {
        "seconds": (other.seconds - one.seconds) / n,
        "the driver's CPU seconds": cpu,
        "the same in loops": cpu / loop,
        "of them the sampler's": proposing,
        "and without the sampler": cpu - proposing,
    }


def plot(looks: list[Look], path: Path) -> None:
    """Memory, open files and seconds a trial over the trials."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 2.6), layout="constrained")
    axes = figure.subplots(1, 3)
    trials = [look.trials for look in looks]
    axes[0].plot(trials, [look.memory for look in looks])
    axes[0].set(ylim=(0, None), title="the driver's memory, MiB", xlabel="trials ended")
    axes[1].plot(trials, [look.files for look in looks])
    axes[1].set(ylim=(0, None), title="its open files", xlabel="trials ended")
    step = max(1, len(looks) // 20)
    middle, whole, rest = [], [], []
    for first, last in zip(looks[::step], looks[step::step], strict=False):
        took = between(looks, first.trials, last.trials)
        middle.append((first.trials + last.trials) / 2)
        whole.append(took["the driver's CPU seconds"])
        rest.append(took["and without the sampler"])
    axes[2].plot(middle, whole, label="all")
    axes[2].plot(middle, rest, label="without the sampler")
    axes[2].set(ylim=(0, None), title="the driver's CPU seconds a trial", xlabel="trials ended")
    axes[2].legend()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--sampler", default="tpe")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--log", type=Path, help="all looks, a JSON line each")
    told = parser.parse_args()
    spec: dict[str, Any] = {
        "name": "soak",
        "task": "benchmarks.soak:TASK",
        "budget": {"trials": told.trials, "steps": 90, "grace": 10, "reduction": 3, "baseline_seeds": 1},
        "search": {"sampler": told.sampler},
        "resources": {"concurrent": 1},
    }
    with tempfile.TemporaryDirectory() as root:
        watch = Watch()
        study = run(spec, root=root, progress=watch)
        print(f"MLflow lacks {study.lag} evaluations at the end")
    looks = watch.looks
    if told.log:
        told.log.write_text("".join(json.dumps(asdict(look)) + "\n" for look in looks))
    if told.plot:
        plot(looks, told.plot)
    tenth = told.trials // 10
    early, late = (
        between(looks, tenth // 2, tenth // 2 + tenth),
        between(looks, told.trials - tenth, told.trials),
    )
    print(f"{told.trials} trials on {platform.processor() or platform.machine()}, {os.cpu_count()} CPUs")
    for name in early:
        print(
            f"  {name}: {early[name]:.3f} early, {late[name]:.3f} late, ratio {late[name] / early[name]:.2f}"
        )
    fifth = max(1, len(looks) // 5)
    for name in ("memory", "files"):
        each = [[getattr(look, name) for look in looks[i * fifth : (i + 1) * fifth]] for i in range(5)]
        print(f"  {name} by fifths of the study: {', '.join(f'{statistics.mean(one):.0f}' for one in each)}")


if __name__ == "__main__":
    main()
