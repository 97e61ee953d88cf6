"""What a worker does: train one trial after the other and report each evaluation; knows no study and no database."""

import contextlib
import json
import logging
import os
import socket
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ray import tune

from trainers.tasks import find_task, make_plan
from trainers.training import Evaluation
from tuner.storage import Storage

LOG = "log.txt"


class TrialActor(tune.Trainable):
    """The Ray trainable: one `step` is the next evaluation of the training.

    Its results are `{"step", "metrics"}`, or `{"fault": sentence}` where the training raised or ended early. It never
    says `done`: Ray would then skip the scheduler, and the last evaluation would be lost. An exception of the training
    is a property of its plan, so it is not tried again; a process that dies is.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Begin, or go on with, the trial of `config["job"]` (JSON, written by `queue.py`)."""
        job = json.loads(config["job"])
        self._label = str(job["label"])
        self._storage = Storage(job["storage"])
        self._folder = self._storage.open(self._label)
        self._log = (self._folder / LOG).open("a", buffering=1, encoding="utf-8")
        self._evaluations: Iterator[Evaluation] | None = None
        self._job = job

    def step(self) -> dict[str, Any]:
        """Train to the next evaluation."""
        with _written_to(self._log):
            try:
                if self._evaluations is None:
                    self._evaluations = _begin(self._job, self._folder)
                evaluation = next(self._evaluations, None)
                result = self._report(evaluation)
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

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in this process; the one before is closed."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Close the training, its log and its folder."""
        self._evaluations = None
        self._log.close()
        self._storage.close(self._folder)


def _begin(job: dict[str, Any], folder: Path) -> Iterator[Evaluation]:
    import torch

    torch.set_num_threads(max(1, int(job["cpu"])))
    task = find_task(job["task"])
    plan = make_plan(task, **job["plan"])
    device = "cuda" if job["gpu"] else "cpu"
    print(f"{job['label']} on {socket.gethostname()}, process {os.getpid()}, {device}, seed {job['seed']}")
    return iter(task.train(plan, seed=job["seed"], device=device, folder=folder))


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
