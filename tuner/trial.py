"""What a worker does: train trials and report each evaluation. It knows no study and no database."""

import contextlib
import io
import json
import logging
import operator
import os
import reprlib
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import tuner.ray_quiet  # noqa: F401  before ray

# isort: split
import ray
from ray import tune
from ray.exceptions import ActorUnavailableError, RayActorError

from trainers.memory import exhausted
from trainers.settings import Mistake
from trainers.tasks import TASKS, find_task, make_plan
from tuner import shared
from tuner.ending import Call
from tuner.nodes import differences, versions
from tuner.secrets import why, without_password
from tuner.sections import Stall
from tuner.states import OUT_OF_MEMORY
from tuner.storage import LOG, PICTURES, Storage, is_kept_for_going_on, patiently
from tuner.tracking import CHECKPOINT_FILE
from tuner.watch import Watch

if TYPE_CHECKING:
    from trainers.training import Evaluation

# torch says this as a plain RuntimeError, so only its words tell.
_DEVICE = ("cuda error", "cudnn error", "cublas error", "nccl error")


class MachineFault(RuntimeError):
    """This machine failed, not the plan. It leaves the worker, so Ray ends that process and tries again.

    A CUDA error stays with its process, so the process must not take another trial.
    """


class EndsStudy(RuntimeError):
    """What is in the way of every trial, and not of this one: a full storage, a node that will not do.

    It ends the study, which goes on with `resume` once that is mended; no trial ends with it. Were it a fault
    of the trial, the next one would meet it too, and so the whole study.
    """


class OutOfMemory(MachineFault):
    """This machine has too little memory for the plan, at least at this moment."""


class OpenTrial:
    """One trial in its folder: its log, and its training once the first step is asked for.

    `afresh` says that it was begun before, and that its folder holds nothing to go on from.

    Args:
        job: what `queue.py` wrote: label, seed, task, plan, storage, cpu, gpu, stall, and the driver's import
            path.
        call: to the driver; None: there is none.
    """

    def __init__(self, job: dict[str, Any], call: Call | None = None) -> None:
        self._job, self._call = job, call
        label = str(job["label"])
        self._storage = Storage(job["storage"])
        self._evaluations: Iterator[Evaluation] | None = None
        with self._saved_in(self._storage.where):
            self._folder = self._storage.open(label)
            damage = _set_aside_damage(self._folder)
            self.afresh = _begins_again(self._folder)
            self._log = _Log((self._folder / LOG).open("ab"), encoding="utf-8", line_buffering=True)
            if damage is not None:
                print(damage, file=self._log)
        self._mirror = self._storage.mirror(label, self._folder)
        self._watch = Watch(
            Stall(**job["stall"]), stops=call.stops if call else lambda: False, tell=self._stalled
        )
        self._watch.start()

    def step(self) -> dict[str, Any]:
        """Train to the next evaluation: `{"step", "metrics"}`, or `{"fault": sentence}` where it raised.

        Where the study stops before it comes, the training is saved, and it is `{"saved": True}`.

        An exception of the training is a property of its plan, so it is not tried again.

        Raises:
            OutOfMemory, MachineFault: the exception is one of the machine.
            EndsStudy: what the trial keeps cannot be written.
        """
        if self._watch.stopping:
            return {"saved": True}
        try:
            with _written_to(self._log):
                return self._next()
        finally:
            with self._saved_in(self._storage.where):
                self._mirror.keep()
            self._watch.rest()

    @contextlib.contextmanager
    def _saved_in(self, place: str | Path) -> Iterator[None]:
        """Within it an error that tells that nothing can be written ends the study."""
        try:
            yield
        except Exception as error:
            refusal = self._storage.refusal(error, str(self._job["label"]), place)
            if refusal is None:
                raise
            raise EndsStudy(refusal) from None

    def _next(self) -> dict[str, Any]:
        try:
            with self._saved_in(self._folder):
                return self._trained()
        except EndsStudy:
            raise
        except Exception as error:
            with contextlib.suppress(OSError):  # the log has no more room than the rest
                traceback.print_exc()
            fault = fault_of_machine(error)
            if fault is not None:
                fault = type(fault)(without_password(str(fault)))
                raise fault from None  # the error itself may hold tensors, or not survive the way
            named = f"{type(error).__name__}: {error}".removesuffix(": ")
            return {"fault": without_password(str(error) if isinstance(error, Mistake) else named)}

    def _trained(self) -> dict[str, Any]:
        self._watch.goes_on()
        if self._evaluations is None:
            self._evaluations = _begin(self._job, self._folder, self._storage, self._watch)
        evaluation = _watched(self._evaluations, self._watch)
        if evaluation is None and self._watch.stopping:
            print("saved and left, as the study stops")
            return {"saved": True}
        return self._report(evaluation)

    def _report(self, evaluation: "Evaluation | None") -> dict[str, Any]:
        from trainers.images import save_pictures

        if evaluation is None:
            return {"fault": f"the training ended before step {self._job['plan']['evaluate_at'][-1]}"}
        step, metrics = checked(evaluation)
        save_pictures(evaluation, self._folder / PICTURES)
        print(f"step {step}: {json.dumps(metrics)}")
        return {"step": step, "metrics": metrics}

    def _stalled(self, reason: str) -> None:
        if self._call is not None:
            self._call.stalled(self._job["label"], reason)
        self._log.write(f"{reason}: this process ends\n")
        self._mirror.keep()

    def close(self) -> None:
        """Let go of the training, the log and the folder."""
        self._watch.close()
        self._evaluations = None
        with contextlib.suppress(OSError):  # what the disk had no room for
            self._log.close()
        self._mirror.close()
        self._storage.close(self._folder)


class _Log(io.TextIOWrapper):
    """A trial's log, which people send around: without the passwords in what is written to it."""

    def write(self, text: str) -> int:
        """Write the text but for its passwords."""
        return super().write(without_password(text))


class TrialActor(tune.Trainable):
    """The Ray trainable: one `step` is the next evaluation.

    It never says `done`: Ray would then skip the scheduler, and the last evaluation would be lost.
    """

    def setup(self, config: dict[str, Any]) -> None:
        """Take the trial of `config["job"]`; its first step opens it, for a step's faults reach us whole."""
        self._job = json.loads(config["job"])
        self._open_trial: OpenTrial | None = None

    def step(self) -> dict[str, Any]:
        """Train to the next evaluation; `node` is its id for Ray, `afresh` what `OpenTrial` says, once."""
        told: dict[str, Any] = {"node": ray.get_runtime_context().get_node_id(), "afresh": False}
        if self._open_trial is None:
            refuse_unfit_node(self._job)
            self._open_trial = OpenTrial(self._job, Call(self._job["call"]))
            told["afresh"] = self._open_trial.afresh
        return self._open_trial.step() | told

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial in this process; with reused actors Ray does not call `cleanup` in between."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        """Close what is open."""
        if self._open_trial is not None:
            self._open_trial.close()


def refuse_unfit_node(job: dict[str, Any]) -> None:
    """A node that joined late has not been looked at: its versions may be others, its storage another place.

    Raises:
        EndsStudy: its versions are not those of the job, where that has some, or the storage, as this machine
            sees it, is not marked as this study's.
    """
    different = differences(job["versions"], versions())
    if different:
        raise EndsStudy(
            f"the node {socket.gethostname()} joined late and has {different}, as the driver has: install "
            "the same there, or take it out of the cluster, and `resume`"
        )
    try:
        marked = patiently(lambda: Storage(job["storage"]).is_marked(job["study"]))
        problem = "it does not see there what the driver wrote"
    except Exception as error:  # whatever the file system of this machine raises
        marked, problem = False, why(error)
    if not marked:
        raise EndsStudy(
            f"the node {socket.gethostname()} does not reach the storage "
            f"{without_password(job['storage'])!r} ({problem}): mount it there, or take the node out of the "
            "cluster, and `resume`"
        )


def _set_aside_damage(folder: Path) -> str | None:
    """Let a trial whose checkpoint is damaged begin again; the sentence for its log, if that is so."""
    if not (folder / CHECKPOINT_FILE).is_file():
        return None  # without torch, which not every training imports
    from trainers.checkpoint import set_aside

    return set_aside(folder)


def _begins_again(folder: Path) -> bool:
    """Whether a trial was begun in that folder before, and left nothing there but words and pictures."""
    begun = (folder / LOG).is_file() and (folder / LOG).stat().st_size > 0
    files = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return begun and not any(is_kept_for_going_on(name) for name in files)


def lost_its_node(error: BaseException | None) -> bool:
    """Whether a trial's process ended with its node, as Ray tells of it.

    Of a process that dies alone its node tells within a second; `ActorUnavailableError` says that it did not.
    """
    if not isinstance(error, RayActorError):
        return False
    return error.preempted or isinstance(error, ActorUnavailableError) or "node has died" in str(error)


def fault_of_machine(error: BaseException) -> MachineFault | None:
    """The machine's fault that an exception of a training tells of, or None where it tells of the plan.

    >>> fault_of_machine(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"))
    OutOfMemory('RuntimeError: CUDA out of memory. Tried to allocate 2 GiB')
    >>> fault_of_machine(KeyError("psnr")) is None
    True
    """
    told = str(error).strip()
    text = f"{type(error).__name__}: {told.splitlines()[0]}" if told else type(error).__name__
    if exhausted(error):
        return OutOfMemory(text)
    of_device = isinstance(error, RuntimeError) and any(word in told.lower() for word in _DEVICE)
    if isinstance(error, OSError) or of_device:
        return MachineFault(text)
    cause = error.__cause__  # a Mistake that says why the device cannot be used, for instance
    return fault_of_machine(cause) if isinstance(cause, RuntimeError | MemoryError) else None


def why_it_failed(error: BaseException | None, told: str) -> str:
    """Why a trial's process failed, in one line.

    Args:
        error: what Ray kept of it; None for errors that it keeps as text alone.
        told: the text of all failures of the trial so far.

    >>> why_it_failed(RuntimeError(), "")
    'RuntimeError'
    """
    cause = getattr(error, "cause", None) or error
    last = told.rpartition("Failure #")[2]
    if isinstance(cause, OutOfMemory) or "running low on memory" in last:  # the latter: Ray's own watch
        return OUT_OF_MEMORY
    if isinstance(error, RayActorError) and not error.actor_init_failed:
        return "its process died"
    if cause is None:
        return "its process failed"
    lines = str(cause).strip().splitlines()
    if isinstance(cause, MachineFault | RayActorError) and lines:
        return lines[-1]
    return ": ".join([type(cause).__name__, *lines[-1:]])


def checked(evaluation: "Evaluation") -> tuple[int, dict[str, float]]:
    """The step and the metrics of an evaluation as Python numbers; numbers of numpy and torch are taken too.

    Raises:
        Mistake: the step is no whole number, or a metric is no number.
    """
    metrics: dict[str, float] = {}
    try:
        step = operator.index(evaluation.step)
    except TypeError:
        raise Mistake(
            f"the training evaluated at step {reprlib.repr(evaluation.step)}, but a step must be a whole "
            "number: yield an int"
        ) from None
    for name, value in evaluation.metrics.items():
        try:
            if isinstance(value, str | bytes):
                raise TypeError
            metrics[name] = float(value)
        except (TypeError, ValueError, OverflowError, RuntimeError) as error:
            if fault_of_machine(error) is not None:  # a value on the device brings the device's error
                raise
            raise Mistake(
                f"the metric {name!r} at step {step} is {reprlib.repr(value)}, but it must be one number: "
                "yield a float"
            ) from None
    return step, metrics


def _watched(evaluations: "Iterator[Evaluation]", watch: Watch) -> "Evaluation | None":
    """The next evaluation, or None where there is none any more; what trains by `run` tells of its steps."""
    from trainers.training import after_each

    listening = after_each.set(watch.after_each)
    try:
        return next(evaluations, None)
    finally:
        after_each.reset(listening)


def _begin(job: dict[str, Any], folder: Path, storage: Storage, watch: Watch) -> "Iterator[Evaluation]":
    sys.path.extend(path for path in job["path"] if path not in sys.path)
    _set_threads(int(job["cpu"]))
    task = find_task(job["task"])
    if job["task"] in TASKS or isinstance(task.train, type):
        watch.begin()  # a function of a user's own may take hours to its first evaluation, and not say more
    plan = make_plan(task, **job["plan"])
    device = "cuda" if job["gpu"] else "cpu"
    print(f"{job['label']} on {socket.gethostname()}, process {os.getpid()}, {device}, seed {job['seed']}")
    shared.fetch(plan.prepared, storage)
    return task.evaluations(plan, seed=job["seed"], device=device, folder=folder)


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
