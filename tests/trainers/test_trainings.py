"""The contract that every training of ours keeps; a new one joins the lists in helpers/trainings.py."""

import itertools
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import trainings
from fixed_program import watched
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from trainings import PLANS, TRAININGS, Dies, bits, plain

from trainers import checkpoint
from trainers.dip import Restoration
from trainers.tasks import TASKS, metric_of, sites_of
from trainers.training import Evaluation, Training, run

TASK = pytest.mark.parametrize("task", TASKS)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def new(task: str, seed: int = 0) -> Training:
    return TRAININGS[task](PLANS[task], seed=seed)


def test_no_task_is_left_out() -> None:
    assert TASKS.keys() == PLANS.keys() == TRAININGS.keys()


@TASK
def test_evaluations_come_at_the_plans_steps_with_its_metric_and_every_sites_measures(task: str) -> None:
    plan = PLANS[task]
    evaluations = list(TASKS[task].train(plan, seed=0))
    assert [evaluation.step for evaluation in evaluations] == list(plan.evaluate_at)
    for evaluation in evaluations:
        assert metric_of(TASKS[task], plan) in evaluation.metrics
        assert all(f"{site}.density" in evaluation.metrics for site in sites_of(TASKS[task], plan))
        assert all(type(value) is float for value in evaluation.metrics.values())
        assert all(p.dtype == "uint8" and p.ndim == 3 for p in evaluation.pictures.values())


@TASK
def test_stopping_after_any_evaluation_and_going_on_in_a_new_process_changes_no_bit(
    task: str, tmp_path: Path
) -> None:
    plan = PLANS[task]
    whole = [plain(evaluation) for evaluation in TASKS[task].train(plan, seed=3, folder=tmp_path / "whole")]
    stopped = [tmp_path / str(count) for count in range(1, len(whole) + 1)]
    for count, folder in enumerate(stopped, start=1):
        list(itertools.islice(TASKS[task].train(plan, seed=3, folder=folder), count))
    program = [sys.executable, trainings.__file__, task, "3", *map(str, stopped)]
    output = subprocess.run(program, check=True, capture_output=True, text=True).stdout
    # the evaluation at which it was stopped comes again: nobody knows whether it was delivered
    assert json.loads(output) == [whole[count:] for count in range(len(whole))]
    states = [bits(checkpoint.load(folder)) for folder in (tmp_path / "whole", *stopped)]
    assert all(state == states[0] for state in states[1:])


@TASK
@pytest.mark.parametrize("at", [1, 4, 5])
def test_a_kill_between_evaluations_loses_only_what_came_after_the_timed_checkpoint(
    task: str, at: int, tmp_path: Path
) -> None:
    plan = PLANS[task]
    whole = [plain(evaluation) for evaluation in run(new(task), plan=plan, seed=0)]
    seen = []
    with pytest.raises(KeyboardInterrupt):
        for evaluation in run(Dies(new(task), at), plan=plan, seed=0, folder=tmp_path, clock=ticking(1e6)):
            seen.append(plain(evaluation))
    again = Dies(new(task))
    rest = [plain(evaluation) for evaluation in run(again, plan=plan, seed=0, folder=tmp_path)]
    assert again.steps == plan.steps - at  # a checkpoint at every step: no step is trained twice
    assert seen + [evaluation for evaluation in rest if evaluation not in seen] == whole


def ticking(seconds: float) -> Callable[[], float]:
    """A clock that is so many seconds further at every look."""
    return itertools.count(0, seconds).__next__


@TASK
def test_an_evaluation_that_was_not_delivered_is_delivered_again_and_not_computed_again(
    task: str, tmp_path: Path
) -> None:
    plan = PLANS[task]
    first = next(run(new(task), plan=plan, seed=0, folder=tmp_path))
    again = Dies(new(task))
    assert plain(next(run(again, plan=plan, seed=0, folder=tmp_path))) == plain(first)
    assert (again.steps, again.evaluations) == (0, 0)


@TASK
def test_a_finished_training_delivers_its_last_evaluation_alone(task: str, tmp_path: Path) -> None:
    plan = PLANS[task]
    last = list(run(new(task), plan=plan, seed=0, folder=tmp_path))[-1]
    again = Dies(new(task), at=0)
    assert [plain(e) for e in run(again, plan=plan, seed=0, folder=tmp_path)] == [plain(last)]


@TASK
def test_evaluating_changes_nothing_that_later_steps_see(task: str) -> None:
    looked, blind = new(task), new(task)
    for _ in range(3):
        looked.step()
        looked.evaluate()
        blind.step()
    assert plain(Evaluation(3, *looked.evaluate())) == plain(Evaluation(3, *blind.evaluate()))
    assert bits(looked.state_dict()) == bits(blind.state_dict())


@TASK
def test_a_seed_repeats_and_another_differs(task: str) -> None:
    first, same, other = (
        plain(next(run(new(task, seed), plan=PLANS[task], seed=seed))) for seed in (0, 0, 1)
    )
    assert first == same
    assert first["metrics"] != other["metrics"]


@TASK
def test_global_random_state_is_neither_used_nor_changed(task: str) -> None:
    import random

    import numpy as np

    first = plain(next(run(new(task), plan=PLANS[task], seed=0)))
    torch.manual_seed(12), np.random.seed(12), random.seed(12)
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # type: ignore[index,union-attr]
    assert plain(next(run(new(task), plan=PLANS[task], seed=0))) == first
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].tolist() == before[1]  # type: ignore[index,union-attr]
    assert random.getstate() == before[2]


# --- a step is a fixed program ---------------------------------------------------------------------


@TASK
def test_a_step_waits_for_nothing_on_the_device(task: str) -> None:
    training = new(task)
    with watched():
        for _ in range(2):  # the first makes the optimizer's state
            training.step()


@TASK
@pytest.mark.parametrize("look", [
    lambda tensor: tensor.item(),
    lambda tensor: float(tensor),
    lambda tensor: bool(tensor > 0),
    lambda tensor: tensor.cpu(),
    lambda tensor: tensor.to("cpu"),
    lambda tensor: tensor.tolist(),
    lambda tensor: tensor.to("meta"),
    lambda tensor: torch.empty((), device="meta").copy_(tensor),
    lambda tensor: torch.ones(3)[tensor.expand(3) > 0],
])  # fmt: skip
def test_a_step_that_looks_at_a_value_would_be_found(task: str, look: Callable[[Tensor], object]) -> None:
    training = new(task)
    own = next(iter(training.state_dict()["network"].values())).sum()  # a tensor of before the step
    for during in (False, True):
        told = pytest.raises(
            RuntimeError, match=r"waits for the device|copies between|_local_scalar_dense|nonzero"
        )
        with watched(), told:
            training.step()
            look(own + 1 if during else own)


@TASK
def test_a_step_runs_the_same_operations_every_time(task: str) -> None:
    class Names(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.names: list[str] = []

        def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
        ) -> Any:
            self.names.append(str(func))
            return func(*args, **(kwargs or {}))

    training, programs = new(task), []
    training.step()  # makes the optimizer's state
    for _ in range(3):
        with Names() as mode:
            training.step()
        programs.append(mode.names)
    assert len(programs[0]) > 10
    assert programs[0] == programs[1] == programs[2]


# --- on a GPU --------------------------------------------------------------------------------------


@pytest.fixture
def deterministic() -> Iterator[None]:
    """The same bits each time: otherwise two eager trainings differ, and near a tie L0,∞ by a whole entry."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def numbers(state: Any) -> list[Tensor]:
    """The floating tensors in a state: weights, optimizers, counts; not the states of generators."""
    if isinstance(state, Tensor):
        return [state.detach().cpu()] if state.is_floating_point() else []
    within = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    return [tensor for one in within for tensor in numbers(one)]


def generators(thing: object) -> list[torch.Generator]:
    """What a training draws from, and its parts, of which Deep Image Prior has one a picture."""
    held = vars(thing).values()
    parts = [one for each in held for one in (each if isinstance(each, list) else [each])]
    found = [one for one in parts if isinstance(one, torch.Generator)]
    return found + [one for part in parts if isinstance(part, Restoration) for one in generators(part)]


@pytest.mark.gpu
@TASK
def test_a_captured_step_computes_what_an_eager_one_does(task: str, deterministic: None) -> None:
    eager, captured = (TRAININGS[task](PLANS[task], seed=0, device="cuda") for _ in range(2))
    for _ in range(6):
        eager.step()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            captured.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    for generator in generators(captured):
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph):  # capturing runs nothing: the third step is the first replay
        captured.step()
    for _ in range(4):
        graph.replay()
    torch.cuda.synchronize()
    ours, theirs = numbers(captured.state_dict()), numbers(eager.state_dict())
    assert len(ours) == len(theirs) > 10
    assert all(torch.equal(one, other) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.gpu
@TASK
def test_on_a_gpu_it_goes_on_where_it_stopped(task: str, tmp_path: Path, deterministic: None) -> None:
    plan, make = PLANS[task], partial(TRAININGS[task], PLANS[task], seed=0, device="cuda")
    whole = [plain(one) for one in run(make(), plan=plan, seed=0)]
    next(run(make(), plan=plan, seed=0, folder=tmp_path))
    assert [plain(one) for one in run(make(), plan=plan, seed=0, folder=tmp_path)] == whole
