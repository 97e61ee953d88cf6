"""The loop over a training: when it saves, what it refuses. What a training keeps: test_trainings."""

import copy
import json
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from trainings import SMALL_DIP, Dies, plain, small_dip

from trainers import checkpoint, training
from trainers.plan import Frozen, Plan
from trainers.settings import L0, Mistake
from trainers.training import Training, adam, find_device, run, streams


class Counts(Training):
    """Counts its steps in a tensor; its picture is as white as it has steps."""

    def __init__(self, value: float = 1.0) -> None:
        self.value, self.count = value, torch.zeros((), dtype=torch.int64)

    def step(self) -> None:
        self.count.add_(1)

    def evaluate(self) -> Any:
        return {"psnr": self.value * int(self.count)}, {"one": np.full((2, 3, 1), int(self.count), np.uint8)}

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.count.copy_(state["count"])


class Clock:
    """Stands still between steps unless told."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Takes(Counts):
    """A step takes 100 seconds of the clock; notes at which step the folder's checkpoint stood before it."""

    def __init__(self, clock: Clock, folder: Path) -> None:
        super().__init__()
        self.clock, self.folder = clock, folder
        self.saved: list[int | None] = []

    def step(self) -> None:
        state = checkpoint.load(self.folder)
        self.saved.append(None if state is None else state["step"])
        self.clock.now += 100
        super().step()


def test_checkpoints_have_their_own_clock_and_come_at_every_evaluation(tmp_path: Path) -> None:
    clock = Clock()
    takes = Takes(clock, tmp_path)
    plan = small_dip(evaluate_at=(5, 11), checkpoint_every=300.0)
    list(run(takes, plan=plan, seed=0, folder=tmp_path, clock=clock))
    # before the steps     1     2     3     4  5  6  7  8  9  10 11; an evaluation restarts the clock
    assert takes.saved == [None, None, None, 3, 3, 5, 5, 5, 8, 8, 8]
    assert checkpoint.load(tmp_path)["step"] == 11  # type: ignore[index]


def test_the_time_that_a_caller_takes_between_evaluations_is_nobodys(tmp_path: Path) -> None:
    clock = Clock()
    takes = Takes(clock, tmp_path)
    plan = small_dip(evaluate_at=(1, 4), checkpoint_every=250.0)
    for _ in run(takes, plan=plan, seed=0, folder=tmp_path, clock=clock):
        clock.now += 1e6
    assert takes.saved == [None, 1, 2, 2]  # one checkpoint early does no harm, and none is missed


def test_whoever_listens_hears_of_each_step_and_evaluation_and_may_have_it_saved_and_ended(
    tmp_path: Path,
) -> None:
    heard: list[int] = []
    counts = Counts()

    def listens() -> bool:
        heard.append(int(counts.count))
        return int(counts.count) == 3

    plan = small_dip(evaluate_at=(2, 5))
    listening = training.after_each.set(listens)
    try:
        assert [e.step for e in run(counts, plan=plan, seed=0, folder=tmp_path)] == [2]
    finally:
        training.after_each.reset(listening)
    assert heard == [0, 1, 2, 2, 3]
    assert checkpoint.load(tmp_path)["step"] == 3  # type: ignore[index]
    assert [e.step for e in run(Counts(), plan=plan, seed=0, folder=tmp_path)] == [5]


def test_what_ends_before_its_first_step_is_saved_too_and_goes_on(tmp_path: Path) -> None:
    plan = small_dip(evaluate_at=(2, 5))
    listening = training.after_each.set(lambda: True)
    try:
        assert list(run(Counts(), plan=plan, seed=0, folder=tmp_path)) == []
    finally:
        training.after_each.reset(listening)
    assert checkpoint.load(tmp_path)["step"] == 0  # type: ignore[index]
    assert [e.step for e in run(Counts(), plan=plan, seed=0, folder=tmp_path)] == [2, 5]


def test_an_evaluation_at_which_it_ends_is_delivered_and_comes_again(tmp_path: Path) -> None:
    plan = small_dip(evaluate_at=(2, 5))
    counts = Counts()
    listening = training.after_each.set(lambda: int(counts.count) == 2)
    try:
        assert [e.step for e in run(counts, plan=plan, seed=0, folder=tmp_path)] == [2]
    finally:
        training.after_each.reset(listening)
    assert [e.step for e in run(Counts(), plan=plan, seed=0, folder=tmp_path)] == [2, 5]


def test_without_a_folder_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert [evaluation.step for evaluation in run(Counts(), plan=small_dip(), seed=0)] == [2, 4]
    assert not list(tmp_path.iterdir())


def test_what_a_timed_checkpoint_holds_was_delivered_before(tmp_path: Path) -> None:
    plan = small_dip(evaluate_at=(2, 5), checkpoint_every=1e-9)
    with pytest.raises(KeyboardInterrupt):
        list(run(Dies(Counts(), at=3), plan=plan, seed=0, folder=tmp_path, clock=iter(range(100)).__next__))
    assert [e.step for e in run(Counts(), plan=plan, seed=0, folder=tmp_path)] == [5]


def test_a_value_that_is_not_finite_is_handed_on_as_it_is(tmp_path: Path) -> None:
    values = [e.metrics["psnr"] for e in run(Counts(math.nan), plan=small_dip(), seed=0, folder=tmp_path)]
    assert all(math.isnan(value) for value in values)
    assert math.isnan(next(run(Counts(), plan=small_dip(), seed=0, folder=tmp_path)).metrics["psnr"])


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64, torch.tensor])
def test_numbers_of_numpy_and_torch_are_kept_as_pythons_own(kind: Any, tmp_path: Path) -> None:
    class Measures(Counts):
        def evaluate(self) -> Any:
            return {"psnr": kind(2), "half": 0.5}

    whole = list(run(Measures(), plan=small_dip(), seed=0, folder=tmp_path))
    assert [float(e.metrics["psnr"]) for e in whole] == [2, 2]
    (again,) = run(Measures(), plan=small_dip(), seed=0, folder=tmp_path)
    assert again.metrics == {"psnr": 2.0, "half": 0.5} and type(again.metrics["psnr"]) is float


@pytest.mark.parametrize("given", [None, 3.0, ({"psnr": 1.0},), ({"psnr": 1.0}, None)])
def test_an_evaluation_that_is_neither_metrics_nor_a_pair_is_refused(given: Any) -> None:
    class Measures(Counts):
        def evaluate(self) -> Any:
            return given

    with pytest.raises(Mistake, match=r"evaluate of Measures returns .*, but it must return"):
        list(run(Measures(), plan=small_dip(), seed=0))


@pytest.mark.parametrize(("plan", "seed", "told"), [
    (small_dip(options={"lr": 0.5}), 0, r"plan.options.lr is 0.01 there and 0.5 here"),
    (small_dip(settings={"up0": L0(0.5)}), 0, r"plan.settings.up0.kind is None there and l0 here"),
    (small_dip(evaluate_at=(2, 5)), 0, r"plan.evaluate_at is \[2, 4\] there and \[2, 5\] here"),
    (small_dip(), 1, r"seed is 0 there and 1 here.*take another folder"),
])  # fmt: skip
def test_the_folder_of_another_plan_or_seed_is_refused(
    plan: Any, seed: int, told: str, tmp_path: Path
) -> None:
    list(run(Counts(), plan=small_dip(), seed=0, folder=tmp_path))
    before = (tmp_path / checkpoint.FILE).read_bytes()
    with pytest.raises(Mistake, match=told):
        next(run(Counts(), plan=plan, seed=seed, folder=tmp_path))
    assert (tmp_path / checkpoint.FILE).read_bytes() == before


@pytest.mark.parametrize("key", ["plan", "seed", "step", "evaluation", "training"])
@pytest.mark.parametrize("value", [..., None, "{", -1, 10**9, 2.5, [], {}, {"step": 1}])
def test_a_whole_file_that_holds_something_else_is_refused(key: str, value: Any, tmp_path: Path) -> None:
    plan = small_dip(evaluate_at=(2, 4))
    list(run(Counts(), plan=plan, seed=0, folder=tmp_path))
    state: dict[str, Any] = checkpoint.load(tmp_path) or {}
    if value is ...:
        del state[key]
    elif (key, value) == ("evaluation", None):
        return  # of a checkpoint between two evaluations
    else:
        state[key] = value
    checkpoint.save(tmp_path, state)
    with pytest.raises(
        (RuntimeError, Mistake), match=r"no state of Counts|belongs to another training"
    ) as told:
        list(run(Counts(), plan=plan, seed=0, folder=tmp_path))
    assert str(tmp_path) in str(told.value)


def test_how_often_it_saves_is_no_part_of_what_a_checkpoint_belongs_to(tmp_path: Path) -> None:
    first = list(run(Counts(), plan=small_dip(), seed=0, folder=tmp_path))
    again = list(run(Counts(), plan=small_dip(checkpoint_every=7.0), seed=0, folder=tmp_path))
    assert [plain(e) for e in again] == [plain(first[-1])]


@pytest.mark.parametrize("key", ["lr", "network.skip"])
def test_a_checkpoint_from_before_a_key_was_added_goes_on_where_the_key_has_its_default(
    key: str, tmp_path: Path
) -> None:
    plan = small_dip(evaluate_at=(2, 4))
    first = list(run(Counts(), plan=plan, seed=0, folder=tmp_path))
    state: dict[str, Any] = checkpoint.load(tmp_path) or {}
    old = json.loads(state["plan"])
    above, _, last = key.rpartition(".")
    del (old["options"][above] if above else old["options"])[last]
    checkpoint.save(tmp_path, {**state, "plan": json.dumps(old)})
    assert [plain(e) for e in run(Counts(), plan=plan, seed=0, folder=tmp_path)] == [plain(first[-1])]
    changed = {"network": {**SMALL_DIP["network"], last: 2}} if above else {last: 0.5}
    other = small_dip(evaluate_at=(2, 4), options=changed)
    with pytest.raises(Mistake, match=rf"plan\.options\.{key} is "):
        next(run(Counts(), plan=other, seed=0, folder=tmp_path))


def test_where_things_lie_is_no_part_of_what_a_checkpoint_belongs_to_not_even_a_key_without_default(
    tmp_path: Path,
) -> None:
    class Placed(Frozen):
        PLACES: ClassVar[tuple[str, ...]] = ("root",)
        root: str
        lr: float = 0.1

    here, there = (Plan(task="mine", options=Placed(root=root), evaluate_at=(2, 4)) for root in ("/a", "/b"))
    first = list(run(Counts(), plan=here, seed=0, folder=tmp_path))
    assert [plain(e) for e in run(Counts(), plan=there, seed=0, folder=tmp_path)] == [plain(first[-1])]


def test_the_streams_of_a_seed_are_independent_and_repeat() -> None:
    words = {tuple(stream.generate_state(4)) for seed in (0, 1) for stream in streams(seed)}
    assert len(words) == 6
    assert [s.generate_state(1)[0] for s in streams(5)] == [s.generate_state(1)[0] for s in streams(5)]
    children = np.random.SeedSequence(7).spawn(3)
    assert [s.spawn_key for s in streams(7)] == [s.spawn_key for s in children]


@pytest.mark.parametrize("seed", [-1, 1.5, True, None])
def test_a_seed_is_an_integer_of_at_least_0(seed: Any) -> None:
    with pytest.raises(Mistake, match=r"seed is .* integer of at least 0"):
        streams(seed)


def test_a_device_is_one_that_torch_can_use() -> None:
    assert find_device("cpu") == torch.device("cpu")
    for name in ("gpu", "cpu:x", "", "cuda:4711"):
        with pytest.raises(Mistake, match=rf"device is '{name}', but torch cannot use it here .* take cpu"):
            find_device(name)


def test_an_evaluation_needs_no_pictures() -> None:
    assert training.Evaluation(1, {"psnr": 2.0}).pictures == {}


def test_a_rate_in_a_tensor_and_one_fused_kernel_compute_adam() -> None:
    torch.manual_seed(0)
    x, y = torch.rand(64, 5), torch.rand(64, 3)
    ours = torch.nn.Linear(5, 3)
    theirs = copy.deepcopy(ours)
    optimizers = (
        adam(ours.parameters(), lr=0.01, device=torch.device("cpu")),
        torch.optim.Adam(theirs.parameters(), lr=0.01),
    )
    for _ in range(50):
        for network, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            F.mse_loss(network(x), y).backward()
            optimizer.step()
    torch.testing.assert_close(ours.weight, theirs.weight, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.bias, theirs.bias, rtol=1e-5, atol=1e-6)
