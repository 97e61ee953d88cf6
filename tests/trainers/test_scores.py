"""Scores against distances computed by hand, and the rule that all trainings use the files of their study."""

import gc
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from extractors import noise, small_digits
from pytorch_fid.fid_score import calculate_frechet_distance
from torch import Tensor
from trainings import small_gan

from trainers import prepared, scores
from trainers.datasets import Dataset
from trainers.features import Extractor, extractor
from trainers.gan import GanTraining
from trainers.gan import prepare as prepare_gan
from trainers.gan_options import GanOptions
from trainers.picture_options import FEATURES, FEATURES_OF
from trainers.prepared import PLACE
from trainers.scores import Score, measure, prepare, reference
from trainers.settings import Mistake
from trainers.training import after_each

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(PLACE, str(tmp_path))
    return tmp_path


def options(objective: str = "fd_pixels", *also: str) -> GanOptions:
    return GanOptions.model_validate(
        {"data": "digits", "size": 8, "network": {"blocks": 2}, "objective": objective, "also": also}
    )


class Sums(Extractor):
    """Three features that can be followed by hand, and how often they were asked for."""

    name, dim, digest, device = "pixels", 3, "0" * 64, CPU

    def __init__(self) -> None:
        self.seen = 0

    def features(self, images: Tensor) -> Tensor:
        self.seen += len(images)
        rows = images.float().sum((1, 3)) / 1000
        return torch.stack([rows[:, 2], rows[:, 3] * rows[:, 5], rows.sum(1)], dim=1)


def generated(count: int = 300) -> Tensor:
    """Digits that are a little noisy."""
    digits = small_digits(count).images.short()
    return (digits + noise(count, 1, 8, 8) // 4).clamp(0, 255).byte()


def frechet_by_hand(x: Tensor, y: Tensor) -> float:
    a, b = x.double().numpy(), y.double().numpy()
    return float(calculate_frechet_distance(a.mean(0), np.cov(a.T), b.mean(0), np.cov(b.T)))


def kernel_by_hand(x: Tensor, y: Tensor) -> float:
    a, b = x.double().numpy(), y.double().numpy()

    def kernel(p: np.ndarray, q: np.ndarray) -> np.ndarray:
        return np.asarray((p @ q.T / p.shape[1] + 1) ** 3)

    def others(p: np.ndarray) -> float:
        return float(kernel(p, p)[~np.eye(len(p), dtype=bool)].mean())

    return others(a) + others(b) - 2 * float(kernel(a, b).mean())


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated")  # in pytorch-fid
def test_both_distances_are_what_their_definitions_say() -> None:
    digits, by, pictures = small_digits(), Sums(), generated()
    found = measure([Score(by, reference(by, digits))], [pictures])
    frechet = frechet_by_hand(by(pictures), by(digits.images))
    kernel = kernel_by_hand(by(pictures), by(digits.images))
    assert found == {
        "fd_pixels": pytest.approx(frechet, rel=1e-6),
        "kd_pixels": pytest.approx(kernel, rel=1e-4),
    }
    assert found["fd_pixels"] > 0.01


@pytest.mark.parametrize("batch", [1, 7, 128, 1000])
def test_batches_do_not_matter(batch: int) -> None:
    by = Sums()
    score = Score(by, reference(by, small_digits()))
    whole, parts = measure([score], [generated()]), measure([score], generated().split(batch))
    assert parts == pytest.approx(whole, rel=1e-9)


def test_several_scores_share_one_pass_over_the_pictures() -> None:
    found = scores.scores(options("fd_classifier", "fd_pixels"), small_digits(), "cpu")
    given = []

    def once() -> Iterator[Tensor]:
        for part in generated().split(100):
            given.append(len(part))
            yield part

    each = measure(found[:1], [generated()]) | measure(found[1:], [generated()])
    together = measure(found, once())
    assert given == [100, 100, 100]
    assert together == pytest.approx(each, rel=1e-6)
    assert list(together) == ["fd_classifier", "kd_classifier", "fd_pixels", "kd_pixels"]


def test_who_waits_for_a_long_evaluation_hears_of_each_batch() -> None:
    by, heard = Sums(), 0

    def hear() -> bool:
        nonlocal heard
        heard += 1
        return False

    token = after_each.set(hear)
    try:
        measure([Score(by, reference(by, small_digits()))], generated().split(100))
    finally:
        after_each.reset(token)
    assert heard == 3


def test_digits_are_nearer_to_digits_than_noise_is() -> None:
    found = scores.scores(options("fd_classifier", "fd_pixels"), small_digits(), "cpu")
    same = measure(found, [small_digits().images])
    near, far = measure(found, [generated()]), measure(found, [noise(300, 1, 8, 8)])
    black = measure(found, [torch.zeros(300, 1, 8, 8, dtype=torch.uint8)])
    for name in ("fd_classifier", "fd_pixels"):
        assert 0 <= same[name] < 1e-6 * far[name]
        assert 0 < near[name] < far[name] / 3
        assert near[name] < black[name]
    for name in ("kd_classifier", "kd_pixels"):
        assert same[name] < near[name] < far[name] / 3


def test_the_reference_is_of_all_pictures_and_of_a_draw_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "KERNEL_PICTURES", 100)
    by, digits = Sums(), small_digits()
    order = digits.labels.argsort()  # data sets may be sorted by class
    ordered = Dataset(digits.images[order], digits.labels[order], 10, "sorted")
    made, features = reference(by, ordered), by(ordered.images).numpy()
    assert made.statistics.count == 400
    assert made.statistics.mean == pytest.approx(features.mean(axis=0), rel=1e-5)
    assert made.root @ made.root.T == pytest.approx(np.cov(features.T), rel=1e-4)
    drawn = [int(np.abs(features - row).sum(axis=1).argmin()) for row in made.kernel]
    assert made.kernel.dtype == np.float32
    assert len(set(drawn)) == 100
    assert set(ordered.labels[drawn].tolist()) == set(range(10))

    asked = measure([Score(by, made)], [generated(120), generated(300)])
    kernel = kernel_by_hand(by(generated(120)[:100]), torch.from_numpy(made.kernel))
    assert asked["kd_pixels"] == pytest.approx(kernel, rel=1e-4)


def test_the_reference_is_made_once() -> None:
    by, digits = Sums(), small_digits(100)
    first = reference(by, digits)
    seen = by.seen
    assert seen == 200  # all for the statistics, and the draw, which is all of so few
    again = reference(by, digits)
    assert by.seen == seen
    assert again.files == first.files
    assert np.array_equal(again.root, first.root) and np.array_equal(again.kernel, first.kernel)
    assert again.statistics.arrays()["scatter"].tolist() == first.statistics.arrays()["scatter"].tolist()


def test_the_reference_belongs_to_its_data_and_its_features() -> None:
    by, digits = Sums(), small_digits(100)
    files = {next(iter(reference(by, digits).files))}
    files |= reference(by, small_digits(101)).files.keys()
    by.digest = "1" * 64
    files |= reference(by, digits).files.keys()
    by.name = "classifier"
    files |= reference(by, digits).files.keys()
    assert len(files) == 4


@pytest.mark.parametrize("package", ["torch", "numpy", "scipy"])
def test_a_reference_that_another_version_has_made_is_not_used(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by, digits, installed, other = Sums(), small_digits(50), metadata.version, {package: "9.9"}
    first = reference(by, digits).files
    monkeypatch.setattr(metadata, "version", lambda asked: other.get(asked) or installed(asked))
    assert not first.keys() & reference(by, digits).files.keys()


def test_what_is_prepared_is_named_with_its_checksum_and_made_once(place: Path) -> None:
    digits, plan = small_digits(), options("fd_classifier", "fd_pixels")
    files = prepare(plan, digits)
    assert sorted(name.rsplit("-", 1)[0] for name in files) == [
        "classifier", "pixels", "reference-classifier", "reference-pixels",
    ]  # fmt: skip
    assert files == {name: prepared.sha256_of(name) for name in files}
    written = {path: path.stat().st_mtime_ns for path in place.glob("*.npz")}
    assert len(written) == 4
    assert prepare(plan, digits) == files
    assert [one.names[0] for one in scores.scores(plan, digits, "cpu")] == [
        "fd_classifier",
        "fd_pixels",
    ]
    assert {path: path.stat().st_mtime_ns for path in place.glob("*.npz")} == written


def test_every_distance_has_its_names() -> None:
    for name, (frechet, kernel) in FEATURES.items():
        by = Sums()
        by.name = name
        assert Score(by, reference(by, small_digits(50))).names == (frechet, kernel)
        assert FEATURES_OF[frechet] == name


def test_the_files_of_scores_are_those_that_were_prepared() -> None:
    plan, digits = options("fd_classifier", "fd_pixels"), small_digits()
    assert scores.files(scores.scores(plan, digits, "cpu")) == prepare(plan, digits)
    others = scores.files(scores.scores(plan, small_digits(399), "cpu"))
    assert len(others) == 4 and not others.items() & prepare(plan, digits).items()


@pytest.mark.parametrize("kind", ["pixels", "reference-pixels"])
def test_a_training_refuses_another_file_than_its_studys(kind: str) -> None:
    plan = small_gan()
    begun = prepare_gan(plan)
    name = next(name for name in begun if name.rsplit("-", 1)[0] == kind)
    GanTraining(plan.model_copy(update={"prepared": begun}), seed=0)
    other = plan.model_copy(update={"prepared": begun | {name: "0" * 64}})
    with pytest.raises(Mistake, match=f"{name} has the SHA-256 {begun[name][:12]}… here, but the study"):
        GanTraining(other, seed=0)


def test_fewer_samples_than_features_are_refused_before_statistics_are_made(place: Path) -> None:
    few = options("fd_pixels", "fd_efficientnet_lite0").model_copy(update={"samples": 1279})
    told = "plan.samples is 1279, but fd_efficientnet_lite0 has 1280 features: draw at least so many, or take"
    for asked in (lambda: prepare(few, small_digits()), lambda: scores.scores(few, small_digits(), "cpu")):
        with pytest.raises(Mistake, match=told):
            asked()
    assert list(place.glob("reference-efficientnet*")) == []


def test_fewer_pictures_than_features_are_told() -> None:
    with pytest.warns(UserWarning, match="digits has 50 pictures, but fd_classifier has 64 features") as told:
        prepare(options("fd_classifier"), small_digits(50))
    assert len(told) == 1


def test_too_few_pictures_are_a_sentence() -> None:
    found = scores.scores(options(), small_digits(), "cpu")
    for pictures in ([], [generated(1)]):
        with pytest.raises(
            Mistake, match=r"the statistics hold [01] feature vectors, .*: give more pictures"
        ):
            measure(found, pictures)


def test_features_that_are_not_finite_score_nan() -> None:
    class Broken(Sums):
        def features(self, images: Tensor) -> Tensor:
            return super().features(images) * torch.nan

    target = reference(Sums(), small_digits())
    found = measure([Score(Broken(), target)], [generated()])
    assert np.isnan(list(found.values())).all()


def test_pretrained_features_score_colour_and_need_no_file_but_the_reference() -> None:
    colour = Dataset(noise(12, 3, 16, 16), torch.zeros(12).long(), 1, "noise")
    plan = options("fd_efficientnet_lite0").model_copy(update={"size": 16})
    with pytest.warns(
        UserWarning, match="noise has 12 pictures, but fd_efficientnet_lite0 has 1280 features"
    ):
        [score] = scores.scores(plan, colour, "cpu")
    assert [name.rsplit("-", 1)[0] for name in score.reference.files] == ["reference-efficientnet_lite0"]
    assert score.extractor.digest == extractor("efficientnet_lite0", dataset=None, device="cpu").digest
    same, other = (measure([score], [part]) for part in (colour.images, noise(12, 3, 16, 16) // 2))
    assert list(same) == ["fd_efficientnet_lite0", "kd_efficientnet_lite0"]
    assert same["fd_efficientnet_lite0"] < 1e-3 * other["fd_efficientnet_lite0"]


@pytest.mark.gpu
def test_a_gpu_measures_what_the_cpu_measures() -> None:
    plan, digits = options("fd_classifier", "fd_pixels", "fd_efficientnet_lite0"), small_digits(200)
    on_cpu = measure(scores.scores(plan, digits, "cpu"), [generated(200)])
    there = scores.scores(plan, digits, "cuda")
    on_gpu = measure(there, [generated(200).cuda()])
    for name in plan.distances():
        assert on_gpu[name] == pytest.approx(on_cpu[name], rel=1e-3)


@pytest.mark.gpu
def test_a_driver_keeps_nothing_on_the_gpu_of_what_it_prepared() -> None:
    plan = options("fd_classifier", "fd_pixels", "fd_efficientnet_lite0")
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    prepare(plan, small_digits(1300))
    reserved, kept = torch.cuda.memory_reserved(), torch.cuda.memory_allocated() - before
    torch.cuda.empty_cache()
    assert torch.cuda.memory_reserved() == reserved, "there was still something to give back"
    assert kept < 2**26  # cuBLAS keeps its workspaces
