"""The one loop: what the record holds open, then baselines and new proposals, through one Ray Tuner.

Ray only schedules. What a trial is, what it reached and whether it goes on is the record's; a fresh Tuner is
built at every start, and Ray's own snapshots are never read.
"""

import contextlib
import json
import logging
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import tuner.ray_quiet  # noqa: F401  before ray

# isort: split
import ray
from ray import cloudpickle, tune
from ray.tune.error import TuneError
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from trainers.settings import Mistake
from tuner.record import Record
from tuner.rows import Row
from tuner.sections import Resources
from tuner.states import OUT_OF_MEMORY, RUNNING
from tuner.trial import TrialActor, why_it_failed

METRIC = "metrics/"
Listen = Callable[[], None]


class Queue:
    """Which trial comes next: an unfinished one, a baseline beside the proposals, a proposal, or none.

    Args:
        record: the study's record.
        propose: whether baselines and proposals may be added; `confirm` drains without.
        deadline: unix seconds after which no trial starts; None: never.
    """

    def __init__(self, record: Record, *, propose: bool, deadline: float | None) -> None:
        self.record = record
        self._propose = propose
        self.deadline = deadline
        self._unfinished = [row for row in record.rows() if row.state == RUNNING]
        self.fault: BaseException | None = None  # what ended the study
        self.errors: dict[str, str] = {}  # Ray's id of a trial → why its process failed last

    def next(self) -> Row | None:
        """The next trial, written in the record before it is returned."""
        if self.deadline is not None and time.time() >= self.deadline:
            return None
        if self._unfinished:
            return self._unfinished.pop(0)
        if not self._propose:
            return None
        budget, seed = self.record.spec.budget, self.record.spec.search.seed
        proposals, baselines = len(self.record.rows("proposal")), len(self.record.rows("baseline"))
        if baselines < budget.baseline_seeds and (baselines <= proposals or proposals >= budget.trials):
            return self.record.add("baseline", seed=seed + baselines)
        return self.record.propose() if proposals < budget.trials else None


class RecordSearcher(Searcher):
    """Ray's question "what next?", answered by the queue."""

    def __init__(self, queue: Queue, storage: str, listen: Listen) -> None:
        super().__init__()
        self._queue, self._storage, self._listen = queue, storage, listen
        self._handed: dict[str, Row] = {}

    def suggest(self, trial_id: str) -> Any:
        """The next trial's job. `FINISHED`, never None: None would make Tune poll once a second."""
        row = self._queue.next()
        if row is None:
            return Searcher.FINISHED
        self._handed[trial_id] = row
        self._listen()
        return {
            "role": row.role,
            "number": row.number,
            "job": json.dumps(_job(self._queue.record, row, self._storage)),
        }

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Called with `error` only when a trial's process has died more often than `retries` allows."""
        if error and trial_id in self._handed:
            row, record = self._handed[trial_id], self._queue.record
            why = self._queue.errors.get(trial_id, "its process failed")
            if why == OUT_OF_MEMORY:
                record.exhausted(row.role, row.number)
            else:
                record.fail(row.role, row.number, f"{why} (tried {record.spec.retries + 1} times)")
            self._listen()

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the record is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tuner pickles its searcher; nothing is ever restored from there


class RecordScheduler(FIFOScheduler):
    """Ray's question "does it go on?", answered by the record.

    An exception here ends the study, which is right: what is written is whole, and `resume` goes on from it.
    """

    _supports_buffered_results = False

    def __init__(self, queue: Queue, listen: Listen) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._queue, self._record, self._listen = queue, queue.record, listen

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Record an evaluation, and stop the trial when that ended it."""
        role, number = trial.config["role"], trial.config["number"]
        try:
            if "fault" in result:
                state = self._record.fail(role, number, result["fault"])
            else:  # Ray hands a flattened result
                metrics = {k.removeprefix(METRIC): v for k, v in result.items() if k.startswith(METRIC)}
                state = self._record.evaluation(role, number, result["step"], metrics)
            self._listen()
        except BaseException as error:
            self._queue.fault = error  # Tune would hand on its traceback as text alone
            raise
        return str(self.CONTINUE if state == RUNNING else self.STOP)

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        """Keep why a trial's process failed; called at every failure, before the next try."""
        self._queue.errors[trial.trial_id] = why_it_failed(*_failure_of(trial))

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _failure_of(trial: Any) -> tuple[BaseException | None, str]:
    """The error of a trial's process and the text of all of them, as Ray has just written them here.

    Not by `trial.get_error`: that reads the storage, where the files arrive some time later.
    """
    kept, told = trial.pickled_error_file, trial.error_file
    error = cloudpickle.loads(Path(kept).read_bytes()) if kept and Path(kept).is_file() else None
    return error, Path(told).read_text(encoding="utf-8") if told and Path(told).is_file() else ""


def drain(
    record: Record,
    *,
    storage: str,
    scratch: Path,
    propose: bool = True,
    deadline: float | None = None,
    address: str | None = None,
    listen: Listen = lambda: None,
) -> None:
    """Run trials until the record has none open and none to add, or the deadline has passed, or Ctrl-C.

    Args:
        record: the study's record; look into it afterwards to know whether the study is done.
        storage: where the trials' folders lie.
        scratch: a folder for Ray's own files, removed at the end.
        propose: whether new baselines and proposals may be added.
        deadline: unix seconds after which no trial starts.
        address: a running Ray cluster; None: a Ray of this process's own, ended with it.
        listen: called in this thread after each change.

    Raises:
        Mistake: a trial asks for more than any node has.
    """
    record.settle()
    queue = Queue(record, propose=propose, deadline=deadline)
    with cluster(address):
        tuner = _tuner(queue, storage, scratch, listen, at_once=slots(record.spec.resources))
        try:
            with contextlib.redirect_stdout(sys.stderr):
                tuner.fit()
        except TuneError:
            if queue.fault is not None:
                raise queue.fault from None
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def _tuner(queue: Queue, storage: str, scratch: Path, listen: Listen, *, at_once: int) -> tune.Tuner:
    spec = queue.record.spec
    return tune.Tuner(
        tune.with_resources(TrialActor, {"cpu": spec.resources.cpu, "gpu": spec.resources.gpu}),
        tune_config=tune.TuneConfig(
            search_alg=RecordSearcher(queue, storage, listen),
            scheduler=RecordScheduler(queue, listen),
            num_samples=-1,
            max_concurrent_trials=at_once,
            reuse_actors=True,
            time_budget_s=None if queue.deadline is None else max(1.0, queue.deadline - time.time()),
            trial_dirname_creator=lambda trial: str(trial.trial_id),
            trial_name_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch.resolve()),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=spec.retries),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


def _job(record: Record, row: Row, storage: str) -> dict[str, Any]:
    """All that a worker needs, as plain data."""
    spec = record.spec
    plan = spec.plan_with(row.settings, row.extras).model_dump(mode="json", exclude={"task"})
    return {
        "label": row.label,
        "seed": row.seed,
        "task": spec.task,
        "plan": plan,
        "storage": storage,
        "cpu": spec.resources.cpu,
        "gpu": spec.resources.gpu,
        "path": [os.path.abspath(path) for path in sys.path],  # a user's own task is imported from there
    }


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """A Ray to run on: the one this process has joined already, the one at `address`, or one of its own.

    Raises:
        Mistake: `address` is a `ray://` one, under which Tune would take the record along to the head node.
    """
    if address is not None and address.startswith("ray://"):
        raise Mistake(
            f"the address is {address!r}, and a study is driven from a node of its cluster: "
            "run it there with the address auto, or submit it with `ray job submit`"
        )
    if ray.is_initialized():
        yield
        return
    ray.init(
        address=address or "local",
        include_dashboard=False if address is None else None,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    try:
        with _sigterm_as_ctrl_c():
            yield
    finally:
        ray.shutdown()


@contextlib.contextmanager
def _sigterm_as_ctrl_c() -> Iterator[None]:
    """Let a job's end be a KeyboardInterrupt; the handler that `ray.init` sets dumps a stack and exits."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python hands signals to the main thread alone
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def slots(resources: Resources) -> int:
    """How many trials fit on the cluster at once, at most `resources.concurrent`.

    Raises:
        Mistake: none fits on any node.
    """
    return slots_of([node["Resources"] for node in ray.nodes() if node["Alive"]], resources)


def slots_of(nodes: Sequence[Mapping[str, float]], resources: Resources) -> int:
    """How many trials fit at once on nodes that have so many "CPU" and "GPU"; raises as `slots` does.

    >>> slots_of([{"CPU": 8, "GPU": 2}], Resources(gpu=0.4))  # 0.2 of each GPU stays free
    4
    """
    fits = sum(_fit(node, resources) for node in nodes)
    if not fits:
        most_cpu = max((node.get("CPU", 0) for node in nodes), default=0)
        most_gpu = max((node.get("GPU", 0) for node in nodes), default=0)
        raise Mistake(
            f"a trial asks for {resources.cpu:g} CPUs and {resources.gpu:g} GPUs and the largest node has "
            f"{most_cpu:g} and {most_gpu:g}: lower resources.cpu or resources.gpu"
        )
    return min(fits, resources.concurrent or fits)


def _fit(node: Mapping[str, float], resources: Resources) -> int:
    by_cpu = int(node.get("CPU", 0) / resources.cpu)
    return by_cpu if resources.gpu == 0 else min(by_cpu, _fit_gpus(node.get("GPU", 0), resources.gpu))


def _fit_gpus(gpus: float, share: float) -> int:
    """A share never lies across two GPUs, so each GPU is counted for itself."""
    if share >= 1:
        return int(gpus / share)
    return int(gpus) * int(1 / share + 1e-9)  # 1 / 0.1 must not fall below 10
