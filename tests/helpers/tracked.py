"""Studies played by hand into a real record, and a real MLflow server, for the tests of tracking."""

import math
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from mlflow import MlflowClient
from pytest import approx

from trainers.plan import Plan
from trainers.settings import Regularizer
from trainers.tasks import Task
from trainers.training import Evaluation
from tuner.record import Record
from tuner.rows import Row
from tuner.spec import freeze, load_spec
from tuner.storage import Storage
from tuner.tracker import Tracker
from tuner.tracking import search

STEPS = (30, 90)


def _train(plan: Plan, *, seed: int, device: str = "cpu", folder: Path | None = None) -> Iterator[Evaluation]:
    raise RuntimeError("played by hand")


ORACLE = Task("oracle", "psnr", "maximize", _train, sites={"up0": (8, 8, 8)})
LOWER = Task("lower", "score", "minimize", _train, sites={"up0": (8, 8, 8)})
# More sites than MLflow takes parameters in a batch, and one whose name it does not take.
WIDE = Task(
    "wide",
    "score",
    "maximize",
    _train,
    sites={name: (2, 4, 4) for name in ("layers[2]", *(f"s{i}" for i in range(130)))},
)


def study(folder: Path, *, name: str = "mine", uuid: str = "u1", trials: int = 6, **changes: Any) -> Record:
    """A new study of the analytic task, with evaluations at STEPS and two baselines."""
    spec: dict[str, Any] = {
        "name": name,
        "task": "analytic:TASK",
        "budget": {
            "trials": trials,
            "steps": STEPS[-1],
            "grace": STEPS[0],
            "reduction": 3,
            "baseline_seeds": 2,
        },
        "search": {"scheduler": "none"},
    }
    frozen = freeze(load_spec(spec | changes)).model_copy(update={"uuid": uuid})
    folder.mkdir(parents=True, exist_ok=True)
    return Record.create(f"sqlite:///{folder}/study.db", frozen)


def reopened(folder: Path, name: str = "mine") -> Record:
    """The same study as another process sees it."""
    return Record(f"sqlite:///{folder}/study.db", name)


def measured(value: float, sites: Iterable[str] = ("up0",), density: float = 0.5) -> dict[str, float]:
    """Metrics as a training gives them."""
    each = {"density": density, "removed_energy": 0.1, "mean_abs": density, "hoyer": 0.5, "small": 0.25}
    return {"score": value, "loss": 1.0} | {f"{s}.{name}": one for s in sites for name, one in each.items()}


def attained(density: float, baseline: float) -> dict[str, Any]:
    """What is told of a site that `measured` so, beside baselines of that mean density."""
    own = measured(0, ("s",), density)
    beside = measured(0, ("s",), baseline)
    names = ("density", "removed_energy", "mean_abs", "hoyer", "small")
    told = {name: own[f"s.{name}"] for name in names}
    return approx(told | {f"baseline_{name}": beside[f"s.{name}"] for name in names})


def play(
    record: Record,
    role: str,
    values: Iterable[float],
    *,
    settings: Mapping[str, Regularizer] | None = None,
    extras: Mapping[str, float] | None = None,
    seed: int = 0,
    pair: int | None = None,
    density: float = 0.5,
    metric: str = "score",
) -> Row:
    """Add a trial and evaluate it at the steps in turn; a NaN ends it as diverged."""
    row = record.add(role, seed=seed, settings=settings, extras=extras, pair=pair)
    for step, value in zip(STEPS, values, strict=False):
        told = measured(value, settings or ("up0",), density)
        record.evaluation(role, row.number, step, told | {metric: value})
        if math.isnan(value):
            break
    return record.row(role, row.number)


def tracker(record: Record, tracking: str, folder: Path) -> Tracker:
    """A tracker whose trials' folders lie below `folder`."""
    return Tracker(record, tracking, Storage(str(folder / "trials")))


def runs(tracking: str, query: str = "") -> dict[str, Any]:
    """All MLflow runs by their label, the study's own as "study"; fails where two have one label."""
    found = search(MlflowClient(tracking), query)
    by_label = {run.data.tags.get("trial", "study"): run for run in found}
    assert len(by_label) == len(found), sorted(run.data.tags.get("trial", "study") for run in found)
    return by_label


def history(tracking: str, run: Any, metric: str) -> list[tuple[int, float]]:
    """All points of a metric in order of their steps."""
    points = MlflowClient(tracking).get_metric_history(run.info.run_id, metric)
    return sorted((point.step, point.value) for point in points)


def artifacts(tracking: str, run: Any, folder: str | None = None) -> list[str]:
    """The artifacts of a run, one level of them."""
    return [one.path for one in MlflowClient(tracking).list_artifacts(run.info.run_id, folder)]


def python(code: str, folder: Path | None = None) -> tuple[int, str, str]:
    """What a process of its own returns and prints; it finds these helpers, and works in `folder`."""
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent.parent)])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


class Server:
    """A real `mlflow server` on 127.0.0.1, which can be stopped and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None

    def start(self) -> None:
        """Start it, and wait until it says that it serves."""
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        self._process = subprocess.Popen(
            command,
            env=os.environ
            | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},  # seven processes that we do not need
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        said = []
        assert self._process.stdout is not None
        for line in self._process.stdout:
            said.append(line)
            if "Uvicorn running on" in line:
                # The first answer takes it seconds more, on a busy machine more than the program waits.
                with urlopen(f"{self.url}/api/2.0/mlflow/experiments/search?max_results=1", timeout=300):
                    # It writes a line a request, and hangs once a pipe that nobody reads is full.
                    self._reader = threading.Thread(target=self._process.stdout.read, daemon=True)
                    self._reader.start()
                    return
        raise AssertionError("".join(said))

    def stop(self) -> None:
        """End it and its workers, and wait for that."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)  # its own group, begun by start()
            self._process.wait()
            assert self._process.stdout is not None
            if self._reader is not None:
                self._reader.join()
            self._process.stdout.close()
            self._process = None


def free_port() -> int:
    """A port of 127.0.0.1 where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
