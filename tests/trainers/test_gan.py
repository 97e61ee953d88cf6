"""The alternation against the loop that one would write by hand, and what an evaluation draws."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from trainings import bits, plain, small_gan

from trainers import gan, pictures
from trainers.drawing import as_bytes, grid
from trainers.gan import GanTraining, train_gan
from trainers.losses.build import LOSSES
from trainers.losses.loss import Batch
from trainers.networks.build import build_pair
from trainers.networks.pair import PictureForm
from trainers.plan import Frozen, Plan
from trainers.scores import measure
from trainers.settings import L0, L1, L0Inf, Mistake


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def by_hand(plan: Plan, seed: int) -> tuple[nn.Module, nn.Module, list[Tensor]]:
    """No attach, no Training: the definition of so many steps; generator, discriminator, averaged weights."""
    options: Any = plan.options
    _, training, _ = np.random.SeedSequence(seed).spawn(3)
    first, steps = (int(word) >> 1 for word in training.generate_state(2, np.uint64))
    data = pictures.load(options)
    g, d = build_pair(
        options.network,
        PictureForm(options.size, channels=1, classes=data.classes),
        generator=torch.Generator().manual_seed(first),
    )
    loss = LOSSES[options.loss](d)
    draw = torch.Generator().manual_seed(steps)
    rates = options.generator_lr, options.discriminator_lr
    of_g, of_d = (
        torch.optim.Adam(
            network.parameters(), lr=torch.tensor(rate), betas=(options.beta1, options.beta2), fused=True
        )
        for network, rate in zip((g, d), rates, strict=True)
    )
    average = [weight.detach().clone() for weight in g.parameters()]

    def fake() -> Batch:
        z = torch.randn((options.batch, options.network.latent), generator=draw)
        labels = torch.randint(data.classes, (options.batch,), generator=draw)
        return Batch(g(z, labels), labels)

    for t in range(plan.steps):
        for optimizer, lr in zip((of_g, of_d), rates, strict=True):
            if options.decay == "linear":
                optimizer.param_groups[0]["lr"] = torch.tensor(lr) * (1 - torch.tensor(float(t)) / plan.steps)
        for _ in range(options.discriminator_steps):
            chosen = torch.randint(len(data.images), (options.batch,), generator=draw)
            real = Batch(data.images[chosen].float() / 127.5 - 1, data.labels[chosen])
            drawn = fake()
            of_d.zero_grad()
            loss.discriminator(d, real, Batch(drawn.images.detach(), drawn.labels), draw).backward()
            of_d.step()
        of_g.zero_grad()
        loss.generator(d, fake(), draw).backward()
        of_g.step()
        decay = min(options.average, (2 + t) / (11 + t))
        average = [mean.lerp(w.detach(), 1 - decay) for mean, w in zip(average, g.parameters(), strict=True)]
    return g, d, average


@pytest.mark.parametrize("options", [
    {"loss": "non_saturating", "decay": "none", "discriminator_steps": 1},
    {"loss": "hinge", "decay": "linear", "discriminator_steps": 3},
])  # fmt: skip
def test_empty_settings_give_the_bits_of_the_loop_by_hand(options: dict[str, Any]) -> None:
    plan = small_gan(options=options, evaluate_at=(4,))
    training = GanTraining(plan, seed=1)
    for _ in range(4):
        training.step()
    generator, discriminator, average = by_hand(plan, 1)
    assert bits(training.generator.state_dict()) == bits(generator.state_dict())
    assert bits(training.discriminator.state_dict()) == bits(discriminator.state_dict())
    for ours, theirs in zip(training.averaged, average, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-7)


def test_an_evaluation_draws_from_fixed_latents_whatever_was_drawn_before() -> None:
    looked = GanTraining(small_gan(), seed=0)
    first, second = looked.evaluate(), looked.evaluate()
    assert first[0] == second[0]
    assert (first[1]["samples"] == second[1]["samples"]).all()
    other = GanTraining(small_gan(), seed=1)
    assert not torch.equal(looked.fixed[0], other.fixed[0])


def test_without_an_average_the_weights_as_they_stand_are_scored() -> None:
    for average, same in ((0.0, True), (0.9, False)):
        training = GanTraining(small_gan(options={"average": average}), seed=0)
        training.step()
        pairs = zip(training.to_score()[0].parameters(), training.weights, strict=True)
        assert all(torch.equal(scored, own) for scored, own in pairs) is same


def test_what_was_scored_is_what_is_exported() -> None:
    training = GanTraining(small_gan(), seed=0)
    training.step()
    shown = training.evaluate()[1]["samples"]
    exported = training.to_score()[0]
    exported.load_state_dict(training.state_dict()["network"])
    assert (grid(as_bytes(exported.eval()(training.fixed[0][:64]))) == shown).all()


def test_projections_act_in_what_is_scored_and_every_site_is_measured() -> None:
    settings = {"h0": L0Inf(k=2), "h1": L0(keep=0.1)}
    training = GanTraining(small_gan(settings=settings), seed=0)
    training.step()
    metrics, pictures = training.evaluate()
    assert metrics["h0.density"] <= 2 / training.options.network.sites(8)["h0"][0]
    assert metrics["h1.density"] <= 0.11
    assert {name.partition(".")[0] for name in metrics if "." in name} == {"h0", "h1", "code"}
    assert pictures["samples"].shape == (71, 71, 1)


def test_a_penalty_shrinks_what_it_is_put_on() -> None:
    ends = []
    for settings in ({}, {"code": L1(weight=30.0)}):
        training = GanTraining(
            small_gan(options={"generator_lr": 0.01}, settings=settings, evaluate_at=(30,)), seed=0
        )
        for _ in range(30):
            training.step()
        ends.append(training.evaluate()[0]["code.mean_abs"])
    assert ends[1] < 0.7 * ends[0]


def test_a_training_that_diverges_says_so_by_its_distances() -> None:
    training = GanTraining(small_gan(options={"average": 0.0}), seed=0)
    with torch.no_grad():
        next(training.generator.parameters()).fill_(math.nan)
    metrics, _ = training.evaluate()
    assert math.isnan(metrics["fd_pixels"]) and math.isnan(metrics["kd_pixels"])


def test_extras_come_before_options() -> None:
    training = GanTraining(small_gan(extras={"generator_lr": 0.5, "discriminator_lr": 0.25}), seed=0)
    rates = [float(rate) for rate in training.rates]
    assert rates == [0.5, 0.25]


def test_the_rates_fall_linearly_to_zero_after_the_last_step() -> None:
    training = GanTraining(
        small_gan(options={"decay": "linear", "generator_lr": 1.0}, evaluate_at=(4,)), seed=0
    )
    rates = []
    for _ in range(4):
        training.step()
        rates.append(float(training.generator_adam.param_groups[0]["lr"]))
    assert rates == [1.0, 0.75, 0.5, 0.25]


def test_a_limit_trains_on_fewer_pictures_and_is_scored_against_all() -> None:
    few, all_ = (GanTraining(small_gan(options={"limit": limit}), seed=0) for limit in (0.1, None))
    assert len(few.images) < len(all_.images) / 8
    assert measure(few.scores, [all_.images])["fd_pixels"] == pytest.approx(0, abs=1e-9)
    other = GanTraining(small_gan(options={"limit": 0.1}), seed=1)
    assert not torch.equal(few.images, other.images)


# --- what is refused -------------------------------------------------------------------------------


def test_a_plan_of_another_task_is_refused() -> None:
    plan = Plan(task="dip", options=Frozen(), evaluate_at=(1,))
    with pytest.raises(Mistake, match="the plan's task is 'dip', but a GAN trains plans of 'gan'"):
        train_gan(plan, seed=0)


def test_pictures_that_changed_since_the_checkpoint_are_refused() -> None:
    training = GanTraining(small_gan(), seed=0)
    with pytest.raises(Mistake, match="the pictures that are trained on have changed"):
        training.load_state_dict(training.state_dict() | {"data": "other"})


def test_a_state_of_another_kind_of_device_is_refused() -> None:
    training = GanTraining(small_gan(), seed=0)
    with pytest.raises(Mistake, match="written on cuda, and the device here is cpu"):
        training.load_state_dict(training.state_dict() | {"device": "cuda"})


def test_missing_weights_are_said_before_pictures_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    plan = small_gan(options={"data": str(tmp_path / "nowhere"), "objective": "fid"})
    with pytest.raises(Mistake, match="fid needs the Inception weights, but they are not at"):
        gan.prepare(plan)


def test_pictures_of_classes_need_data_with_labels_and_that_is_said_before_the_first_trial(
    tmp_path: Path,
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 8, 8), np.uint8)
    for i, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / f"{i}.png")
    options: dict[str, Any] = {"data": str(tmp_path), "network": {"kind": "sngan", "blocks": 2}}
    gan.prepare(small_gan(options=options))
    options["network"]["kind"] = "cgan"
    with pytest.raises(Mistake, match=r"kind is 'cgan', .* these pictures have no labels: take data with"):
        gan.prepare(small_gan(options=options))


def test_classes_may_be_the_folders_that_pictures_lie_in(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 8, 8), np.uint8)
    for i, pixels in enumerate(noise):
        folder = tmp_path / "abc"[i % 3]
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    options: dict[str, Any] = {"data": str(tmp_path), "folders_are_classes": True, "samples": 100}
    options |= {"network": {"kind": "cgan", "blocks": 2, "width": 4}, "objective": "fd_classifier"}
    plan = small_gan(options=options)
    plan = plan.model_copy(update={"prepared": gan.prepare(plan)})
    training = GanTraining(plan, seed=0)
    before = training.generator.get_submodule("to_h0.1").gain.weight.clone()
    training.step()
    assert before.shape[0] == 3
    assert (training.generator.get_submodule("to_h0.1").gain.weight != before).any(1).all()
    assert training.evaluate()[0]["fd_classifier"] > 0


# --- on a GPU --------------------------------------------------------------------------------------


@pytest.fixture
def deterministic() -> Iterator[None]:
    """The same bits each time: otherwise two eager trainings differ, and near a tie L0,∞ by a whole entry."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.gpu
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("kind", ["dcgan", "sngan"])
def test_a_captured_step_computes_what_an_eager_one_does_while_the_rate_changes(
    loss: str, kind: str, deterministic: None
) -> None:
    options = {
        "loss": loss,
        "decay": "linear",
        "discriminator_steps": 2,
        "discriminator_sites": True,
        "network": {
            "kind": kind,
            "width": 8,
            "blocks": 2,
            "latent": 8,
            "spectral_norm": loss != "wasserstein",
        },
    }
    settings = {"h0": L0Inf(k=2), "code": L1(0.1)}
    settings |= {f"discriminator.{site}": regularizer for site, regularizer in settings.items()}
    plan = small_gan(options=options, settings=settings, evaluate_at=(12,))
    eager, captured = (GanTraining(plan, seed=0, device="cuda") for _ in range(2))
    for _ in range(12):
        eager.step()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            captured.step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    graph.register_generator_state(captured.draw)
    with torch.cuda.graph(graph):  # capturing runs nothing: the fourth step is the first replay
        captured.step()
    for _ in range(9):
        graph.replay()
    torch.cuda.synchronize()
    assert float(captured.count) == 12
    for one, other in zip(captured.modules(), eager.modules(), strict=True):
        for ours, theirs in zip(one.parameters(), other.parameters(), strict=True):
            assert torch.equal(ours, theirs)


@pytest.mark.gpu
def test_on_a_gpu_it_goes_on_where_it_stopped(tmp_path: Any) -> None:
    plan = small_gan(settings={"h0": L0(0.25)}, evaluate_at=(2, 4))
    whole = [plain(one) for one in train_gan(plan, seed=0, device="cuda")]
    next(train_gan(plan, seed=0, device="cuda", folder=tmp_path))
    assert [one["step"] for one in whole] == [2, 4]
    assert [one.step for one in train_gan(plan, seed=0, device="cuda", folder=tmp_path)] == [2, 4]
