"""A study's folder while the study comes to be, and when it goes."""

from pathlib import Path

import pytest

from trainers.settings import Mistake
from tuner.folder import DATABASE, SPEC, new_folder, remove
from tuner.lock import LOCK, StudyLock


def begin(folder: Path, *files: str) -> None:
    """A beginning that makes these files, and is then refused."""
    with pytest.raises(Mistake, match="no"), new_folder(folder):
        for name in files:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text("x")
        raise Mistake("no")


def test_what_was_made_for_a_study_that_does_not_come_to_be_goes(tmp_path: Path) -> None:
    begin(tmp_path / "new" / "study", "trials/.study")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [DATABASE, SPEC])
def test_a_study_that_has_come_to_be_stays(tmp_path: Path, name: str) -> None:
    begin(tmp_path / "study", name, "trials/0")
    assert sorted(one.name for one in (tmp_path / "study").iterdir()) == sorted([LOCK, name, "trials"])


def test_what_is_not_the_studys_stays(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    begin(folder, "trials/0")
    assert (folder / "notes.txt").read_text() == "mine" and not (folder / "trials").exists()
    begin(tmp_path / "other", "notes.txt")  # put there while it was prepared
    assert (tmp_path / "other" / "notes.txt").is_file()


def test_the_lock_goes_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, unlink, left = tmp_path / "study", Path.unlink, []
    (folder / "trials").mkdir(parents=True)
    (folder / DATABASE).write_text("x")
    with StudyLock(folder):
        monkeypatch.setattr(
            Path, "unlink", lambda path: (left.append((folder / LOCK).exists()), unlink(path))
        )
        remove(folder)
    assert left == [True] and not folder.exists()
