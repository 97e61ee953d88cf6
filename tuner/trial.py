"""What a worker does: train trials and report each evaluation. It knows no study and no database."""

import contextlib
import json
import logging
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ray import tune

from trainers.tasks import find_task, make_plan
from trainers.training import Evaluation
from tuner.storage import Storage

LOG = "log.txt"


class OpenTrial:
    """One trial in its folder: its log, and its training once the first step is asked for.

    Args:
        job: what `queue.py` wrote: label, seed, task, plan, storage, cpu, gpu, and the driver's import path.
    """

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._label = str(job["label"])
        self._storage = Storage(job["storage"])
        self._folder = self._storage.open(self._label)
        self._log = (self._folder / LOG).open("a", buffering=1, encoding="utf-8")
        self._evaluations: Iterator[Evaluation] | None = None

    def step(self) -> dict[str, Any]:
        """Train to the next evaluation: `{"step", "metrics"}`, or `{"fault": sentence}` where it raised.

        An exception of the training is a property of its plan, so it is not tried again; a process that
        dies is.
        """
        with _written_to(self._log):
            try:
                if self._evaluations is None:
                    self._evaluations = _begin(self._job, self._folder)
                result = self._report(next(self._evaluations, None))
            except Exception as error:
                traceback.print_exc()
                result = {"fault": f"{type(error).__name__}: {error}"}
        self._storage.keep(self._label, self._folder)
        return result

    def _report(self, evaluation: Evaluation | None) -> dict[str, Any]:
        from trainers.images import save_pictures

        if evaluation is None:
            return {"fault": f"the training ended before step {self._job['plan']['evaluate_at'][-1]}"}
        save_pictures(evaluation, self._folder / "pictures")
        print(f"step {evaluation.step}: {json.dumps(evaluation.metrics)}")
        return {"step": evaluation.step, "metrics": dict(evaluation.metrics)}

    def close(self) -> None:
        """Let go of the training, the log and the folder."""
        self._evaluations = None
        self._log.close()
        self._storage.close(self._folder)


class TrialActor(tune.Trainable):
    """The Ray trainable: one `step` is the next evaluation.

    It never says `done`: Ray would then skip the scheduler, and the last evaluation would be lost.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Begin, or go on with, the trial of `config["job"]`."""
        self._open_trial = OpenTrial(json.loads(config["job"]))

    def step(self) -> dict[str, Any]:
        """Train to the next evaluation."""
        return self._open_trial.step()

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in this process; with reused actors Ray does not call `cleanup` in between."""
        self._open_trial.close()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Close what is open."""
        self._open_trial.close()


def _begin(job: dict[str, Any], folder: Path) -> Iterator[Evaluation]:
    sys.path.extend(path for path in job["path"] if path not in sys.path)
    _set_threads(int(job["cpu"]))
    task = find_task(job["task"])
    plan = make_plan(task, **job["plan"])
    device = "cuda" if job["gpu"] else "cpu"
    print(f"{job['label']} on {socket.gethostname()}, process {os.getpid()}, {device}, seed {job['seed']}")
    return iter(task.train(plan, seed=job["seed"], device=device, folder=folder))


def _set_threads(count: int) -> None:
    """Give torch so many threads, without importing it for a training that never does."""
    os.environ["OMP_NUM_THREADS"] = str(count)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(count)


@contextlib.contextmanager
def _written_to(log: IO[str]) -> Iterator[None]:
    """Send what the training prints, warns and logs to the trial's own file."""
    handler = logging.StreamHandler(log)
    logging.getLogger().addHandler(handler)
    try:
        with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            yield
    finally:
        logging.getLogger().removeHandler(handler)
