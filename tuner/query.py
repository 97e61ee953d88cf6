"""What MLflow knows of a study: its best trials. Needs no Ray, no torch and none of the study's files.

A filter is MLflow's own. Strengths and extras are metrics named SITE.keep, SITE.k, SITE.weight and
extras.NAME; parameters and tags are texts:

    metrics.up0.keep < 0.3 AND params.up0.kind = 'l0'
    metrics.`extras.lr` > 0.01 AND tags.state = 'COMPLETE'
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.ranges import shown
from trainers.settings import Mistake
from trainers.tasks import ORACLES
from tuner import tracking as names
from tuner.exported import attained_of, companions_of, exported_baseline
from tuner.runs import chosen, safe, whole
from tuner.secrets import why, without_password
from tuner.spec_file import kept
from tuner.states import COMPLETE, RUNNING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_EXAMPLE = "\"metrics.up0.keep < 0.3 AND params.up0.kind = 'l0'\""
_SHOWN_STUDIES = 20


@dataclass(frozen=True)
class Found:
    """A study in MLflow: its own run, what that run's tags say, and the client that found it."""

    client: "MlflowClient"
    run_id: str
    name: str
    uuid: str
    metric: str
    direction: str
    baseline: dict[str, Any] | None
    measured: str | None
    companions: dict[str, str | None]

    def trials(
        self, query: str, *, order_by: list[str] | None = None, most: int | None = None
    ) -> list["Run"]:
        """The runs of its trials that an MLflow filter finds."""
        ours = f"tags.{names.STUDY_UUID} = '{self.uuid}'"
        return names.search(self.client, f"{ours} AND {query}", order_by=order_by, most=most)

    @property
    def by_value(self) -> list[str]:
        """MLflow's order of the best first; of equals the earlier one."""
        way = "DESC" if self.direction == "maximize" else "ASC"
        return [f"metrics.`{safe(self.metric)}` {way}", "attributes.start_time ASC"]


def best_trials(
    name: str,
    *,
    tracking: str | None = None,
    root: str | os.PathLike[str] = "studies",
    n: int = 5,
    where: str | None = None,
) -> list[dict[str, Any]]:
    """The best proposals: COMPLETE ones by value, then PRUNED, FAILED and RUNNING by number, `n` in all.

    Each is {run_id, role, trial, state, reason, metric, direction, oracle, measured, value, step, companions,
    settings, extras, attained, baseline, confirmed}: `value` is None unless the trial is COMPLETE, `settings`
    has the form of an exported file's `sites`, `attained` is what they did at each site at `step`, beside the
    baseline's own, `companions` are the metrics to look at beside the value, as {name: {value, baseline,
    direction, oracle}}, `measured` says how it is measured, and `oracle` that it needs the clean picture.

    Args:
        name: the study's name or uuid.
        tracking: an MLflow address; None: the study's own, MLFLOW_TRACKING_URI, or the one under `root`.
        root: where studies live.
        n: at most so many.
        where: an MLflow filter that they satisfy too; one that names `tags.role` shows other roles.

    Raises:
        Mistake: there is no such study, or several; none of its trials has finished; the filter is none.
        RuntimeError: MLflow does not answer.
    """
    if n < 1:
        raise Mistake(f"-n is {n}, but it has to be a whole number of at least 1")
    with answered(tracking_of(name, tracking, root)) as client:
        study = find_study(client, name)
        rows = _ranked(study, n, where)
        if all(row["state"] == RUNNING for row in rows) and not _has_finished(study):
            raise Mistake(
                f"no trial of study {study.name!r} has finished yet, so none is the best: "
                "wait for the first, or go on with `resume`"
            )
    return rows


def tracking_of(name: str, flag: str | None, root: str | os.PathLike[str]) -> str:
    """Where a study is looked for: `flag`, the address in its `spec.yaml`, the environment, or the default.

    Raises:
        Mistake: it is no address.
    """
    return names.resolve_tracking(flag or _kept(name, Path(root)), None, root)


@contextmanager
def answered(tracking: str) -> Iterator["MlflowClient"]:
    """A client for reading; what goes wrong inside is said in one sentence.

    Raises:
        Mistake: a SQLite file that is not there, since reading makes none.
        RuntimeError: MLflow does not answer.
    """
    if tracking.startswith("sqlite") and not Path(names.sqlite_file(tracking)).is_file():
        raise Mistake(
            f"there is no study: {names.sqlite_file(tracking)} is not there; start one with `search`, or say "
            "with --tracking or --root where to look"
        )
    client = names.connect(tracking)
    from mlflow.exceptions import MlflowException

    try:
        yield client
    except (MlflowException, OSError) as error:
        shown = without_password(tracking)
        raise RuntimeError(f"MLflow at {shown} failed ({why(error)}): look at it, then try again") from error


def find_study(client: "MlflowClient", name: str) -> Found:
    """A study by its name or its uuid.

    Raises:
        Mistake: there is none of it, or there are several of one name.
    """
    if not _NAME.fullmatch(name):
        raise Mistake(
            f"{shown(name)} is no study: give its name (letters, digits, '.', '_', '-') or its uuid"
        )
    runs: list[Run] = []
    for tag in (names.STUDY, names.STUDY_UUID):
        query = f"tags.{names.ROLE} = '{names.STUDY_ROLE}' AND tags.{tag} = '{name}'"
        runs = runs or names.search(client, query)
    by_uuid: dict[str, list[Run]] = {}
    for run in runs:
        by_uuid.setdefault(run.data.tags[names.STUDY_UUID], []).append(run)
    if len(by_uuid) > 1:
        uuids = " or ".join(by_uuid)
        raise Mistake(f"{len(by_uuid)} studies are called {name!r}: give the uuid of one, {uuids}")
    if not by_uuid:
        raise Mistake(_unknown(client, name))
    (of_study,) = by_uuid.values()
    return found(client, chosen(of_study))  # of two that a lost answer left, the one that the tracker keeps


def found(client: "MlflowClient", run: "Run") -> Found:
    """The study whose own run this is."""
    tags = run.data.tags
    baseline, begin = None, len(names.OF_BASELINE)
    told = whole(tags, names.BASELINE)
    if told is not None:
        measured = {
            name[begin:]: value
            for name, value in run.data.metrics.items()
            if name.startswith(names.OF_BASELINE)
        }
        baseline = json.loads(told) | {"metrics": measured}
    return Found(
        client=client,
        run_id=run.info.run_id,
        name=tags[names.STUDY],
        uuid=tags[names.STUDY_UUID],
        metric=tags[names.METRIC],
        direction=tags[names.DIRECTION],
        baseline=baseline,
        measured=tags.get(names.MEASURED),
        companions=_companions(json.loads(tags.get(names.COMPANIONS, "{}"))),
    )


def _companions(told: dict[str, str] | list[str]) -> dict[str, str | None]:
    """Earlier versions wrote the names alone."""
    return dict.fromkeys(told) if isinstance(told, list) else dict(told)


def _kept(name: str, root: Path) -> str | None:
    """The address in the `spec.yaml` of the study of that name or uuid, if it lies under `root`."""
    if not _NAME.fullmatch(name):
        return None
    near = root / name / names.SPEC_FILE
    for file in [near] if near.is_file() else sorted(root.glob(f"*/{names.SPEC_FILE}")):
        spec = kept(file)
        if (file == near or spec.get("uuid") == name) and isinstance(spec.get("tracking"), str):
            return str(spec["tracking"])
    return None


def _unknown(client: "MlflowClient", name: str) -> str:
    there = names.search(client, f"tags.{names.ROLE} = '{names.STUDY_ROLE}'", most=1000)
    known = sorted({run.data.tags[names.STUDY] for run in there})
    listed = ", ".join(known[:_SHOWN_STUDIES]) + (", …" if len(known) > _SHOWN_STUDIES else "")
    where = without_password(client.tracking_uri)
    told = f"no study {name!r} in MLflow at {where}: there is {listed or 'none'}"
    return f"{told}; --tracking and --root say where to look"


def _ranked(study: Found, n: int, where: str | None) -> list[dict[str, Any]]:
    from mlflow.exceptions import MlflowException

    query = f"tags.{names.ROLE} = 'proposal'"
    if where and _names_role(where):
        query = f"tags.{names.TRIAL} LIKE '%'"  # of any role, but of a trial
    query += f" AND {where}" if where else ""
    try:
        best = study.trials(f"tags.{names.STATE} = 'COMPLETE' AND {query}", order_by=study.by_value, most=n)
        others = study.trials(f"tags.{names.STATE} != 'COMPLETE' AND {query}") if len(best) < n else []
    except MlflowException as error:
        # A number that is too large for the database is refused by that, as an error of its own.
        refused = error.error_code in ("INVALID_PARAMETER_VALUE", "BAD_REQUEST") or "too large" in str(error)
        if where and refused:
            raise Mistake(
                f"--where is {shown(where)}, which is no MLflow filter ({why(error)}): "
                f"write for example {_EXAMPLE}"
            ) from error
        raise
    rest = [_row(study, run) for run in others]
    rest.sort(key=lambda row: (names.STATES.index(row["state"]), int(row["trial"].rpartition(":")[2])))
    return ([_row(study, run) for run in best] + rest)[:n]


def _names_role(where: str) -> bool:
    unquoted = re.sub(r"'[^']*'", "", where)
    return re.search(r"\btags?\.[`\"]?role\b", unquoted) is not None


def _has_finished(study: Found) -> bool:
    query = f"tags.{names.ROLE} = 'proposal' AND tags.{names.STATE} != 'RUNNING'"
    return bool(study.trials(query, most=1))


def _row(study: Found, run: "Run") -> dict[str, Any]:
    tags, metrics = run.data.tags, run.data.metrics
    state, settings = tags[names.STATE], json.loads(whole(tags, names.SETTINGS) or "{}")
    begin = len(names.EXTRAS)
    return {
        "run_id": run.info.run_id,
        "role": tags[names.ROLE],
        "trial": tags[names.TRIAL],
        "state": state,
        "reason": tags.get(names.REASON),
        "metric": study.metric,
        "direction": study.direction,
        "oracle": study.metric in ORACLES,
        "measured": study.measured,
        "value": metrics.get(safe(study.metric)) if state == COMPLETE else None,
        "step": int(tags[names.STEP]) if names.STEP in tags else None,
        "companions": companions_of(study.companions, metrics if state == COMPLETE else {}, study.baseline),
        "settings": settings,
        "extras": {name[begin:]: value for name, value in metrics.items() if name.startswith(names.EXTRAS)},
        "attained": attained_of(settings, metrics, study.baseline),
        "baseline": exported_baseline(study.baseline),
        "confirmed": json.loads(whole(tags, names.CONFIRMED) or "null"),
    }
