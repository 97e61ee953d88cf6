"""Holes where the mask is black, and masks that are none."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from trainings import small_dip

from trainers.degradations.inpainting import Inpainting
from trainers.dip import DipTraining
from trainers.images import load
from trainers.settings import Mistake
from trainers.tasks import find_task, prepared_of, sites_of


def saved(path: Path, mask: Any) -> str:
    Image.fromarray(np.asarray(mask)).save(path)
    return str(path)


def holes(size: int = 20) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    mask = np.full((size, size), 255, np.uint8)
    mask[4:9, 3:15] = 0
    return mask


def test_what_is_seen_is_where_the_mask_is_at_least_half_white(tmp_path: Path) -> None:
    mask = holes()
    mask[0, :3] = 127, 128, 10
    clean = load("astronaut", size=20)
    degraded = Inpainting(mask=saved(tmp_path / "m.png", mask)).degrade(clean, np.random.default_rng(0))
    assert degraded.seen is not None
    assert np.array_equal(degraded.seen, mask >= 128)
    assert np.array_equal(degraded.values, clean)


def test_what_is_missing_has_no_part_in_the_training(tmp_path: Path) -> None:
    mask = saved(tmp_path / "m.png", holes())
    pixels = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    losses = []
    for value in (0, 255):
        pixels[4:9, 3:15] = value
        image = saved(tmp_path / f"{value}.png", pixels)
        plan = small_dip(options={"image": image, "degradation": {"kind": "inpainting", "mask": mask}})
        training = DipTraining(plan, seed=0)
        for _ in range(3):
            training.step()
        losses.append(float(training.restorations[0].fit.loss))
    assert losses[0] == losses[1]
    output = training.restorations[0].fit.raw().astype(np.float64)
    training.step()
    error = np.square(output - training.restorations[0].subject.observed.values)[
        training.restorations[0].subject.observed.seen
    ].mean()
    assert losses[1] == pytest.approx(error, rel=0.2)  # of the step before it was changed by that step


def test_the_mask_is_what_a_study_keeps(tmp_path: Path) -> None:
    mask = saved(tmp_path / "m.png", holes())
    options = {"degradation": {"kind": "inpainting", "mask": mask}}
    prepared = prepared_of(find_task("dip"), small_dip(options=options))
    assert list(prepared) == ["picture", "mask"]
    DipTraining(small_dip(options=options, prepared=prepared), seed=0)
    saved(tmp_path / "m.png", 255 - holes())
    with pytest.raises(Mistake, match=r"mask has the SHA-256 .* but the study was begun with one of"):
        DipTraining(small_dip(options=options, prepared=prepared), seed=0)


def test_a_file_is_meant_from_where_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path / "m.png", holes())
    monkeypatch.chdir(tmp_path)
    assert Inpainting(mask="m.png").mask == path


def asked(mask: str) -> None:
    sites_of(find_task("dip"), small_dip(options={"degradation": {"kind": "inpainting", "mask": mask}}))


@pytest.mark.parametrize(("mask", "told"), [
    (holes(21), "has 21×21 pixels, but the picture that is restored has 20×20: make the mask as large"),
    (np.zeros((20, 20), np.uint8), "is all black, but it must be white where the picture was seen"),
    (np.full((20, 20), 255, np.uint8), "is all white, but it must be white where the picture was seen"),
])  # fmt: skip
def test_a_mask_that_does_not_suit_is_refused(mask: Any, told: str, tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=rf"plan.degradation.mask is '.*m.png', which {told}"):
        asked(saved(tmp_path / "m.png", mask))


def test_a_mask_that_is_no_picture_is_refused() -> None:
    told = r"plan.degradation.mask is 'nowhere.png', but there is no such file: name a picture that is white"
    with pytest.raises(Mistake, match=told):
        asked("nowhere.png")
    with pytest.raises(
        Mistake, match=r"plan.degradation.mask cannot be read: image is '/', but that is a folder"
    ):
        asked("/")


def test_a_mask_has_no_default() -> None:
    with pytest.raises(
        Mistake, match=r"plan.degradation.mask is missing, .* give it a value, for example mask"
    ):
        small_dip(options={"degradation": "inpainting"})
