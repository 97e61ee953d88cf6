"""A project of someone else, installed as a package, is searched from its own folder to exported settings."""

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from command_line import printed

PROJECT = Path(__file__).parent / "project"
README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where its user stands: the project is installed beside, so nothing is imported from here."""
    there = tmp_path_factory.mktemp("user")
    source = shutil.copytree(PROJECT, there / "source")
    install = ["install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run(
        [sys.executable, "-m", "pip", *install, "--target", str(there / "installed"), str(source)], check=True
    )
    shutil.move(source / "study.yaml", there / "study.yaml")
    shutil.rmtree(source)
    return there


def test_it_knows_nothing_of_ours_but_two_names() -> None:
    ours = {"trainers", "search_spaces", "tuner"}
    named = {
        (node.module, name.name)
        for file in PROJECT.rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in ours
        for name in node.names
    }
    assert named == {("trainers.tasks", "Task"), ("trainers.training", "Evaluation")}


def test_readme_shows_its_file() -> None:
    assert f"```python\n{(PROJECT / 'digit_restorer' / 'searched.py').read_text()}```" in README


@pytest.mark.slow
def test_it_is_searched_from_its_own_folder(folder: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(folder / "installed")}
    search = [sys.executable, "-m", "tuner", "search", "study.yaml", "--trials", "4"]
    done = subprocess.run(search, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "restorer: 4 of 4 proposals done" in done.stdout and "leads with error" in done.stdout


@pytest.mark.slow
def test_and_extended_confirmed_exported_and_trained_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, local_ray: None
) -> None:
    monkeypatch.syspath_prepend(folder / "installed")
    sites = "digit_restorer.model:autoencoder"
    shown = printed(folder, "layers", sites, "--set", "width=8", "--input", "1,8,8").splitlines()
    assert [line.split()[:2] for line in shown[2:]] == [["1", "8"], ["3", "16"], ["5", "8"]]
    more = printed(folder, "resume", "restorer", "--trials", "6")
    assert "restorer: 6 of 6 proposals done" in more and "restarted" not in more
    rows = json.loads(printed(folder, "best", "restorer", "-n", "9", "--format", "json"))
    assert len(rows) == 6 and rows[0]["state"] == "COMPLETE" and rows[0]["metric"] == "error"
    assert any(row["state"] == "PRUNED" for row in rows)
    assert rows[0]["settings"].keys() <= {"h0", "h1", "code"}
    assert "(at 120 steps" in printed(folder, "confirm", "restorer", "--seeds", "2")
    told = printed(folder, "export", "restorer", "-o", "settings.json", "--weights")
    assert (folder / "settings.safetensors").stat().st_size > 1000
    (train,) = [line.partition("train ")[2] for line in told.splitlines() if line.startswith("Train with it")]
    again = printed(folder, "train", *train.split(), "-o", "again")
    (last,) = [line for line in again.splitlines() if line.startswith("step 120")]
    assert f"error {json.loads((folder / 'settings.json').read_text())['value']:.4g}" in last
