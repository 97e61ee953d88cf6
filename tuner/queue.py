"""The one loop: what the record holds open, then baselines and new proposals, through one Ray Tuner.

Ray only schedules. What a trial is, what it reached and whether it goes on is the record's; a fresh Tuner is
built at every start, and Ray's own snapshots are never read.
"""

import contextlib
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tuner.ray_quiet  # noqa: F401  before ray

# isort: split
import ray
from ray import cloudpickle, tune
from ray.exceptions import OutOfMemoryError, RayActorError
from ray.tune.error import TuneError
from ray.tune.schedulers import FIFOScheduler
from ray.tune.search import Searcher

from tuner.cluster import cluster
from tuner.ending import Call, Ending, Stopped
from tuner.interruption import Interruption, undisturbed
from tuner.nodes import versions
from tuner.record import Record
from tuner.rows import Row
from tuner.secrets import without_password
from tuner.slots import Slots, alive, node_called, slots
from tuner.states import OUT_OF_MEMORY, RUNNING
from tuner.storage import Storage
from tuner.trial import EndsStudy, TrialActor, lost_its_node, why_it_failed
from tuner.watch import overdue

METRIC = "metrics/"
Listen = Callable[[], None]
Job = Callable[[Row], dict[str, Any]]
MOST_LOST = 20  # nodes for one trial, which may be what takes them down
_MOST = 10_000  # trials at once: Tune is not to limit what `Slots` does


class Queue:
    """Which trial comes next: an unfinished one, a baseline beside the proposals, a proposal, or none.

    Args:
        record: the study's record.
        propose: whether baselines and proposals may be added; `confirm` drains without.
        deadline: seconds of the clock after which no trial starts; None: never.
        clock: one that is never set back.
    """

    def __init__(
        self,
        record: Record,
        *,
        propose: bool,
        deadline: float | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.record = record
        self._propose = propose
        self._deadline, self._clock = deadline, clock
        self._unfinished = [row for row in record.rows() if row.state == RUNNING]
        self.fault: BaseException | None = None  # what ended the study
        self.trials: dict[str, Any] = {}  # Tune's trials that run or wait, by their ids
        self.interruption = Interruption()
        self.stopping = False  # before its end: what runs has been told to save and end
        self.controller: Any = None  # Tune's, which holds all processes
        self.since: dict[str, float] = {}  # when the way to a trial's next evaluation began, by its id
        self.overdue: dict[tuple[str, int], str] = {}  # trials whose process has been ended, and why
        self.lost: Counter[tuple[str, int]] = Counter()  # nodes, by the trial that ran there
        self.dead: set[str] = set()  # Ray's ids of processes whose death has been counted

    def is_empty(self) -> bool:
        """Whether no trial starts any more."""
        if self.stopping or self.interruption.asked or self.is_late():
            return True
        return not self._unfinished and (not self._propose or self._missing() == (0, 0))

    def is_late(self) -> bool:
        """Whether the deadline has passed."""
        return self._deadline is not None and self._clock() >= self._deadline

    def any_runs(self) -> bool:
        """Whether a trial has a process."""
        return any(has_begun(trial) for trial in self.trials.values())

    def next(self) -> Row | None:
        """The next trial, written in the record before it is returned."""
        if self.is_empty():
            return None
        if self._unfinished:
            return self._unfinished.pop(0)
        proposals, baselines = self._missing()
        begun = len(self.record.rows("baseline"))
        if baselines and (begun <= len(self.record.rows("proposal")) or not proposals):
            return self.record.add("baseline", seed=self.record.spec.search.seed + begun)
        return self.record.propose()

    def left(self) -> int:
        """How many trials are still to be handed out."""
        return len(self._unfinished) + (sum(self._missing()) if self._propose else 0)

    def again(self, role: str, number: int) -> None:
        """Hand out a trial once more that Ray has given up."""
        self._unfinished.append(self.record.row(role, number))

    def _missing(self) -> tuple[int, int]:
        """How many proposals and baselines the budget asks for beyond those that there are."""
        budget = self.record.spec.budget
        return (
            max(0, budget.trials - len(self.record.rows("proposal"))),
            max(0, budget.baseline_seeds - len(self.record.rows("baseline"))),
        )


class RecordSearcher(Searcher):
    """Ray's question "what next?", answered by the queue."""

    def __init__(self, queue: Queue, job: Job, slots: Slots, listen: Listen) -> None:
        super().__init__()
        self._queue, self._job, self._slots, self._listen = queue, job, slots, listen

    def suggest(self, trial_id: str) -> Any:
        """The next trial's job, or `FINISHED`; None while no slot is free.

        Tune asks again after the next event, or within a second.
        """
        live = self._queue.trials
        if self._queue.is_empty():
            self._slots.close()
            return Searcher.FINISHED
        waiting = sum(not has_begun(trial) for trial in live.values())
        if not self._slots.have_room(len(live), waiting, self._queue.left()):
            return None
        row = self._queue.next()
        if row is None:
            return Searcher.FINISHED
        live[trial_id] = None  # Tune's own object comes with on_trial_add
        self._listen()
        return {"role": row.role, "number": row.number, "job": json.dumps(self._job(row))}

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Forget it: what became of it the scheduler has recorded. One that has not ended comes again."""
        trial = self._queue.trials.pop(trial_id, None)
        self._queue.since.pop(trial_id, None)
        if error and trial is not None:
            role, number = trial.config["role"], trial.config["number"]
            if self._queue.record.row(role, number).state == RUNNING:
                self._queue.again(role, number)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is the state."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing: the record is the state."""

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tuner pickles its searcher; nothing is ever restored from there


def has_begun(trial: Any) -> bool:
    """Whether Tune's trial has a process, and with it a slot."""
    return trial is not None and trial.status == "RUNNING"


class RecordScheduler(FIFOScheduler):
    """Ray's question "does it go on?", answered by the record, and its "what now?" after a failure by us.

    An exception here ends the study, which is right: what is written is whole, and `resume` goes on from it.
    Tune itself would try a failed trial again for ever (`max_failures=-1`), because it counts a node that was
    lost as the trial's failure.
    """

    _supports_buffered_results = False

    def __init__(self, queue: Queue, call: Call, listen: Listen, storage: Storage) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._queue, self._record, self._call, self._listen = queue, queue.record, call, listen
        self._storage = storage

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        """Know a trial that is new or is to be tried again; the second is stopped if it has ended."""
        self._queue.controller = tune_controller
        hear_of_exhaustion(tune_controller._actor_manager)
        self._queue.trials[trial.trial_id] = trial
        if self._record.row(trial.config["role"], trial.config["number"]).state != RUNNING:
            tune_controller.stop_trial(trial)

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        """Record an evaluation, and stop the trial when that ended it, or when it was saved to be left."""
        role, number = trial.config["role"], trial.config["number"]
        self._queue.since[trial.trial_id] = time.monotonic()
        try:
            self._record.ran(role, number, node=node_called(result["node"]), afresh=result["afresh"])
            if "saved" in result:
                return str(self.STOP)
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
        """End a trial whose process has died more often than `retries` allows; a lost node does not count.

        Called at every failure, before the next try. A signal may have been sent to all processes: what dies
        from then on is nobody's failure.
        """
        self._queue.since.pop(trial.trial_id, None)
        if self._queue.interruption.asked:
            return
        role, number = trial.config["role"], trial.config["number"]
        try:
            error, told = _failure_of(trial)
            reason = self._over(role, number, error, told)
            if reason == OUT_OF_MEMORY:
                self._record.exhausted(role, number)
            elif reason is not None:
                self._record.fail(role, number, reason)
            self._listen()
        except BaseException as fault:
            self._queue.fault = fault
            raise

    def _over(self, role: str, number: int, error: BaseException | None, told: str) -> str | None:
        """Why this failure ends the trial; None where it is tried again."""
        stalled = self._queue.overdue.pop((role, number), None)
        stalled = self._call.why_stalled(self._record.row(role, number).label) or stalled
        cause = getattr(error, "cause", None) or error
        if isinstance(cause, EndsStudy):
            raise RuntimeError(str(cause).strip().splitlines()[-1])
        process = getattr(error, "actor_id", None)
        if process in self._queue.dead:  # Tune tells twice of one that died while it took its next trial
            return None
        if process:
            self._queue.dead.add(process)
        if stalled and not self._storage.answers():
            raise RuntimeError(
                f"the storage {without_password(self._storage.where)!r} does not answer, and a trial waits "
                f"for it ({stalled}): bring it back, and `resume`; the trial is none the worse for it"
            )
        if lost_its_node(error):
            self._queue.lost[role, number] += 1
            lost = self._queue.lost[role, number]
            return f"it lost its node {lost} times" if lost >= MOST_LOST else None
        tries = self._record.died(role, number)
        if tries <= self._record.spec.retries:
            return None
        reason = stalled or why_it_failed(error, told)
        return reason if reason == OUT_OF_MEMORY else f"{reason} (tried {tries} times)"

    def __getstate__(self) -> dict[str, Any]:
        return {}


def hear_of_exhaustion(manager: Any) -> None:
    """Let Tune take it as a death where Ray ends a process because its node has too little memory.

    Ray tells of it by an error that is no `RayActorError`, which Tune takes for a fault of its own: it would
    end the study, and each resume would meet it again.

    Args:
        manager: Tune's, of all processes of a controller (ray/air/execution/_internal/actor_manager.py); one
            that hears of it already is left as it is.
    """
    if "_actor_task_failed" in vars(manager):
        return
    tell = manager._actor_task_failed

    def told(tracked_actor_task: Any, exception: Exception) -> None:
        if isinstance(exception, OutOfMemoryError):
            process = str(tracked_actor_task._tracked_actor.actor_id)
            exception = RayActorError(process, str(exception))
        tell(tracked_actor_task=tracked_actor_task, exception=exception)

    manager._actor_task_failed = told


def _failure_of(trial: Any) -> tuple[BaseException | None, str]:
    """The error of a trial's process and the text of all of them, as Ray has just written them here.

    Not by `trial.get_error`: that reads the storage, where the files arrive some time later.
    """
    kept, told = trial.pickled_error_file, trial.error_file
    error = None
    if kept and Path(kept).is_file():
        error = cloudpickle.loads(Path(kept).read_bytes())
        Path(kept).unlink()  # of the next failure Ray may keep the text alone
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
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Run trials until the record has none open and none to add, or the deadline has passed, or Ctrl-C.

    Where it ends early, what runs is saved first, as `interruption.py` says.

    Args:
        record: the study's record; look into it afterwards to know whether the study is done.
        storage: where the trials' folders lie.
        scratch: a folder for Ray's own files, removed at the end.
        propose: whether new baselines and proposals may be added.
        deadline: seconds of `clock` after which no trial starts.
        address: a running Ray cluster; None: a Ray of this process's own, ended with it.
        listen: called in this thread after each change.
        clock: one that is never set back.

    Raises:
        Mistake: a trial asks for more than any node has.
        KeyboardInterrupt: Ctrl-C or SIGTERM, once all is saved or given up.
    """
    record.settle()
    queue, call = Queue(record, propose=propose, deadline=deadline, clock=clock), Call()
    place = Storage(storage)
    with cluster(address):
        slots(record.spec.resources)
        # On another machine the driver's folders mean nothing: there the modules have been sent.
        there = (
            {"path": [], "versions": versions()}
            if address
            else {"path": [os.path.abspath(folder) for folder in sys.path], "versions": {}}
        )
        room = Slots(record.spec.resources, shared=address is not None)
        there["call"] = call.key
        searcher = RecordSearcher(queue, lambda row: _job(record, row, storage) | there, room, listen)
        ending = Ending(queue, call, lambda: look_around(queue))
        try:
            with contextlib.redirect_stdout(sys.stderr), queue.interruption:
                while not queue.is_empty():  # again for what Ray gave up after it had asked for the last one
                    place.mark(record.uuid)
                    queue.trials.clear()
                    scheduler = RecordScheduler(queue, call, listen, place)
                    _tuner(queue, searcher, scheduler, ending, scratch).fit()
                    if queue.trials:  # Tune was told to stop: what has ended or was given up is gone
                        break
        except Stopped:
            if queue.fault is not None:
                raise queue.fault from None
        except TuneError:
            if queue.fault is not None:
                raise queue.fault from None
            raise
        finally:
            with undisturbed():
                if queue.controller is not None:
                    queue.controller._actor_manager.cleanup()  # it holds some where Tune was left
                room.close()
                call.forget()
                shutil.rmtree(scratch, ignore_errors=True)
    if queue.interruption.asked:
        raise KeyboardInterrupt


def look_around(queue: Queue) -> None:
    """What Tune does not see: that Ray's own process beside this one has died, and trials that crawl.

    Raises:
        Stopped: the former, of which Tune would wait for ever; `queue.fault` says it.
    """
    here = ray.get_runtime_context().get_node_id()
    if here not in [node["NodeID"] for node in alive()]:
        queue.fault = RuntimeError(
            "Ray's process on this machine (its raylet) has died, and with it all that ran there: see that "
            "the machine has memory, and `resume`; lost is the training since the last checkpoints alone"
        )
        raise Stopped
    end_what_crawls(queue)


def end_what_crawls(queue: Queue) -> None:
    """End the processes of trials whose next evaluation is overdue."""
    spec, now = queue.record.spec, time.monotonic()
    for trial_id, trial in queue.trials.items():
        if not has_begun(trial):
            continue
        row = queue.record.row(trial.config["role"], trial.config["number"])
        waited = now - queue.since.setdefault(trial_id, now)
        if waited > spec.stall.seconds and (row.role, row.number) not in queue.overdue:
            reason = overdue(row, queue.record.rows(), waited, spec.evaluate_at(), spec.stall)
            if reason is not None:
                queue.overdue[row.role, row.number] = reason
                ray.kill(trial.temporary_state.ray_actor)


def _tuner(
    queue: Queue, searcher: RecordSearcher, scheduler: RecordScheduler, ending: Ending, scratch: Path
) -> tune.Tuner:
    spec = queue.record.spec
    return tune.Tuner(
        tune.with_resources(TrialActor, {"cpu": spec.resources.cpu, "gpu": spec.resources.gpu}),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            scheduler=scheduler,
            num_samples=-1,
            max_concurrent_trials=_MOST,
            reuse_actors=True,
            trial_dirname_creator=lambda trial: str(trial.trial_id),
            trial_name_creator=lambda trial: str(trial.trial_id),
        ),
        run_config=tune.RunConfig(
            name="tune",
            stop=ending,
            storage_path=str(scratch.resolve()),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=-1),
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
        ),
    )


def _job(record: Record, row: Row, storage: str) -> dict[str, Any]:
    """All that a worker needs, as plain data."""
    spec = record.spec
    plan = spec.plan_with(row.settings, row.extras, role=row.role).model_dump(mode="json", exclude={"task"})
    return {
        "label": row.label,
        "seed": row.seed,
        "task": spec.task,
        "plan": plan,
        "storage": storage,
        "study": record.uuid,
        "cpu": spec.resources.cpu,
        "gpu": spec.resources.gpu,
        "stall": spec.stall.model_dump(),
    }
