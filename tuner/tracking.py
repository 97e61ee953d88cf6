"""A study's place in MLflow: names of tags and artifacts, the address, and what is said if nobody answers."""

import contextlib
import fcntl
import logging
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from trainers.settings import Mistake
from tuner.secrets import why, without_password
from tuner.states import COMPLETE, FAILED, PRUNED, RUNNING

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

# Tags of every run, of a trial's, and of the study's own.
STUDY, STUDY_UUID, ROLE, STATE, DELIVERED = "study", "study_uuid", "role", "state", "delivered"
TRIAL, REASON, SETTINGS, STEP, CONFIRMED = "trial", "reason", "settings", "step", "confirmed"
METRIC, DIRECTION, BASELINE, ORACLE = "metric", "direction", "baseline", "oracle"
NODES, RESTARTS = "nodes", "restarts"  # where a trial was trained; how often it had to begin again
MEASURED, COMPANIONS = "measured", "companions"  # how the metric is measured; those beside it
ORACLES = "oracles"  # of what the run holds, the metrics that need the clean picture
PARENT = "mlflow.parentRunId"
EXTRAS = "extras."  # begins the names of an extra's parameter and metric
OF_BASELINE = "baseline."  # and those of the baselines' mean measures, metrics of the study's own run
STUDY_ROLE = "study"  # ROLE of the study's own run
STATES = (COMPLETE, PRUNED, FAILED, RUNNING)  # in the order in which `best` lists them

# Artifacts.
SPEC_FILE, BASELINE_FILE, BEST_FILE = "spec.yaml", "baseline.json", "best_settings.json"
SETTINGS_FILE, PICTURES, CHECKPOINT_FILE = "settings.json", "pictures", "checkpoint.pt"
CONFIRMED_FILE = "confirmed.json"  # with each step, which a tag is too short for

_ANSWER = 20.0  # seconds in which a server has to answer at the start
_OPEN = 120.0  # and SQLite: on a busy machine its file takes long to make
_PAGE = 1000  # runs an answer
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    # MLflow would repeat a request whose answer was lost, and so make two runs where one was asked for;
    # `tracker.Tracker` looks first at what came of it.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}
_SERVERS = ("http", "https")
_DATABASES = ("postgresql", "mysql", "mssql")


def resolve_tracking(flag: str | None, spec: Any, root: str | os.PathLike[str]) -> str:
    """The MLflow address: `flag`, `spec.tracking`, MLFLOW_TRACKING_URI, else SQLite under `root`.

    Raises:
        Mistake: it is no address.

    >>> resolve_tracking("http://127.0.0.1:5000", None, "studies")
    'http://127.0.0.1:5000'
    """
    wanted = flag or getattr(spec, "tracking", None) or os.environ.get("MLFLOW_TRACKING_URI")
    if not wanted:
        return f"sqlite:///{Path(root).resolve() / 'mlflow.db'}"
    scheme = urlsplit(wanted).scheme.partition("+")[0]
    if scheme == "sqlite":
        return f"sqlite:///{Path(sqlite_file(wanted)).resolve()}"  # later commands may stand elsewhere
    if scheme not in (*_SERVERS, *_DATABASES, "databricks") and wanted != "databricks":
        raise Mistake(
            f"the tracking address is {without_password(wanted)!r}, but it has to begin with http://, "
            "https://, sqlite:/// or postgresql://, for example http://127.0.0.1:5000 or sqlite:///studies/mlflow.db"
        )
    return wanted


def check(tracking: str) -> None:
    """Ask the address for an answer; a SQLite file that is not there yet is made.

    Raises:
        RuntimeError: it gives none within seconds, or is no MLflow.
    """
    connect(tracking)


def connect(tracking: str) -> "MlflowClient":
    """A client of an address that has just answered; raises as `check`."""
    _import_quietly()  # not within the time that the address has
    try:
        with _one_at_a_time(tracking):
            return within(_OPEN if tracking.startswith("sqlite") else _ANSWER, lambda: _answering(tracking))
    except Exception as error:
        raise RuntimeError(_no_answer(tracking, error)) from error


def _no_answer(tracking: str, error: Exception) -> str:
    told = "refuses" if "failed with error code" in str(error) else "does not answer"
    way = "start it, or name another address with --tracking"
    if "Host header" in str(error):
        address = urlsplit(tracking)
        way = f"start the server with --allowed-hosts {address.hostname},{address.hostname}:{address.port}"
    return f"MLflow at {without_password(tracking)} {told} ({why(error)}): {way}"


def reason(error: BaseException) -> str:
    """Why MLflow does not take what it is given, in a few words.

    >>> reason(OSError("HTTPConnectionPool(…): Read timed out. (read timeout=10)"))
    'it does not answer in time'
    >>> reason(OSError("… (Caused by ResponseError('too many 503 error responses'))"))
    'it answers 503'
    """
    texts = [str(one) for one in (error, error.__cause__) if one is not None]
    text = without_password(" ".join(texts))
    if code := re.search(r"too many (\d+) error responses|failed with error code (\d+)", text):
        return f"it answers {code[1] or code[2]}"
    if re.search(r"timed out|nothing came within", text):
        return "it does not answer in time"
    if re.search(r"reset by peer|Connection aborted|RemoteDisconnected|Connection broken", text):
        return "it ends the connection"
    if system := re.search(r"\[Errno -?\d+\] ([\w ]+)", text):
        return system[1].strip().lower()
    return why(error)


def delete_runs(tracking: str, uuid: str) -> int:
    """Mark all MLflow runs of a study as deleted, and return how many there were; raises as `check`."""
    client = connect(tracking)
    runs = search(client, f"tags.{STUDY_UUID} = '{uuid}'")
    for run in runs:
        client.delete_run(run.info.run_id)
    return len(runs)


def search(
    client: "MlflowClient", query: str, *, order_by: list[str] | None = None, most: int | None = None
) -> list[Any]:
    """The runs of all experiments that a filter finds, page by page; `most` of them, or all."""
    experiments = _pages(lambda size, token: client.search_experiments(max_results=size, page_token=token))
    ids = [one.experiment_id for one in experiments]
    return _pages(
        lambda size, token: client.search_runs(
            ids, query, max_results=size, order_by=order_by, page_token=token
        ),
        most,
    )


def _pages(fetch: Callable[[int, str | None], Any], most: int | None = None) -> list[Any]:
    found: list[Any] = []
    token = None
    while most is None or len(found) < most:
        page = fetch(_PAGE if most is None else min(_PAGE, most - len(found)), token)
        found += page
        token = page.token
        if not token:
            break
    return found


def sqlite_file(tracking: str) -> str:
    """The path in a SQLite address."""
    return tracking.partition("///")[2].partition("?")[0]


def _answering(tracking: str) -> "MlflowClient":
    from mlflow import MlflowClient

    if urlsplit(tracking).scheme.partition("+")[0] in _DATABASES:
        _reach(tracking)
    client = MlflowClient(tracking_uri=tracking)
    client.search_experiments(max_results=1)
    return client


def _reach(database: str) -> None:
    """Raise what is wrong where no connection is had: MLflow tries for two minutes, and locks the process."""
    from sqlalchemy import create_engine

    engine = create_engine(database)
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def _import_quietly() -> None:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401

    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    for logger in ("mlflow.store.db", "urllib3.connectionpool"):  # warn of each try, passwords included
        logging.getLogger(logger).setLevel(logging.CRITICAL)  # errors are raised too, and told in a sentence


def within(seconds: float, call: Callable[[], T]) -> T:
    """The call's result, or TimeoutError: a server may take a connection and say nothing."""
    results: list[T] = []
    errors: list[BaseException] = []

    def attempt() -> None:
        try:
            results.append(call())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if errors:
        raise errors[0]
    if not results:
        raise TimeoutError(f"nothing came within {seconds:g} s")
    return results[0]


def _lock(folder: int) -> None:
    """Lock it, or raise TimeoutError: a halted process holds its lock, and flock itself waits for ever."""
    until = time.monotonic() + _OPEN
    while True:
        try:
            return fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                raise TimeoutError(f"another process has held its folder for {_OPEN:g} s") from None
            time.sleep(0.1)


@contextlib.contextmanager
def _one_at_a_time(tracking: str) -> Iterator[None]:
    """Let one process at a time make or open a SQLite file, because two would race in MLflow's migration."""
    if not tracking.startswith("sqlite"):
        yield
        return
    file = Path(sqlite_file(tracking))
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.exists() and file.stat().st_size and file.open("rb").read(15) != b"SQLite format 3":
        raise ValueError(f"{file} is no SQLite database")
    folder = os.open(file.parent, os.O_RDONLY)  # the folder itself is locked, so no lock file is left behind
    try:
        _lock(folder)
        with contextlib.closing(sqlite3.connect(file, timeout=_ANSWER)) as database:
            database.execute("PRAGMA schema_version")  # where this fails MLflow would try for two minutes
        yield
    finally:
        os.close(folder)
