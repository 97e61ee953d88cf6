"""All that an MLflow server holds of one study, read from its own files, so that copies can be compared."""

import re
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

# What two copies of one study differ in: the ids of their runs, and what counts and times the copying itself.
_OWN = ("delivered", "mlflow.parentRunId", "study_uuid", "mlflow.user", "mlflow.source.name")


def contents(folder: Path, uuid: str) -> dict[str, Any]:
    """Each run by its label (`study`, `7`): state, parent, parameters, tags, all points, all artifacts.

    `folder` is a `tracked.Server`'s. Fails where two active runs have one label.
    """
    base = sqlite3.connect(f"file:{folder}/server.db?mode=ro", uri=True)
    try:
        query = (
            "select r.run_uuid, r.status, r.start_time, r.experiment_id from runs r join tags t "
            "on t.run_uuid = r.run_uuid and t.key = 'study_uuid' and t.value = ? "
            "where r.lifecycle_stage = 'active'"
        )
        runs = base.execute(query, (uuid,)).fetchall()
        tags = {
            run: dict(base.execute("select key, value from tags where run_uuid = ?", (run,)))
            for run, *_ in runs
        }
        labels = {run: tags[run].get("trial", "study") for run in tags}
        doubled = [label for label, count in Counter(labels.values()).items() if count > 1]
        assert not doubled, f"two runs of {doubled}"
        return {
            labels[run]: {
                "status": status,
                "started": started if "trial" in tags[run] else None,
                "parent": labels.get(tags[run].get("mlflow.parentRunId", ""), "none"),
                "tags": {name: value for name, value in tags[run].items() if name not in _OWN},
                "parameters": dict(base.execute("select key, value from params where run_uuid = ?", (run,))),
                "points": _points(base, run),
                "artifacts": _artifacts(folder / "artifacts" / str(experiment) / run, uuid, labels),
            }
            for run, status, started, experiment in runs
        }
    finally:
        base.close()


def _points(base: sqlite3.Connection, run: str) -> list[tuple[Any, ...]]:
    query = "select key, step, timestamp, is_nan, value from metrics where run_uuid = ? order by 1, 2, 3"
    return base.execute(query, (run,)).fetchall()


def _artifacts(folder: Path, uuid: str, labels: dict[str, str]) -> dict[str, str]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            text = path.read_text(errors="replace").replace(uuid, "UUID")
            text = re.sub(r"[0-9a-f]{32}", lambda id_: labels.get(id_[0], "another run"), text)
            found[path.relative_to(folder).as_posix()] = text
    return found
