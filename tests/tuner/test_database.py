"""The record's database: what is damaged or not ours is refused in a sentence, and left as it is."""

import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postgres import Postgres
from recorded import frozen
from small_disk import fill, small_disk

from trainers.settings import Mistake
from tuner.database import storage
from tuner.folder import DATABASE, SPEC, create, new_folder, record_exists, same_study
from tuner.queue import drain
from tuner.record import Record
from tuner.rows import Row
from tuner.spec import load_spec


def begun(url: str) -> Record:
    """A small record with trials of every end, one of them open."""
    record = Record.create(url, frozen())
    record.add("baseline", seed=0)
    for number, value in enumerate((1.0, 0.5, float("nan"), 2.0)):
        record.propose()
        for step in (30, 90, 270):
            record.evaluation("proposal", number, step, {"score": value + step / 1000, "noise": 0.25})
    record.propose()
    record.evaluation("proposal", 4, 30, {"score": 3.0})
    return record


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Any]]:
    """The bytes of a record's file, and what it holds."""
    path = tmp_path_factory.mktemp("whole") / DATABASE
    begun(f"sqlite:///{path}").close()
    return path.read_bytes(), held(path)


def held(path: Path) -> list[Any]:
    """What a record says, but for what decides nothing and carries no digest: moments, nodes, reasons."""
    with Record(f"sqlite:///{path}", "study") as record:
        plain: list[Any] = [record.uuid, record.spec]
        return plain + [_plain(row) for row in record.rows()]


def _plain(row: Row) -> dict[str, Any]:
    left_out = {"started", "finished", "nodes", "restarts", "reason"}
    return {key: repr(value) for key, value in vars(row).items() if key not in left_out}


def refused(path: Path) -> str | None:
    """The sentence that opening a file ends with, None where it opens; in both cases it stays as it is."""
    before = {one.name: one.read_bytes() for one in path.parent.iterdir()}
    try:
        held(path)
        return None
    except (Mistake, RuntimeError) as error:
        assert type(error) in (RuntimeError, Mistake) or isinstance(error, Mistake), repr(error)
        assert "\n" not in str(error)
        return str(error)
    finally:
        assert {one.name: one.read_bytes() for one in path.parent.iterdir()} == before


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            b"SQLite format 3",
            r"is damaged \(it does not begin like a SQLite file\): put back a copy of it; nothing was",
        ),
        (b"name: study\n" * 100, r"is damaged \(it does not begin like a SQLite file\)"),
    ],
)
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / DATABASE
    path.write_bytes(content)
    with pytest.raises(RuntimeError, match=told):
        Record(f"sqlite:///{path}", "study")
    with pytest.raises(RuntimeError, match=told):
        Record.exists(f"sqlite:///{path}", "study")
    with pytest.raises(RuntimeError, match=told):
        Record.create(f"sqlite:///{path}", frozen())
    assert path.read_bytes() == content


def test_an_empty_file_that_a_killed_creation_has_left_is_no_study_and_is_filled(tmp_path: Path) -> None:
    """SQLite makes the file before the first table is in it."""
    path = tmp_path / DATABASE
    path.touch()
    assert not Record.exists(f"sqlite:///{path}", "study")
    with pytest.raises(Mistake, match="there is no record"):
        Record(f"sqlite:///{path}", "study")
    assert path.read_bytes() == b""
    assert Record.create(f"sqlite:///{path}", frozen()).uuid == "u1"


def test_a_record_that_is_written_while_it_is_read_is_no_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader asks for each role and each table by itself, and the driver writes in between."""
    url = f"sqlite:///{tmp_path / DATABASE}"
    driver = begun(url)
    driver.evaluation("baseline", 0, 30, {"score": 3.0, "noise": 0.0})
    steps, read = iter((90, 270)), Record._read

    def torn(record: Record, role: str) -> list[Row]:
        rows = read(record, role)
        if role == "proposal" and (step := next(steps, None)):
            driver.evaluation("proposal", 4, step, {"score": 3.0, "noise": 0.0})
            driver.evaluation("baseline", 0, step, {"score": 3.0, "noise": 0.0})
        return rows

    monkeypatch.setattr(Record, "_read", torn)
    assert [_plain(row) for row in Record(url, "study").rows()] == [_plain(row) for row in driver.rows()]
    assert next(steps, None) is None and len(driver.row("baseline", 0).evaluations) == 3


def test_a_removal_that_was_cut_off_leaves_nothing_to_a_new_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / DATABASE}"
    record = begun(url)
    record._storage.delete_study(record._ids["proposal"])
    assert not Record.exists(url, "study")
    assert Record.create(url, frozen()).rows() == []


def test_another_programs_database_gets_no_tables_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE customers (name TEXT)")
    before = path.read_bytes()
    for call in (lambda: Record.create(f"sqlite:///{path}", frozen()), lambda: held(path)):
        with pytest.raises(Mistake, match=r"other.db holds the tables of another program \(customers\)"):
            call()
    assert path.read_bytes() == before


def test_a_database_that_was_only_begun_is_finished(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / DATABASE}"
    storage(url, create=True)
    assert not Record.exists(url, "study")
    with closing(sqlite3.connect(tmp_path / DATABASE)) as begun:
        begun.execute("DROP TABLE alembic_version")
        begun.execute("DROP TABLE trial_heartbeats")
    assert not Record.exists(url, "study")
    assert Record.create(url, frozen()).uuid == "u1"


def test_optunas_tables_in_another_version_are_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / DATABASE}"
    Record.create(url, frozen()).close()
    with closing(sqlite3.connect(tmp_path / DATABASE)) as changed:
        changed.execute("UPDATE alembic_version SET version_num = 'v9.9.a'")
        changed.commit()
    with pytest.raises(Mistake, match=r"has Optuna's tables in version v9\.9\.a and the Optuna here, \d"):
        Record(url, "study")


NONSENSE = [
    ("UPDATE trial_user_attributes SET value_json = '{'", "JSONDecodeError"),
    ("UPDATE trial_user_attributes SET value_json = '7'", "study 'study'"),
    ("DELETE FROM trial_user_attributes WHERE key = 'seed'", "study 'study'"),
    (
        "DELETE FROM trial_user_attributes WHERE key = 'evaluation:30' AND trial_id = 4",
        "an evaluation is missing or doubled",
    ),
    ("DELETE FROM trials WHERE number = 1", "a proposal is missing or doubled"),
    (
        "UPDATE trial_params SET param_value = param_value * 1.001 WHERE distribution_json LIKE '%Float%'",
        "the checksum of proposal",
    ),
    ("UPDATE trial_values SET value = value + 1", "the value of proposal 0 is not its last evaluation's"),
    (
        "UPDATE trial_intermediate_values SET intermediate_value = 0",
        "the value of proposal 0 at step 30 is not its evaluation's",
    ),
    ("DELETE FROM trial_system_attributes", "proposal 2 ended diverged, and its constraint does not say so"),
    (
        "UPDATE study_user_attributes SET value_json = replace(value_json, '270', '280') WHERE key = 'spec'",
        "the checksum of the spec is wrong",
    ),
    ("UPDATE trials SET state = 'LOST'", "LookupError"),
    ("UPDATE trials SET datetime_start = 'yesterday'", "study 'study'"),
    (
        "UPDATE trial_user_attributes SET value_json = replace(value_json, '0.25', '0.75') "
        "WHERE key = 'evaluation:90' AND trial_id = 2",
        "the checksum of proposal 0 at step 90 is wrong",
    ),
    (
        "UPDATE trial_user_attributes SET trial_id = 3 WHERE key = 'evaluation:270' AND trial_id = 2",
        "study 'study'",
    ),
]


@pytest.mark.parametrize(("change", "told"), NONSENSE)
def test_rows_that_say_something_else_than_was_written_are_refused(
    whole: tuple[bytes, list[Any]], tmp_path: Path, change: str, told: str
) -> None:
    path = tmp_path / DATABASE
    path.write_bytes(whole[0])
    with closing(sqlite3.connect(path)) as changed:
        assert changed.execute(change).rowcount > 0
        changed.commit()
    sentence = refused(path)
    assert sentence is not None and sentence.startswith(f"the record {path} is damaged (study 'study': ")
    assert told in sentence


def test_a_whole_record_opens_beside_the_journal_of_a_kill(
    whole: tuple[bytes, list[Any]], tmp_path: Path
) -> None:
    """The journal is played back only by who opens the file to write."""
    path = tmp_path / DATABASE
    path.write_bytes(whole[0])
    code = f"""
import os, sqlite3
c = sqlite3.connect({str(path)!r}, isolation_level=None)
c.execute("PRAGMA cache_size = 1")
c.execute("BEGIN")
c.execute("UPDATE trial_user_attributes SET value_json = value_json || '          '")
c.execute("UPDATE trials SET number = number + 100")
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == -signal.SIGKILL
    assert path.with_name(f"{DATABASE}-journal").stat().st_size > 0 and path.read_bytes() != whole[0]
    assert held(path) == whole[1]


def used(content: bytes) -> list[int]:
    """Where the bytes that are not zero lie: most of the file is room."""
    return [place for place, byte in enumerate(content) if byte]


def broken(whole: tuple[bytes, list[Any]], path: Path, content: bytes) -> None:
    path.write_bytes(content)
    sentence = refused(path)
    if sentence is None:
        assert held(path) == whole[1]
    path.unlink()


@settings(max_examples=25, deadline=None)
@given(at=st.floats(0, 1))
def test_a_record_cut_off_anywhere_is_refused(
    whole: tuple[bytes, list[Any]], tmp_path_factory: pytest.TempPathFactory, at: float
) -> None:
    path = tmp_path_factory.mktemp("cut") / DATABASE
    path.write_bytes(whole[0][: 1 + int(at * (len(whole[0]) - 2))])
    sentence = refused(path)
    assert sentence is not None and "is damaged (" in sentence


def test_a_record_with_a_flipped_bit_in_its_header_is_refused(
    whole: tuple[bytes, list[Any]], tmp_path: Path
) -> None:
    content = bytearray(whole[0])
    content[47] ^= 1  # the file format's number: SQLite has no name for this error
    (tmp_path / DATABASE).write_bytes(content)
    assert "is damaged (unsupported file format)" in str(refused(tmp_path / DATABASE))


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_a_record_with_flipped_bits_is_refused_or_says_the_same(
    whole: tuple[bytes, list[Any]], tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = bytearray(whole[0])
    flips = st.tuples(st.sampled_from(used(whole[0])), st.integers(1, 255))
    for place, flip in data.draw(st.lists(flips, min_size=1, max_size=3)):
        content[place] ^= flip
    broken(whole, tmp_path_factory.mktemp("flipped") / DATABASE, bytes(content))


@pytest.mark.slow
def test_so_is_one_with_any_used_byte_flipped(whole: tuple[bytes, list[Any]], tmp_path: Path) -> None:
    for count, place in enumerate(used(whole[0])[::47]):
        content = bytearray(whole[0])
        content[place] ^= 1 << count % 8
        broken(whole, tmp_path / DATABASE, bytes(content))


@pytest.mark.parametrize("left", [b"", b"x", None])
def test_where_the_spec_stands_a_lost_record_is_damage_and_no_new_study(
    tmp_path: Path, left: bytes | None
) -> None:
    folder = tmp_path / "study"
    with new_folder(folder):
        create(frozen(), folder).close()
    (folder / DATABASE).unlink()
    if left is not None:
        (folder / DATABASE).write_bytes(left)
    told = "is damaged" if left else "put back a copy of it, or remove that folder to begin anew"
    with pytest.raises(RuntimeError, match=told):
        record_exists(frozen(), folder)
    assert (folder / DATABASE).exists() == (left is not None)


def test_a_creation_that_was_cut_off_before_its_spec_was_written_is_no_study_yet(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with new_folder(folder):
        create(frozen(), folder).close()
    (folder / SPEC).unlink()
    (folder / DATABASE).unlink()
    storage(f"sqlite:///{folder / DATABASE}", create=True)
    assert not record_exists(frozen(), folder)
    assert create(frozen(), folder).uuid == "u1"


def test_a_study_that_another_driver_has_put_there_meanwhile_is_not_taken_over(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    with new_folder(folder):
        create(frozen(), folder).close()
        with pytest.raises(Mistake, match=r"another driver has begun a study '.*' in that database just now"):
            create(frozen().model_copy(update={"uuid": "u2"}), folder)
        assert create(frozen(), folder).uuid == "u1"


def test_a_full_disk_is_a_sentence_and_what_was_written_stands(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 3) as disk:
        record = begun(f"sqlite:///{disk / DATABASE}")
        before = record.rows()
        filler = fill(disk)
        told = (
            rf"^the record {disk / DATABASE} cannot be written \(database or disk is full\): free room there"
        )
        with pytest.raises(RuntimeError, match=told):
            for _ in range(20):
                record.propose()
        filler.unlink()
        again = Record(f"sqlite:///{disk / DATABASE}", "study")
        assert [row.label for row in again.rows()] == [row.label for row in record.rows()]
        assert again.rows()[: len(before)] == before or len(again.rows()) >= len(before)
        assert again.propose().number == len(again.rows("proposal")) - 1


def test_a_read_only_disk_is_a_sentence(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 3) as disk:
        record = begun(f"sqlite:///{disk / DATABASE}")
        record.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        reopened = Record(f"sqlite:///{disk / DATABASE}", "study")
        assert len(reopened.rows()) == 6
        with pytest.raises(RuntimeError, match=r"cannot be written .*readonly database.*`resume`"):
            reopened.propose()


def test_a_record_that_another_process_writes_for_ever_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tuner.database._BUSY", 0.1)
    path = tmp_path / DATABASE
    record = begun(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RuntimeError, match=r"is held by another process \(database is locked\)"):
            record.propose()
    assert record.propose().number == 5


def test_an_address_of_no_database_is_a_mistake() -> None:
    for address in ("nonsense://host/name", "postgresql+nonsense://me:secret@host/name"):
        with pytest.raises(Mistake, match=r"must be an address such as postgresql://host/name") as caught:
            Record(address, "study")
        assert "secret" not in str(caught.value)


def test_a_server_that_does_not_answer_is_a_sentence() -> None:
    with pytest.raises(
        RuntimeError, match=r"^the record's database postgresql://127\.0\.0\.1:1/x does not"
    ) as told:
        Record("postgresql://me:secret@127.0.0.1:1/x", "study")
    assert "secret" not in str(told.value) and "\n" not in str(told.value)


def test_a_connection_lost_on_the_way_is_a_sentence_and_the_study_goes_on(postgres: Postgres) -> None:
    url = postgres.database()
    Record.create(url, frozen()).close()
    with Record(url, "study", hold=True) as record:
        record.propose()
        postgres.stop()
        postgres.start()
        for _ in range(2):  # no second connection, for the lock went with the first
            with pytest.raises(RuntimeError, match=r"^the record's database .* and `resume`$"):
                record.propose()
    with Record(url, "study", hold=True) as again:
        assert [row.label for row in again.rows()] == ["0"]
        assert again.propose().number == 1


def test_another_programs_tables_on_a_server_stay_alone_and_ours_may_stand_beside_them(
    postgres: Postgres,
) -> None:
    import sqlalchemy

    url = postgres.database()
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE customers (name TEXT)"))
    assert Record.create(url, frozen()).uuid == "u1"
    url = postgres.database()
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:  # as MLflow has, and Optuna's is of the same name
        connection.execute(sqlalchemy.text("CREATE TABLE alembic_version (version_num TEXT)"))
    with pytest.raises(Mistake, match="holds the tables of another program"):
        Record.create(url, frozen())


HOLD = """
import sys
from tuner.record import Record
with Record(sys.argv[1], "study", hold=True):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_driver_on_another_machine_is_told_who_holds_the_study_and_a_dead_one_holds_nothing(
    postgres: Postgres,
) -> None:
    url = postgres.database()
    Record.create(url, frozen()).close()
    Record.create(url, frozen(name="other")).close()
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, url],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    rule = (
        rf"^study 'study' is being run by process {holder.pid} on {os.uname().nodename} since \d{{4}}-\d\d-"
    )
    with pytest.raises(Mistake, match=rule):
        Record(url, "study", hold=True)
    with pytest.raises(Mistake, match=rule):
        Record.create(url, frozen())
    assert Record(url, "study").rows() == []  # anyone may read
    Record(url, "other", hold=True).close()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    until_the_server_has_seen_it(url)
    Record(url, "study", hold=True).close()


def until_the_server_has_seen_it(url: str) -> None:
    """The kernel has closed the holder's connection; its server process ends when it reads that."""
    import sqlalchemy

    asked = sqlalchemy.text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
    with sqlalchemy.create_engine(url).connect() as connection:
        while connection.execute(asked).scalar():
            pass


OLD = Path(__file__).parent / "record_of_november.sql"


@pytest.mark.usefixtures("local_ray")
def test_a_record_of_an_older_version_opens_and_goes_on(tmp_path: Path) -> None:
    """Written by the code of commit f71becb, before anything had a digest: a trial of every end, one open."""
    folder = tmp_path / "study"
    folder.mkdir()
    with closing(sqlite3.connect(folder / DATABASE)) as made:
        made.executescript(OLD.read_text())
    wanted = load_spec({
        "name": "study", "task": "analytic:TASK",
        "budget": {"trials": 6, "steps": 270, "grace": 30, "reduction": 3, "baseline_seeds": 1},
    })  # fmt: skip
    assert record_exists(wanted, folder)
    record = same_study(wanted, folder)
    ends = [(row.label, row.state, row.reason, len(row.evaluations)) for row in record.rows()]
    assert ends == [
        ("0", "COMPLETE", None, 3),
        ("1", "PRUNED", "behind at step 30", 1),
        ("2", "PRUNED", "diverged", 1),
        ("3", "FAILED", "the training broke", 0),
        ("4", "RUNNING", None, 1),
        ("baseline:0", "COMPLETE", None, 3),
    ]
    before = [row for row in record.rows() if row.state != "RUNNING"]
    drain(record, storage=str(tmp_path / "trials"), scratch=tmp_path / "ray")
    again = Record(f"sqlite:///{folder / DATABASE}", "study")
    assert [row for row in again.rows() if row.label not in ("4", "5")] == before
    assert {row.label: row.state for row in again.rows()} | {"4": "", "5": ""} == dict.fromkeys(
        ("4", "5"), ""
    ) | {row.label: row.state for row in before}
    assert all(row.state in ("COMPLETE", "PRUNED") for row in again.rows() if row.label in ("4", "5"))
    again.set_spec(again.spec.model_copy(update={"resources": again.spec.resources}))
    assert Record(f"sqlite:///{folder / DATABASE}", "study").rows() == again.rows()
