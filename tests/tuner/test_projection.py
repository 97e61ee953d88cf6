"""What MLflow shows of a study, and that it shows it once: after kills, with the server away, at limits."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import fsspec
import pytest
from mlflow import MlflowClient
from tracked import (
    STEPS,
    Server,
    artifacts,
    attained,
    history,
    measured,
    play,
    python,
    reopened,
    runs,
    study,
    tracker,
)

from trainers.settings import L0, L1, L0Inf, load
from tuner.export import settings_file
from tuner.query import best_trials
from tuner.storage import Storage
from tuner.tables import best_table
from tuner.tracker import Tracker
from tuner.tracking import delete_runs

UP = {"up0": L0(keep=0.25)}
DENOISING = {"size": 32, "network": {"width": 4, "scales": 2}}


def project(record: Any, tracking: str, folder: Path) -> None:
    """One pass of a new tracker, which has to go well."""
    one = tracker(record, tracking, folder)
    assert one.project(), one.problem
    assert one.behind() == 0


def test_runs_tags_parameters_and_metrics(store: str, tmp_path: Path) -> None:
    record = study(tmp_path)
    play(record, "baseline", [20, 21], density=0.9)
    play(record, "baseline", [20, 22], seed=1, density=0.7)
    best = play(record, "proposal", [20, 23], settings=UP, extras={"lr": 0.1}, density=0.25)
    play(record, "proposal", [20, math.nan], settings={"code": L0Inf(k=3), "up0": L1(weight=0.5)})
    play(record, "proposal", [19], settings=UP)
    broken = play(record, "proposal", [], settings=UP)
    record.fail("proposal", broken.number, "the training broke")
    project(record, store, tmp_path)

    found = runs(store)
    assert set(found) == {"study", "baseline:0", "baseline:1", "0", "1", "2", "3"}
    states = {label: (run.data.tags["state"], run.info.status) for label, run in found.items()}
    assert states["0"] == ("COMPLETE", "FINISHED")
    assert states["1"] == ("PRUNED", "FINISHED") and found["1"].data.tags["reason"] == "diverged"
    assert states["2"] == ("RUNNING", "RUNNING")
    assert states["3"] == ("FAILED", "FAILED") and found["3"].data.tags["reason"] == "the training broke"
    assert states["study"] == ("RUNNING", "RUNNING")
    for label, run in found.items():
        common = (run.data.tags["study"], run.data.tags["study_uuid"], run.data.tags["mlflow.runName"])
        assert common == ("mine", "u1", "mine" if label == "study" else label)
        if label != "study":
            assert run.data.tags["mlflow.parentRunId"] == found["study"].info.run_id
    assert {run.data.tags["role"] for run in found.values()} == {"study", "baseline", "proposal"}

    zero, one = found["0"], found["1"]
    assert zero.data.params == {"seed": "0", "up0.kind": "l0", "up0.keep": "0.25", "extras.lr": "0.1"}
    assert one.data.params == {
        "seed": "0",
        "code.kind": "l0inf",
        "code.k": "3",
        "up0.kind": "l1",
        "up0.weight": "0.5",
    }
    assert json.loads(zero.data.tags["settings"]) == {"up0": {"kind": "l0", "keep": 0.25, "of": 8 * 8 * 8}}
    assert json.loads(one.data.tags["settings"])["code"] == {"kind": "l0inf", "k": 3, "of": 16}
    assert (zero.data.metrics["up0.keep"], zero.data.metrics["extras.lr"]) == (0.25, 0.1)
    assert history(store, zero, "score") == [(30, 20), (90, 23)]
    assert history(store, zero, "up0.density") == [(30, 0.25), (90, 0.25)]
    points = history(store, one, "score")
    assert points[0] == (30, 20) and points[1][0] == 90 and math.isnan(points[1][1])
    told = MlflowClient(store).get_metric_history(zero.info.run_id, "score")
    assert [point.timestamp for point in told] == [round(one.time * 1000) for one in best.evaluations]
    assert zero.info.start_time == round(best.started * 1000)
    assert best.finished is not None and zero.info.end_time == round(best.finished * 1000)


def test_artifacts_of_trials_and_of_the_study(store: str, tmp_path: Path) -> None:
    record = study(tmp_path, trials=5, tracking="http://host:1")
    play(record, "baseline", [20, 21], density=0.9)
    play(record, "baseline", [20, 22], seed=1, density=0.7)
    for value in (23, 26, 24, 25, 22):
        row = play(record, "proposal", [20, value], settings=UP, density=0.25)
        folder = tmp_path / "trials" / row.label
        (folder / "pictures").mkdir(parents=True)
        for name in ("30-comparison.png", "90-comparison.png", ".90-comparison.png-1"):
            (folder / "pictures" / name).write_text(f"{row.label} {name}")
        (folder / "checkpoint.pt").write_text(f"state of {row.label}")
    project(record, store, tmp_path)

    found, client = runs(store), MlflowClient(store)
    pictures = ["pictures/30-comparison.png", "pictures/90-comparison.png"]
    assert artifacts(store, found["0"], "pictures") == pictures
    kept = [label for label in "01234" if "checkpoint.pt" in artifacts(store, found[label])]
    assert kept == ["1", "2", "3"]  # the three best
    local = client.download_artifacts(found["1"].info.run_id, "checkpoint.pt", str(tmp_path))
    assert Path(local).read_text() == "state of 1"

    parent = found["study"]
    assert artifacts(store, parent) == ["baseline.json", "best_settings.json", "spec.yaml"]
    assert (parent.data.tags["state"], parent.info.status) == ("COMPLETE", "FINISHED")
    spec = Path(client.download_artifacts(parent.info.run_id, "spec.yaml", str(tmp_path))).read_text()
    assert "name: mine" in spec and "http://host:1" in spec
    best = load(client.download_artifacts(parent.info.run_id, "best_settings.json", str(tmp_path)))
    assert dict(best) == UP and (best.value, best.step, best.of) == (26, 90, {"up0": 512})
    assert best.baseline == {"mean": 21.5, "sd": pytest.approx(0.5**0.5), "seeds": [0, 1]}
    assert best.attained["up0"] == attained(0.25, 0.8)
    assert best.provenance["run"] == found["1"].info.run_id and best.provenance["trial"] == "1"
    baseline = json.loads(parent.data.tags["baseline"])
    assert (baseline["mean"], baseline["step"]) == (21.5, 90)
    assert history(store, parent, "baseline.up0.density") == [(90, pytest.approx(0.8))]
    own = load(client.download_artifacts(found["4"].info.run_id, "settings.json", str(tmp_path)))
    assert (own.value, own.baseline) == (22, None)
    assert str(tmp_path) in found["0"].info.artifact_uri  # beside the SQLite file, wherever this runs


def test_pictures_of_a_storage_that_is_no_folder(store: str, tmp_path: Path) -> None:
    record = study(tmp_path)
    play(record, "proposal", [20], settings=UP)
    files = fsspec.filesystem("memory")
    files.pipe_file("/of-a-test/trials/0/pictures/30-comparison.png", b"a picture")
    one = Tracker(record, store, Storage("memory://of-a-test/trials"))
    assert one.project(), one.problem
    files.pipe_file("/of-a-test/trials/0/pictures/90-comparison.png", b"another")
    files.pipe_file("/of-a-test/trials/0/pictures/100-comparison.png", b"a third")
    record.evaluation("proposal", 0, 90, measured(21))
    assert one.project(), one.problem
    there = artifacts(store, runs(store)["0"], "pictures")
    assert there == [f"pictures/{step}-comparison.png" for step in (100, 30, 90)]


def test_the_same_evaluation_projected_twice_stays_one_point(store: str, tmp_path: Path) -> None:
    record = study(tmp_path)
    play(record, "proposal", [20, math.nan], settings=UP)
    project(record, store, tmp_path)
    client, zero = MlflowClient(store), runs(store)["0"]
    client.delete_tag(
        zero.info.run_id, "delivered"
    )  # as after a kill before the last write: all is sent again
    project(reopened(tmp_path), store, tmp_path)
    again = runs(store)["0"]
    assert again.info.run_id == zero.info.run_id
    assert "delivered" in again.data.tags
    assert len(history(store, again, "score")) == 2 and len(history(store, again, "up0.keep")) == 1


def test_a_resumed_tracker_continues_the_same_runs(store: str, tmp_path: Path) -> None:
    record = study(tmp_path)
    play(record, "proposal", [20], settings=UP)
    project(record, store, tmp_path)
    before = {label: run.info.run_id for label, run in runs(store).items()}
    code = (
        "import sys; from pathlib import Path; from tracked import measured, reopened, tracker\n"
        f"folder = Path({str(tmp_path)!r}); record = reopened(folder)\n"
        "record.evaluation('proposal', 0, 90, measured(21.5))\n"
        f"one = tracker(record, {store!r}, folder); one.start(); sys.exit(one.close())"
    )
    assert python(code) == (0, "", "")  # MLflow is quiet, too
    after = runs(store)
    assert {label: run.info.run_id for label, run in after.items()} == before
    assert history(store, after["0"], "score") == [(30, 20), (90, 21.5)]
    assert (after["0"].data.tags["state"], after["0"].info.status) == ("COMPLETE", "FINISHED")


def test_a_server_that_goes_away_gets_everything_later(server: Server, tmp_path: Path) -> None:
    record = study(tmp_path, name="away", uuid="away")
    row = play(record, "proposal", [20], settings=UP)
    one = tracker(record, server.url, tmp_path)
    assert one.project(), one.problem
    server.stop()
    try:
        record.evaluation("proposal", row.number, 90, measured(21))
        play(record, "proposal", [19, 18], settings=UP)
        assert one.project() is False
        assert one.behind() == 3
        assert one.problem is not None and one.problem.startswith(f"MLflow at {server.url} lags behind: ")
    finally:
        server.start()
    assert one.project(), one.problem
    assert (one.behind(), one.problem) == (0, None)
    found = runs(server.url, "tags.study_uuid = 'away'")
    assert set(found) == {"study", "0", "1"}
    told = MlflowClient(server.url).get_metric_history(found["0"].info.run_id, "score")
    assert [(point.step, point.value) for point in told] == [(30, 20), (90, 21)]
    assert history(server.url, found["1"], "score") == [(30, 19), (90, 18)]
    assert history(server.url, found["0"], "up0.keep") == [(0, 0.25)]
    assert artifacts(server.url, found["1"]) == ["settings.json"]


def test_the_thread_copies_what_it_is_woken_for_and_the_rest_at_its_end(store: str, tmp_path: Path) -> None:
    record = study(tmp_path)
    one = tracker(record, store, tmp_path)
    assert one.behind() == 0
    one.start()
    for value in (20, 21, 22):
        play(record, "proposal", [value, value + 1], settings=UP)
        one.wake()
        assert one.behind() == 0  # on its way
    assert one.close() == 0
    found = runs(store)
    assert [history(store, found[label], "score") for label in "012"] == [
        [(30, value), (90, value + 1)] for value in (20, 21, 22)
    ]
    assert one.close() == 0  # again: nothing happens


def test_the_thread_survives_an_address_where_nobody_listens(tmp_path: Path) -> None:
    record = study(tmp_path)
    one = tracker(record, "http://127.0.0.1:9", tmp_path)  # the discard service, which nobody runs
    one.start()
    play(record, "proposal", [20, 21], settings=UP)
    one.wake()
    assert one.close(timeout=0.1) == 2
    assert one.problem is not None and "discard" not in one.problem


def test_more_than_a_batch_holds(store: str, tmp_path: Path) -> None:
    sites = [f"s{i}" for i in range(130)]
    record = study(tmp_path, task="tracked:WIDE")
    row = record.add("proposal", seed=0, settings={site: L0(keep=0.5) for site in sites})
    for step in STEPS:
        metrics = {f"{site}.{m}": float(step) for site in sites for m in "abcdefgh"}
        record.evaluation("proposal", row.number, step, {"score": 1.0, **metrics})
    project(record, store, tmp_path)
    zero = runs(store)["0"]
    assert len(zero.data.params) == 1 + 2 * 130
    assert len(zero.data.metrics) == 1 + 130 + 130 * 8
    assert history(store, zero, "s129.h") == [(30, 30), (90, 90)]


def test_what_mlflow_would_refuse_is_put_so_that_it_takes_it(store: str, tmp_path: Path) -> None:
    record = study(tmp_path, task="tracked:WIDE")
    row = record.add("proposal", seed=0, settings={"layers[2]": L0(keep=0.5)})
    record.evaluation("proposal", row.number, 30, {"score": 1.0, "a,b": math.inf, "x" * 300: -math.inf})
    record.fail("proposal", row.number, "broke\n" * 5000)
    project(record, store, tmp_path)
    zero = runs(store)["0"]
    assert zero.data.params == {"seed": "0", "layers_2_.kind": "l0", "layers_2_.keep": "0.5"}
    assert {"score", "a_b", "x" * 250} < set(zero.data.metrics)
    assert zero.data.tags["reason"].startswith("broke\nbroke")


def test_a_run_that_is_refused_does_not_hold_up_the_others(store: str, tmp_path: Path) -> None:
    record = study(tmp_path)
    play(record, "proposal", [20], settings=UP)
    one = tracker(record, store, tmp_path)
    assert one.project()
    lost = runs(store)["0"].info.run_id
    MlflowClient(store).delete_run(lost)
    record.evaluation("proposal", 0, 90, measured(21))
    play(record, "proposal", [20, 22], settings=UP)
    assert not one.project() and one.problem is not None
    assert history(store, runs(store)["1"], "score") == [(30, 20), (90, 22)]
    assert one.project(), one.problem  # the deleted run is made anew
    assert history(store, runs(store)["0"], "score") == [(30, 20), (90, 21)]
    assert runs(store)["0"].info.run_id != lost


def test_a_leader_whose_file_was_removed_is_told_again(store: str, tmp_path: Path) -> None:
    record = study(tmp_path)
    play(record, "proposal", [20, 22], settings=UP)
    project(record, store, tmp_path)
    shutil.rmtree(runs(store)["0"].info.artifact_uri.removeprefix("file://"))
    play(record, "baseline", [20, 21])
    project(record, store, tmp_path)
    parent = runs(store)["study"].info.run_id
    best = load(MlflowClient(store).download_artifacts(parent, "best_settings.json", str(tmp_path)))
    assert (dict(best), best.baseline) == (UP, {"mean": 21, "sd": None, "seeds": [0]})


def test_an_experiment_that_was_deleted_is_restored(store: str, tmp_path: Path) -> None:
    project(study(tmp_path / "a"), store, tmp_path)
    client = MlflowClient(store)
    client.delete_experiment(client.get_experiment_by_name("analytic:TASK").experiment_id)
    project(study(tmp_path / "b", name="other", uuid="u2"), store, tmp_path)
    assert "study" in runs(store, "tags.study_uuid = 'u2'")


def test_a_finished_study_that_is_extended_runs_again(store: str, tmp_path: Path) -> None:
    record = study(tmp_path, trials=1)
    for seed in range(2):
        play(record, "baseline", [20, 21], seed=seed)
    play(record, "proposal", [20, 22], settings=UP)
    project(record, store, tmp_path)
    assert runs(store)["study"].info.status == "FINISHED"
    budget = record.spec.budget.model_copy(update={"trials": 2})
    record.set_spec(record.spec.model_copy(update={"budget": budget}))
    project(record, store, tmp_path)
    parent = runs(store)["study"]
    assert (parent.data.tags["state"], parent.info.status) == ("RUNNING", "RUNNING")
    local = MlflowClient(store).download_artifacts(parent.info.run_id, "spec.yaml", str(tmp_path))
    assert "trials: 2" in Path(local).read_text()


def test_a_confirmation_is_told_when_all_its_pairs_have_ended(store: str, tmp_path: Path) -> None:
    record = study(tmp_path)
    play(record, "proposal", [20, 22], settings=UP)
    for pair in range(2):
        play(record, "confirmation", [20, 21], seed=1000 + pair, pair=pair)
        play(record, "confirmation", [20, 22 + pair / 10], seed=1000 + pair, pair=pair, settings=UP)
    late = play(record, "confirmation", [20], seed=1002, pair=2)
    play(record, "confirmation", [20, 22.3], seed=1002, pair=2, settings=UP)
    one = tracker(record, store, tmp_path)
    assert one.project(), one.problem
    assert "confirmed" not in runs(store)["0"].data.tags
    record.evaluation("confirmation", late.number, 90, measured(21))
    assert one.project(), one.problem
    found = runs(store)
    told = json.loads(found["0"].data.tags["confirmed"])
    assert (told["proposal"], told["pairs"], told["verdict"]) == (0, 3, "better")
    assert found["confirmation:4"].data.tags["role"] == "confirmation"
    best = MlflowClient(store).download_artifacts(
        found["study"].info.run_id, "best_settings.json", str(tmp_path)
    )
    assert load(best).confirmed == told
    whole = Path(
        MlflowClient(store).download_artifacts(found["0"].info.run_id, "confirmed.json", str(tmp_path))
    )
    assert [one["step"] for one in json.loads(whole.read_text())["steps"]] == list(STEPS)


@pytest.mark.slow
def test_a_confirmation_of_many_steps_and_sites_is_told_whole(store: str, tmp_path: Path) -> None:
    """A tag takes 8000 characters; what is longer would be missing from `best` and from an exported file."""
    steps = tuple(range(30, 30 + 60 * 10, 10))
    budget = {"trials": 1, "steps": steps[-1], "grace": 30, "reduction": 3, "baseline_seeds": 1}
    record = study(tmp_path, task="tracked:WIDE", budget=budget | {"evaluate_at": list(steps)})
    sites = [f"s{i}" for i in range(130)] + ["layers[2]"]

    def trained(role: str, value: float, **more: Any) -> None:
        row = record.add(role, **({"seed": 0, "settings": None, "extras": None, "pair": None} | more))
        for step in record.spec.evaluate_at():
            record.evaluation(role, row.number, step, measured(value + step / 7, sites, density=0.75))

    ours: dict[str, Any] = {"settings": {"layers[2]": L0(keep=0.25)}}
    trained("baseline", 20)
    trained("proposal", 22, **ours)
    for pair in range(3):
        trained("confirmation", 21, seed=1000 + pair, pair=pair)
        trained("confirmation", 22 + pair / 7, seed=1000 + pair, pair=pair, **ours)
    project(record, store, tmp_path)
    found = runs(store)
    whole = Path(
        MlflowClient(store).download_artifacts(found["0"].info.run_id, "confirmed.json", str(tmp_path))
    )
    assert len(whole.read_text()) > 8000 and len(json.loads(whole.read_text())["steps"]) >= 60
    (row,) = best_trials("mine", tracking=store, root=tmp_path)
    told = row["confirmed"]
    assert (told["pairs"], told["verdict"], told["last"]["step"]) == (3, "better", steps[-1])
    assert told["sentence"].startswith(f"better at {steps[-1]} steps: the difference is +1.14 score")
    last = told["last"]
    assert last["low"] < last["difference"] < last["high"] and 0 < last["p"] < 0.05
    assert row["attained"] == {"layers[2]": attained(0.75, 0.75)}
    assert settings_file("mine", tracking=store, root=tmp_path).confirmed == told


def test_a_child_that_was_left_running_is_mended_by_a_new_tracker(store: str, tmp_path: Path) -> None:
    """A trial that ended just before a kill: the record knows it, MLflow was not told."""
    record = study(tmp_path, trials=1)
    for seed in (0, 1):
        play(record, "baseline", [20, 21], seed=seed)
    play(record, "proposal", [20], settings=UP)
    project(record, store, tmp_path)
    record.evaluation("proposal", 0, 90, measured(22))
    found = runs(store)
    assert (found["0"].info.status, found["study"].info.status) == ("RUNNING", "RUNNING")
    project(reopened(tmp_path), store, tmp_path)
    found = runs(store)
    assert (found["0"].info.status, found["0"].data.tags["state"]) == ("FINISHED", "COMPLETE")
    assert history(store, found["0"], "score") == [(30, 20), (90, 22)]
    assert (found["study"].info.status, found["study"].data.tags["state"]) == ("FINISHED", "COMPLETE")


def test_another_process_sends_the_baselines_means_with_the_same_moment(store: str, tmp_path: Path) -> None:
    """Else MLflow would keep each of them twice."""
    record = study(tmp_path)
    play(record, "baseline", [20, 21], density=0.9)
    project(record, store, tmp_path)
    again = reopened(tmp_path)
    budget = record.spec.budget.model_copy(update={"trials": 1})  # what a resumed study's run is told of
    again.set_spec(record.spec.model_copy(update={"budget": budget}))
    project(again, store, tmp_path)
    assert history(store, runs(store)["study"], "baseline.up0.density") == [(90, 0.9)]


def test_a_metric_that_needs_the_clean_picture_is_marked(store: str, tmp_path: Path) -> None:
    record = study(tmp_path, task="tracked:ORACLE")
    row = record.add("proposal", seed=0, settings=UP, extras=None, pair=None)
    for step in STEPS:
        record.evaluation("proposal", row.number, step, measured(20) | {"psnr": 20.0})
    project(record, store, tmp_path)
    assert {run.data.tags["oracle"] for run in runs(store).values()} == {"true"}
    (told,) = best_trials("mine", tracking=store, root=tmp_path)
    assert (told["metric"], told["oracle"]) == ("psnr", True)
    assert told["measured"] == "oracle: it needs the clean picture"
    assert settings_file("mine", tracking=store, root=tmp_path).provenance["oracle"] is True


def test_metrics_that_need_the_clean_picture_are_marked_beside_another_objective(
    store: str, tmp_path: Path
) -> None:
    record = study(tmp_path, plan=DENOISING | {"objective": "sure"}, task="dip")
    for role, settings in (("baseline", {}), ("proposal", UP), ("confirmation", {}), ("confirmation", UP)):
        row = record.add(role, seed=0, settings=settings, pair=0 if role == "confirmation" else None)
        for step in STEPS:
            record.evaluation(role, row.number, step, {"sure": 0.1, "psnr": 20.0, "ssim": 0.5, "loss": 1.0})
    project(record, store, tmp_path)
    found = runs(store)
    assert {label: run.data.tags.get("oracles") for label, run in found.items()} == {
        label: "psnr" if label == "study" else "psnr, ssim" for label in found
    }
    assert not any("oracle" in run.data.tags for run in found.values())  # the objective is none
    (told,) = best_trials("mine", tracking=store, root=tmp_path)
    beside = told["companions"]["psnr"]
    assert (told["oracle"], told["direction"]) == (False, "minimize")
    assert (beside["oracle"], beside["direction"]) == (True, "maximize")
    table = best_table([told]).splitlines()
    assert "psnr (oracle)" in table[0] and "psnr (oracle) 20" in table[-1]
    assert table[-2].startswith("(lower is better, higher for psnr (oracle); Stein's estimate of ")
    beside = told["confirmed"]["companions"]["psnr"]
    assert (beside["oracle"], beside["direction"], beside["pairs"]) == (True, "maximize", 1)
    assert settings_file("mine", tracking=store, root=tmp_path).confirmed == told["confirmed"]


def test_a_study_of_before_says_nothing_of_the_directions_beside(store: str, tmp_path: Path) -> None:
    record = study(tmp_path, plan=DENOISING | {"objective": "sure"}, task="dip")
    row = record.add("proposal", seed=0, settings=UP)
    for step in STEPS:
        record.evaluation("proposal", row.number, step, {"sure": 0.1, "psnr": 20.0})
    project(record, store, tmp_path)
    run = runs(store)["study"].info.run_id
    MlflowClient(store).set_tag(run, "companions", '["psnr"]')  # what it wrote
    (told,) = best_trials("mine", tracking=store, root=tmp_path)
    assert told["companions"] == {
        "psnr": {"value": 20.0, "baseline": None, "direction": None, "oracle": True}
    }
    assert "(lower is better; Stein's estimate " in best_table([told])


def test_how_the_metric_is_measured_and_what_stands_beside_it(store: str, tmp_path: Path) -> None:
    plan = {"text": "never read", "factor": 2.0}
    record = study(tmp_path, task="sharing:TASK", plan=plan, trials=2)
    for role, seed, value in (("baseline", 0, 1.0), ("baseline", 1, 2.0), ("proposal", 0, 4.0)):
        row = record.add(role, seed=seed, settings=UP if role == "proposal" else {})
        for step in STEPS:
            record.evaluation(role, row.number, step, {"score": value, "beside": value / 2 + (step < 90)})
    pruned = record.add("proposal", seed=0, settings=UP)
    record.evaluation("proposal", pruned.number, STEPS[0], {"score": math.nan, "beside": 7.0})
    project(record, store, tmp_path)
    first, second = best_trials("mine", tracking=store, root=tmp_path)
    assert (first["direction"], first["measured"]) == ("maximize", "2 less half of the sites")
    told = {"baseline": 0.75, "direction": "maximize", "oracle": False}
    assert first["companions"] == {"beside": told | {"value": 2.0}}
    assert second["companions"] == {"beside": told | {"value": None}}
    provenance = settings_file("mine", tracking=store, root=tmp_path).provenance
    assert provenance["measured"] == "2 less half of the sites"


def test_deleting_marks_all_runs_of_one_study(store: str, tmp_path: Path) -> None:
    for name in ("mine", "other"):
        record = study(tmp_path / name, name=name, uuid=name)
        play(record, "proposal", [20, 22], settings=UP)
        project(record, store, tmp_path / name)
    assert delete_runs(store, "mine") == 2
    assert runs(store, "tags.study_uuid = 'mine'") == {}
    assert set(runs(store, "tags.study_uuid = 'other'")) == {"study", "0"}


def test_a_changed_row_is_another_object(tmp_path: Path) -> None:
    """The projection tells by identity what has changed, so the record has to keep to this."""
    record = study(tmp_path)
    before = play(record, "proposal", [20], settings=UP)
    record.evaluation("proposal", 0, 90, measured(21))
    assert record.row("proposal", 0) is not before
    assert record.row("proposal", 0) is record.row("proposal", 0)
