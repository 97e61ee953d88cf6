"""The best settings as a file, as a package that needs torch alone, and their weights; asked of MLflow.

>>> from tuner.export import export                                           # doctest: +SKIP
>>> export("dip-denoise", package="my_model/sparsity")                        # doctest: +SKIP
PosixPath('studies/dip-denoise/settings.json')
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from trainers import settings as settings_
from trainers.settings import Mistake, SettingsFile
from trainers.whole import written_whole
from tuner import tracking as names
from tuner.exported import compared, downloaded
from tuner.query import Found, answered, find_study, found, tracking_of
from tuner.runs import whole
from tuner.secrets import why
from tuner.spec_file import kept
from tuner.states import COMPLETE

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# Of trainers/; they import torch and each other alone.
PACKAGE = ("regularizers.py", "settings.py", "sparsity.py")
_RUN_ID = re.compile(r"[0-9a-f]{32}")


def settings_file(
    name: str, *, tracking: str | None = None, root: str | os.PathLike[str] = "studies"
) -> SettingsFile:
    """The settings of a study's leader, or of one trial, with what they are compared with as it stands now.

    Args:
        name: a study's name or uuid, or the id of an MLflow run: a trial's, or the study's own.
        tracking: an MLflow address; None: the study's own, MLFLOW_TRACKING_URI, or the one under `root`.
        root: where studies live.

    Raises:
        Mistake: there is no such study or run, or it has no COMPLETE trial.
        RuntimeError: MLflow does not answer, or has not been given the trial's file yet.
    """
    with answered(tracking_of(name, tracking, root)) as client:
        study, run = _chosen(client, name)
        return _complete(study, run)


def export(
    name: str,
    *,
    tracking: str | None = None,
    root: str | os.PathLike[str] = "studies",
    path: str | os.PathLike[str] | None = None,
    package: str | os.PathLike[str] | None = None,
    weights: bool = False,
) -> Path:
    """Write those settings as JSON and return where; nothing is written before all of it is known.

    Args:
        name, tracking, root: as for `settings_file`.
        path: the file; None: ROOT/NAME/settings.json.
        package: also make this folder, to be copied into any project: `from FOLDER.sparsity import attach`.
        weights: also write the trained weights beside the file, as safetensors, whose metadata say of which
            trial they are, as JSON under the key `trial`.

    Raises:
        Mistake, RuntimeError: as `settings_file`; a place that cannot be written; weights that nobody kept.
    """
    with answered(tracking_of(name, tracking, root)) as client:
        study, run = _chosen(client, name)
        content = _complete(study, run)
        target = Path(path) if path is not None else Path(root) / study.name / names.SETTINGS_FILE
        _check_places(target, path is not None, package, weights)
        state = _weights(client, run, study, Path(root)) if weights else None
    target.parent.mkdir(parents=True, exist_ok=True)
    if package is not None:
        write_package(package, content)
    if state is not None:
        whose = {"study": study.name, "study_uuid": study.uuid, "trial": run.data.tags[names.TRIAL]}
        whose["run"] = run.info.run_id
        _write_weights(target.with_suffix(".safetensors"), state, whose)
    settings_.write(target, content)
    return target


def write_package(folder: str | os.PathLike[str], content: SettingsFile) -> Path:
    """Make a folder that needs torch alone: the files of `PACKAGE`, and the settings as `settings.json`.

    A folder that is there keeps what else it holds.

    Raises:
        Mistake: there is a file of that name.
    """
    target = Path(os.path.abspath(folder))  # `.` has no name of its own
    ours = Path(settings_.__file__).parent
    _check_folder(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    made = target.parent / f".{target.name}-{os.getpid()}-{uuid4().hex}"
    made.mkdir()
    try:
        for name in PACKAGE:
            with written_whole(made / name) as stream:
                stream.write((ours / name).read_bytes())
        settings_.write(made / names.SETTINGS_FILE, content)
        if target.exists():
            for file in made.iterdir():
                os.replace(file, target / file.name)
        else:
            os.replace(made, target)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return target


def _check_places(target: Path, given: bool, package: str | os.PathLike[str] | None, weights: bool) -> None:
    """Before anything is written, whether it can all be, over nothing but what was exported before."""
    if target.is_dir():
        raise Mistake(
            f"{str(target)!r} is a folder: give the file to write, as {str(target / 'settings.json')!r}"
        )
    if given and not target.parent.is_dir():
        raise Mistake(f"there is no folder {str(target.parent)!r} to write {target.name!r} in: make it first")
    stored = target.with_suffix(".safetensors")
    if not _is_exported(target) and (target.exists() or (weights and stored.exists())):
        there = target if target.exists() else stored
        raise Mistake(f"{str(there)!r} is there, and was not exported: give another -o, or remove that file")
    if package is not None:
        _check_folder(Path(package))


def _is_exported(file: Path) -> bool:
    try:
        settings_.load(file)
    except (Mistake, RuntimeError):
        return False
    return True


def _check_folder(package: Path) -> None:
    if package.exists() and not package.is_dir():
        raise Mistake(f"--package is {str(package)!r}, which is a file: give a folder")
    there = [name for name in (*PACKAGE, names.SETTINGS_FILE) if (package / name).exists()]
    if there and not _is_exported(package / names.SETTINGS_FILE):
        raise Mistake(
            f"--package is {str(package)!r}, whose {there[0]} was not exported: give a new folder, as "
            f"{str(package / 'sparse_settings')!r}"
        )


def _chosen(client: "MlflowClient", name: str) -> tuple[Found, "Run"]:
    """The study and the trial's run that a name, a uuid or a run's id means."""
    try:
        study = find_study(client, name)
    except Mistake:
        run = _run_of_id(client, name) if _RUN_ID.fullmatch(name) else None
        if run is None:
            raise
        if names.TRIAL in run.data.tags:
            study = find_study(client, run.data.tags[names.STUDY_UUID])
            return study, _only_complete(run)
        study = found(client, run)
    query = f"tags.{names.ROLE} = 'proposal' AND tags.{names.STATE} = 'COMPLETE'"
    runs = study.trials(query, order_by=study.by_value, most=1)
    if not runs:
        raise Mistake(
            f"no trial of study {study.name!r} is COMPLETE, so there are no best settings: "
            "wait for the first, or go on with `resume`"
        )
    return study, runs[0]


def _run_of_id(client: "MlflowClient", run_id: str) -> "Run | None":
    """A run of ours by its id."""
    from mlflow.exceptions import MlflowException

    try:
        run = client.get_run(run_id)
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    return run if names.STUDY_UUID in run.data.tags else None


def _only_complete(run: "Run") -> "Run":
    state, label = run.data.tags[names.STATE], run.data.tags[names.TRIAL]
    if state != COMPLETE:
        raise Mistake(
            f"trial {label} of study {run.data.tags[names.STUDY]!r} is {state}, so it has no value at the "
            "last step: export a COMPLETE one"
        )
    return run


def _complete(study: Found, run: "Run") -> SettingsFile:
    from mlflow.exceptions import MlflowException

    tags = run.data.tags
    confirmed = json.loads(whole(tags, names.CONFIRMED) or "null")
    try:
        content = downloaded(study.client, run.info.run_id)
    except (MlflowException, OSError, Mistake) as error:
        raise RuntimeError(
            f"MLflow does not give {names.SETTINGS_FILE} of trial {tags[names.TRIAL]} of {study.name!r} "
            f"({why(error)}): look for it among the artifacts of run {run.info.run_id}"
        ) from error
    return compared(content, study.baseline, confirmed)


# weights


def _weights(client: "MlflowClient", run: "Run", study: Found, root: Path) -> dict[str, Any]:
    """The network's state_dict from the trial's checkpoint: in its folder, else among MLflow's artifacts."""
    from trainers import checkpoint

    label, spec = run.data.tags[names.TRIAL], root / study.name / names.SPEC_FILE
    here = kept(spec)
    ours = here if here.get("uuid") == study.uuid else {}
    with tempfile.TemporaryDirectory() as folder:
        state = _from_storage(label, spec, ours) if ours else None
        if state is None and any(
            one.path == names.CHECKPOINT_FILE for one in client.list_artifacts(run.info.run_id)
        ):
            client.download_artifacts(run.info.run_id, names.CHECKPOINT_FILE, folder)
            state = checkpoint.load(folder)
    network = state and state.get("training", {}).get("network")
    if network:
        return dict(network)
    if here and not ours:
        raise RuntimeError(
            f"{str(spec)!r} is of another study {study.name!r}, {here.get('uuid')}, and MLflow has no "
            f"weights of trial {label} of {study.uuid}: say with --root where that study lies"
        )
    raise RuntimeError(
        f"nobody kept the weights of trial {label} of {study.name!r}: its folder holds no checkpoint with a "
        "network, and MLflow has those of the best few only"
    )


def _from_storage(label: str, spec: Path, content: Mapping[str, Any]) -> dict[str, Any] | None:
    from trainers import checkpoint
    from tuner.storage import Storage, place

    storage = Storage(place(content.get("storage"), spec.parent.resolve(), content["uuid"]))
    if checkpoint.FILE not in storage.names(label):
        return None
    with storage.local(f"{label}/{checkpoint.FILE}") as file:
        return checkpoint.load(file.parent)


def _write_weights(path: Path, state: dict[str, Any], whose: dict[str, str]) -> None:
    from safetensors.torch import save

    # Copies: safetensors refuses tensors that share memory or do not lie in order.
    copies = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
    with written_whole(path) as stream:
        # One key: several come in an order that varies, and so do the file's bytes.
        stream.write(save(copies, metadata={"trial": json.dumps(whose)}))
