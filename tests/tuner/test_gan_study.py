"""A GAN through the command line: a study from its search to a training outside it, and what is refused."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_line import printed
from data_files import COLOUR, IMAGES, LABELS, pack_cifar10, pictures, write_cifar10, write_idx
from PIL import Image

from trainers import datasets, settings
from tuner.cli import main
from tuner.commands import _calls_of_attach
from tuner.record import Record
from tuner.rows import Row

SPEC: dict[str, Any] = {
    "name": "small",
    "task": "gan",
    "plan": {
        "data": "digits",
        "size": 8,
        "network": {"width": 4, "blocks": 2, "latent": 8},
        "objective": "fd_pixels",
        "also": [],
        "samples": 150,
        "batch": 16,
        "discriminator_steps": 1,
        "discriminator_sites": True,
    },
    "space": {"max_sites": 2, "sites": ["h1", "discriminator.h0"]},
    "budget": {"trials": 4, "steps": 6, "grace": 2, "reduction": 3, "baseline_seeds": 2},
    "resources": {"concurrent": 1},
}
CAPTION = (
    "(lower is better; Fréchet distance on the principal components of the pixels, "
    "150 pictures of the generator against all of digits at 8×8)"
)

FILE = Path("studies/small/settings.json")


def write(folder: Path) -> str:
    (folder / "small.yaml").write_text(yaml.safe_dump(SPEC))
    return "small.yaml"


# --- a study ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Studied:
    """A finished, confirmed and exported study, and what each command printed."""

    folder: Path
    printed: dict[str, str]

    @property
    def root(self) -> Path:
        return self.folder / "studies" / "small"

    def rows(self) -> list[Row]:
        return Record(f"sqlite:///{self.root}/study.db", "small").rows()

    def content(self) -> dict[str, Any]:
        """The exported file."""
        return json.loads((self.root / "settings.json").read_text())


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory, local_ray: None) -> Studied:
    folder = tmp_path_factory.mktemp("studied")
    commands = {
        "search": ("search", write(folder)),
        "confirm": ("confirm", "small", "--seeds", "2"),
        "export": ("export", "small"),
        "best": ("best", "small"),
        "json": ("best", "small", "--format", "json"),
        "train": ("train", "--settings", "studies/small/settings.json"),
    }
    return Studied(folder, {name: printed(folder, *words) for name, words in commands.items()})


def test_a_search_ends_with_the_leader_what_stands_beside_it_and_how_it_is_measured(studied: Studied) -> None:
    lines = [line.strip() for line in studied.printed["search"].splitlines()]
    assert any(line.startswith("small: 4 of 4 proposals done") for line in lines)
    (leads,) = [line for line in lines if line.startswith("Trial ")]
    assert "leads with fd_pixels " in leads and leads.endswith(" at step 6:")
    (beside,) = [line for line in lines if line.startswith("with kd_pixels ")]
    assert "(baseline " in beside
    assert CAPTION in lines


def test_it_searches_over_both_networks_and_says_how_the_settings_come_to_each(studied: Studied) -> None:
    sites = {site for row in studied.rows() for site in row.settings}
    assert sites == {"h1", "discriminator.h0"}
    for row in studied.rows():
        assert {"h1.density", "discriminator.h0.density"} <= row.evaluations[-1].metrics.keys()
        if isinstance(held := row.settings.get("discriminator.h0"), settings.L0Inf):
            assert row.evaluations[-1].metrics["discriminator.h0.density"] <= held.k / 4
    told = studied.printed["export"]
    assert all(call in told for call in _calls_of_attach(settings.load(studied.root / "settings.json"), FILE))
    both = {"h0": settings.L0(keep=0.2), "discriminator.h0": settings.L0(keep=0.2)}
    alone = {"code": settings.L0Inf(k=4)}
    for task, part in (("vae", "decoder"), ("gan", "network"), ("my_module:TASK", "network")):
        call = f"trainers.sparsity.attach({part}, '{FILE}')"
        assert _calls_of_attach(settings.SettingsFile(sites=alone, task=task), FILE) == [call]
    assert _calls_of_attach(settings.SettingsFile(sites=both), FILE) == [
        f"trainers.sparsity.attach(generator, generators(load('{FILE}')))",
        f"trainers.sparsity.attach(discriminator, discriminators(load('{FILE}')), names=discriminator.names)",
    ]


def test_best_shows_the_kernel_distance_beside_the_frechet_distance(studied: Studied) -> None:
    table = studied.printed["best"].splitlines()
    assert table[0].split()[:7] == ["trial", "state", "fd_pixels", "−", "baseline", "kd_pixels", "step"]
    assert table[-2] == CAPTION
    assert table[-1].startswith("baseline ") and "over 2 seeds, kd_pixels " in table[-1]
    rows = json.loads(studied.printed["json"])
    recorded = {row.label: row for row in studied.rows()}
    assert len(rows) == 4 and rows[0]["state"] == "COMPLETE"
    assert f"({rows[0]['measured']})" == CAPTION.replace("lower is better; ", "")
    for row in rows:
        assert (row["metric"], row["direction"], row["oracle"]) == ("fd_pixels", "minimize", False)
        last = recorded[row["trial"]].evaluations[-1]
        ended = row["state"] == "COMPLETE"
        assert row["value"] == (last.metrics["fd_pixels"] if ended else None)
        assert row["companions"]["kd_pixels"]["value"] == (last.metrics["kd_pixels"] if ended else None)
        of_baselines = [recorded[f"baseline:{i}"].evaluations[-1].metrics["kd_pixels"] for i in range(2)]
        assert row["companions"]["kd_pixels"]["baseline"] == pytest.approx(np.mean(of_baselines))


def test_confirm_compares_over_pairs_and_gives_no_verdict_on_what_stands_beside(studied: Studied) -> None:
    lines = studied.printed["confirm"].splitlines()
    assert lines[0].startswith("small: 4 trainings of 6 steps")
    assert CAPTION in lines
    (beside,) = [line for line in lines if line.startswith("Beside it, kd_pixels: ")]
    assert beside.endswith("over 2 pairs; no verdict.")
    verdict = next(line for line in reversed(lines) if line.startswith("Trial "))
    assert "at 6 steps" in verdict and "2 pairs" in verdict
    assert studied.content()["confirmed"]["pairs"] == 2


def test_what_the_trials_shared_is_hashed_in_the_spec_and_in_the_exported_file(studied: Studied) -> None:
    shared = yaml.safe_load((studied.root / "spec.yaml").read_text())["prepared"]
    files = {path.name: path for path in (studied.root / "trials" / "prepared").iterdir()}
    assert sorted(name.rpartition("-")[0] for name in files) == ["pixels", "reference-pixels"]
    assert shared == {
        "data": datasets.load("digits", size=8).fingerprint(),
        **{name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()},
    }
    assert studied.content()["plan"]["prepared"] == shared


def test_train_with_the_exported_file_trains_what_the_study_trained(studied: Studied) -> None:
    content = studied.content()
    label = content["provenance"]["trial"]
    (row,) = [row for row in studied.rows() if row.label == label]
    assert (content["network"], content["metric"], content["value"]) == ("dcgan", "fd_pixels", row.value)
    assert settings.load(studied.root / "settings.json").sites == row.settings
    trained = studied.folder / "trained" / "{study}-seed{seed}".format(**content["provenance"])
    assert str(trained.relative_to(studied.folder)) in studied.printed["train"]
    lines = studied.printed["train"].splitlines()
    for evaluation in row.evaluations:
        (line,) = [line for line in lines if line.startswith(f"step {evaluation.step}: ")]
        told = dict(entry.rsplit(" ", 1) for entry in line.partition(": ")[2].split(", "))
        for name in ("fd_pixels", "kd_pixels", "loss_generator", "loss_discriminator"):
            assert float(told[name]) == pytest.approx(evaluation.metrics[name], rel=1e-3)
        # every bit of 64 pictures, where four digits of a value could hide a difference
        ours, theirs = (
            folder / "pictures" / f"{evaluation.step}-samples.png"
            for folder in (trained, studied.root / "trials" / label)
        )
        assert ours.read_bytes() == theirs.read_bytes()


def test_mlflow_holds_sample_pictures_distances_and_the_density_of_every_site(studied: Studied) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{studied.folder}/studies/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("gan").experiment_id])
    runs = {run.data.tags.get("trial", "study"): run for run in found}
    rows = studied.rows()
    assert runs.keys() == {"study", *(row.label for row in rows)} and len(found) == len(runs)
    assert len(rows) == 4 + 2 + 4  # proposals, baselines, two pairs
    for row in rows:
        run = runs[row.label].info.run_id
        for name in ("fd_pixels", "kd_pixels", "h0.density", "h1.density", "code.density", "loss_generator"):
            history = [(one.step, one.value) for one in client.get_metric_history(run, name)]
            assert history == [(one.step, one.metrics[name]) for one in row.evaluations]
        kept = [f"pictures/{one.step}-samples.png" for one in row.evaluations]
        assert [one.path for one in client.list_artifacts(run, "pictures")] == kept
        with Image.open(client.download_artifacts(run, kept[-1])) as grid:
            assert grid.size == (71, 71)  # 8×8 pictures of 8×8 pixels, and lines between
            assert len(np.unique(np.asarray(grid))) > 10


# --- bad input -------------------------------------------------------------------------------------


def folder_of(folder: Path, count: int) -> None:
    folder.mkdir()
    for i, pixels in enumerate(pictures(count, 12, 12, 3)):
        Image.fromarray(pixels).save(folder / f"{i}.png")


def no_pictures(folder: Path, patch: pytest.MonkeyPatch) -> None:
    (folder / "mine").mkdir()
    (folder / "mine" / "notes.txt").write_text("pictures to come")


def damaged_idx(folder: Path, patch: pytest.MonkeyPatch) -> None:
    write_idx(folder / "sets", IMAGES, LABELS)
    path = folder / "sets" / "train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-40])


def cifar10(folder: Path, patch: pytest.MonkeyPatch) -> Path:
    return write_cifar10(folder / "sets", COLOUR, LABELS.tolist(), patch)


def damaged_batch(folder: Path, patch: pytest.MonkeyPatch) -> None:
    path = cifar10(folder, patch) / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-1])


def damaged_archive(folder: Path, patch: pytest.MonkeyPatch) -> None:
    """One that was unpacked as far as it goes."""
    unpacked = cifar10(folder, patch)
    archive = folder / "sets" / "cifar-10-python.tar.gz"
    pack_cifar10(unpacked, archive, patch)
    archive.write_bytes(archive.read_bytes()[:1000])
    for path in sorted(unpacked.iterdir())[2:]:
        path.unlink()


Made = Callable[[Path, pytest.MonkeyPatch], object]
BAD: dict[str, tuple[Made | None, dict[str, Any], str]] = {
    "no such folder": (
        None, {"data": "nowhere"},
        "plan.data is 'nowhere', but there is no such folder, and the data sets by name are cifar10,"),
    "a folder without pictures": (
        no_pictures, {"data": "mine"},
        "plan.data is '{tmp}/mine', a folder of pictures, but it has none"),
    "one picture": (
        lambda folder, _: folder_of(folder / "mine", 1), {"data": "mine"},
        "'mine' has 1 of the 16 pictures that a batch needs: name more data, or lower plan.batch"),
    "grey where colour is asked": (
        None, {"channels": 3},
        "plan.channels is 3, but the pictures of 'digits' are grey: leave it out or set it to 1"),
    "a limit above the data": (
        None, {"limit": 1798},
        "plan.limit is 1798, but 'digits' has 1797 pictures: lower it, or leave it out"),
    "a limit below a batch": (
        None, {"limit": 15},
        "plan.limit is 15, but a batch has 16 pictures: raise the limit, or lower plan.batch"),
    "a fraction below a batch": (
        None, {"limit": 0.005},
        "plan.limit is 0.005, which leaves 9 of the pictures of 'digits', but a batch needs 16: raise it"),
    "fewer samples than features": (
        None, {"objective": "fd_efficientnet_lite0"},
        "plan.samples is 150, but fd_efficientnet_lite0 has 1280 features: draw at least so many, or take"),
    "idx files that are not there": (
        None, {"data": "mnist", "root": "sets"},
        "/sets/train-*-ubyte.gz: set plan.root to the folder that holds its idx files, or plan.download to"),
    "a CIFAR-10 that is not there": (
        None, {"data": "cifar10", "root": "sets"},
        "/sets/cifar-10-batches-py: set plan.root to the folder that holds its folder cifar-10-batches-py,"),
    "a damaged idx file": (
        damaged_idx, {"data": "mnist", "root": "sets"},
        "plan.data is 'mnist', but '{tmp}/sets/train-images-idx3-ubyte.gz' is damaged or cannot be read ("),
    "a damaged batch of CIFAR-10": (
        damaged_batch, {"data": "cifar10", "root": "sets"},
        "plan.data is 'cifar10', but data_batch_3 in '{tmp}/sets/cifar-10-batches-py' is missing or damaged"),
    "a damaged archive of CIFAR-10": (
        damaged_archive, {"data": "cifar10", "root": "sets"},
        "is missing or damaged (its MD5 is not the data set's): unpack its archive there again, or set plan"),
    "FID without its weights": (
        None, {"objective": "fid", "samples": 3000},
        "they are not at {tmp}/torch/hub/checkpoints/pt_inception-2015-12-05-6726825d.pth: put there what"),
    "FID without its weights, beside the objective": (
        None, {"also": ["fid"], "samples": 3000},
        "or take fd_efficientnet_lite0, fd_pixels or, for data with labels, fd_classifier instead"),
    "a classifier without labels": (
        lambda folder, _: folder_of(folder / "mine", 40), {"data": "mine", "objective": "fd_classifier"},
        "fd_classifier needs labels, but mine has none: take fd_efficientnet_lite0 or fd_pixels as the"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_answered_in_one_sentence_and_leaves_no_study(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made, changes, told = BAD[case]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    words = ["search", write(tmp_path)]
    for key, value in changes.items():
        words += ["--set", f"plan.{key}={json.dumps(value)}"]
    if made:
        made(tmp_path, monkeypatch)
    before = sorted(tmp_path.rglob("*"))
    capsys.readouterr()
    status = main(words)
    out, err = capsys.readouterr()
    assert (status, out) == (2, ""), err
    assert told.replace("{tmp}", str(tmp_path)) in err
    assert err.endswith("\n") and len(err.splitlines()) == 1
    assert sorted(tmp_path.rglob("*")) == before
