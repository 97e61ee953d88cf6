"""What this machine can do: each finding is real, and a broken one stops no other."""

import sys
from pathlib import Path

import pytest

from trainers import images
from tuner import doctor
from tuner.doctor import Check, examine


def test_it_looks_at_everything_and_writes_nothing(tmp_path: Path) -> None:
    found = list(examine(tmp_path / "studies"))
    assert [one.name for one in found] == [
        "Python", "torch", "CPUs", "memory", "disk", "Ray", "MLflow", "photographs",
        "data sets", "features", "Inception",
    ]  # fmt: skip
    said = {one.name: one for one in found}
    assert said["Ray"].fine, said["Ray"]
    assert "starts and stops" in said["Ray"].text
    assert "CPUs" in said["Ray"].text
    assert sys.executable in said["Python"].text
    assert str(tmp_path) in said["MLflow"].text
    assert list(tmp_path.iterdir()) == []


def test_a_store_that_does_not_answer_is_bad_and_hides_nothing_behind_it(tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_text("this is no database")
    fine, text = doctor.store(tmp_path, f"sqlite:///{tmp_path}/new.db")
    assert fine and "will be made" in text
    assert not (tmp_path / "new.db").exists()
    with pytest.raises(RuntimeError, match="does not answer"):
        doctor.store(tmp_path, f"sqlite:///{broken}")


def test_what_a_check_raises_becomes_its_finding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")  # Ray is started with it, and fails
    broken = tmp_path / "broken.db"
    broken.write_text("this is no database")
    said = {one.name: one for one in examine(tmp_path, f"sqlite:///{broken}")}
    assert not said["Ray"].fine and said["Ray"].text == "did not start: exit status 1"
    assert not said["MLflow"].fine and "does not answer" in said["MLflow"].text
    assert said["photographs"].fine


def test_a_ray_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "RAY_SECONDS", 0.01)
    fine, text = doctor.start_ray()
    assert not fine and "did not start within" in text


def test_disk_is_looked_at_where_the_studies_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fine, text = doctor.disk(tmp_path / "a" / "b")
    assert fine and f"free at {tmp_path}" in text
    monkeypatch.setattr(doctor, "ROOM", 10**9)
    fine, text = doctor.disk(tmp_path)
    assert not fine and "--root" in text
    fine, text = doctor.memory()
    assert not fine and "resources.concurrent" in text


def test_a_missing_photograph_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(images.PHOTOGRAPHS, "lost", "lost.png")
    fine, text = doctor.photographs()
    assert not fine and text.startswith("lost missing")


def test_data_sets_are_read_where_they_are_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    fine, text = doctor.data_sets()
    assert fine and "1797 digits" in text
    assert "mnist" in text.partition("not here: ")[2] and "cifar10" in text.partition("not here: ")[2]
    (tmp_path / "data").mkdir()
    for name, head in (("train-images-idx3-ubyte", (2051, 2, 1, 1)), ("train-labels-idx1-ubyte", (2049, 2))):
        content = b"".join(number.to_bytes(4, "big") for number in head) + bytes(2)
        (tmp_path / "data" / name).write_bytes(content)
    fine, text = doctor.data_sets()
    assert fine and "2 mnist in " in text
    (tmp_path / "data" / "train-images-idx3-ubyte").write_bytes(b"not one")
    fine, text = doctor.data_sets()
    assert not fine and "train-images-idx3-ubyte' is damaged" in text


def test_a_place_is_no_damage_whatever_its_name_and_a_part_of_a_data_set_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "damaged").mkdir()
    monkeypatch.chdir(tmp_path / "damaged")
    fine, text = doctor.data_sets()
    assert fine and "not here: " in text and "plan.data" not in text
    Path("data/cifar-10-batches-py").mkdir(parents=True)
    fine, text = doctor.data_sets()
    assert not fine and "data/cifar-10-batches-py' is missing or damaged" in text
    Path("data/cifar-10-batches-py").rmdir()
    Path("data/train-images-idx3-ubyte").write_bytes(b"its labels are not here")
    fine, text = doctor.data_sets()
    assert not fine and "plan.data is 'mnist', but it was not found as " in text


def test_the_features_that_come_along_are_really_loaded() -> None:
    fine, text = doctor.features()
    assert fine and text.startswith("efficientnet_lite0 loads")


def test_inception_is_found_where_torch_keeps_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    fine, text = doctor.inception()
    place = Path(text.partition("looked for at ")[2].partition(" (")[0])
    assert fine and place.is_relative_to(tmp_path)
    place.parent.mkdir(parents=True)
    place.touch()
    assert doctor.inception() == (True, str(place))


def test_a_check_reads_as_one_line() -> None:
    assert str(Check("Ray", True, "starts")) == "ok   Ray         starts"
    assert str(Check("Ray", False, "hangs")) == "BAD  Ray         hangs"
