"""The step against the loop that one would write by hand, what an evaluation draws, and where it looks."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from trainings import small_ddpm

from trainers import generative
from trainers.ddpm import DdpmTraining, prepare, train_ddpm
from trainers.diffusion import signal_left
from trainers.drawing import as_bytes, grid
from trainers.networks.ddpm import UNet
from trainers.networks.draws import DrawFrom
from trainers.networks.pair import PictureForm
from trainers.plan import Frozen, Plan
from trainers.settings import L0, L1, L0Inf, Mistake
from trainers.sparsity import MEASURES, attach


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def stepped(plan: Plan, steps: int = 3, seed: int = 0) -> DdpmTraining:
    """A training after so many steps: the third is the first that changes what begins behind zeros."""
    training = DdpmTraining(plan, seed=seed)
    for _ in range(steps):
        training.step()
    return training


# --- a step ----------------------------------------------------------------------------------------


def by_hand(plan: Plan, seed: int) -> tuple[nn.Module, list[Tensor]]:
    """No attach, no Training: the definition of so many steps; the U-Net and the averaged weights."""
    options: Any = plan.options
    _, training, _ = np.random.SeedSequence(seed).spawn(3)
    first, steps = (int(word) >> 1 for word in training.generate_state(2, np.uint64))
    data = generative.load(options)
    with DrawFrom(torch.Generator().manual_seed(first)):
        network = UNet(options.network, PictureForm(options.size, 1, data.classes))
    draw = torch.Generator().manual_seed(steps)
    optimizer = torch.optim.Adam(network.parameters(), lr=torch.tensor(options.lr), fused=True)
    average = [weight.detach().clone() for weight in network.parameters()]
    left = signal_left(options.noise_steps)
    for t in range(plan.steps):
        chosen = torch.randint(len(data.images), (options.batch,), generator=draw)
        x = data.images[chosen].float() / 127.5 - 1
        noise = torch.randn(x.shape, generator=draw)
        times = torch.randint(1, options.noise_steps + 1, (options.batch,), generator=draw)
        signal = left[times].view(-1, 1, 1, 1)
        noised = signal.sqrt().float() * x + (1 - signal).sqrt().float() * noise
        optimizer.zero_grad()
        (network(noised, times) - noise).square().mean().backward()
        optimizer.step()
        decay = min(options.average, (2 + t) / (11 + t))
        average = [
            mean.lerp(w.detach(), 1 - decay) for mean, w in zip(average, network.parameters(), strict=True)
        ]
    return network, average


def test_empty_settings_give_the_weights_of_the_loop_by_hand() -> None:
    training = stepped(small_ddpm(evaluate_at=(4,)), 4, seed=1)
    network, average = by_hand(small_ddpm(evaluate_at=(4,)), 1)
    for name, weight in network.named_parameters():
        torch.testing.assert_close(training.generator.bare.get_parameter(name), weight)
    for ours, theirs in zip(training.averaged, average, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_after_three_steps_every_parameter_has_changed() -> None:
    """The first reaches what begins at 0 at the end, the second what begins at 0 in blocks, the third all."""
    training = DdpmTraining(small_ddpm(), seed=0)
    before = [weight.detach().clone() for weight in training.weights]
    for _ in range(3):
        training.step()
    assert not any(torch.equal(old, new) for old, new in zip(before, training.weights, strict=True))


def test_a_short_training_draws_far_better_than_it_began() -> None:
    options = {"network": {"width": 8, "blocks": 1}, "batch": 64, "lr": 4e-3, "sampling_steps": 5}
    plan = small_ddpm(options=options | {"samples": 500}, evaluate_at=(80,))
    training = DdpmTraining(plan, seed=0)
    before = training.evaluate()[0]
    for _ in range(80):
        training.step()
    after = training.evaluate()[0]
    assert after["loss"] < 0.5  # telling no noise, as at the beginning, costs 1
    assert max(after[name] / before[name] for name in ("fd_pixels", "kd_pixels")) < 0.4


def test_a_penalty_counts_in_the_steps_own_pass_and_shrinks_what_it_is_put_on() -> None:
    ends = []
    for settings in ({}, {"code": L1(weight=30.0)}):
        training = stepped(small_ddpm(options={"lr": 0.01}, settings=settings, evaluate_at=(20,)), 20)
        ends.append(training.evaluate()[0]["code.mean_abs"])
    assert ends[1] < 0.7 * ends[0]


def test_extras_come_before_options() -> None:
    training = DdpmTraining(small_ddpm(extras={"lr": 0.5}), seed=0)
    assert float(training.adam.param_groups[0]["lr"]) == 0.5


# --- an evaluation ---------------------------------------------------------------------------------


def test_an_evaluation_draws_from_fixed_noise_in_as_many_steps_as_the_plan_says() -> None:
    training = stepped(small_ddpm(options={"sampling_steps": 4}))
    passes: list[tuple[int, Tensor]] = []
    scored, seen = training.to_score()
    scored.bare.register_forward_pre_hook(
        lambda module, inputs: passes.append((len(inputs[0]), inputs[1].clone()))
    )
    training.to_score = lambda: (scored, seen)  # type: ignore[method-assign]
    first, second = training.evaluate(), training.evaluate()
    assert first[0] == second[0]
    assert (first[1]["samples"] == second[1]["samples"]).all()
    assert len(passes) == 2 * (4 + 1)  # the last one looks at the sites; no norm is estimated
    assert [int(times[0]) for _, times in passes[:4]] == list(scored.times)
    count, times = passes[4]
    assert count == 150 and (int(times.min()), int(times.max())) == (1, 1000)
    assert float(times.float().mean()) == pytest.approx(500.5, abs=5)


def test_sparsity_is_that_of_pictures_noised_as_a_step_noises_them() -> None:
    training = stepped(small_ddpm(settings={"mid": L0(keep=0.1)}))
    metrics, _ = training.evaluate()
    network = training.to_score()[0].bare
    scored = UNet(training.options.network, PictureForm(8, 1, 10))
    scored.load_state_dict(network.state_dict())
    attached = attach(scored, {"mid": L0(keep=0.1)}, observe=training.generator.sites)
    # enough other pictures and noise at times of their own: the same numbers, but for what they were drawn
    draw = torch.Generator().manual_seed(5)
    x = training.images[torch.randint(len(training.images), (2000,), generator=draw)].float() / 127.5 - 1
    times = torch.randint(1, 1001, (2000,), generator=draw)
    left = signal_left(1000)[times].float().view(-1, 1, 1, 1)
    with torch.no_grad():
        scored(left.sqrt() * x + (1 - left).sqrt() * torch.randn(x.shape, generator=draw), times)
    for site, expected in attached.sparsity().items():
        for name in ("density", "removed_energy", "mean_abs", "hoyer"):
            assert metrics[f"{site}.{name}"] == pytest.approx(expected[name], rel=0.1, abs=0.01), (site, name)


def test_projections_act_in_what_is_scored_and_every_site_is_measured() -> None:
    training = stepped(small_ddpm(settings={"down0": L0Inf(k=2), "mid": L0(keep=0.1)}))
    metrics, pictures = training.evaluate()
    assert metrics["down0.density"] <= 2 / 4
    assert metrics["mid.density"] <= 0.11
    sites = ("down0", "mid", "up0", "code")
    assert {f"{site}.{one}" for site in sites for one in MEASURES} == {one for one in metrics if "." in one}
    assert pictures["samples"].shape == (71, 71, 1)
    training.attached.detach()
    without = training.to_score()[0].eval()
    assert (grid(as_bytes(without(training.fixed[0][:64]))) != pictures["samples"]).any()


def test_what_was_scored_is_what_is_exported() -> None:
    training = stepped(small_ddpm())
    shown = training.evaluate()[1]["samples"]
    exported, _ = DdpmTraining(small_ddpm(), seed=1).to_score()
    exported.bare.load_state_dict(training.state_dict()["network"])
    assert (grid(as_bytes(exported.eval()(training.fixed[0][:64]))) == shown).all()


def test_without_an_average_the_weights_as_they_stand_are_scored() -> None:
    for average, same in ((0.0, True), (0.9, False)):
        training = stepped(small_ddpm(options={"average": average}))
        pairs = zip(training.to_score()[0].parameters(), training.weights, strict=True)
        assert all(torch.equal(scored, own) for scored, own in pairs) is same


def test_a_training_that_diverges_says_so_by_its_distances() -> None:
    training = DdpmTraining(small_ddpm(options={"average": 0.0}), seed=0)
    with torch.no_grad():
        training.weights[0].fill_(math.nan)
    metrics, _ = training.evaluate()
    assert math.isnan(metrics["fd_pixels"]) and math.isnan(metrics["kd_pixels"])


# --- what is refused -------------------------------------------------------------------------------


def test_a_plan_of_another_task_is_refused() -> None:
    plan = Plan(task="gan", options=Frozen(), evaluate_at=(1,))
    with pytest.raises(
        Mistake, match="the plan's task is 'gan', but a diffusion model trains plans of 'ddpm'"
    ):
        train_ddpm(plan, seed=0)


def test_what_is_prepared_names_the_pictures_and_another_is_refused(tmp_path: Path) -> None:
    found = prepare(small_ddpm())
    assert found["data"] == generative.load(small_ddpm().options).fingerprint()
    DdpmTraining(small_ddpm(prepared=found), seed=0)
    with pytest.raises(Mistake, match=r"data has the SHA-256 .* but the study was begun with"):
        DdpmTraining(small_ddpm(prepared=found | {"data": "0" * 64}), seed=0)
    with pytest.raises(Mistake, match="nowhere"):
        prepare(small_ddpm(options={"data": str(tmp_path / "nowhere")}))
