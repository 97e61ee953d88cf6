"""The short form of `make chaos`: a few of its kills and faults, and that it would notice one."""

import copy
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from every_commit import came_to, faults, in_a_process, study
from studies import Driver, evaluations, write

from tuner.tracking import check


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("store") / "empty.db"
    check(f"sqlite:///{file}")
    return file


@pytest.fixture(scope="module")
def undisturbed(store: Path) -> tuple[list[str], Any]:
    names = in_a_process(study(store.parent / "undisturbed", store, 1))
    return names, in_a_process(came_to(store.parent / "undisturbed"))


def test_a_study_killed_at_some_moments_equals_the_undisturbed_one(
    store: Path, undisturbed: tuple[list[str], Any], tmp_path: Path
) -> None:
    """`make chaos` takes every moment; here are a few."""
    names, wanted = undisturbed
    for at in range(7, len(names), len(names) // 2):
        root = tmp_path / str(at)
        assert in_a_process(study(root, store, 1, at)) is None
        in_a_process(study(root, store, 1))
        assert faults(root, wanted, 1) == [], f"killed at moment {at}, {names[at - 1]}"
        shutil.rmtree(root)


def test_the_comparison_notices_what_a_kill_could_do(undisturbed: tuple[list[str], Any], store: Path) -> None:
    root, wanted = store.parent / "undisturbed", undisturbed[1]
    assert faults(root, wanted, 1) == []
    for spoil in (
        lambda rows, runs: rows.pop("3"),
        lambda rows, runs: rows["0"].update(value=1.0),
        lambda rows, runs: rows["0"]["evaluations"].pop(2),
        lambda rows, runs: runs.pop("1"),
        lambda rows, runs: runs["1"][0]["points"]["score"].pop(),
        lambda rows, runs: runs[""][0]["tags"].update(state="RUNNING"),
    ):
        other = copy.deepcopy(wanted)
        spoil(other[0], other[1])
        assert faults(root, other, 1) != []


@pytest.mark.slow
def test_a_study_whose_raylet_dies_ends_in_a_sentence(tmp_path: Path) -> None:
    """Tune would wait for ever for the trial that was to begin."""
    write(tmp_path, "dip", 1)
    driver = Driver(tmp_path, ["search", "spec.yaml"], f"sqlite:///{tmp_path}/mlflow.db")
    while evaluations(tmp_path) < 0 and driver.runs():
        driver.wait(0.2)
    (raylet,) = (one for one in driver.children() if one.name() == "raylet")
    raylet.kill()
    assert driver.wait(300) and driver.process.returncode == 1
    assert "(its raylet) has died" in driver.said() and driver.left_behind() == []


@pytest.mark.chaos
@pytest.mark.parametrize("slots", [1, 2])
def test_a_study_killed_at_any_moment_equals_the_undisturbed_one(slots: int) -> None:
    _passes("every_commit.py", "--slots", str(slots))


@pytest.mark.chaos
def test_ten_thousand_damaged_files_are_refused_or_read_as_they_stand() -> None:
    _passes("fuzz.py", "10000")


@pytest.mark.chaos
def test_real_studies_survive_faults_at_random_moments() -> None:
    """`CHAOS_TIMES` of each fault, 30 times the driver's death; what is in the ledger already counts."""
    times = os.environ.get("CHAOS_TIMES", "10")
    _passes("run.py", "--faults", "driver killed", "--times", os.environ.get("CHAOS_TIMES", "30"))
    _passes("run.py", "--times", times)


@pytest.mark.chaos
def test_the_same_faults_on_the_stock_parts_are_counted_beside() -> None:
    """They pass no judgement: what stock Tune loses stands in the same table."""
    _passes("stock.py")


def _passes(script: str, *words: str) -> None:
    """Run a script of this folder to its end, its output where one sees it."""
    done = subprocess.run([sys.executable, str(Path(__file__).with_name(script)), *words], check=False)
    assert done.returncode == 0, f"{script} found faults: they stand above"
