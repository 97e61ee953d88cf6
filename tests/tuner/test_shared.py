"""What all trials of a study share, on its way from the driver through the storage to a worker."""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import pytest
import sharing

from trainers import prepared
from trainers.settings import Mistake
from tuner.shared import begun, bring, checked, fetch
from tuner.spec import StudySpec, freeze, load_spec
from tuner.storage import Storage
from tuner.trial import MachineFault, OpenTrial


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return elsewhere(tmp_path / "cache", monkeypatch)


def elsewhere(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """From now on this is another machine, whose prepared files lie in that folder."""
    monkeypatch.setenv(prepared.PLACE, str(folder))
    return folder


@pytest.fixture(params=["path", "address"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return Storage(str(tmp_path / "trials") if request.param == "path" else f"file://{tmp_path}/trials")


def study(folder: Path, **changes: Any) -> StudySpec:
    (folder / "text.txt").write_text("the same all along")
    plan = {"text": str(folder / "text.txt")}
    spec = {"name": "sharing", "task": "sharing:TASK", "plan": plan, "budget": {"steps": 9, "grace": 3}}
    return begun(freeze(load_spec(spec | changes)))


def file_of(spec: StudySpec) -> str:
    return next(name for name in spec.prepared if name.endswith(".npz"))


def opened(spec: StudySpec, storage: Storage) -> OpenTrial:
    plan = spec.plan_with({}, {}).model_dump(mode="json", exclude={"task"})
    job = {"label": "0", "seed": 1, "task": spec.task, "plan": plan, "storage": storage.where}
    return OpenTrial(job | {"cpu": 1, "gpu": 0, "path": [], "stall": {}})


def test_a_new_study_makes_what_it_shares_once_and_remembers_it(tmp_path: Path, cache: Path) -> None:
    spec = study(tmp_path)
    content = (cache / file_of(spec)).read_bytes()
    assert spec.prepared[file_of(spec)] == hashlib.sha256(content).hexdigest()
    assert spec.prepared["text"] == hashlib.sha256(b"the same all along").hexdigest()
    assert spec.plan_with({}, {}).prepared == spec.prepared
    assert study(tmp_path).prepared == spec.prepared
    assert (tmp_path / "made.txt").read_text() == "made\n"


def test_what_a_user_wrote_there_is_nothing(tmp_path: Path) -> None:
    assert study(tmp_path, prepared={"text": "0" * 64}).prepared == study(tmp_path).prepared
    with pytest.raises(Mistake, match="prepared names 'text' with '0', but it must map plain names"):
        study(tmp_path, prepared={"text": "0"})


def test_a_task_that_shares_nothing_asks_nothing_of_the_storage(tmp_path: Path) -> None:
    spec = begun(freeze(load_spec({"name": "plain", "task": "analytic:TASK"})))
    nowhere = Storage(f"{tmp_path}/nowhere")
    checked(spec, nowhere)
    bring(spec.prepared, nowhere)
    assert spec.prepared == {} and list(tmp_path.iterdir()) == []


def test_a_worker_that_lacks_a_file_fetches_it_before_it_trains(
    tmp_path: Path, storage: Storage, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = study(tmp_path)
    bring(spec.prepared, storage)
    assert sorted(path.name for path in (tmp_path / "trials").rglob("*.npz")) == [file_of(spec)]
    there = elsewhere(tmp_path / "worker", monkeypatch)
    trial = opened(spec, storage)
    assert trial.step() == {"step": 3, "metrics": {"score": 4.0, "beside": 8.0, "other": 0.0}}
    trial.close()
    assert [path.name for path in there.glob("*.npz")] == [file_of(spec)]
    assert (there / file_of(spec)).read_bytes() == (cache / file_of(spec)).read_bytes()
    assert (tmp_path / "made.txt").read_text() == "made\n"  # and the worker made none


def holding(content: bytes, spec: StudySpec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache of another machine, where that content lies under the name of the study's file."""
    there = elsewhere(tmp_path / "worker", monkeypatch)
    there.mkdir()
    (there / file_of(spec)).write_bytes(content)
    return there


def test_two_studies_on_one_machine_leave_each_others_files_alone(
    tmp_path: Path, storage: Storage, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = study(tmp_path)
    bring(spec.prepared, storage)
    there = holding(b"another study's, read at this moment", spec, tmp_path, monkeypatch)
    fetch(spec.prepared, storage)
    assert prepared.folder().parent == there
    assert (prepared.folder() / file_of(spec)).read_bytes() == (cache / file_of(spec)).read_bytes()
    fetch(spec.prepared, storage)
    assert prepared.folder().parent == there
    elsewhere(there, monkeypatch)
    checked(spec, storage)
    assert prepared.folder() == there
    assert (there / file_of(spec)).read_bytes() == b"another study's, read at this moment"


def test_a_worker_that_has_another_file_takes_the_studys(
    tmp_path: Path, storage: Storage, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = study(tmp_path)
    bring(spec.prepared, storage)
    holding(b"made by another version", spec, tmp_path, monkeypatch)
    fetch(spec.prepared, storage)
    assert prepared.sha256_of(file_of(spec)) == spec.prepared[file_of(spec)]


def test_a_worker_refuses_what_changed_in_the_middle_of_a_study(tmp_path: Path, storage: Storage) -> None:
    spec = study(tmp_path)
    bring(spec.prepared, storage)
    (tmp_path / "text.txt").write_text("another")
    trial = opened(spec, storage)
    assert "text has the SHA-256" in trial.step()["fault"]
    trial.close()


def test_a_storage_without_a_whole_file_is_named(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = study(tmp_path)
    bring(spec.prepared, storage)
    elsewhere(tmp_path / "worker", monkeypatch)
    kept = tmp_path / "trials" / "prepared" / file_of(spec)
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(OSError, match=r"prepared/factor-.*npz in the storage '.*trials' is damaged: `resu"):
        fetch(spec.prepared, storage)
    kept.unlink()
    with pytest.raises(OSError, match=r"in the storage '.*trials' is not there: `resume` on a machine"):
        fetch(spec.prepared, storage)
    assert not (tmp_path / "worker").exists()


def test_going_on_brings_what_the_storage_lacks_again(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = study(tmp_path)
    checked(spec, storage)
    kept = tmp_path / "trials" / "prepared" / file_of(spec)
    whole = kept.read_bytes()
    kept.write_bytes(b"cut off")
    checked(spec, storage)
    assert kept.read_bytes() == whole
    there = elsewhere(tmp_path / "another", monkeypatch)  # where it goes on with the storage's
    checked(spec, storage)
    assert (there / file_of(spec)).read_bytes() == whole
    assert (tmp_path / "made.txt").read_text() == "made\n"


def test_a_trial_whose_machine_does_not_see_the_file_is_tried_again(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = study(tmp_path)
    elsewhere(tmp_path / "worker", monkeypatch)
    trial = opened(spec, storage)
    with pytest.raises(MachineFault, match="is not there: `resume` on a machine that has that file"):
        trial.step()
    trial.close()


def test_what_nobody_has_any_more_is_made_again(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = study(tmp_path)
    elsewhere(tmp_path / "another", monkeypatch)
    checked(spec, storage)
    assert (tmp_path / "made.txt").read_text() == "made\nmade\n"
    kept = (tmp_path / "trials" / "prepared" / file_of(spec)).read_bytes()
    assert hashlib.sha256(kept).hexdigest() == spec.prepared[file_of(spec)]


def test_what_nobody_has_or_makes_any_more_is_told_in_a_sentence(
    tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = study(tmp_path)
    spec = spec.model_copy(update={"prepared": spec.prepared | {"gone.npz": "0" * 64}})
    told = r"^the study was begun with gone.npz of SHA-256 0.*trials' nor here as '.*cache/gone.npz': go on"
    with pytest.raises(Mistake, match=told):
        checked(spec, storage)
    spec = study(tmp_path)
    elsewhere(tmp_path / "another", monkeypatch)
    other = spec.model_copy(update={"prepared": spec.prepared | {file_of(spec): "0" * 64}})
    with pytest.raises(Mistake, match=r"^factor-.*npz has the SHA-256 .* put the old one.* back"):
        checked(other, storage)


@pytest.mark.parametrize(
    ("content", "told"),
    [(None, "there is no such file: make it"), (b"another", "that file has ae448ac86c4e")],
)
def test_a_new_study_refuses_a_file_that_its_task_has_not_made(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, told: str
) -> None:
    if content is not None:
        cache.mkdir()
        (cache / "own.npz").write_bytes(content)
    task = dataclasses.replace(sharing.TASK, prepare=lambda plan: {"own.npz": "0" * 64})
    monkeypatch.setattr(sharing, "TASK", task)
    with pytest.raises(Mistake, match=rf"^prepare of task sharing names own.npz .*/cache' {told}"):
        study(tmp_path)


@pytest.mark.parametrize(
    ("key", "given", "told"),
    [
        ("prepare", None, "gives None, but it must give a mapping of names to SHA-256"),
        ("prepare", ["own.npz"], r"gives \['own.npz'\], but it must give a mapping of names to SHA-256"),
        ("measured", 3, "gives 3, but it must give a text"),
        ("companions", "beside", "gives 'beside', but it must give a list of the names of metrics"),
        ("companions", [1], r"gives \[1\], but it must give a list of the names of metrics"),
        ("companions", None, "gives None, but it must give a list of the names of metrics"),
    ],
)
def test_a_new_study_refuses_what_a_function_of_its_task_gives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, key: str, given: object, told: str
) -> None:
    task = dataclasses.replace(sharing.TASK, **{key: lambda plan: given})
    monkeypatch.setattr(sharing, "TASK", task)
    with pytest.raises(Mistake, match=f"^{key} of task sharing {told}$"):
        study(tmp_path)


def test_going_on_with_what_has_changed_is_refused(tmp_path: Path, storage: Storage) -> None:
    spec = study(tmp_path)
    checked(spec, storage)
    (tmp_path / "text.txt").write_text("another")
    with pytest.raises(
        Mistake, match=r"^text has the SHA-256 .* put the old one.* back, or begin another study"
    ):
        checked(spec, storage)
