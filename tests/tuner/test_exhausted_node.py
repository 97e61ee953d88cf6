"""A node whose memory runs out: Ray ends the process that takes it, and the study goes on."""

from pathlib import Path

import psutil
import pytest
from processes import begin

from tuner.record import Record

HUNGRY = """
import os

from trainers.tasks import Task
from trainers.training import Evaluation


def train(plan, *, seed, device="cpu", folder=None):
    yield Evaluation(1, {"score": 1.0})
    kept = [os.urandom(100 * 2**20) for _ in range(80)]
    yield Evaluation(9, {"score": float(len(kept))})


TASK = Task("hungry", "score", "maximize", train, sites={"code": (8, 8, 8)})
"""
SPEC = """
name: hungry
task: hungry:TASK
budget: {trials: 1, steps: 9, grace: 1, reduction: 3, baseline_seeds: 1, evaluate_at: [1]}
resources: {concurrent: 1}
retries: 1
"""


@pytest.mark.slow
def test_trials_that_take_more_than_there_is_are_pruned_and_the_study_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hungry.py").write_text(HUNGRY)
    (tmp_path / "hungry.yaml").write_text(SPEC)
    memory = psutil.virtual_memory()
    most = (memory.total - memory.available + 3 * 2**30) / memory.total  # Ray's is the whole node
    call = begin(tmp_path, "search", "hungry.yaml", RAY_memory_usage_threshold=f"{most:.3f}")
    status, out, err = call.ends()
    assert status == 0, err
    assert "2 × out of memory" in out
    monkeypatch.syspath_prepend(tmp_path)  # the record knows its task by name
    rows = Record(f"sqlite:///{tmp_path}/studies/hungry/study.db", "hungry").rows()
    assert [(row.state, row.reason, row.failures) for row in rows] == [("PRUNED", "out of memory", 2)] * 2
