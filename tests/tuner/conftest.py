"""MLflow for the tests of this folder, empty SQLite stores and one server for all; and a shell."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from command_line import Shell
from postgres import Postgres
from proxy import Proxy
from tracked import Server


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new SQLite file of MLflow's, as `check` makes it."""
    from tuner.tracking import check

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    check(f"sqlite:///{file}")
    return file


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> str:
    """The address of an empty store in `tmp_path`: a copy, because making one takes 3 s."""
    shutil.copyfile(empty_store, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real `mlflow server`; a test that stops it starts it again."""
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def proxy(server: Server) -> Iterator[Proxy]:
    """What can be told to fail before that server."""
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that waits long on a busy machine, and asks once."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, capsys)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL; a test that stops it starts it again."""
    server = Postgres()
    yield server
    server.stop()
    server.remove()
