"""What is held out, what SURE is nudged by, and which metrics a picture can have."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trainings import small_dip

from trainers import images
from trainers.dip import DipTraining, Restoration
from trainers.dip_options import DipOptions, read
from trainers.images import as_bytes
from trainers.psnr import held_out_error, sure
from trainers.settings import Mistake
from trainers.tasks import companions_of, find_task, make_plan, measured_of, metric_of, prepared_of

DIP = find_task("dip")


def training(seed: int = 0, **options: Any) -> Restoration:
    (one,) = DipTraining(small_dip(options=options), seed=seed).restorations
    return one


# --- held out --------------------------------------------------------------------------------------


def test_two_percent_of_the_observed_pixels_never_enter_the_loss() -> None:
    one = training(objective="held_out", size=50, degradation={"kind": "missing_pixels", "missing": 0.2})
    held, seen, observed = one.subject.held, one.subject.seen, one.subject.observed.seen
    assert held is not None and seen is not None and observed is not None
    assert held.sum() == 40  # of 2000
    assert np.array_equal(held | seen, observed)
    assert not (held & seen).any()
    for _ in range(2):
        one.step()
    before = float(one.fit.loss)
    one.fit.target[0, :, 1:-1, 1:-1][:, held] += 7  # 50 is padded to 52 for two halvings
    one.fit.target[0, :, 1:-1, 1:-1][:, ~observed] -= 7
    again = training(objective="held_out", size=50, degradation={"kind": "missing_pixels", "missing": 0.2})
    again.fit.target = one.fit.target
    for _ in range(2):
        again.step()
    assert float(again.fit.loss) == before


def test_a_held_pixel_does_not_enter_by_its_reflection_either() -> None:
    one = training(objective="held_out", size=50)  # 50 is padded to 52
    assert one.fit.weight is not None and one.subject.held is not None
    padded = np.pad(one.subject.held, 1, mode="reflect")
    assert np.array_equal(one.fit.weight[0, 0].numpy() == 0, padded)
    assert float(one.fit.weight.sum()) * 3 == pytest.approx(1, rel=1e-5)


def test_the_held_pixels_follow_the_seed_and_leave_the_noise_as_it_is() -> None:
    plain, first, other = training(), training(objective="held_out"), training(1, objective="held_out")
    assert np.array_equal(plain.subject.observed.values, first.subject.observed.values)
    assert first.subject.held is not None
    assert not np.array_equal(first.subject.held, other.subject.held)  # type: ignore[arg-type]


def test_their_error_is_measured_where_it_was_observed() -> None:
    for degradation in ("gaussian", {"kind": "super_resolution", "factor": 2}):
        one = training(objective="held_out", degradation=degradation)
        one.step()
        assert one.subject.held is not None
        error = held_out_error(one.fit.predicted(), one.subject.observed.values, one.subject.held)
        assert one.evaluate()[0]["held_out"] == error
    assert one.subject.held.shape == (10, 10)


def test_too_few_observed_pixels_cannot_be_held_out() -> None:
    with pytest.raises(Mistake, match=r"plan.objective is held_out, but only 1 pixels were observed"):
        training(objective="held_out", degradation={"kind": "missing_pixels", "missing": 0.9999})


# --- SURE ------------------------------------------------------------------------------------------


def test_sure_trains_a_second_network_on_the_nudged_picture_and_leaves_the_first_as_it_is() -> None:
    plain, one = training(), training(objective="sure")
    nudge = one.subject.nudge
    assert nudge is not None and nudge.sd == pytest.approx(25 / 255)
    assert set(np.unique(nudge.direction)) == {-1, 1}
    assert np.array_equal(one.subject.observed.values, plain.subject.observed.values)
    for _ in range(3):
        plain.step()
        one.step()
    first, second = one.fits
    assert np.array_equal(first.restored(), plain.fit.restored())
    assert not np.array_equal(first.restored(), second.restored())
    noisy = one.subject.observed.values
    risk = sure(
        first.restored(), second.restored(), noisy, direction=nudge.direction, nudge=nudge.by, sd=nudge.sd
    )
    assert one.evaluate()[0]["sure"] == risk


def test_the_nudge_follows_the_evaluation_stream_alone() -> None:
    first, same, other = (
        training(objective="sure"),
        training(objective="sure", lr=0.5),
        training(1, objective="sure"),
    )
    directions = [one.subject.nudge.direction for one in (first, same, other) if one.subject.nudge]
    assert np.array_equal(directions[0], directions[1])
    assert not np.array_equal(directions[0], directions[2])


def test_a_state_with_two_networks_goes_on_bit_by_bit() -> None:
    one, other = training(objective="sure"), training(objective="sure")
    for _ in range(3):
        one.step()
    other.load_state_dict(deepcopy(one.state_dict()))
    for each in (one, other):
        each.step()
    assert one.evaluate()[0] == other.evaluate()[0]


def test_an_estimated_sigma_is_the_pictures_own(tmp_path: Any) -> None:
    noisy = np.clip(np.random.default_rng(0).normal(0.5, 0.1, (64, 64, 3)), 0, 1).astype(np.float32)
    Image.fromarray(as_bytes(noisy)).save(tmp_path / "a.png")
    options = {"image": str(tmp_path / "a.png"), "image_is": "degraded", "size": None, "objective": "sure"}
    one = training(**options, degradation={"sigma": "estimate"})
    assert one.subject.nudge is not None
    assert one.subject.nudge.sd == pytest.approx(0.1, rel=0.05)
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "a.png")
    with pytest.raises(Mistake, match=r"plan.degradation.sigma is estimated as .* in this picture"):
        training(**options, degradation={"sigma": "estimate"})


# --- what the data can give ------------------------------------------------------------------------


@pytest.mark.parametrize(("given", "told"), [
    ({"image_is": "degraded", "objective": "psnr"}, "plan.objective is psnr, which compares with the clean"),
    ({"image_is": "degraded", "objective": "ssim"}, "plan.objective is ssim, which compares with the clean"),
    ({"objective": "sure", "degradation": "poisson"},
     "plan.objective is sure, which needs white noise .* is poisson: take held_out, or one of gaussian"),
    ({"objective": "sure", "early_stopping": {"window": 3}}, "plan.objective is sure, .* it jumps: leave"),
    ({"image_is": "noisy"}, "plan.image_is is 'noisy', but it must be 'clean' or 'degraded'"),
])  # fmt: skip
def test_an_objective_that_the_data_cannot_give_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(Mistake, match=told):
        make_plan(DIP, given, evaluate_at=(1,))


def test_without_a_clean_picture_the_objective_is_one_that_needs_none() -> None:
    assert DipOptions.model_validate({"image_is": "degraded"}).objective == "held_out"
    assert DipOptions().objective == "psnr"


@pytest.mark.parametrize(("given", "metric", "measured", "beside"), [
    ({}, "psnr", "oracle: it needs the clean picture", ()),
    ({"objective": "held_out"}, "held_out", "mean squared error at 2% of the observed pixels", ("psnr",)),
    ({"objective": "sure"}, "sure", "Stein's estimate of the mean squared error, from σ = 25", ("psnr",)),
    ({"image_is": "degraded"}, "held_out", "mean squared error at 2% of the observed pixels", ()),
    ({"image_is": "degraded", "objective": "sure", "degradation": {"sigma": "estimate"}},
     "sure", "Stein's estimate of the mean squared error, from an estimated σ", ()),
])  # fmt: skip
def test_tables_say_how_it_is_measured_and_psnr_stands_beside_where_it_is_known(
    given: dict[str, Any], metric: str, measured: str, beside: tuple[str, ...]
) -> None:
    plan = make_plan(DIP, given, evaluate_at=(1,))
    assert metric_of(DIP, plan) == metric
    assert measured_of(DIP, plan).startswith(measured)
    assert companions_of(DIP, plan) == beside


# --- what is shown ---------------------------------------------------------------------------------


def test_missing_pixels_are_shown_black_and_small_pictures_large() -> None:
    one = training(degradation={"kind": "missing_pixels", "missing": 0.5})
    one.step()
    strip = one.evaluate()[1]["comparison"]
    assert strip.shape == (20, 60, 3)
    assert one.subject.observed.seen is not None
    assert not strip[:, :20][~one.subject.observed.seen].any()
    small = training(degradation={"kind": "super_resolution", "factor": 4})
    small.step()
    strip = small.evaluate()[1]["comparison"]
    assert np.array_equal(strip[:, :20], as_bytes(small.subject.observed.values).repeat(4, 0).repeat(4, 1))


def test_a_degraded_picture_keeps_its_noise_whatever_the_size(tmp_path: Path) -> None:
    path = tmp_path / "noise.png"
    Image.effect_noise((128, 96), 60).save(path)
    options = DipOptions.model_validate({"image": str(path), "image_is": "degraded", "size": 64})
    (picture,), _ = read(options)
    whole = images.load(str(path))
    assert np.array_equal(picture, whole[16:80, 32:96])
    assert picture.std() == pytest.approx(whole.std(), rel=0.05)
    (resized,), _ = read(options.model_copy(update={"image_is": "clean"}))
    assert resized.std() < 0.8 * whole.std()
    with pytest.raises(Mistake, match=r"size is 97, but image .* has 128×96 pixels, and a degraded picture"):
        read(options.model_copy(update={"size": 97}))


@pytest.mark.parametrize(("options", "sentence"), [
    ({"degradation": {"kind": "missing_pixels", "missing": 0.999}, "objective": "held_out"}, "only 1 pixels"),
    ({"unseen_images": ["FLAT"], "size": 32, "image_is": "degraded", "objective": "sure",
      "degradation": {"sigma": "estimate"}}, "sigma is estimated as"),
    ({"early_stopping": {"window": 5}}, "window is 5, but a training has 4 steps"),
])  # fmt: skip
def test_what_the_pictures_alone_show_is_refused_before_the_first_trial(
    options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    Image.new("L", (40, 40), 100).save(tmp_path / "FLAT.png")
    flat = [str(tmp_path / "FLAT.png") if one == "FLAT" else one for one in options.get("unseen_images", ())]
    with pytest.raises(Mistake, match=sentence):
        prepared_of(find_task("dip"), small_dip(options=options | ({"unseen_images": flat} if flat else {})))
