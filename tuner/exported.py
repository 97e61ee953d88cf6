"""What is told of a trial to others: its settings as a file, what they attained, where they come from.

Pure functions of rows of the record; the same text goes to MLflow and, from there, into an exported file.
"""

import hashlib
import math
import platform
import statistics
import subprocess
import tempfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers import settings
from trainers.plan import Plan
from trainers.settings import SettingsFile, to_json
from trainers.tasks import ORACLES, find_task, network_of
from tuner import standing
from tuner.runs import safe

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tuner.rows import Row
    from tuner.spec import StudySpec

Shapes = Mapping[str, tuple[int, int, int]]
# of trainers.sparsity, which imports torch; a test holds the two together
MEASURES = ("density", "removed_energy", "mean_abs", "hoyer", "small")
_PACKAGES = (
    "sparsity-tuner", "torch", "torchvision", "numpy", "scipy", "scikit-image", "scikit-learn", "pytorch-fid",
    "ray", "optuna", "mlflow",
)  # fmt: skip


def baseline_of(rows: Iterable["Row"], companions: Collection[str] = ()) -> dict[str, Any] | None:
    """What the COMPLETE baselines reached, as {mean, sd, seeds, step, metrics}; None where there is none.

    `sd` is None for one seed. `metrics` has the companions and each site's measures, averaged over the
    baselines at the last step, by names as `runs.safe` writes them: SITE.density, SITE.hoyer, …
    """
    done = [row for row in rows if row.role == "baseline" and row.value is not None]
    known = standing.baseline(done)
    if known is None:
        return None
    last = [row.evaluations[-1] for row in done]
    measured = [
        name
        for name in last[0].metrics
        if name in companions or (name.rpartition(".")[2] in MEASURES and "." in name)
    ]
    means = {name: statistics.fmean(one.metrics.get(name, math.nan) for one in last) for name in measured}
    return {
        "mean": known.mean,
        "sd": known.sd,
        "seeds": list(known.seeds),
        "step": last[0].step,
        "metrics": {safe(name): mean for name, mean in means.items() if math.isfinite(mean)},
    }


def attained_of(
    sites: Iterable[str], metrics: Mapping[str, float], baseline: Mapping[str, Any] | None
) -> dict[str, dict[str, float | None]]:
    """What the settings did at each of their sites at the last evaluation, beside the baseline's own.

    Args:
        sites: the sites that the settings name.
        metrics: the trial's last metrics, by names as `runs.safe` writes them.
        baseline: as `baseline_of` gives it.

    >>> attained_of(["up0"], {"up0.hoyer": 0.2}, {"metrics": {"up0.hoyer": 0.1}})["up0"]["baseline_hoyer"]
    0.1
    """
    return {site: _measures(site, metrics) | _beside(site, baseline) for site in sites}


def companions_of(
    directions: Mapping[str, str | None], metrics: Mapping[str, float], baseline: Mapping[str, Any] | None
) -> dict[str, dict[str, Any]]:
    """The metrics that stand beside the one that is optimised, each beside the baseline's own.

    `oracle` says that one needs the clean picture of what is tuned on.

    Args:
        directions: which way each of these metrics is better, None where that is not known.
        metrics, baseline: as for `attained_of`.

    >>> companions_of({"fid": "minimize"}, {"fid": 2.0}, {"metrics": {"fid": 3.0}})
    {'fid': {'value': 2.0, 'baseline': 3.0, 'direction': 'minimize', 'oracle': False}}
    """
    own = (baseline or {}).get("metrics", {})
    return {
        name: {
            "value": finite(metrics.get(safe(name))),
            "baseline": finite(own.get(safe(name))),
            "direction": direction,
            "oracle": name in ORACLES,
        }
        for name, direction in directions.items()
    }


def _measures(site: str, metrics: Mapping[str, float]) -> dict[str, float | None]:
    return {measure: finite(metrics.get(safe(f"{site}.{measure}"))) for measure in MEASURES}


def _beside(site: str, baseline: Mapping[str, Any] | None) -> dict[str, float | None]:
    own = _measures(site, (baseline or {}).get("metrics", {}))
    return {f"baseline_{measure}": value for measure, value in own.items()}


def sites_of_row(row: "Row", shapes: Shapes) -> dict[str, dict[str, Any]]:
    """The settings as they stand in an exported file: {site: {kind, weight|keep|k, of}}."""
    return {site: to_json(regularizer, shapes.get(site)) for site, regularizer in row.settings.items()}


def settings_file_of(
    row: "Row",
    spec: "StudySpec",
    *,
    shapes: Shapes,
    study: Mapping[str, str],
) -> SettingsFile:
    """A trial as an exported file, not compared yet; `study` (uuid, MLflow run) goes into its provenance."""
    plan = spec.plan_with(row.settings, row.extras, role=row.role)
    last = row.evaluations[-1] if row.evaluations else None
    metrics = {safe(name): value for name, value in last.metrics.items()} if last else {}
    outs = {site: entry["of"] for site, entry in sites_of_row(row, shapes).items() if "of" in entry}
    return SettingsFile(
        task=spec.task,
        network=network_of(plan),
        sites=dict(row.settings),
        of=outs,
        metric=spec.metric(),
        direction=spec.direction(),
        value=row.value,
        step=last.step if last else None,
        attained=attained_of(row.settings, metrics, None),
        plan=plan.model_dump(mode="json", exclude={"settings"}),
        provenance={
            "study": spec.name,
            **study,
            "role": row.role,
            "trial": row.label,
            "seed": row.seed,
            "threads": int(spec.resources.cpu),
            "data": _data_of(plan, find_task(spec.task).data),
            "oracle": spec.metric() in ORACLES,
            "measured": spec.measured(row.role) or None,
            "versions": _versions(),
            "commit": _commit(),
        },
    )


def compared(
    content: SettingsFile, baseline: Mapping[str, Any] | None, confirmed: dict[str, Any] | None
) -> SettingsFile:
    """The same file with the study's baseline (of `baseline_of`) and its confirmation as they stand now."""
    attained = {site: entry | _beside(site, baseline) for site, entry in content.attained.items()}
    return replace(content, baseline=exported_baseline(baseline), confirmed=confirmed, attained=attained)


def text_of(content: SettingsFile) -> str:
    """The text of the file that `trainers.settings.write` writes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "settings.json"
        settings.write(path, content)
        return path.read_text(encoding="utf-8")


def downloaded(client: "MlflowClient", run_id: str) -> SettingsFile:
    """The file that a trial's MLflow run holds."""
    with tempfile.TemporaryDirectory() as folder:
        return settings.load(client.download_artifacts(run_id, "settings.json", folder))


def exported_baseline(baseline: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The part of a baseline that an exported file and `best` show."""
    return None if baseline is None else {key: baseline[key] for key in ("mean", "sd", "seeds")}


def finite(value: float | None) -> float | None:
    """The value, or None where JSON could not hold it."""
    return value if value is not None and math.isfinite(value) else None


def _data_of(plan: Plan, option: str) -> dict[str, str] | list[dict[str, str]] | None:
    """What was trained on, as the option says that the task names for it; of several, a list of them all."""
    named = getattr(plan.options, option, None)
    names = [named] if isinstance(named, str) else named if isinstance(named, list | tuple) else ()
    each = [_known_as(name) for name in names if isinstance(name, str)]
    return each if len(each) > 1 else each[0] if each else None


def _known_as(name: str) -> dict[str, str]:
    """The name of data; of a file, with its checksum."""
    file = Path(name)
    return {"name": name} | (
        {"sha256": hashlib.sha256(file.read_bytes()).hexdigest()} if file.is_file() else {}
    )


@lru_cache
def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


@lru_cache
def _commit() -> str | None:
    """The git commit of this checkout, with `-dirty` where files differ from it; None outside a checkout."""
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():  # an installed copy must not name the commit of whatever lies around it
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
