"""Real studies that are small, Deep Image Prior and a GAN, as processes of their own."""

import atexit
import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

NAME = "tried"
SPECS: dict[str, dict[str, Any]] = {
    "dip": {
        "name": NAME,
        "plan": {
            "image": "astronaut",
            "size": 32,
            "network": {"kind": "skip", "width": 4, "scales": 2, "skip": 2, "input_channels": 4},
        },
        "space": {"max_sites": 1},
        "budget": {"trials": 5, "steps": 270, "grace": 30, "reduction": 3, "baseline_seeds": 1},
        "checkpoint_every": "0.3s",
        "retries": 8,
    },
    "gan": {
        "name": NAME,
        "task": "gan",
        "plan": {
            "data": "digits",
            "size": 8,
            "network": {"width": 4, "blocks": 2, "latent": 8},
            "objective": "fd_pixels",
            "also": [],
            "samples": 150,
            "batch": 16,
            "discriminator_steps": 1,
        },
        "space": {"max_sites": 1},
        "budget": {"trials": 5, "steps": 135, "grace": 15, "reduction": 3, "baseline_seeds": 1},
        "checkpoint_every": "0.3s",
        "retries": 8,
    },
}
_BACK = """
import sys, time
_now, _back = time.time, float(sys.argv.pop(1))
time.time = lambda: _now() - _back
from tuner.cli import main
sys.exit(main())
"""


class Driver:
    """The program on a study, in a process that can be signalled and whose children are found again.

    Args:
        folder: where it is called; `studies` comes to lie there.
        words: of the command.
        tracking: the MLflow address.
        back: seconds by which its clock is set back.
    """

    program: tuple[str, ...] = ("-m", "tuner")

    def __init__(self, folder: Path, words: Sequence[str], tracking: str, back: float = 0.0) -> None:
        self.mark = uuid.uuid4().hex
        self.began = time.monotonic()
        noisy = ("MLFLOW_", "RAY_", "TUNE_", "PYTEST_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(noisy)}
        program = ("-c", _BACK, str(back)) if back else self.program
        self._said = folder / f"said-{self.mark}.txt"
        with self._said.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, *program, *words, "--tracking", tracking],
                cwd=folder,
                env=kept | {"CHAOS": self.mark, "OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"},
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            )

        atexit.register(self.process.kill)  # where the harness itself is ended

    def runs(self) -> bool:
        return self.process.poll() is None

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within so many seconds."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def said(self) -> str:
        return self._said.read_text(errors="replace")

    def children(self) -> list[psutil.Process]:
        """All processes that have come from it and are still there."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("CHAOS") == self.mark and process.pid != self.process.pid:
                    found.append(process)
        return found

    def left_behind(self, patience: float = 15.0) -> list[str]:
        """What is still there some seconds after its end: Ray's own processes notice it in seconds."""
        end = time.monotonic() + patience
        while (left := self.children()) and time.monotonic() < end:
            psutil.wait_procs(left, timeout=0.5)
        names = []
        for process in left:
            with contextlib.suppress(psutil.Error):
                names.append(" ".join(Path(word).name for word in process.cmdline()[:3]))
                process.kill()
        return names


def spec(task: str, slots: int) -> dict[str, Any]:
    """The study's spec with so many trials at once."""
    return SPECS[task] | {"resources": {"concurrent": slots}}


def write(folder: Path, task: str, slots: int) -> None:
    """The spec as a file, to be searched from `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec(task, slots)))


def evaluations(folder: Path) -> int:
    """How many evaluations the record below `folder` holds; -1: there is no study yet."""
    file = folder / "studies" / NAME / "study.db"
    if not (file.parent / "spec.yaml").exists():
        return -1
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        query = "select count(*) from trial_user_attributes where key like 'evaluation:%'"
        return int(database.execute(query).fetchone()[0])


def trained_again(folder: Path) -> Iterator[tuple[Any, dict[int, dict[str, float]]]]:
    """Each trial of the record, and what its plan gives when it is trained here, undisturbed."""
    from trainers.tasks import find_task, make_plan
    from tuner.queue import _job
    from tuner.record import Record

    record = Record(f"sqlite:///{folder}/studies/{NAME}/study.db", NAME)
    for row in record.rows():
        job = _job(record, row, "nowhere")
        task = find_task(job["task"])
        last = max((one.step for one in row.evaluations), default=0)
        given: dict[int, dict[str, float]] = {}
        for one in task.evaluations(make_plan(task, **job["plan"]), seed=row.seed) if last else ():
            given[one.step] = {name: float(value) for name, value in one.metrics.items()}
            if one.step >= last:
                break
        yield row, given
