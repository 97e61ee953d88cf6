"""The façade: refusals before anything is written, resources that may change, another machine."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import tracked
import yaml

from trainers import prepared, settings
from trainers.settings import L0, Mistake
from tuner import shared
from tuner.folder import create, new_folder
from tuner.sections import Resources, Stall
from tuner.spec import StudySpec, freeze, load_spec
from tuner.study import Study, open_study, run

pytestmark = pytest.mark.usefixtures("local_ray")


def spec(**changes: Any) -> dict[str, Any]:
    small: dict[str, Any] = {
        "name": "study",
        "task": "analytic:TASK",
        "budget": {"trials": 3, "steps": 90, "grace": 30, "reduction": 3, "baseline_seeds": 1},
        "resources": {"concurrent": 1},  # each process of a trial takes seconds to start
    }
    return small | changes


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return run(spec(), root=tmp_path_factory.mktemp("root"))


def test_more_than_the_machine_has_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="asks for 999 CPUs"):
        run(spec(resources={"cpu": 999}), root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_resources_can_change_on_the_way(done: Study) -> None:
    done.resume(trials=4, resources=Resources(cpu=2))
    assert open_study("study", root=done.folder.parent).spec.resources.cpu == 2
    assert len(done.record.rows("proposal")) == 4


def test_the_limits_of_a_stall_can_change_on_the_way(done: Study) -> None:
    done.resume(stall=Stall(at_least="3h"))
    assert open_study("study", root=done.folder.parent).spec.stall == Stall(at_least="3h")


def test_resources_that_no_node_has_change_nothing(done: Study) -> None:
    before = (done.folder / "spec.yaml").read_text()
    with pytest.raises(Mistake, match="asks for 999 CPUs"):
        done.resume(resources=Resources(cpu=999))
    assert (done.folder / "spec.yaml").read_text() == before
    assert open_study("study", root=done.folder.parent).spec.resources.cpu < 999


def test_a_trial_that_began_on_another_device_is_not_taken_to_this_one(tmp_path: Path) -> None:
    """It would fail there for good: its state is another's."""
    frozen = freeze(load_spec(spec())).model_copy(update={"uuid": "u1"})
    with new_folder(tmp_path / "study"), create(frozen, tmp_path / "study") as record:
        row = record.propose()
    with pytest.raises(Mistake, match=rf"resources.gpu is 1 and was 0, .* as {row.label} would have to"):
        open_study("study", root=tmp_path).resume(resources=Resources(gpu=1))


@pytest.mark.slow
def test_a_storage_is_shared_and_only_the_studys_own_folder_is_deleted(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (shared / "precious.txt").write_text("not ours")
    one = run(spec(storage=str(shared)), root=tmp_path / "root")
    two = run(spec(name="other", storage=str(shared)), root=tmp_path / "root")
    assert {row.state for row in two.record.rows("baseline")} == {"COMPLETE"}
    one.delete()
    assert (shared / "precious.txt").read_text() == "not ours"
    assert [path.name for path in shared.iterdir() if path.is_dir()] == [f"other-{two.uuid[:8]}"]
    assert (shared / f"other-{two.uuid[:8]}" / "0" / "log.txt").exists()


def test_a_server_that_moved_is_named_again(done: Study, tmp_path: Path) -> None:
    elsewhere = f"sqlite:///{tmp_path}/moved.db"
    again = run(spec(), root=done.folder.parent, tracking=elsewhere)
    assert again.best(1)[0]["trial"] == done.best(1)[0]["trial"]
    assert again.tracking == elsewhere


def test_an_interrupted_confirmation_is_not_called_complete(done: Study) -> None:
    done.record.add("confirmation", seed=1000, pair=0)
    assert done.cost_of_confirmation(seeds=1).startswith("2 trainings of 90 steps")
    done.record.fail("confirmation", 0, "made for this test")


def test_what_a_confirmation_on_other_data_takes_is_not_told_by_the_search(tmp_path: Path) -> None:
    plan = {"size": 32, "network": {"width": 4, "scales": 2}}
    for unseen, said in (
        ([], r"4 trainings of 90 steps, about \d+ s each"),
        (["coffee", "camera"], r"4 .*; one of the search took about \d+ s, but these train on other data"),
    ):
        name = f"unseen-{len(unseen)}"
        record = tracked.study(tmp_path / name, task="dip", name=name, plan=plan | {"unseen_images": unseen})
        tracked.play(record, "proposal", [20, 22], settings={"up0": L0(keep=0.25)}, metric="psnr")
        study = Study(tmp_path / name, record)
        assert re.fullmatch(said, study.cost_of_confirmation(seeds=2))
        tracked.play(record, "confirmation", [20, 21], pair=0, metric="psnr")
        assert re.fullmatch(r"3 trainings of 90 steps, about \d+ s each", study.cost_of_confirmation(seeds=2))


def test_a_name_that_is_a_path_is_no_study(done: Study) -> None:
    with pytest.raises(Mistake, match="no study"):
        open_study(f"../{done.folder.parent.name}/study", root=done.folder.parent)


def test_trials_are_a_total_that_never_shrinks(done: Study) -> None:
    with pytest.raises(Mistake, match=r"--trials 2 is the study's total of proposals and 'study' has \d"):
        done.resume(trials=2)
    before = (done.folder / "spec.yaml").read_bytes()
    with pytest.raises(
        Mistake, match=r"budget.trials is 10000000, but it must be less than or equal to 1000000"
    ):
        done.resume(trials=10**7)
    assert (done.folder / "spec.yaml").read_bytes() == before


def test_another_spec_of_the_same_name_is_refused_with_the_keys_that_differ(done: Study) -> None:
    with pytest.raises(Mistake, match=r"study 'study' exists with another budget.steps, search.seed: give"):
        run(spec(search={"seed": 1}, budget=spec()["budget"] | {"steps": 180}), root=done.folder.parent)


def test_the_same_spec_with_other_trials_and_resources_is_the_same_study(done: Study) -> None:
    again = run(spec(resources={"concurrent": 2}), root=done.folder.parent)
    assert again.uuid == done.uuid


def test_trials_are_a_table_of_all_roles(done: Study) -> None:
    table = done.trials()
    assert set(table.role) >= {"proposal", "baseline"}
    assert list(table[table.state == "COMPLETE"].step.unique()) == [90]
    assert {"trial", "state", "reason", "seed", "value"} <= set(table.columns)


@pytest.mark.slow
def test_the_folder_is_written_anew_where_the_database_finds_the_record(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/elsewhere.db"
    first = run(spec(database=database), root=tmp_path / "one", tracking=f"sqlite:///{tmp_path}/mlflow.db")
    second = run(spec(database=database), root=tmp_path / "two")
    assert second.uuid == first.uuid
    assert second.tracking == first.tracking
    assert (tmp_path / "two" / "study" / "spec.yaml").read_text() == (
        tmp_path / "one" / "study" / "spec.yaml"
    ).read_text()


def test_a_study_that_is_not_there_is_answered_with_those_that_are(done: Study) -> None:
    with pytest.raises(Mistake, match=r"no study 'other' under '.*': there is study"):
        open_study("other", root=done.folder.parent)


def test_a_log_is_read_by_its_trials_label(done: Study) -> None:
    assert done.log("baseline:0").startswith("baseline:0 on ")
    with pytest.raises(Mistake, match=r"has no trial '99': it has 0, 1"):
        done.log("99")


@pytest.mark.usefixtures("store")
def test_a_sync_that_fails_says_so(tmp_path: Path) -> None:
    study = run(spec(), root=tmp_path)
    (tmp_path / "mlflow.db").write_text("no database")
    with pytest.raises(RuntimeError, match=r"MLflow at sqlite:.* lags behind"):
        study.sync()


# what all trials share


def sharing(folder: Path, **changes: Any) -> dict[str, Any]:
    """A study of `tests/helpers/sharing.py`; its text and what was made of it lie in `folder`."""
    if not (folder / "text.txt").exists():
        (folder / "text.txt").write_text("the same all along")
    return spec(task="sharing:TASK", plan={"text": str(folder / "text.txt")}, **changes)


@pytest.mark.slow
def test_what_trials_share_is_made_once_kept_and_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(prepared.PLACE, str(tmp_path / "driver"))  # the workers have a folder of their own
    study = run(sharing(tmp_path), root=tmp_path / "root")
    assert {row.state for row in study.record.rows()} <= {"COMPLETE", "PRUNED"}
    (name,) = (path.name for path in (tmp_path / "driver").glob("*.npz"))
    assert study.spec.prepared.keys() == {name, "text"}
    assert study.spec.prepared[name] == prepared.sha256_of(name)
    assert yaml.safe_load((study.folder / "spec.yaml").read_text())["prepared"] == study.spec.prepared
    assert (study.folder / "trials" / "prepared" / name).is_file()
    file = settings.load(study.export())
    assert file.plan["prepared"] == study.spec.prepared
    study.resume(trials=4)
    assert study.record.row("proposal", 3).state in ("COMPLETE", "PRUNED")
    assert (tmp_path / "made.txt").read_text() == "made\n"
    study.delete()
    assert not study.folder.exists()


def test_what_cannot_be_prepared_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    missing = spec(task="sharing:TASK", plan={"text": "nowhere"})
    with pytest.raises(Mistake, match="text is 'nowhere', but there is no such file"):
        run(missing, root=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_study_that_is_being_begun_is_no_other_drivers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may take hours to begin, and a second driver that is refused or ended must not remove it."""
    budget = {"trials": 1, "steps": 90, "grace": 30, "baseline_seeds": 1}
    one, places = sharing(tmp_path, budget=budget), {"root": tmp_path / "root"}
    begin = shared.begun

    def meanwhile(frozen: StudySpec) -> StudySpec:
        with pytest.raises(Mistake, match=rf"study 'study' is being run by process {os.getpid()} on"):
            run(one | {"retries": 7}, **places)
        return begin(frozen)

    monkeypatch.setattr(shared, "begun", meanwhile)
    study = run(one, **places)
    assert study.is_done() and study.spec.retries != 7


def states(study: Study) -> dict[str, str]:
    return {row.label: row.state for row in study.record.rows()}


@pytest.mark.slow
def test_a_study_whose_data_changed_is_not_gone_on_with(tmp_path: Path) -> None:
    study = run(sharing(tmp_path), root=tmp_path / "root")
    (tmp_path / "text.txt").write_text("another")
    rows, file = states(study), (study.folder / "spec.yaml").read_text()
    for refused in (lambda: study.resume(trials=4), lambda: study.confirm(seeds=2)):
        with pytest.raises(Mistake, match=r"text has the SHA-256 .* put the old one.* back"):
            refused()
        assert states(study) == rows and study.spec.budget.trials == 3
        assert (study.folder / "spec.yaml").read_text() == file
    assert study.resume().is_done()  # nothing is trained, so nothing is refused
    (tmp_path / "text.txt").write_text("the same all along")
    study.resume(trials=4)
    assert study.record.row("proposal", 3).state in ("COMPLETE", "PRUNED")


def test_the_ray_client_is_refused_with_the_way_that_works(tmp_path: Path) -> None:
    with pytest.raises(Mistake, match="ray job submit"):
        run(spec(), root=tmp_path, address="ray://head:10001")


@pytest.mark.usefixtures("store")
def test_a_lost_or_damaged_spec_is_written_anew_by_search(tmp_path: Path) -> None:
    study = run(spec(), root=tmp_path)
    file, rows = study.folder / "spec.yaml", open_study("study", root=tmp_path).record.rows()
    whole = file.read_bytes()
    file.unlink()  # as where a kill came between the record and the file
    assert open_study("study", root=tmp_path).record.rows() == rows
    assert file.read_bytes() == whole
    for left in (b"", b"name: [study", b"name: study\n\x00\xff"):
        file.write_bytes(left)
        with pytest.raises(Mistake, match="`search` with the study's own spec"):
            open_study("study", root=tmp_path)
        assert run(spec(), root=tmp_path).record.rows() == rows
        assert file.read_bytes() == whole


@pytest.mark.usefixtures("store")
def test_a_lost_record_is_named_and_no_new_study_is_begun_in_its_place(tmp_path: Path) -> None:
    study = run(spec(), root=tmp_path)
    (study.folder / "study.db").unlink()
    for again in (lambda: run(spec(), root=tmp_path), lambda: open_study("study", root=tmp_path)):
        with pytest.raises(RuntimeError, match=r"its record is not in .*: put back a copy"):
            again()
    assert not (study.folder / "study.db").exists()
