"""What is told of a trial to others: its settings as a file, what they attained, where they come from.

Pure functions of rows of the record; the same text goes to MLflow and, from there, into an exported file.
"""

import hashlib
import math
import platform
import statistics
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers import settings
from trainers.plan import Plan
from trainers.settings import SettingsFile, to_json
from trainers.tasks import network_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tuner.rows import Row
    from tuner.spec import StudySpec

Shapes = Mapping[str, tuple[int, int, int]]
_MEASURES = ("density", "removed_energy")
_PACKAGES = ("sparsity-tuner", "torch", "numpy", "scikit-image", "ray", "optuna", "mlflow")


def baseline_of(rows: Iterable["Row"]) -> dict[str, Any] | None:
    """What the COMPLETE baselines reached, as {mean, sd, seeds, step, density}; None where there is none.

    `sd` is None for one seed; `density` is each site's mean at the last step, which a winner's is compared
    with.
    """
    done = [row for row in rows if row.role == "baseline" and row.value is not None]
    if not done:
        return None
    values = [row.value for row in done if row.value is not None]
    last = [row.evaluations[-1] for row in done]
    sites = [name.removesuffix(".density") for name in last[0].metrics if name.endswith(".density")]
    means = {
        site: finite(statistics.fmean(one.metrics.get(f"{site}.density", math.nan) for one in last))
        for site in sites
    }
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "seeds": [row.seed for row in done],
        "step": last[0].step,
        "density": means,
    }


def attained_of(
    sites: Iterable[str], metrics: Mapping[str, float], baseline: Mapping[str, Any] | None
) -> dict[str, dict[str, float | None]]:
    """What the settings did at each of their sites at the last evaluation, beside the baseline's own density.

    >>> attained_of(["up0"], {"up0.density": 0.2, "up0.removed_energy": 0.1}, None)
    {'up0': {'density': 0.2, 'removed_energy': 0.1, 'baseline_density': None}}
    """
    densities = (baseline or {}).get("density", {})
    return {
        site: {measure: finite(metrics.get(f"{site}.{measure}")) for measure in _MEASURES}
        | {"baseline_density": densities.get(site)}
        for site in sites
    }


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
    plan = spec.plan_with(row.settings, row.extras)
    last = row.evaluations[-1] if row.evaluations else None
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
        attained=attained_of(row.settings, last.metrics if last else {}, None),
        plan=plan.model_dump(mode="json", exclude={"settings"}),
        provenance={
            "study": spec.name,
            **study,
            "role": row.role,
            "trial": row.label,
            "seed": row.seed,
            "data": _data_of(plan),
            "versions": _versions(),
            "commit": _commit(),
        },
    )


def compared(
    content: SettingsFile, baseline: Mapping[str, Any] | None, confirmed: dict[str, Any] | None
) -> SettingsFile:
    """The same file with the study's baseline (of `baseline_of`) and its confirmation as they stand now."""
    densities = (baseline or {}).get("density", {})
    attained = {
        site: entry | {"baseline_density": densities.get(site)} for site, entry in content.attained.items()
    }
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


def leaders(rows: Iterable["Row"], direction: str, count: int) -> Sequence["Row"]:
    """The `count` best COMPLETE proposals, the leader first; of equals the earlier one."""
    done = [row for row in rows if row.role == "proposal" and row.value is not None]
    sign = -1 if direction == "maximize" else 1
    return sorted(done, key=lambda row: (sign * (row.value or 0.0), row.number))[:count]


def _data_of(plan: Plan) -> dict[str, str] | None:
    """What was trained on: the plan's `image` or `data`, with a checksum where it is a file."""
    named = getattr(plan.options, "image", None) or getattr(plan.options, "data", None)
    if not isinstance(named, str):
        return None
    file = Path(named)
    return {"name": named} | (
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
