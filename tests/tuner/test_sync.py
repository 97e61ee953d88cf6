"""MLflow is away while a study goes on; afterwards `sync` delivers, to this server or to another one."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Shell
from mirrored import contents
from proxy import Proxy
from tracked import Server, artifacts, history, play, runs, study

from trainers.settings import L0
from tuner import study as facade
from tuner.progress import Progress
from tuner.study import Study, open_study

UP = {"up0": L0(keep=0.25)}


@pytest.fixture
def proxy(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


def test_a_study_goes_on_while_mlflow_is_away_and_sync_delivers_the_rest(
    local_ray: None, server: Server, proxy: Proxy, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    budget = {"trials": 2, "steps": 90, "grace": 30, "reduction": 3, "baseline_seeds": 1}
    spec = {"name": "away", "task": "analytic:TASK", "budget": budget, "resources": {"concurrent": 1}}
    (shell.folder / "away.yaml").write_text(json.dumps(spec))
    with proxy.during("refuse"):
        assert "does not answer" in shell.mistake("--tracking", proxy.url, "search", "away.yaml", status=1)
        assert list(shell.folder.iterdir()) == [shell.folder / "away.yaml"]
    shell.fine("--tracking", proxy.url, "search", "away.yaml")
    uuid = open_study("away").uuid
    monkeypatch.setattr(facade, "WAIT", 0.5)
    with proxy.during("refuse"):
        out = shell.fine("resume", "away", "--trials", "4")
        assert "4 of 4 proposals done" in out
        assert "it ends the connection; training goes on" in out
        lacking = next(line for line in out.splitlines() if line.startswith("MLflow lacks"))
        assert lacking.endswith("sync away")
        assert "does not answer" in shell.mistake("sync", "away", status=1)
    assert set(contents(server.folder, uuid)) == {"study", "baseline:0", "0", "1"}
    assert "MLflow has all" in shell.fine("sync", "away")
    found = contents(server.folder, uuid)
    assert set(found) == {"study", "baseline:0", "0", "1", "2", "3"}
    assert {run["tags"]["state"] for run in found.values()} <= {"COMPLETE", "PRUNED"}
    proxy.plan()
    assert "MLflow has all" in shell.fine("sync", "away")
    assert [
        line for line in proxy.lines if line.startswith("PUT") or line.endswith(("create", "batch"))
    ] == []


def test_another_server_gets_all_that_is_there(
    server: Server, store: str, shell: Shell, proxy: Proxy
) -> None:
    """The folder of one trial is gone; everything else of it is delivered, and the study keeps its place."""
    folder = shell.folder / "studies" / "moved"
    record = study(folder, name="moved", uuid="moved", trials=2, tracking=store)
    for role, value in (("baseline", 21), ("baseline", 22), ("proposal", 23), ("proposal", 24)):
        row = play(record, role, [20, value], settings=UP if role == "proposal" else None)
        pictures = folder / "trials" / row.label / "pictures"
        pictures.mkdir(parents=True)
        (pictures / "30-output.png").write_text(f"a picture of {row.label}")
        (pictures.parent / "checkpoint.pt").write_text("a state")
    facade.write_spec(folder, record.spec)
    Study(folder, record).sync()
    shutil.rmtree(folder / "trials" / "0")

    there = ("--tracking", proxy.url)
    assert proxy.url in shell.fine("sync", "moved", *there)
    found = runs(server.url, "tags.study_uuid = 'moved'")
    assert set(found) == {"study", "baseline:0", "baseline:1", "0", "1"}
    assert history(server.url, found["0"], "score") == [(30, 20), (90, 23)]
    assert artifacts(server.url, found["0"]) == ["settings.json"]
    assert artifacts(server.url, found["1"]) == ["checkpoint.pt", "pictures", "settings.json"]
    copy = contents(server.folder, "moved")
    proxy.plan()
    shell.fine("sync", "moved", *there)
    assert contents(server.folder, "moved") == copy
    assert [
        line for line in proxy.lines if line.startswith("PUT") or line.endswith(("create", "batch"))
    ] == []

    (best, *_) = json.loads(shell.fine("best", "moved", "--format", "json", *there))
    assert (best["trial"], best["value"], best["run_id"]) == ("1", 24, found["1"].info.run_id)
    shell.fine("export", "moved", "-o", "there.json", *there)
    shell.fine("export", "moved", "-o", "here.json")
    here, other = (json.loads((shell.folder / f"{name}.json").read_text()) for name in ("here", "there"))
    assert here.pop("provenance").pop("run") != other.pop("provenance").pop("run")
    assert here == other
    assert open_study("moved").tracking == store


def test_progress_says_when_mlflow_goes_and_when_it_is_back(tmp_path: Path) -> None:
    import io

    from tuner.tracker import Lag

    record = study(tmp_path)
    play(record, "proposal", [20], settings=UP)
    away = Lag(3, "it answers 503", 7)
    stream = io.StringIO()
    with Progress(stream=stream, clock=lambda: 0.0) as progress:
        for lag in (None, away, away, None, Lag(3, "it answers 503", 7, waiting=58)):
            progress.update(record.rows(), spec=record.spec, elapsed=1, tracking_behind=lag)
    lines = stream.getvalue().splitlines()
    said = ["MLflow lacks 3 evaluations, for 7 s: it answers 503" in line for line in lines]
    assert said == [False, True, False, True]
    assert "training goes on" in lines[1] and "waiting for it, at most 58 s more" in lines[3]
