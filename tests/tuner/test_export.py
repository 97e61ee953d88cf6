"""An exported file, its package and its weights: what they hold, from where, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from safetensors import safe_open
from safetensors.torch import load_file
from tracked import Server, attained, play, python, runs, study, tracker

from trainers import checkpoint
from trainers.settings import L0, L0Inf, Mistake, load
from tuner.export import export, settings_file, write_package
from tuner.query import best_trials
from tuner.record import Record

UP, CODE = {"up0": L0(keep=0.25)}, {"code": L0Inf(k=3)}
WEIGHT = torch.arange(6.0).reshape(2, 3)


def project(record: Record, root: Path) -> None:
    one = tracker(record, f"sqlite:///{root}/mlflow.db", root)
    assert one.project(), one.problem


@pytest.fixture(scope="module")
def place(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with `mlflow.db`: "mine", which is confirmed, and "new", where only a pruned trial has ended."""
    root = tmp_path_factory.mktemp("root")
    shutil.copyfile(empty_store, root / "mlflow.db")
    mine = study(root / "records" / "mine", trials=3)
    play(mine, "baseline", [20, 21], density=0.9)
    play(mine, "baseline", [20, 22], seed=1, density=0.7)
    play(mine, "proposal", [20, 22], settings=CODE)
    play(mine, "proposal", [20, 24], settings=UP, extras={"lr": 0.5}, density=0.25)
    play(mine, "proposal", [20, float("nan")], settings=CODE)
    for pair in range(3):
        play(mine, "confirmation", [20, 21], seed=1000 + pair, pair=pair)
        again: dict[str, Any] = {"settings": UP, "extras": {"lr": 0.5}}
        play(mine, "confirmation", [20, 23 + pair / 10], seed=1000 + pair, pair=pair, **again)
    for label, number in (("0", 1), ("1", 2)):
        network = {"weight": WEIGHT * number, "transposed": WEIGHT.T}
        checkpoint.save(root / "trials" / label, {"training": {"network": network}})
    project(mine, root)
    new = study(root / "records" / "new", name="new", uuid="u2")
    play(new, "proposal", [float("nan")], settings=UP)
    project(new, root)
    return root


def address(place: Path) -> str:
    return f"sqlite:///{place}/mlflow.db"


def ids(place: Path) -> dict[str, str]:
    found = runs(f"sqlite:///{place}/mlflow.db", "tags.study_uuid = 'u1'")
    return {label: run.info.run_id for label, run in found.items()}


def test_the_leader_with_all_that_is_known_of_it(place: Path) -> None:
    path = export("mine", root=place)
    assert path == place / "mine" / "settings.json"
    content = load(path)
    assert content == settings_file("mine", root=place)
    assert dict(content) == UP and content.of == {"up0": 512}
    assert (content.task, content.network, content.metric) == ("analytic:TASK", "analytic", "score")
    assert (content.direction, content.value, content.step) == ("maximize", 24, 90)
    assert content.baseline == {"mean": 21.5, "sd": pytest.approx(0.5**0.5), "seeds": [0, 1]}
    assert content.attained["up0"] == attained(0.25, 0.8)
    assert content.confirmed is not None and content.confirmed["verdict"] == "better"
    assert "steps" not in content.confirmed and content.confirmed["last"]["step"] == 90
    assert content.confirmed["last"]["difference"] == pytest.approx(2.1)
    assert content.confirmed["seeds"] == [1000, 1001, 1002]
    assert content.plan["evaluate_at"] == [30, 90] and content.plan["extras"] == {"lr": 0.5}
    assert "settings" not in content.plan and content.plan["options"]["lr"] == 0.01
    told = content.provenance
    assert (told["study"], told["uuid"], told["trial"], told["seed"]) == ("mine", "u1", "1", 0)
    assert told["run"] == ids(place)["1"] == best_trials("mine", root=place)[0]["run_id"]
    assert {"python", "torch", "ray", "optuna", "mlflow", "sparsity-tuner"} <= set(told["versions"])
    assert told["commit"] is None or len(told["commit"].removesuffix("-dirty")) == 40


def test_a_trial_by_its_run_and_a_study_by_its_uuid_or_its_run(place: Path) -> None:
    whole = settings_file("mine", root=place)
    assert settings_file("u1", root=place) == whole
    assert settings_file(ids(place)["study"], root=place) == whole
    other = settings_file(ids(place)["0"], root=place)
    assert (dict(other), other.value, other.confirmed) == (CODE, 22, None)
    assert other.baseline == whole.baseline
    baseline = settings_file(ids(place)["baseline:1"], root=place)
    assert (dict(baseline), baseline.value, baseline.provenance["seed"]) == ({}, 22, 1)


def test_what_is_not_complete_is_refused(place: Path) -> None:
    with pytest.raises(Mistake, match="trial 2 of study 'mine' is PRUNED, so it has no value"):
        export(ids(place)["2"], root=place)
    with pytest.raises(Mistake, match="no trial of study 'new' is COMPLETE"):
        export("new", root=place)
    assert not (place / "new").exists()


@pytest.mark.parametrize("name", ["nobody", "0123456789abcdef0123456789abcdef", "no/name"])
def test_an_unknown_name(place: Path, name: str) -> None:
    with pytest.raises(Mistake, match=f"(no study '{name}' in MLflow at|'{name}' is no study)"):
        export(name, root=place)


def test_a_run_of_somebody_else(place: Path) -> None:
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    run = client.create_run(client.get_experiment_by_name("Default").experiment_id)
    with pytest.raises(Mistake, match=f"no study '{run.info.run_id}'"):
        export(run.info.run_id, root=place)


def test_a_package_that_needs_torch_alone(place: Path, tmp_path: Path) -> None:
    export("mine", root=place, path=tmp_path / "a.json", package=tmp_path / "lib" / "sparse")
    folder = tmp_path / "lib" / "sparse"
    assert sorted(file.name for file in folder.iterdir()) == [
        "regularizers.py",
        "settings.json",
        "settings.py",
        "sparsity.py",
    ]
    assert (folder / "settings.json").read_text() == (tmp_path / "a.json").read_text()
    code = (
        "import sys\n"
        "class Barred:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('trainers', 'search_spaces', 'tuner'):\n"
        "            raise ImportError(name)\n"
        f"sys.meta_path.insert(0, Barred()); sys.path.insert(0, {str(tmp_path / 'lib')!r})\n"
        "import torch; from sparse.sparsity import attach; from sparse import settings\n"
        "network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.ReLU())\n"
        f"handle = attach(network, {str(folder / 'settings.json')!r}, names={{'up0': '1'}})\n"
        "print((network(torch.randn(1, 3, 8, 8)) != 0).sum().item())"
    )
    assert python(code, tmp_path) == (0, "128\n", "")  # a quarter of 8·8·8


def test_a_package_beside_what_is_there(place: Path, tmp_path: Path) -> None:
    content = settings_file("mine", root=place)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.py").write_text("kept")
    for _ in range(2):  # over one of its own, too
        assert write_package(tmp_path / "there", content) == tmp_path / "there"
    assert (tmp_path / "there" / "mine.py").read_text() == "kept"
    assert load(tmp_path / "there" / "settings.json") == content
    assert [file.name for file in tmp_path.iterdir()] == ["there"]


def test_nothing_that_was_not_exported_is_written_over(place: Path, tmp_path: Path) -> None:
    mine = tmp_path / "project"
    mine.mkdir()
    for name in ("settings.py", "study.yaml", "w.safetensors"):
        (mine / name).write_text("mine")
    folder(tmp_path, place, uuid="u1")
    with pytest.raises(
        Mistake, match=r"--package is '.*project', whose settings\.py was not exported: give a new"
    ):
        export("mine", root=place, path=tmp_path / "a.json", package=mine)
    with pytest.raises(Mistake, match=r"'.*study\.yaml' is there, and was not exported: give another -o"):
        export("mine", root=place, path=mine / "study.yaml")
    with pytest.raises(Mistake, match=r"'.*w\.safetensors' is there, and was not exported"):
        export("mine", root=place, path=mine / "w.json", weights=True)
    assert {file.name: file.read_text() for file in mine.iterdir()} == dict.fromkeys(
        ("settings.py", "study.yaml", "w.safetensors"), "mine"
    )
    assert not (tmp_path / "a.json").exists()


def test_places_that_cannot_be_written_leave_nothing_behind(place: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Mistake, match=r"--package is '.*file', which is a file: give a folder"):
        export("mine", root=place, path=tmp_path / "a.json", package=tmp_path / "file")
    with pytest.raises(Mistake, match=r"there is no folder '.*none' to write 'a.json' in"):
        export("mine", root=place, path=tmp_path / "none" / "a.json", package=tmp_path / "package")
    with pytest.raises(Mistake, match=r"is a folder: give the file to write, as '.*settings.json'"):
        export("mine", root=place, path=tmp_path, package=tmp_path / "package")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"


def test_weights_from_the_trials_folder(place: Path, tmp_path: Path) -> None:
    folder(tmp_path, place, uuid="u1")
    path = export("mine", root=tmp_path, weights=True)
    weights = load_file(path.with_suffix(".safetensors"))
    assert torch.equal(weights["weight"], WEIGHT * 2) and torch.equal(weights["transposed"], WEIGHT.T)
    with safe_open(path.with_suffix(".safetensors"), "pt") as file:
        whose = json.loads(file.metadata()["trial"])
    assert len(whose.pop("run")) == 32
    assert whose == {"study": "mine", "study_uuid": "u1", "trial": "1"}
    before = path.with_suffix(".safetensors").read_bytes()
    for _ in range(4):  # bytes that vary are no two files of one trial
        assert export("mine", root=tmp_path, weights=True).with_suffix(".safetensors").read_bytes() == before
    assert sorted(file.name for file in path.parent.iterdir()) == [
        "settings.json", "settings.safetensors", "spec.yaml", "trials",
    ]  # fmt: skip


def folder(root: Path, place: Path, uuid: str) -> None:
    """ROOT/mine as a study of that uuid leaves it; its trial 1 has weights times 5, MLflow's are times 2."""
    network = {"weight": WEIGHT * (2 if uuid == "u1" else 5), "transposed": WEIGHT.T}
    for label in ("1", "baseline:0"):
        checkpoint.save(root / "mine" / "trials" / label, {"training": {"network": network}})
    told = f"{{name: mine, uuid: {uuid}, storage: null, tracking: 'sqlite:///{place}/mlflow.db'}}"
    (root / "mine" / "spec.yaml").write_text(told)


def test_weights_are_not_those_of_another_study_of_that_name(place: Path, tmp_path: Path) -> None:
    folder(tmp_path, place, uuid="u9")
    path = export("u1", root=tmp_path, path=tmp_path / "a.json", tracking=address(place), weights=True)
    assert torch.equal(load_file(path.with_suffix(".safetensors"))["weight"], WEIGHT * 2)  # MLflow's
    told = "is of another study 'mine', u9, and MLflow has no weights of trial baseline:0 of u1: say with"
    with pytest.raises(RuntimeError, match=told):
        export(
            ids(place)["baseline:0"],
            root=tmp_path,
            path=tmp_path / "b.json",
            tracking=address(place),
            weights=True,
        )
    assert not (tmp_path / "b.json").exists()


def test_weights_from_mlflow(place: Path, tmp_path: Path) -> None:
    export(ids(place)["0"], root=place, path=tmp_path / "a.json", weights=True)
    assert torch.equal(load_file(tmp_path / "a.safetensors")["weight"], WEIGHT)


def test_weights_that_nobody_kept(place: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="nobody kept the weights of trial baseline:0 of 'mine'"):
        export(ids(place)["baseline:0"], root=place, path=tmp_path / "a.json", weights=True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_mlflow_lost(place: Path, tmp_path: Path) -> None:
    study_ = study(tmp_path, name="lost", uuid="lost")
    play(study_, "proposal", [20, 22], settings=UP)
    project(study_, place)
    run = runs(f"sqlite:///{place}/mlflow.db", "tags.study_uuid = 'lost'")["0"]
    shutil.rmtree(run.info.artifact_uri.removeprefix("file://"))
    with pytest.raises(RuntimeError, match=r"MLflow does not give settings\.json of trial 0 of 'lost'"):
        export("lost", root=place)


def test_from_a_server(server: Server, tmp_path: Path) -> None:
    record = study(tmp_path, name="exported", uuid="exported")
    play(record, "proposal", [20, 22], settings=UP)
    assert tracker(record, server.url, tmp_path).project()
    path = export("exported", tracking=server.url, root=tmp_path)
    content = load(path)
    assert (dict(content), content.value, content.baseline) == (UP, 22, None)
