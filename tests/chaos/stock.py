"""The same study on the stock parts: Ray Tune, OptunaSearch, ASHA, MLflowLoggerCallback and Tuner.restore.

    python tests/chaos/stock.py [--times 2] [--faults "driver killed,…"]

Built as their documentation has it: the sampler's study in SQLite, a checkpoint with each report,
`max_failures`, and after each fault the same script again, which restores what it finds. Counted as `run.py`
counts.
"""

# ruff: noqa: E402

import argparse
import contextlib
import json
import os
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "helpers"), str(_HERE.parents[1])]
os.environ["OMP_NUM_THREADS"] = "1"

from faults import ENDS_IT, FAULTS, Arena, NotInjected
from ledger import Ledger, table
from mlflow import MlflowClient
from proxy import Proxy
from small_disk import small_disk
from studies import Driver, spec
from tracked import Server

_TRIALS = 6  # the proposals and the baseline of ours
_MOST_STUDIES = 12  # of a fault
_MOST_STARTS = 6
_PATIENCE = 180.0
_HOUR = 3600.0
_MEGABYTES = 64  # of the disk that it is written on
_ENDED = "ENDED "


def train(config: dict[str, Any]) -> None:
    """Deep Image Prior as a function for Tune: a checkpoint with each report, and continued from one."""
    from ray import tune

    from trainers.dip import train_dip
    from tuner.spec import load_spec

    study = load_spec(spec("dip", 1))
    plan = study.plan_with(_settings(config), {})
    folder = Path(tempfile.mkdtemp())
    kept = tune.get_checkpoint()
    if kept:
        kept.to_directory(folder)
    for one in train_dip(plan, seed=0, folder=folder):
        tune.report(
            {"psnr": one.metrics["psnr"], "step": one.step}, checkpoint=tune.Checkpoint.from_directory(folder)
        )


def _settings(config: dict[str, Any]) -> dict[str, Any]:
    from trainers.settings import L0, L1

    made = L0(keep=config["keep"]) if config["kind"] == "l0" else L1(weight=config["weight"])
    return {config["site"]: made}


def space(trial: Any) -> None:
    trial.suggest_categorical("site", ["down1", "up0", "code"])
    if trial.suggest_categorical("kind", ["l0", "l1"]) == "l0":
        trial.suggest_float("keep", 0.05, 0.5, log=True)
    else:
        trial.suggest_float("weight", 1e-3, 1.0, log=True)


def drive(folder: Path, tracking: str) -> None:
    """One start of the study: a new one, or what `Tuner.restore` makes of the one that is there."""
    import ray
    from optuna.storages import RDBStorage
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    path = folder / "tune" / "tried"
    if tune.Tuner.can_restore(str(path)):
        tuner = tune.Tuner.restore(
            str(path), train, resume_unfinished=True, restart_errored=False, resume_errored=True
        )
    else:
        search = OptunaSearch(
            space,
            metric="psnr",
            mode="max",
            study_name="tried",
            storage=RDBStorage(f"sqlite:///{folder}/optuna.db"),
            seed=0,
        )
        tuner = tune.Tuner(
            train,
            tune_config=tune.TuneConfig(
                search_alg=search,
                scheduler=ASHAScheduler(
                    time_attr="step",
                    metric="psnr",
                    mode="max",
                    grace_period=30,
                    max_t=270,
                    reduction_factor=3,
                ),
                num_samples=_TRIALS,
                max_concurrent_trials=1,
            ),
            run_config=tune.RunConfig(
                name="tried",
                storage_path=str(folder / "tune"),
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=8),
                callbacks=[MLflowLoggerCallback(tracking_uri=tracking, experiment_name=folder.parent.name)],
            ),
        )
    results = tuner.fit()
    ended = [one.metrics for one in results if one.error is None and one.metrics and "psnr" in one.metrics]
    trials = sorted([sorted(each["config"].items()), each["step"], each["psnr"]] for each in ended)
    print(_ENDED + json.dumps({"trials": trials, "errors": sum(one.error is not None for one in results)}))


def study(
    fault: str, seed: int, folder: Path, server: Server, proxy: Proxy, wanted: dict[str, Any], most: int
) -> dict[str, Any]:
    """One study, disturbed at most so often; what is wrong with it when it ends, or cannot be restored.

    Whoever has ended it, or has seen it end with less than all, starts it again; two more starts that come
    to the same are its end.
    """
    draw = random.Random(f"stock {fault} {seed}")
    hits: list[dict[str, Any]] = []
    faults: list[str] = []
    came: list[dict[str, Any]] = []
    for start in range(_MOST_STARTS):
        driver = _Stock(folder, proxy.url, _HOUR * start if fault == "clock set back" else 0.0)
        before = len(hits)
        while len(hits) < most and not driver.wait(draw.uniform(0, wanted["took"])):
            second = round(time.monotonic() - driver.began, 1)
            try:
                FAULTS[fault](Arena(driver, proxy, folder, draw))
            except NotInjected:
                break
            hits.append({"second": second})
            if fault in ENDS_IT:
                driver.wait(_PATIENCE)
                hits[-1]["ended after"] = round(time.monotonic() - driver.began - second, 1)
        if not driver.wait(_PATIENCE):
            faults.append(f"start {start} did not end within {_PATIENCE:.0f} s")
            driver.process.kill()
        if left := driver.left_behind(90.0):
            faults.append(f"start {start} left behind {', '.join(left)}")
        if _ENDED in driver.said():
            came.append(driver.came_to())
            disturbed = fault in ENDS_IT and len(hits) > before
            if len(came[-1]["trials"]) == _TRIALS or (not disturbed and came[-3:] == came[-1:] * 3):
                break
    last: dict[str, Any] = came[-1] if came else {"trials": [], "errors": 0}
    if not came:
        said = driver.said().strip().splitlines() or [""]
        faults.append(f"never restored: {said[-1][:300]}")
    if last["errors"]:
        faults.append(f"{last['errors']} trials ended in an error")
    if missed := sum(one not in last["trials"] for one in wanted["trials"]):
        faults.append(f"{missed} of {_TRIALS} trials of an undisturbed study are not among its own")
    client = MlflowClient(server.url)
    experiment = client.get_experiment_by_name(folder.name)
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    open_ = sum(run.info.status == "RUNNING" for run in runs)
    if open_:
        faults.append(f"{open_} runs of MLflow are left RUNNING")
    states = _optuna(folder / "studies")
    if states.count("RUNNING"):
        faults.append(f"{states.count('RUNNING')} trials of Optuna are left RUNNING")
    return {
        "fault": fault,
        "task": "stock dip",
        "slots": 1,
        "seed": seed,
        "injected": hits,
        "starts": start + 1,
        "trials": _TRIALS,
        "evaluations": 1,
        "lost": _TRIALS - len(last["trials"]),
        "doubled": max(0, len(runs) - _TRIALS) + max(0, len(states) - _TRIALS),
        "faults": faults,
    }


def _optuna(folder: Path) -> list[str]:
    import optuna

    if not (folder / "optuna.db").exists():
        return []
    with contextlib.suppress(KeyError):
        found = optuna.load_study(study_name="tried", storage=f"sqlite:///{folder}/optuna.db")
        return [trial.state.name for trial in found.trials]
    return []


class _Stock(Driver):
    """This script as the process that is disturbed."""

    program = (str(Path(__file__).resolve()),)

    def __init__(self, folder: Path, tracking: str, back: float = 0.0) -> None:
        super().__init__(folder, ["--drive", str(folder / "studies"), "--back", str(back)], tracking)

    def came_to(self) -> dict[str, Any]:
        """The trials that it has told of when it ended."""
        told: dict[str, Any] = json.loads(self.said().rpartition(_ENDED)[2].splitlines()[0])
        return told


def undisturbed(folder: Path, tracking: str) -> dict[str, Any]:
    """What the study comes to when nobody disturbs it, and how many seconds it takes."""
    (folder / "studies").mkdir(parents=True)
    driver = _Stock(folder, tracking)
    driver.process.wait()
    took = time.monotonic() - driver.began
    if _ENDED not in driver.said():
        raise RuntimeError(driver.said())
    return driver.came_to() | {"took": took}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=2, help="so many injections of each fault")
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--ledger", type=Path, default=Path(".chaos/ledger.jsonl"))
    parser.add_argument("--drive", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--tracking", help=argparse.SUPPRESS)
    parser.add_argument("--back", type=float, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.drive:
        if told.back:
            now = time.time
            time.time = lambda: now() - told.back
        drive(told.drive, told.tracking)
        return 0
    ledger, folder = Ledger(told.ledger), Path(tempfile.mkdtemp(prefix="stock-"))
    (folder / "server").mkdir()
    server = Server(folder / "server")
    server.start()
    try:
        with contextlib.closing(Proxy(server.port)) as proxy:
            wanted = undisturbed(folder / "undisturbed", proxy.url)
            for fault in told.faults.split(","):
                while (done := ledger.injected(fault, "stock dip", 1)) < told.times:
                    seed = ledger.studies(fault, "stock dip", 1)
                    if seed >= _MOST_STUDIES:
                        break
                    one = folder / f"{fault.replace(' ', '-')}-{seed}"
                    one.mkdir()
                    with small_disk(one / "studies", _MEGABYTES):
                        line = study(fault, seed, one, server, proxy, wanted, min(4, told.times - done))
                    ledger.add(line)
                    print(line, flush=True)
                    shutil.rmtree(one, ignore_errors=True)
    finally:
        server.stop()
    print(table(ledger.lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
