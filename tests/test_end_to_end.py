"""The main job as a user has it: processes of their own, a real photograph, real Ray, SQLite and MLflow."""

import json
import os
import re
import signal
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from small_disk import small_disk

from tuner.record import Record
from tuner.rows import Row

SPEC = """
name: tiny
plan:
  image: astronaut
  size: 32
  network: {kind: skip, width: 4, scales: 2, skip: 2, input_channels: 4}
space: {max_sites: 1}
budget: {trials: 5, steps: 45, grace: 5, reduction: 3, baseline_seeds: 1}
resources: {concurrent: 1}
"""


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tuner", *arguments]


def environment(folder: Path) -> dict[str, str]:
    """What a new user has: an empty home, and nothing set that quiets a library."""
    noisy = ("MLFLOW_", "RAY_", "TUNE_", "OMP_", "PYTEST_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(noisy)}
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return kept | {"HOME": str(home)}


def call(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=folder, env=environment(folder), capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("undisturbed")
    (folder / "tiny.yaml").write_text(SPEC)
    done = call(folder, "search", "tiny.yaml")
    assert done.returncode == 0, done.stderr
    (folder / "output.txt").write_text(done.stdout)
    (folder / "errors.txt").write_text(done.stderr)
    yield folder


def rows(folder: Path) -> list[Row]:
    return Record(f"sqlite:///{folder}/studies/tiny/study.db", "tiny").rows()


def outcome(folder: Path) -> list[tuple[Any, ...]]:
    return [
        (
            row.label,
            row.state,
            row.reason,
            row.value,
            row.settings,
            [(e.step, e.metrics) for e in row.evaluations],
        )
        for row in rows(folder)
        if row.role != "confirmation"  # which one of the tests adds to what others compare with
    ]


def runs(folder: Path) -> dict[str, Any]:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/studies/mlflow.db")
    found = client.search_runs([client.get_experiment_by_name("dip").experiment_id])
    labels = [run.data.tags.get("trial", "study") for run in found]
    assert len(labels) == len(set(labels)), "one trial, one run"
    return dict(zip(labels, found, strict=True))


def test_nothing_is_left_in_the_home_and_no_library_chatters(undisturbed: Path) -> None:
    assert {path.name for path in (undisturbed / "home").iterdir()} <= {".ray"}
    assert {path.name for path in undisturbed.iterdir()} == {
        "home", "tiny.yaml", "studies", "output.txt", "errors.txt"
    }  # fmt: skip
    noise = [
        line
        for line in (undisturbed / "errors.txt").read_text().splitlines()
        if any(word in line for word in ("INFO", "WARNING", "ERROR", "Traceback", "telemetry", "usage stat"))
    ]
    assert noise == []


def test_mlflow_holds_the_study_its_trials_and_their_pictures(undisturbed: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{undisturbed}/studies/mlflow.db")
    found = runs(undisturbed)
    assert set(found) == {"study", *(row.label for row in rows(undisturbed))}
    parent = found.pop("study")
    for row in rows(undisturbed):
        run = found[row.label]
        assert run.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert (run.data.tags["state"], run.data.tags["role"]) == (row.state, row.role)
        history = client.get_metric_history(run.info.run_id, "psnr")
        assert [(one.step, one.value) for one in history] == [
            (e.step, e.metrics["psnr"]) for e in row.evaluations
        ]
        pictures = [one.path for one in client.list_artifacts(run.info.run_id, "pictures")]
        assert pictures == sorted(f"pictures/{e.step}-comparison.png" for e in row.evaluations)
        assert run.info.status == "FINISHED"


def test_pruned_and_complete_are_both_there_and_the_baseline_ran_to_its_end(undisturbed: Path) -> None:
    states = {row.label: row.state for row in rows(undisturbed)}
    assert states["baseline:0"] == "COMPLETE"
    assert {"PRUNED", "COMPLETE"} == {states[str(number)] for number in range(5)}


KILLED = """
import os, signal, sys
from tuner.study import run

class Killer:
    changes = int(sys.argv[1])

    def update(self, rows, **state):
        self.changes -= 1
        if not self.changes:
            os.kill(os.getpid(), signal.SIGKILL)

run("tiny.yaml", progress=Killer())
"""


def test_a_killed_study_equals_the_undisturbed_one(undisturbed: Path, tmp_path: Path) -> None:
    """Begun again once here; `make chaos` does it again and again."""
    (tmp_path / "tiny.yaml").write_text(SPEC)
    driver = [sys.executable, "-c", KILLED, "5"]
    killed = subprocess.run(driver, cwd=tmp_path, env=environment(tmp_path), capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert 0 < sum(row.state != "RUNNING" for row in rows(tmp_path)) < 6
    resumed = call(tmp_path, "resume", "tiny")
    assert resumed.returncode == 0, resumed.stderr
    assert outcome(tmp_path) == outcome(undisturbed)
    states = {label: run.data.tags["state"] for label, run in runs(tmp_path).items() if label != "study"}
    assert states == {row.label: row.state for row in rows(undisturbed)}


@pytest.mark.slow
def test_confirm_export_and_a_generator_from_elsewhere(undisturbed: Path) -> None:
    confirmed = call(undisturbed, "confirm", "tiny", "--seeds", "2")
    assert confirmed.returncode == 0, confirmed.stderr
    assert "at 45 steps" in confirmed.stdout
    assert "2 pairs" in confirmed.stdout
    exported = call(undisturbed, "export", "tiny", "-o", "settings.json")
    assert exported.returncode == 0, exported.stderr
    content = json.loads((undisturbed / "settings.json").read_text())
    assert content["confirmed"]["pairs"] == 2
    assert content["plan"]["options"]["size"] == 32
    rows_ = json.loads(call(undisturbed, "best", "tiny", "--format", "json").stdout)
    assert rows_[0]["settings"] == content["sites"]
    assert rows_[0]["confirmed"] == content["confirmed"]

    from torch import nn, rand

    from trainers.sparsity import attach

    generator = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 3))
    names = {site: "1" for site in content["sites"]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # another number of channels than the study's: it says so
        attached = attach(generator, undisturbed / "settings.json", names=names)
        (generator(rand(1, 3, 16, 16)).mean() + attached.penalty()).backward()
    (site,) = content["sites"]
    assert set(attached.sparsity()) == {site}


FILLED = """
import sys
from pathlib import Path
from small_disk import fill
from tuner.cli import sentence
from tuner.study import run

class Filler:
    changes = int(sys.argv[1])

    def update(self, rows, **state):
        self.changes -= 1
        if not self.changes:
            fill(Path(sys.argv[2]))

try:
    run("tiny.yaml", progress=Filler())
except RuntimeError as error:
    print(sentence(error))
"""


@pytest.mark.parametrize(
    ("changes", "everything", "told"),
    [
        pytest.param(
            5,
            False,
            r"^trial 0 cannot be saved on .* \(No space left on device\): free room there",
            marks=pytest.mark.slow,
        ),
        pytest.param(2, True, r"cannot be (saved|written)", marks=pytest.mark.slow),
        pytest.param(4, True, r"^the record .* cannot be written \(", marks=pytest.mark.slow),
        pytest.param(7, True, r"cannot be (saved|written)", marks=pytest.mark.slow),
    ],
)
def test_a_study_whose_disk_fills_up_ends_in_a_sentence_and_goes_on_once_there_is_room(
    undisturbed: Path, tmp_path: Path, changes: int, everything: bool, told: str
) -> None:
    """The trials' storage alone, or all of ROOT with the record and MLflow's file."""
    with small_disk(tmp_path / "disk", 20) as disk:
        (tmp_path / "tiny.yaml").write_text(SPEC + ("" if everything else f"storage: {disk}\n"))
        if everything:
            (disk / "studies").mkdir()
            (tmp_path / "studies").symlink_to(disk / "studies")
        driver = [sys.executable, "-c", FILLED, str(changes), str(disk)]
        known = {"PYTHONPATH": os.pathsep.join(sys.path)}
        ended = subprocess.run(
            driver, cwd=tmp_path, env=environment(tmp_path) | known, capture_output=True, text=True
        )
        assert ended.returncode == 0, ended.stderr
        assert re.search(told, ended.stdout) and len(ended.stdout.splitlines()) == 1, ended.stdout
        assert "FAILED" not in {row.state for row in rows(tmp_path)}
        again = call(tmp_path, "resume", "tiny")
        assert (again.returncode, "Traceback" in again.stderr) == (1, False), again.stderr
        (disk / "filler").unlink()
        resumed = call(tmp_path, "resume", "tiny")
        assert resumed.returncode == 0, resumed.stderr
        assert outcome(tmp_path) == outcome(undisturbed)
        assert {row.restarts for row in rows(tmp_path)} == {0}
