"""The address of MLflow: where it comes from, and what is said where nobody answers."""

import fcntl
import http.server
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from tracked import Server, free_port, python

from trainers.settings import Mistake
from tuner import tracking
from tuner.secrets import without_password
from tuner.tracking import check, delete_runs, resolve_tracking

SPEC = SimpleNamespace(tracking="http://spec:1")
ENVIRONMENT = "http://environment:1"


def test_flag_spec_environment_default_in_that_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", ENVIRONMENT)
    assert resolve_tracking("http://flag:1", SPEC, tmp_path) == "http://flag:1"
    assert resolve_tracking(None, SPEC, tmp_path) == SPEC.tracking
    assert resolve_tracking(None, SimpleNamespace(tracking=None), tmp_path) == ENVIRONMENT
    assert resolve_tracking(None, None, tmp_path) == ENVIRONMENT
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert resolve_tracking(None, None, tmp_path) == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_relative_sqlite_file_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_tracking("sqlite:///below/x.db", None, "studies") == f"sqlite:///{tmp_path}/below/x.db"
    assert resolve_tracking(None, None, "studies") == f"sqlite:///{tmp_path}/studies/mlflow.db"
    for address in ("databricks", "postgresql+psycopg2://host/name", "https://host:1/x"):
        assert resolve_tracking(address, None, "studies") == address


@pytest.mark.parametrize(
    "address", ["mlruns", "./mlflow.db", "file:///tmp/mlruns", "127.0.0.1:5000", "htp://a"]
)
def test_what_is_no_address_is_a_mistake(address: str) -> None:
    with pytest.raises(
        Mistake, match=r"the tracking address is .*, but it has to begin with http://"
    ) as caught:
        resolve_tracking(address, None, "studies")
    assert address in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "postgresql://me:se/cr@et@host:1/name is away",
        "http://me:secret@host:1/x and https://secret@host",
        "mysql+pymysql://me:secret@host/x?password=secret&ssl=1",
        "bad https://host/api?token=secret",
    ],
)
def test_passwords_are_left_out(text: str) -> None:
    assert "secret" not in without_password(text) and "se/cr" not in without_password(text)
    assert "://host" in without_password(text)


def test_other_texts_stay_as_they_are() -> None:
    for text in ("sqlite:////home/me@work/mlflow.db", "http://host:1/a", "mail me@host"):
        assert without_password(text) == text


def test_two_processes_make_one_sqlite_file_and_nothing_beside_it(tmp_path: Path) -> None:
    """At once: they race in MLflow's migration. What MLflow prints or leaves lying about shows here, too."""
    (tmp_path / "here").mkdir()
    code = f"from tuner.tracking import check; check('sqlite:///{tmp_path}/root/mlflow.db')"
    with ThreadPoolExecutor() as pool:
        both = [pool.submit(python, code, tmp_path / "here") for _ in range(2)]
    assert [one.result() for one in both] == [(0, "", "")] * 2
    assert list((tmp_path / "here").iterdir()) == []
    assert [file.name for file in (tmp_path / "root").iterdir()] == ["mlflow.db"]


def test_a_file_that_cannot_be_opened_is_told_before_mlflow_tries_it_again_and_again(tmp_path: Path) -> None:
    """MLflow's tries hold a lock of the whole process for two minutes, also after `check` has given up."""
    (tmp_path / "mlflow.db").symlink_to(tmp_path / "no-such-folder" / "mlflow.db")
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match=r"does not answer \(unable to open database file\)"):
        check(f"sqlite:///{tmp_path}/mlflow.db")
    assert set(threading.enumerate()) <= before


def test_a_database_that_is_away_is_told_before_mlflow_tries_it_again_and_again() -> None:
    before = set(threading.enumerate())
    with pytest.raises(RuntimeError, match=r"does not answer \(.*Connection refused\)"):
        check(f"postgresql://me@127.0.0.1:{free_port()}/runs")
    assert set(threading.enumerate()) <= before


def test_a_folder_that_a_halted_process_has_locked_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracking, "_OPEN", 0.2)
    halted = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(halted, fcntl.LOCK_EX)
    with pytest.raises(RuntimeError, match=r"does not answer \(another process has held its folder for 0.2"):
        check(f"sqlite:///{tmp_path}/mlflow.db")
    os.close(halted)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("my diary, long enough")
    with pytest.raises(RuntimeError, match=r"does not answer \(.*mlflow.db is no SQLite database\)"):
        check(f"sqlite:///{tmp_path}/mlflow.db")
    assert (tmp_path / "mlflow.db").read_text() == "my diary, long enough"


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RuntimeError, match="does not answer"):
        check(f"sqlite:///{tmp_path}/file/mlflow.db")


def test_a_server_answers(server: Server) -> None:
    check(server.url)


def test_a_server_that_does_not_know_its_own_name(server: Server) -> None:
    with pytest.raises(RuntimeError, match=r"refuses .*403.*Host header") as caught:
        check(f"http://127.1:{server.port}")
    assert str(caught.value).endswith(f": start the server with --allowed-hosts 127.1,127.1:{server.port}")


def test_an_address_where_nobody_listens() -> None:
    with pytest.raises(RuntimeError) as caught:
        check(f"http://me:secret@127.0.0.1:{free_port()}")
    assert str(caught.value).startswith("MLflow at http://127.0.0.1:")
    assert "start it, or name another address with --tracking" in str(caught.value)
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture
def silent() -> Iterator[int]:
    """A port where someone listens and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_an_address_that_never_answers(silent: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracking, "_ANSWER", 0.5)
    with pytest.raises(RuntimeError, match=r"does not answer \(nothing came within 0.5 s\)"):
        check(f"http://127.0.0.1:{silent}")


def test_a_server_that_is_no_mlflow() -> None:
    other = http.server.HTTPServer(
        ("127.0.0.1", 0), http.server.BaseHTTPRequestHandler
    )  # knows no method: 501
    threading.Thread(target=other.serve_forever, daemon=True).start()
    try:
        with pytest.raises(RuntimeError, match=r"refuses .*501"):
            check(f"http://127.0.0.1:{other.server_port}")
    finally:
        other.shutdown()
        other.server_close()


def test_deleting_a_study_that_has_no_runs(store: str) -> None:
    assert delete_runs(store, "u1") == 0
