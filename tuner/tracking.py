"""The record, copied to MLflow: its names and tags, the address, and the one thread that copies.

MLflow is a projection: everything in it can be made again from the record. So a server that is away delays
it and harms nothing, and the same evaluation copied twice stays one point.
"""

import contextlib
import fcntl
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from trainers.settings import Mistake
from tuner.states import COMPLETE, FAILED, PRUNED, RUNNING

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from tuner.projection import Projection
    from tuner.record import Record
    from tuner.storage import Storage

T = TypeVar("T")

# Tags of every run, of a trial's, and of the study's own.
STUDY, STUDY_UUID, ROLE, STATE, DELIVERED = "study", "study_uuid", "role", "state", "delivered"
TRIAL, REASON, SETTINGS, STEP, CONFIRMED = "trial", "reason", "settings", "step", "confirmed"
METRIC, DIRECTION, BASELINE, ORACLE = "metric", "direction", "baseline", "oracle"
NODES, RESTARTS = "nodes", "restarts"  # where a trial was trained; how often it had to begin again
MEASURED, COMPANIONS = "measured", "companions"  # how the metric is measured; the names of those beside it
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
_PAUSE = 0.5  # seconds between two passes: what arrives meanwhile travels together
_PAUSE_AFTER_PROBLEM = 3.0
_RETRY = 15.0  # seconds after which a pass that failed is tried again without being woken
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",  # the thread below has its own patience
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


def without_password(text: str) -> str:
    """Leave the user and password of addresses out of a text.

    >>> without_password("no answer from https://me:secret@host:5000/x")
    'no answer from https://host:5000/x'
    """
    text = re.sub(r"((?:postgresql|mysql|mssql)[\w+]*://)\S*@", r"\1", text)
    text = re.sub(r"(://)[^/\s]*@", r"\1", text)
    return re.sub(r"(?i)((?:password|token|secret)=)[^&\s]+", r"\1…", text)


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
            return _within(_OPEN if tracking.startswith("sqlite") else _ANSWER, lambda: _answering(tracking))
    except Exception as error:
        raise RuntimeError(_no_answer(tracking, error)) from error


def _no_answer(tracking: str, error: Exception) -> str:
    told = "refuses" if "failed with error code" in str(error) else "does not answer"
    way = "start it, or name another address with --tracking"
    if "Host header" in str(error):
        address = urlsplit(tracking)
        way = f"start the server with --allowed-hosts {address.hostname},{address.hostname}:{address.port}"
    return f"MLflow at {without_password(tracking)} {told} ({why(error)}): {way}"


def why(error: BaseException) -> str:
    """The reason that an error gives, in one short line without passwords."""
    lines = without_password(str(error)).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".") if len(lines[0]) <= 200 else f"{lines[0][:199]}…"


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


class Tracker:
    """The thread that copies a study's record to MLflow: woken after each change, never in the study's way.

    A pass that fails is repeated by the next one, and every pass begins where MLflow stands, so the copy is
    also complete after a kill. `problem` says what is wrong while MLflow does not take what it is given.

    Args:
        record: the study's record.
        tracking: an address that `resolve_tracking` gave.
        storage: where the trials' folders lie, for their pictures and checkpoints.
    """

    def __init__(self, record: "Record", tracking: str, storage: "Storage") -> None:
        self.problem: str | None = None
        self._record, self._tracking, self._storage = record, tracking, storage
        self._projection: Projection | None = None
        self._passing = threading.Lock()
        self._woken, self._closing = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow", daemon=True)

    def start(self) -> None:
        """Start the thread; its first pass copies what the record holds already."""
        self._woken.set()
        self._thread.start()

    def wake(self) -> None:
        """Say that the record has grown; returns at once."""
        self._woken.set()

    def close(self, timeout: float | None = None) -> int:
        """Copy what is left, end the thread, and return what MLflow still lacks (0: nothing)."""
        self._closing.set()
        self._woken.set()
        if self._thread.is_alive():
            self._thread.join(timeout)
        return self.behind()

    def behind(self) -> int:
        """How many evaluations MLflow lacks; a change of a trial's state alone counts as one.

        While the thread runs and MLflow takes what it is given, 0: what is a moment old is on its way.
        """
        if self._thread.is_alive() and self.problem is None and not self._closing.is_set():
            return 0
        rows = self._record.rows()
        if self._projection is None:
            return sum(max(1, len(row.evaluations)) for row in rows)
        return self._projection.behind(rows)

    def project(self) -> bool:
        """Copy what MLflow lacks, once and in this thread; never raises, but says whether all went well."""
        with self._passing:
            try:
                if self._projection is None:
                    from tuner.projection import Projection

                    self._projection = Projection(self._record, self._tracking, self._storage)
                self._projection.bring_up_to_date()
            except Exception as error:
                self.problem = f"MLflow at {without_password(self._tracking)} lags behind: {why(error)}"
                logging.getLogger(__name__).debug(self.problem, exc_info=True)
                return False
            self.problem = None
            return True

    def _run(self) -> None:
        last = False
        while not last:
            self._woken.wait(_RETRY if self.problem else None)
            self._woken.clear()
            last = self._closing.is_set()  # before the pass: what was written before close() is copied by it
            self.project()
            self._closing.wait(_PAUSE if self.problem is None else _PAUSE_AFTER_PROBLEM)


def sqlite_file(tracking: str) -> str:
    """The path in a SQLite address."""
    return tracking.partition("///")[2].partition("?")[0]


def _answering(tracking: str) -> "MlflowClient":
    from mlflow import MlflowClient

    client = MlflowClient(tracking_uri=tracking)
    client.search_experiments(max_results=1)
    return client


def _import_quietly() -> None:
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401

    for logger in ("mlflow", "alembic"):
        logging.getLogger(logger).setLevel(logging.WARNING)
    for logger in ("mlflow.store.db", "urllib3.connectionpool"):  # warn of each try, passwords included
        logging.getLogger(logger).setLevel(logging.CRITICAL)  # errors are raised too, and told in a sentence


def _within(seconds: float, call: Callable[[], T]) -> T:
    """The call's result, or TimeoutError: MLflow itself tries a database that is away for minutes."""
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
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)
