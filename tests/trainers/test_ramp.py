"""The one schedule: what it is at each step, and that a training keeps it whatever cuts it off."""

import pytest
import torch
from trainings import PLANS, TRAININGS, small_classifier, small_ddpm, small_dip, small_gan, small_vae

from trainers.plan import Plan
from trainers.ramp import Ramp
from trainers.settings import L0, L1, Mistake

STEPS = (5, 10)


@pytest.mark.parametrize("small", [small_dip, small_gan])
def test_it_grows_in_equal_steps_to_1_and_stays_there(small: type[Plan]) -> None:
    ramp = Ramp(small(options={"ramp": 0.4}, evaluate_at=STEPS), torch.device("cpu"))
    found = []
    for step in range(1, 7):
        ramp.at(torch.tensor(step))
        assert ramp.strength is not None
        found.append(ramp.strength.item())
    assert found == [0.25, 0.5, 0.75, 1, 1, 1]
    assert Ramp(small(evaluate_at=STEPS), torch.device("cpu")).strength is None


@pytest.mark.parametrize("task", PLANS)
def test_a_training_turns_its_regularizers_up(task: str) -> None:
    """A penalty of the first step costs a part of what it would; at the end a projection acts whole."""
    small, site, loss = {
        "dip": (small_dip, "up0", "loss"),
        "gan": (small_gan, "h0", "loss_generator"),
        "vae": (small_vae, "h0", "loss"),
        "ddpm": (small_ddpm, "up0", "loss"),
        "classifier": (small_classifier, "h0", "loss"),
    }[task]
    settings = {site: L0(keep=0.25), "code": L1(weight=1e3)}
    slow, at_once = (
        TRAININGS[task](small(options={"ramp": f}, settings=settings, evaluate_at=STEPS), seed=0)
        for f in (1.0, 0.0)
    )
    losses = []
    for training in (slow, at_once):
        training.step()
        metrics, _ = training.evaluate()
        losses.append(metrics[loss])
    assert losses[0] < 0.5 * losses[1]  # a tenth of the penalty
    assert metrics[f"{site}.density"] == pytest.approx(0.25, abs=0.02)
    assert slow.evaluate()[0][f"{site}.density"] > 0.35  # a ReLU leaves half
    for _ in range(9):
        slow.step()
    assert slow.evaluate()[0][f"{site}.density"] == pytest.approx(0.25, abs=0.02)


def test_a_fraction_outside_its_range_is_refused() -> None:
    with pytest.raises(Mistake, match=r"ramp"):
        small_dip(options={"ramp": 1.5})
