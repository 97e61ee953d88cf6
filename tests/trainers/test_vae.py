"""The bound that an autoencoder maximises, its step against the loop by hand, and that it learns."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from fake_gpu import graded, stepped_twice
from gans import state
from scipy.optimize import minimize_scalar
from torch import Tensor, nn
from torch.distributions import Independent, Normal, kl_divergence
from trainings import bits, small_vae

from trainers import generative, vae
from trainers.drawing import as_bytes, grid
from trainers.networks.pair import PictureForm
from trainers.plan import Frozen, Plan
from trainers.settings import L0, L1, L0Inf, Mistake
from trainers.vae import LOSS, LOSS_KL, LOSS_RECONSTRUCTION, VaeTraining, build_vae, train_vae


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- the bound -------------------------------------------------------------------------------------


def test_the_divergence_is_the_closed_form_of_torch() -> None:
    mean, log_variance = drawn(5, 7), drawn(5, 7, seed=1)
    posterior = Independent(Normal(mean, (log_variance / 2).exp()), 1)
    prior = Independent(Normal(torch.zeros(5, 7).double(), 1.0), 1)
    torch.testing.assert_close(
        vae.kl_divergence(mean, log_variance), kl_divergence(posterior, prior).mean(), rtol=1e-12, atol=0
    )
    assert vae.kl_divergence(torch.zeros(2, 3), torch.zeros(2, 3)) == 0


def test_the_reconstruction_is_the_likelihood_of_the_best_common_variance() -> None:
    images, means = drawn(3, 2, 4, 4), drawn(3, 2, 4, 4, seed=1)

    def by_hand(log_deviation: float) -> float:
        return -float(Normal(means, math.exp(log_deviation)).log_prob(images).mean())

    best = minimize_scalar(by_hand, bounds=(-5, 5), method="bounded", options={"xatol": 1e-10})
    assert float(vae.reconstruction_loss(images, means)) == pytest.approx(best.fun, rel=1e-12)


def test_its_gradient_is_that_of_a_variance_that_follows_the_error() -> None:
    """The definition with its minimum put in: ½ (log 2π MSE + 1)."""
    images, means = drawn(3, 1, 4, 4), drawn(3, 1, 4, 4, seed=1).requires_grad_()
    (ours,) = torch.autograd.grad(vae.reconstruction_loss(images, means), means)
    plugged = (torch.log(2 * math.pi * (images - means).square().mean()) + 1) / 2
    (theirs,) = torch.autograd.grad(plugged, means)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)


def test_the_variance_stops_at_that_of_rounding() -> None:
    exact = torch.linspace(-1, 1, 100_001, dtype=torch.float64)
    rounded = as_bytes(exact).double() / 127.5 - 1
    assert float((exact - rounded).square().mean()) == pytest.approx(vae.ROUNDING, rel=1e-3)
    images = drawn(2, 1, 4, 4)
    for error in (0.0, 1e-3):  # both below it
        means = (images + error).requires_grad_()
        loss = vae.reconstruction_loss(images, means)
        least = Normal(means, math.sqrt(vae.ROUNDING)).log_prob(images)
        assert loss.item() == pytest.approx(-least.mean().item(), rel=1e-9)
        (slope,) = torch.autograd.grad(loss, means)  # and it goes on pulling
        torch.testing.assert_close(slope, torch.full_like(images, error / vae.ROUNDING / 32))


# --- the step --------------------------------------------------------------------------------------


def by_hand(plan: Plan, seed: int) -> tuple[nn.Module, nn.Module]:
    """No attach, no Training: the definition of so many steps; encoder and decoder."""
    options: Any = plan.options
    _, training, _ = np.random.SeedSequence(seed).spawn(3)
    first, steps = (int(word) >> 1 for word in training.generate_state(2, np.uint64))
    data = generative.load(options)
    encoder, decoder = build_vae(
        options.network,
        PictureForm(options.size, 1, data.classes),
        generator=torch.Generator().manual_seed(first),
    )
    draw = torch.Generator().manual_seed(steps)
    adam = torch.optim.Adam(
        [*decoder.parameters(), *encoder.parameters()], lr=torch.tensor(options.lr), fused=True
    )
    for _ in range(plan.steps):
        chosen = torch.randint(len(data.images), (options.batch,), generator=draw)
        x = data.images[chosen].float() / 127.5 - 1
        mean, log_variance = encoder(x)
        z = mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=draw)
        kl = vae.kl_divergence(mean, log_variance) / 64
        loss = vae.reconstruction_loss(x, decoder(z)) + options.beta * kl
        adam.zero_grad()
        loss.backward()
        adam.step()
    return encoder, decoder


def test_empty_settings_give_the_bits_of_the_loop_by_hand() -> None:
    plan = small_vae(options={"lr": 0.003, "beta": 0.5})
    training = VaeTraining(plan, seed=1)
    for _ in range(4):
        training.step()
    encoder, decoder = by_hand(plan, 1)
    assert bits(training.encoder.state_dict()) == bits(encoder.state_dict())
    assert bits(training.generator.state_dict()) == bits(decoder.state_dict())


def test_a_step_changes_every_parameter() -> None:
    training = VaeTraining(small_vae(settings={"h0": L0(0.25)}), seed=0)
    before = [state(module) for module in training.modules()]
    training.step()
    for module, old in zip(training.modules(), before, strict=True):
        names = [name for name, _ in module.named_parameters()]
        assert len(names) > 5
        assert [name for name in names if torch.equal(old[name], module.get_parameter(name))] == []


def test_the_named_losses_add_up_and_count_the_penalty() -> None:
    totals = []
    for settings in ({}, {"code": L1(weight=30.0)}):
        training = VaeTraining(small_vae(settings=settings, extras={"beta": 2.0}), seed=0)
        training.step()
        losses = training.evaluate()[0]
        assert losses[LOSS_KL] > 0
        totals.append(losses[LOSS] - losses[LOSS_RECONSTRUCTION] - 2 * losses[LOSS_KL])
    assert totals[0] == pytest.approx(0, abs=1e-6)
    assert totals[1] > 1


def test_a_penalty_shrinks_what_it_is_put_on() -> None:
    ends = []
    for settings in ({}, {"code": L1(weight=30.0)}):
        training = VaeTraining(small_vae(options={"lr": 0.01}, settings=settings, evaluate_at=(30,)), seed=0)
        for _ in range(30):
            training.step()
        ends.append(training.evaluate()[0]["code.mean_abs"])
    assert ends[1] < 0.7 * ends[0]


def test_projections_act_in_what_is_scored_and_every_site_is_measured() -> None:
    training = VaeTraining(small_vae(settings={"h0": L0Inf(k=2), "h1": L0(keep=0.1)}), seed=0)
    training.step()
    metrics, pictures = training.evaluate()
    assert metrics["h0.density"] <= 2 / 16
    assert metrics["h1.density"] <= 0.11
    assert {name.partition(".")[0] for name in metrics if "." in name} == {"h0", "h1", "code"}
    assert pictures["samples"].shape == (71, 71, 1)


def test_what_is_exported_is_the_decoder_that_was_scored() -> None:
    training = VaeTraining(small_vae(), seed=0)
    training.step()
    shown = training.evaluate()[1]["samples"]
    _, decoder = build_vae(
        training.options.network, PictureForm(8, 1, 10), generator=torch.Generator().manual_seed(9)
    )
    decoder.load_state_dict(training.state_dict()["network"])
    with torch.no_grad():
        assert (grid(as_bytes(decoder.eval()(training.fixed[0][:64]))) == shown).all()


def test_the_distance_falls_far_below_that_of_the_untrained_one() -> None:
    options = {
        "samples": 1000, "batch": 64, "lr": 4e-3, "network": {"width": 16, "blocks": 1, "latent": 16},
    }  # fmt: skip
    training = VaeTraining(small_vae(options=options, evaluate_at=(80,)), seed=0)
    before = training.evaluate()[0]
    for _ in range(80):
        training.step()
    after = training.evaluate()[0]
    assert max(after[name] / before[name] for name in ("fd_pixels", "kd_pixels")) < 0.25


def test_a_step_on_a_gpu_copies_nothing_between_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Tensor, "backward", graded)
    settings = {"h0": L0Inf(k=2), "h1": L0(keep=0.25), "code": L1(weight=0.01)}
    training = stepped_twice(VaeTraining(small_vae(settings=settings), seed=0), monkeypatch)
    weights = [*training.generator.parameters(), *training.encoder.parameters()]
    assert len(weights) > 10
    assert {str(weight.grad.device) for weight in weights if weight.grad is not None} == {"cuda:0"}


# --- before the first step -------------------------------------------------------------------------


def test_what_trainings_share_is_prepared_once() -> None:
    found = vae.prepare(small_vae())
    assert {name.partition("-")[0] for name in found} == {"data", "pixels", "reference"}
    assert vae.prepare(small_vae()) == found
    VaeTraining(small_vae(prepared=found), seed=0)
    with pytest.raises(Mistake, match="data has the SHA-256"):
        VaeTraining(small_vae(prepared=found | {"data": "0" * 64}), seed=0)


def test_a_plan_of_another_task_is_refused() -> None:
    plan = Plan(task="dip", options=Frozen(), evaluate_at=(1,))
    with pytest.raises(Mistake, match="the plan's task is 'dip', but a VAE trains plans of 'vae'"):
        train_vae(plan, seed=0)
