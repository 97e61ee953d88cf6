"""`best` from MLflow alone: order, filters, paging, names, and what is said where nothing can be shown."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from tracked import Server, attained, free_port, play, python, runs, study, tracker

from trainers.settings import L0, L1, L0Inf, Mistake
from tuner import tracking
from tuner.query import best_trials, tracking_of

KEYS = [
    "run_id", "role", "trial", "state", "reason", "metric", "direction", "oracle", "measured", "value",
    "step", "companions", "settings", "extras", "attained", "baseline", "confirmed",
]  # fmt: skip


@pytest.fixture(scope="module")
def place(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with `mlflow.db`: mine, lower (minimised), new (nothing finished), and two called twin."""
    root = tmp_path_factory.mktemp("root")
    shutil.copyfile(empty_store, root / "mlflow.db")
    mine = study(root / "records" / "mine")
    play(mine, "baseline", [20, 21], density=0.9)
    play(mine, "baseline", [20, 22], seed=1, density=0.7)
    play(mine, "proposal", [20, math.nan], settings={"up0": L1(weight=0.5)})
    play(mine, "proposal", [20, 22], settings={"up0": L0(keep=0.25)}, extras={"lr": 0.1}, density=0.25)
    for _ in range(10):  # so that a number has two digits
        play(mine, "proposal", [20], settings={"code": L0Inf(k=3)})
    play(mine, "proposal", [20, 24], settings={"code": L0Inf(k=2)})
    play(mine, "proposal", [20, 22], settings={"up0": L0(keep=0.5)})
    mine.fail("proposal", 11, "its process died 4 times")
    mine.fail("proposal", 2, "its process died 4 times")
    records = [mine]
    for name, uuid in (("lower", "u2"), ("new", "u3"), ("twin", "u4"), ("twin", "u5")):
        task = "tracked:LOWER" if name == "lower" else "analytic:TASK"
        records.append(study(root / "records" / uuid, name=name, uuid=uuid, task=task))
    for value in (3.0, 1.0, 2.0):
        play(records[1], "proposal", [5, value], settings={"up0": L0(keep=0.25)})
    play(records[2], "proposal", [20], settings={"up0": L0(keep=0.25)})
    for record in records:
        one = tracker(record, f"sqlite:///{root}/mlflow.db", root)
        assert one.project(), one.problem
    return root


def labels(rows: list[dict[str, Any]]) -> list[str]:
    return [row["trial"] for row in rows]


def test_complete_by_value_then_pruned_failed_running_by_number(place: Path) -> None:
    rows = best_trials("mine", root=place, n=20)
    assert labels(rows) == ["12", "1", "13", "0", "2", "11", "3", "4", "5", "6", "7", "8", "9", "10"]
    states = ["COMPLETE"] * 3 + ["PRUNED"] + ["FAILED"] * 2 + ["RUNNING"] * 8
    assert [row["state"] for row in rows] == states
    assert [row["value"] for row in rows] == [24, 22, 22] + [None] * 11
    for n in (1, 3, 5):
        assert labels(best_trials("mine", root=place, n=n)) == labels(rows)[:n]
    assert labels(best_trials("mine", root=place)) == labels(rows)[:5]


def test_a_row(place: Path) -> None:
    row = best_trials("mine", root=place, n=2)[1]
    assert list(row) == KEYS
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    assert row["settings"] == {"up0": {"kind": "l0", "keep": 0.25, "of": 512}}
    assert (row["role"], row["metric"], row["value"], row["step"]) == ("proposal", "score", 22, 90)
    assert (row["extras"], row["confirmed"], row["reason"]) == ({"lr": 0.1}, None, None)
    assert row["attained"] == {"up0": attained(0.25, 0.8)}
    assert (row["oracle"], row["measured"], row["companions"]) == (False, None, {})
    assert row["baseline"] == {"mean": 21.5, "sd": pytest.approx(math.sqrt(0.5)), "seeds": [0, 1]}
    assert row["run_id"] == runs(f"sqlite:///{place}/mlflow.db", "tags.study_uuid = 'u1'")["1"].info.run_id
    diverged = best_trials("mine", root=place, n=4)[3]
    assert (diverged["reason"], diverged["value"], diverged["step"]) == ("diverged", None, 90)


def test_the_least_is_best_where_the_metric_is_minimised(place: Path) -> None:
    assert [row["value"] for row in best_trials("lower", root=place)] == [1, 2, 3]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ("metrics.up0.keep < 0.3", ["1"]),
        ("metrics.`up0.keep` >= 0.3", ["13"]),
        ('metrics."code.k" > 1.5 and metrics."code.k" < 2.5', ["12"]),
        ("metrics.up0.weight > 0.1", ["0"]),
        ("metrics.extras.lr > 0.01 AND params.up0.kind = 'l0'", ["1"]),
        ("params.code.kind = 'l0inf' AND tags.state = 'FAILED'", ["2", "11"]),
        ("metrics.up0.density < 0.3", ["1"]),
        ("tags.role = 'baseline'", ["baseline:1", "baseline:0"]),
        ("tags.`role` != 'proposal'", ["baseline:1", "baseline:0"]),
        ("tags.trial = '12'", ["12"]),
        ("metrics.score > 100", []),
        ("  ", ["12", "1", "13", "0", "2"]),
    ],
)
def test_filters(place: Path, where: str, expected: list[str]) -> None:
    assert labels(best_trials("mine", root=place, where=where)) == expected


@pytest.mark.parametrize(
    "where",
    [
        "nonsense",
        "metrics.score > 'high'",
        "params.up0.keep < 0.3",
        "metrics.score > 1 OR metrics.score < 0",
        "((",
        "'",
        "colour.x = 1",
        "a = b = c",
        "end_time <= 999999999999999999999999999999",
    ],
)
def test_what_is_no_filter_is_a_mistake_with_an_example(place: Path, where: str) -> None:
    with pytest.raises(Mistake, match="which is no MLflow filter") as caught:
        best_trials("mine", root=place, where=where)
    told = str(caught.value)
    assert (
        told.startswith("--where is ")
        and where in told
        and "metrics.up0.keep < 0.3" in told
        and "\n" not in told
    )


def test_answers_of_many_pages(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = best_trials("mine", root=place, n=20)
    monkeypatch.setattr(tracking, "_PAGE", 2)
    assert best_trials("mine", root=place, n=20) == whole
    assert best_trials("mine", root=place, n=3) == whole[:3]


def test_a_study_by_its_uuid(place: Path) -> None:
    assert best_trials("u1", root=place) == best_trials("mine", root=place)


def test_an_unknown_study(place: Path) -> None:
    with pytest.raises(Mistake) as caught:
        best_trials("mne", root=place)
    where = f"no study 'mne' in MLflow at sqlite:///{place}/mlflow.db"
    assert str(caught.value) == (
        f"{where}: there is lower, mine, new, twin; --tracking and --root say where to look"
    )


@pytest.mark.parametrize("name", ["../mine", "", "a'b", "studies/mine"])
def test_what_is_no_name(place: Path, name: str) -> None:
    with pytest.raises(Mistake, match="is no study: give its name"):
        best_trials(name, root=place)


def test_two_studies_of_one_name(place: Path) -> None:
    with pytest.raises(
        Mistake, match=r"2 studies are called 'twin': give the uuid of one, u. or u."
    ) as caught:
        best_trials("twin", root=place)
    assert "u4" in str(caught.value) and "u5" in str(caught.value)


def test_a_study_without_a_finished_trial(place: Path) -> None:
    for name in ("new", "u4"):
        with pytest.raises(Mistake, match=r"no trial of study '(new|twin)' has finished yet"):
            best_trials(name, root=place)


def test_n_starts_at_one(place: Path) -> None:
    with pytest.raises(Mistake, match="-n is 0"):
        best_trials("mine", root=place, n=0)


def test_nothing_is_made_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(
        Mistake, match=r"there is no study: .*/none/mlflow.db is not there; start one with `search`"
    ):
        best_trials("mine", root=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_server_that_is_away(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="does not answer"):
        best_trials("mine", root=tmp_path, tracking=f"http://127.0.0.1:{free_port()}")


def test_a_server(server: Server, tmp_path: Path) -> None:
    record = study(tmp_path, name="served", uuid="served")
    play(record, "proposal", [20, 22], settings={"up0": L0(keep=0.25)})
    assert tracker(record, server.url, tmp_path).project()
    (row,) = best_trials("served", tracking=server.url, root=tmp_path, where="metrics.up0.keep < 0.3")
    assert row["value"] == 22
    with pytest.raises(Mistake, match="which is no MLflow filter"):
        best_trials("served", tracking=server.url, root=tmp_path, where="nonsense")


def test_where_a_study_is_looked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://environment:1")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "spec.yaml").write_text("{name: mine, uuid: u1, tracking: 'http://kept:1'}")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "spec.yaml").write_text("{name: [")
    assert tracking_of("mine", "http://flag:1", tmp_path) == "http://flag:1"
    assert tracking_of("mine", None, tmp_path) == "http://kept:1"
    assert tracking_of("u1", None, tmp_path) == "http://kept:1"
    for other in ("broken", "unknown", "../mine"):
        assert tracking_of(other, None, tmp_path) == "http://environment:1"
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert tracking_of("unknown", None, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


def test_asking_imports_neither_ray_nor_torch_nor_optuna(place: Path) -> None:
    code = (
        "import sys; from tuner.query import best_trials; from tuner.export import export\n"
        f"print(len(best_trials('mine', root={str(place)!r}, where='metrics.up0.keep < 0.3')))\n"
        f"place = {str(place)!r}\n"
        "export('mine', root=place, path=place + '/here.json', package=place + '/pack')\n"
        "print({'ray', 'torch', 'optuna', 'torchvision'} & set(sys.modules))"
    )
    assert python(code) == (0, "1\nset()\n", "")


def test_two_runs_of_one_study_are_one(place: Path) -> None:
    """An answer that was lost on its way can make a second one; the earlier counts."""
    client = MlflowClient(f"sqlite:///{place}/mlflow.db")
    parent = runs(f"sqlite:///{place}/mlflow.db", "tags.study_uuid = 'u2'")["study"]
    tags = {key: value for key, value in parent.data.tags.items() if key != "delivered"}
    client.create_run(parent.info.experiment_id, tags=tags)
    assert [row["value"] for row in best_trials("lower", root=place)] == [1, 2, 3]
