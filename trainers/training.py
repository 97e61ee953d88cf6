"""What every way of training can do, and the one loop over it: evaluations, whatever dies in between."""

import json
import os
import reprlib
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from trainers import checkpoint
from trainers.plan import Plan, places
from trainers.settings import Mistake

Metrics = dict[str, float]
Pictures = dict[str, NDArray[np.uint8]]

# Whoever iterates over `run` may set it: called when that begins and after each step and each evaluation, it
# says whether to save and end. A long evaluation calls it on the way, to be known to be alive.
after_each: ContextVar[Callable[[], bool]] = ContextVar("after_each", default=lambda: False)


@dataclass(frozen=True)
class Evaluation:
    """What was measured at a training step: metrics by name, pictures by name (H×W×3 or H×W×1, 8-bit)."""

    step: int
    metrics: Metrics
    pictures: Pictures = field(default_factory=dict)


class Training(ABC):
    """The running object for one plan and one seed.

    A step is a fixed program: the same operations every time, none of which waits for the device or asks for
    a tensor's value; it draws from generators of its own and keeps in tensors whatever changes on the way. So
    it can be captured, and share its device with others without computing anything else.
    """

    @abstractmethod
    def step(self) -> None:
        """Train one step."""

    @abstractmethod
    def evaluate(self) -> tuple[Metrics, Pictures]:
        """Measure where the training stands; changes nothing that later steps see."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """All that the next step depends on, as tensors, numbers, texts, and dicts and lists of them."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Become the training that wrote the state."""


def streams(seed: int) -> tuple[np.random.SeedSequence, np.random.SeedSequence, np.random.SeedSequence]:
    """The three independent streams of a training's seed: data, training, evaluation."""
    if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
        raise Mistake(f"seed is {seed!r}, but it must be an integer of at least 0")
    data, training, evaluation = np.random.SeedSequence(seed).spawn(3)
    return data, training, evaluation


def find_device(name: str) -> torch.device:
    """The device of that name ("cpu", "cuda", "cuda:1"); a Mistake where torch cannot use it here."""
    try:
        return torch.empty((), device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise Mistake(
            f"device is {name!r}, but torch cannot use it here ({reason}): take cpu, or a device "
            "that `sparsity-tuner doctor` lists"
        ) from error


def adam(
    parameters: Iterable[torch.nn.Parameter],
    *,
    lr: float,
    betas: tuple[float, float] = (0.9, 0.999),
    device: torch.device,
) -> torch.optim.Adam:
    """Adam (arXiv 1412.6980) as one fused kernel, fit to be captured: its rate is a tensor.

    On a GPU its step count lies on the device too.
    """
    optimizer = torch.optim.Adam(parameters, lr=lr, betas=betas, fused=True, capturable=device.type == "cuda")
    for group in optimizer.param_groups:
        group["lr"] = torch.tensor(lr, dtype=torch.float32, device=device)
    return optimizer


def restore(optimizer: torch.optim.Optimizer, state: dict[str, Any], device: torch.device) -> None:
    """Load the state of an `adam`: torch leaves a rate that is a tensor on the device where it was saved."""
    optimizer.load_state_dict(state)
    for group in optimizer.param_groups:
        group["lr"] = group["lr"].to(device)


def same_device(saved: str, device: torch.device) -> None:
    """A state goes on on its own kind of device: its generators' states mean nothing on another.

    A Mistake says so where `saved`, the kind that the state was written on, is another than the device's.
    """
    if saved != device.type:
        raise Mistake(
            f"the checkpoint was written on {saved}, and the device here is {device.type}: "
            "go on there, or begin in another folder"
        )


def run(
    training: Training,
    *,
    plan: Plan,
    seed: int,
    folder: str | os.PathLike[str] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Evaluation]:
    """Train to plan's last step and yield an evaluation at each step of plan.evaluate_at.

    folder: a local path that keeps the state, saved at every evaluation, and by clock (in seconds) every
    plan.checkpoint_every. A state that lies there is continued. The evaluation that it holds may never have
    reached the caller, so it comes again, as it was computed: a caller may see one evaluation twice, and
    misses none. A folder of another plan or seed is a Mistake, a damaged one a RuntimeError. Where
    `after_each` says so, the state is saved and the iteration ends before the last step.
    """
    step = 0
    saved = checkpoint.load(folder) if folder is not None else None
    if saved is not None:
        step, evaluation = _continued(training, saved, plan, seed, folder)
        if evaluation is not None:
            yield evaluation
        del saved  # it is as large as the training

    def save(evaluation: Evaluation | None) -> None:
        if folder is not None:
            state = {
                "plan": plan.identity(),
                "seed": seed,
                "step": step,
                "evaluation": None if evaluation is None else _packed(evaluation),
                "training": training.state_dict(),
            }
            checkpoint.save(folder, state)

    saved_at = clock()
    ends = after_each.get()()
    if ends and step == 0:
        save(None)  # or going on would look like beginning again
    while step < plan.steps and not ends:
        training.step()
        step += 1
        ends = after_each.get()()
        evaluation = None
        if step in plan.evaluate_at:
            evaluation = Evaluation(step, *_measured(training))
            ends = after_each.get()()
        due = ends or evaluation is not None or clock() - saved_at >= plan.checkpoint_every
        if due:
            save(evaluation)
            saved_at = clock()
        if evaluation is not None:
            yield evaluation


def _measured(training: Training) -> tuple[Metrics, Pictures]:
    """A training of a user's own may leave the pictures out."""
    given: object = training.evaluate()
    found = (given, {}) if isinstance(given, dict) else given
    if isinstance(found, tuple) and len(found) == 2 and all(isinstance(one, dict) for one in found):
        return found
    raise Mistake(
        f"evaluate of {type(training).__name__} returns {reprlib.repr(given)}, but it must return metrics "
        "as a dict of numbers, or a pair of them and a dict of pictures"
    )


def _continued(
    training: Training, saved: dict[str, Any], plan: Plan, seed: int, folder: object
) -> tuple[int, Evaluation | None]:
    """Let the training be the one that was saved; its step, and the evaluation that was made there."""
    try:
        _check_owner(saved, plan, seed, folder)
        step = saved["step"]
        if type(step) is not int or not 0 <= step <= plan.steps:
            raise ValueError(f"its step is {step!r}")
        training.load_state_dict(saved["training"])
        return step, None if saved["evaluation"] is None else _unpacked(saved["evaluation"])
    except Mistake:
        raise
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise RuntimeError(
            f"the checkpoint in {folder} is whole, but no state of {type(training).__name__} "
            f"({type(error).__name__}: {error}): remove {checkpoint.FILE}, and it starts from its beginning"
        ) from error


def _check_owner(saved: dict[str, Any], plan: Plan, seed: int, folder: object) -> None:
    theirs = _flat({"seed": saved["seed"], "plan": _with_new_keys(json.loads(saved["plan"]), plan)})
    mine = _flat({"seed": seed, "plan": json.loads(plan.identity())})
    for key in sorted(theirs.keys() | mine.keys(), reverse=True):  # the seed first
        if theirs.get(key) != mine.get(key):
            raise Mistake(
                f"the checkpoint in {folder} belongs to another training ({key} is "
                f"{theirs.get(key)} there and {mine.get(key)} here): take another folder, or "
                "remove that one"
            )


def _with_new_keys(saved: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """A saved plan's identity with the options that were added to the task since, at their defaults."""
    kept = {name: getattr(plan.options, name) for name in places(type(plan.options))}  # no part of it
    try:
        options = type(plan.options).model_validate({**saved["options"], **kept})
    except ValidationError:  # of another task: told apart by what it says
        return saved
    now: dict[str, Any] = json.loads(plan.model_copy(update={"options": options}).identity())
    return {**saved, "options": now["options"]}


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in tree.items():
        flat.update(_flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return flat


def _packed(evaluation: Evaluation) -> dict[str, Any]:
    pictures = {name: torch.from_numpy(pixels) for name, pixels in evaluation.pictures.items()}
    metrics = {name: _number(value) for name, value in evaluation.metrics.items()}
    return {"step": evaluation.step, "metrics": metrics, "pictures": pictures}


def _number(value: Any) -> Any:
    """A number of NumPy's or PyTorch's as Python's own, which a checkpoint can hold; else what it is."""
    try:
        return value if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        return value


def _unpacked(entry: dict[str, Any]) -> Evaluation:
    pictures = {name: pixels.numpy() for name, pixels in entry["pictures"].items()}
    return Evaluation(entry["step"], entry["metrics"], pictures)
