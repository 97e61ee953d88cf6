"""What a study came to, in its record and in MLflow, in a form that two studies can be compared by."""

from typing import Any

from mlflow import MlflowClient

from tuner.pruning import goes_on
from tuner.record import Record
from tuner.rows import Row
from tuner.spec import StudySpec
from tuner.states import RUNNING
from tuner.tracking import search

# What says when, where and under which name a study ran, and not what came of it.
_OF_THIS_RUN = ("study_uuid", "delivered", "nodes", "restarts", "mlflow.")


def recorded(record: Record) -> dict[str, Any]:
    """Each trial of the record by its label: what was proposed, what was measured, how it ended."""
    return {
        row.label: {
            "seed": row.seed,
            "settings": row.settings,
            "extras": row.extras,
            "state": row.state,
            "reason": row.reason,
            "value": row.value,
            "evaluations": {one.step: one.metrics for one in row.evaluations},
        }
        for row in record.rows()
    }


def tracked(tracking: str, uuid: str) -> dict[str, list[dict[str, Any]]]:
    """The runs of a study in MLflow by their trial's label ("" for the study's own)."""
    client = MlflowClient(tracking)
    found: dict[str, list[dict[str, Any]]] = {}
    for run in search(client, f"tags.study_uuid = '{uuid}'"):
        tags = {k: v for k, v in run.data.tags.items() if not k.startswith(_OF_THIS_RUN)}
        names = sorted(run.data.metrics)
        points = {name: client.get_metric_history(run.info.run_id, name) for name in names}
        pictures = client.list_artifacts(run.info.run_id, "pictures")
        told = {
            "status": run.info.status,
            "tags": tags,
            "parameters": run.data.params,
            "points": {name: sorted((one.step, one.value) for one in each) for name, each in points.items()},
            "files": sorted(one.path for one in (*client.list_artifacts(run.info.run_id), *pictures)),
        }
        found.setdefault(run.data.tags.get("trial", ""), []).append(told)
    return found


def wrong_decisions(rows: list[Row], spec: StudySpec, metric: str, direction: str) -> list[str]:
    """Trials that ASHA would have treated otherwise, given the evaluations that came before each."""
    wrong = []
    for row in rows:
        for one in row.evaluations:
            if one.step not in spec.rungs():
                continue
            before = [other.at(one.step) for other in rows]
            earlier = [e.metrics[metric] for e in before if e is not None and e.seq < one.seq]
            on = goes_on(one.metrics[metric], earlier, direction=direction, reduction=spec.budget.reduction)
            went_on = row.evaluations[-1].step > one.step or row.state == RUNNING
            if on != went_on and row.reason != "diverged":
                wrong.append(f"{row.label} at step {one.step}")
    return wrong
