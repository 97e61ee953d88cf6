"""Deep Image Prior against the loop that one would write by hand, and each of its parts by itself."""

import json
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from fixed_program import watched
from numpy.typing import NDArray
from PIL import Image
from trainings import bits, plain, small_dip

from trainers import checkpoint
from trainers.dip import DipTraining, train_dip
from trainers.images import as_bytes, load
from trainers.networks.build import build
from trainers.plan import Frozen, Plan
from trainers.psnr import psnr, ssim
from trainers.settings import L0, L1, L0Inf, Mistake
from trainers.tasks import find_task, prepared_of
from trainers.training import Evaluation


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def picture(tensor: torch.Tensor) -> NDArray[np.float32]:
    return tensor[0].permute(1, 2, 0).numpy()


def noisy_of(training: DipTraining) -> NDArray[np.float32]:
    return training.restorations[0].subject.observed.values


def clean_of(training: DipTraining) -> NDArray[np.float32]:
    assert training.restorations[0].subject.clean is not None
    return training.restorations[0].subject.clean


def by_hand(plan: Plan, seed: int) -> list[Evaluation]:
    """No attach, no Training, no run: the definition, for a picture that needs no padding."""
    options: Any = plan.options
    data, training, _ = np.random.SeedSequence(seed).spawn(3)
    clean = load(options.image, size=options.size)
    noisy = options.degradation.degrade(clean, np.random.default_rng(data)).values
    target = torch.from_numpy(noisy).permute(2, 0, 1)[None].contiguous()
    first, steps = (int(word) >> 1 for word in training.generate_state(2, np.uint64))
    once, each = torch.Generator().manual_seed(first), torch.Generator().manual_seed(steps)
    network = build(options.network, out_channels=3, generator=once)
    z = torch.rand((1, options.network.input_channels, *clean.shape[:2]), generator=once) * 0.1
    adam = torch.optim.Adam(network.parameters(), lr=torch.tensor(options.lr), fused=True)
    average, evaluations = torch.zeros_like(target), []
    for step in range(1, plan.steps + 1):
        noise = torch.randn(z.shape, generator=each)
        output = network(torch.add(z, noise, alpha=options.input_noise))
        loss = F.mse_loss(output, target)
        adam.zero_grad()
        loss.backward()
        adam.step()
        average = average.lerp(output.detach(), 1 - options.average)
        if step in plan.evaluate_at:
            restored = picture(average / (1 - options.average ** torch.tensor(step)))
            metrics = {
                "psnr": psnr(restored, clean), "psnr_raw": psnr(picture(output.detach()), clean),
                "ssim": ssim(restored, clean), "loss": float(loss.detach()),
            }  # fmt: skip
            strip = np.concatenate([as_bytes(p) for p in (noisy, restored, clean)], axis=1)
            evaluations.append(Evaluation(step, metrics, {"comparison": strip}))
    return evaluations


def test_empty_settings_give_the_bits_of_the_loop_by_hand_without_attach() -> None:
    plan = small_dip(evaluate_at=(1, 3, 10))
    for ours, theirs in zip(train_dip(plan, seed=4), by_hand(plan, 4), strict=True):
        shared = {name: ours.metrics[name] for name in theirs.metrics}
        assert plain(Evaluation(ours.step, shared, ours.pictures)) == plain(theirs)


def test_it_restores_a_photograph_by_hand_through_the_python_api() -> None:
    options = {"size": 48, "network": {"width": 16, "scales": 3}, "input_noise": 0.01}
    plan = small_dip(options=options, evaluate_at=(50, 200))
    first, last = train_dip(plan, seed=0)
    training = DipTraining(plan, seed=0)
    assert last.metrics["psnr"] > psnr(noisy_of(training), clean_of(training)) + 2
    assert last.metrics["psnr"] > first.metrics["psnr"]
    assert last.metrics["ssim"] > first.metrics["ssim"]
    assert last.metrics["loss"] < first.metrics["loss"]


# --- what is trained on ----------------------------------------------------------------------------


def test_the_data_follow_the_seed_alone() -> None:
    plans = [small_dip(), small_dip(settings={"up0": L0(0.1)}), small_dip(options={"lr": 0.5})]
    noisy = [noisy_of(DipTraining(plan, seed=1)) for plan in plans]
    assert np.array_equal(noisy[0], noisy[1])
    assert np.array_equal(noisy[0], noisy[2])
    assert not np.array_equal(noisy[0], noisy_of(DipTraining(plans[0], seed=2)))


def test_sides_that_cannot_be_halved_are_padded_by_reflection_and_cropped(tmp_path: Any) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (19, 30, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    plan = small_dip(options={"image": str(tmp_path / "a.png"), "size": None, "average": 0.5})
    training = DipTraining(plan, seed=0)  # scales 2: 19×30 becomes 20×32
    expected = np.pad(noisy_of(training), ((0, 1), (1, 1), (0, 0)), mode="reflect")
    assert np.array_equal(picture(training.restorations[0].fit.target), expected)
    training.step()
    metrics, pictures = training.evaluate()
    assert pictures["comparison"].shape == (19, 90, 3)
    assert metrics["psnr_raw"] == psnr(
        picture(training.restorations[0].fit.output)[:19, 1:31], clean_of(training)
    )


def test_a_grey_picture_is_restored_in_one_channel() -> None:
    for options in ({"image": "camera"}, {"grey": True}):
        training = DipTraining(small_dip(options=options), seed=0)
        assert training.restorations[0].fit.target.shape == (1, 1, 20, 20)
        training.step()
        assert training.evaluate()[1]["comparison"].shape == (20, 60, 1)


# --- what is measured ------------------------------------------------------------------------------


def test_the_average_is_corrected_for_its_start() -> None:
    still = small_dip(options={"lr": 1e-12, "input_noise": 0, "average": 0.9}, evaluate_at=(1, 2, 5))
    for evaluation in train_dip(still, seed=0):  # a network that stands still: its average is what it draws
        assert evaluation.metrics["psnr"] == pytest.approx(evaluation.metrics["psnr_raw"], abs=1e-4)


def test_an_average_without_memory_is_the_output() -> None:
    for evaluation in train_dip(small_dip(options={"average": 0}), seed=0):
        assert evaluation.metrics["psnr"] == pytest.approx(evaluation.metrics["psnr_raw"], abs=1e-5)


def test_regularizers_act_at_their_sites_and_every_site_is_measured() -> None:
    settings = {"up0": L0(0.25), "down1": L0Inf(2), "code": L1(0.5)}
    plan = small_dip(settings=settings, evaluate_at=(3,))
    training = DipTraining(plan, seed=0)
    for _ in range(3):
        training.step()
    metrics, _ = training.evaluate()
    assert metrics["up0.density"] == pytest.approx(0.25, abs=0.01)
    assert metrics["down1.density"] == pytest.approx(2 / 6, abs=0.01)
    assert metrics["up0.removed_energy"] > 0
    assert metrics["code.removed_energy"] == 0
    assert metrics["down0.density"] == 1
    error = float(F.mse_loss(training.restorations[0].fit.output, training.restorations[0].fit.target))
    assert metrics["loss"] == pytest.approx(error + 0.5 * metrics["code.mean_abs"], rel=1e-5)


def test_a_penalty_shrinks_what_it_is_put_on() -> None:
    free, shrunk = (
        next(train_dip(small_dip(settings=settings, evaluate_at=(60,)), seed=0))
        for settings in ({}, {"code": L1(1.0)})
    )
    assert shrunk.metrics["code.mean_abs"] < free.metrics["code.mean_abs"] / 2


def test_a_training_that_diverges_says_so_by_its_values() -> None:
    (evaluation,) = train_dip(small_dip(options={"lr": 1e38}, evaluate_at=(5,)), seed=0)
    assert not math.isfinite(evaluation.metrics["psnr"])
    assert not math.isfinite(evaluation.metrics["loss"])


def test_extras_come_before_options() -> None:
    by_option = list(train_dip(small_dip(options={"lr": 0.1, "input_noise": 0.5, "average": 0.5}), seed=0))
    by_extra = list(train_dip(small_dip(extras={"lr": 0.1, "input_noise": 0.5, "average": 0.5}), seed=0))
    assert [plain(e) for e in by_extra] == [plain(e) for e in by_option]


def test_early_stopping_keeps_the_picture_of_its_step_and_changes_no_training(tmp_path: Any) -> None:
    steps = tuple(range(1, 13))
    stopping = {"early_stopping": {"window": 3, "patience": 4}}
    plain_ones = list(train_dip(small_dip(evaluate_at=steps), seed=0))
    plan = small_dip(options=stopping, evaluate_at=steps)
    stopped = list(train_dip(plan, seed=0))
    for one, other in zip(plain_ones, stopped, strict=True):
        at = int(other.metrics["stopped_at"])
        assert (at == 0) == (other.step < 3)
        kept = plain_ones[at - 1] if at else one
        assert other.metrics["psnr"] == kept.metrics["psnr"]
        assert other.metrics["psnr_raw"] == one.metrics["psnr_raw"]
        assert other.metrics["loss"] == one.metrics["loss"]
    next(train_dip(plan, seed=0, folder=tmp_path))
    assert [plain(one) for one in train_dip(plan, seed=0, folder=tmp_path)] == [plain(one) for one in stopped]


def test_early_stopping_looks_at_the_picture_alone_and_not_at_the_margin_around_it() -> None:
    network = {"width": 6, "scales": 3, "input_channels": 8}  # 20×20 becomes 24×24
    training = DipTraining(small_dip(options={"network": network, "early_stopping": {"window": 3}}), seed=0)
    fit, outputs = training.restorations[0].fit, []
    for _ in range(9):
        training.step()
        outputs.append(fit.raw().copy())
    assert fit.stopping is not None and fit.stopping.window.shape == (3, 3, 20, 20)
    spread = [np.var(outputs[step - 3 : step], axis=0).mean() for step in range(3, 10)]
    assert fit.stopped_at() == 3 + int(np.argmin(spread))
    assert fit.restored().shape == (20, 20, 3)


@pytest.mark.parametrize("objective", ["psnr", "held_out"])
def test_a_picture_that_was_kept_does_not_hide_that_the_training_has_diverged(objective: str) -> None:
    options = {"early_stopping": {"window": 2}, "objective": objective, "lr": 0.01}
    training = DipTraining(small_dip(options=options), seed=0)
    for _ in range(3):
        training.step()
    assert training.evaluate()[0]["stopped_at"] > 0
    with torch.no_grad():
        next(training.restorations[0].fit.network.parameters()).fill_(math.nan)
    training.step()
    metrics, _ = training.evaluate()
    assert math.isnan(metrics[objective]) and math.isnan(metrics["psnr"]) and math.isnan(metrics["ssim"])


def test_a_window_that_no_memory_holds_is_refused() -> None:
    told = (
        r"plan.early_stopping.window is 1000000000, so as many outputs are kept, 12800 GB of them, but the "
        r"cpu has \d+ GB of memory in all: take a smaller window, or smaller or fewer pictures"
    )
    options = {"early_stopping": {"window": 10**9}, "more_images": ["camera"], "size": 40, "grey": True}
    with pytest.raises(Mistake, match=told):
        DipTraining(small_dip(options=options), seed=0)


def test_a_step_with_early_stopping_waits_for_nothing() -> None:
    training = DipTraining(small_dip(options={"early_stopping": {"window": 3}}), seed=0)
    with watched():
        for _ in range(2):
            training.step()


# --- the optimizer ---------------------------------------------------------------------------------


def test_the_rate_can_change_without_another_program() -> None:
    training = DipTraining(small_dip(), seed=0)
    training.step()
    training.restorations[0].fit.optimizer.param_groups[0]["lr"].fill_(0)
    before = bits(training.restorations[0].fit.network.state_dict())
    training.step()
    assert bits(training.restorations[0].fit.network.state_dict()) == before


# --- what is refused -------------------------------------------------------------------------------


def test_a_plan_of_another_task_is_refused() -> None:
    plan = Plan(task="gan", options=Frozen(), evaluate_at=(1,))
    with pytest.raises(Mistake, match="the plan's task is 'gan', but Deep Image Prior trains plans of 'dip'"):
        train_dip(plan, seed=0)


def test_a_picture_that_changed_since_the_checkpoint_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "a.png"
    Image.effect_noise((20, 20), 50).save(path)
    plan = small_dip(options={"image": str(path)})
    next(train_dip(plan, seed=0, folder=tmp_path))
    Image.effect_noise((20, 20), 90).save(path)
    with pytest.raises(Mistake, match="the picture has changed since the checkpoint was written"):
        next(train_dip(plan, seed=0, folder=tmp_path))


def test_a_picture_that_changed_since_its_study_began_is_refused(tmp_path: Any) -> None:
    path = tmp_path / "a.png"
    Image.effect_noise((20, 20), 50).save(path)
    options = {"image": str(path)}
    plan = small_dip(options=options, prepared=prepared_of(find_task("dip"), small_dip(options=options)))
    assert [one.step for one in train_dip(plan, seed=0)] == [2, 4]
    Image.effect_noise((20, 20), 90).save(path)
    with pytest.raises(Mistake, match=r"picture has the SHA-256 .* but the study was begun with one of"):
        train_dip(plan, seed=0)


def test_a_checkpoint_of_before_an_option_existed_is_continued_where_that_is_at_its_default(
    tmp_path: Any,
) -> None:
    plan = small_dip(evaluate_at=(2, 4))
    whole = [plain(one) for one in train_dip(plan, seed=0)]
    next(train_dip(plan, seed=0, folder=tmp_path))
    saved = checkpoint.load(tmp_path)
    assert saved is not None
    written = json.loads(saved["plan"])
    del written["options"]["image_is"]
    checkpoint.save(tmp_path, saved | {"plan": json.dumps(written)})
    other = small_dip(options={"image_is": "degraded", "objective": "held_out"}, evaluate_at=(2, 4))
    with pytest.raises(Mistake, match=r"belongs to another training \(plan.options.objective is psnr there"):
        next(train_dip(other, seed=0, folder=tmp_path))
    assert [plain(one) for one in train_dip(plan, seed=0, folder=tmp_path)] == whole


def test_a_state_of_another_kind_of_device_is_refused() -> None:
    training = DipTraining(small_dip(), seed=0)
    with pytest.raises(Mistake, match="written on cuda, and the device here is cpu"):
        training.load_state_dict(training.state_dict() | {"device": "cuda"})


@pytest.mark.gpu
def test_on_a_gpu_it_goes_on_where_it_stopped_and_a_step_never_waits(tmp_path: Any) -> None:
    plan = small_dip(settings={"up0": L0(0.25)}, evaluate_at=(2, 4))
    next(train_dip(plan, seed=0, device="cuda", folder=tmp_path))
    first, last = train_dip(plan, seed=0, device="cuda", folder=tmp_path)
    assert (first.step, last.step) == (2, 4)
    training = DipTraining(plan, seed=0, device="cuda")
    assert training.restorations[0].fit.optimizer.param_groups[0]["lr"].is_cuda
    torch.cuda.set_sync_debug_mode("error")
    try:
        for _ in range(3):
            training.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
