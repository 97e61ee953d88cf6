"""The contract that every degradation of the list keeps; nothing here knows one by name."""

from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from degrading import options_of
from fixed_program import watched
from trainings import bits, small_dip

from trainers.degradations.degradation import Degradation
from trainers.degradations.known import DEGRADATIONS, KINDS
from trainers.dip import DipTraining
from trainers.dip_options import DipOptions
from trainers.images import load
from trainers.plan import models_in
from trainers.settings import Mistake

KIND = pytest.mark.parametrize("kind", KINDS)
CHANNELS = pytest.mark.parametrize("grey", [True, False])
Make = Callable[[str], dict[str, Any]]


@pytest.fixture
def options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    torch.set_num_threads(1)
    return lambda kind: options_of(kind, tmp_path, monkeypatch)


def made(entry: dict[str, Any]) -> Degradation:
    return KINDS[entry["kind"]].model_validate(entry)


def test_all_of_the_list_can_be_named_in_a_plan_and_the_first_is_meant_without_a_name() -> None:
    assert tuple(models_in(DipOptions.__annotations__["degradation"])) == DEGRADATIONS
    assert type(DipOptions.model_validate({"degradation": {}}).degradation) is DEGRADATIONS[0]
    assert DipOptions.model_validate({"degradation": "poisson"}).degradation.kind == "poisson"


@pytest.mark.parametrize(("given", "told"), [
    ({"kind": "fog"}, r"plan.degradation.kind is 'fog', but the degradations are gaussian, poisson, super"),
    ({"kind": 3}, r"plan.degradation.kind is 3, but the degradations are gaussian"),
    ([1], r"plan.degradation is \[1\], but it is a section: write for example \{kind: gaussian\}"),
])  # fmt: skip
def test_what_is_none_is_refused_with_the_known(given: Any, told: str) -> None:
    with pytest.raises(Mistake, match=told):
        DipOptions.model_validate({"degradation": given})


@KIND
@CHANNELS
def test_it_stays_in_range_repeats_and_leaves_the_clean_picture_alone(
    kind: str, grey: bool, options: Make
) -> None:
    clean = load("astronaut", size=20, grey=grey)
    before, degradation = clean.copy(), made(options(kind))
    first, same = (degradation.degrade(clean, np.random.default_rng(3)) for _ in range(2))
    assert np.array_equal(clean, before)
    assert first.values.dtype == np.float32
    assert first.values.shape[2] == clean.shape[2]
    assert first.values.min() >= 0 and first.values.max() <= 1
    assert np.array_equal(first.values, same.values)
    assert first.seen is None or np.array_equal(first.seen, same.seen)  # type: ignore[arg-type]
    assert first.seen is None or first.seen.shape == first.values.shape[:2]
    assert degradation.restored(*first.values.shape[:2]) == clean.shape[:2]


@KIND
@CHANNELS
def test_its_operator_draws_what_was_observed_up_to_noise_without_a_bias(
    kind: str, grey: bool, options: Make
) -> None:
    clean, degradation = load("astronaut", size=20, grey=grey), made(options(kind))
    observed = degradation.degrade(clean, np.random.default_rng(0))
    operator = degradation.operator(20, 20)
    pictures = torch.from_numpy(clean).permute(2, 0, 1)[None]
    drawn = (pictures if operator is None else operator(pictures))[0].permute(1, 2, 0).numpy()
    assert drawn.shape == observed.values.shape
    error = (np.clip(drawn, 0, 1) - observed.values)[... if observed.seen is None else observed.seen]
    assert abs(error.mean()) < 0.02
    assert error.std() < 0.15


@KIND
def test_its_operator_is_linear_and_its_gradient_the_transpose(kind: str, options: Make) -> None:
    operator = made(options(kind)).operator(20, 20)
    if operator is None:
        return
    draws = torch.Generator().manual_seed(0)
    x, y = (torch.rand((1, 3, 20, 20), generator=draws, requires_grad=True) for _ in range(2))
    assert torch.allclose(operator(2 * x - y), 2 * operator(x) - operator(y), atol=1e-5)
    z = torch.rand(operator(x).shape, generator=draws)
    (gradient,) = torch.autograd.grad((operator(x) * z).sum(), x)
    assert float((gradient * y).sum().detach()) == pytest.approx(
        float((operator(y) * z).sum().detach()), rel=1e-4
    )


@KIND
@pytest.mark.parametrize("scales", [2, 3])  # 20 pixels are halved twice, and padded for three times
def test_it_is_undone_by_a_training_whose_step_waits_for_nothing(
    kind: str, scales: int, options: Make
) -> None:
    plan = small_dip(
        options={
            "degradation": options(kind),
            "network": {"width": 6, "scales": scales, "input_channels": 8},
            "objective": "held_out",
            "lr": 0.05,
        }
    )
    training, twin = DipTraining(plan, seed=0), DipTraining(plan, seed=0)
    training.step()
    first = float(training.restorations[0].fit.loss)
    for _ in range(20):
        training.step()
    assert float(training.restorations[0].fit.loss) < first
    metrics, pictures = training.evaluate()
    assert {"psnr", "ssim", "held_out", "loss"} <= metrics.keys()
    assert pictures["comparison"].shape == (20, 60, 3)
    twin.load_state_dict(deepcopy(training.state_dict()))
    training.step()
    twin.step()
    assert bits(twin.state_dict()) == bits(training.state_dict())
    with watched():
        training.step()


@KIND
def test_a_degraded_picture_is_restored_without_a_clean_one(kind: str, options: Make) -> None:
    given = {"degradation": options(kind), "image_is": "degraded"}
    if KINDS[kind].DRAWN:
        with pytest.raises(Mistake, match=rf"plan.degradation.kind is {kind}, which draws what is done"):
            small_dip(options=given)
        return
    plan = small_dip(options=given)
    training = DipTraining(plan, seed=0)
    training.step()
    metrics, pictures = training.evaluate()
    height, width = made(given["degradation"]).restored(20, 20)
    assert not {"psnr", "psnr_raw", "ssim"} & metrics.keys()
    assert metrics["held_out"] > 0
    assert pictures["restored"].shape == (height, width, 3)
    assert pictures["comparison"].shape == (height, 2 * width, 3)
    assert np.array_equal(
        training.restorations[0].subject.observed.values, load("astronaut", size=20, resized=False)
    )
