"""What a trial costs beside its training: run `python -m benchmarks.overhead`.

The same study of trivial trials, side by side in one run: ours (record, decisions, MLflow) and the stock
parts (Ray Tune, OptunaSearch, ASHAScheduler, MLflowLoggerCallback on SQLite), in pairs; the ratio is
ours / stock.
"""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from trainers.plan import Plan
from trainers.tasks import Task
from trainers.training import Evaluation
from tuner.study import run

STEPS = (30, 90, 270)


def train(plan: Plan, *, seed: int, device: str = "cpu", folder: Path | None = None) -> Iterator[Evaluation]:
    """A training that takes no time."""
    for step in plan.evaluate_at:
        yield Evaluation(step, {"score": len(plan.settings) + step / 1000})


TASK = Task("trivial", "score", "maximize", train, sites={"a": (8, 4, 4), "code": (8, 4, 4)})


def ours(trials: int, folder: Path) -> None:
    """Our study."""
    budget = {"trials": trials, "steps": 270, "grace": 30, "reduction": 3, "baseline_seeds": 1}
    spec = {"name": "overhead", "task": "benchmarks.overhead:TASK", "budget": budget}
    run(spec, root=folder, tracking=f"sqlite:///{folder}/mlflow.db")


def stock_train(config: dict[str, Any]) -> None:
    """The same training as a Ray function."""
    from ray import tune

    for step in STEPS:
        tune.report({"score": config["keep"] + step / 1000, "step": step})


def stock(trials: int, folder: Path) -> None:
    """The stock parts, put together as their documentation does."""
    import optuna
    from ray import tune
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.schedulers import ASHAScheduler
    from ray.tune.search.optuna import OptunaSearch

    space = {"keep": optuna.distributions.FloatDistribution(0.05, 0.5, log=True)}
    rungs = ASHAScheduler(
        time_attr="step", metric="score", mode="max", grace_period=30, max_t=270, reduction_factor=3
    )
    mlflow = MLflowLoggerCallback(tracking_uri=f"sqlite:///{folder}/mlflow.db", experiment_name="stock")
    tune.Tuner(
        stock_train,
        tune_config=tune.TuneConfig(
            search_alg=OptunaSearch(space, metric="score", mode="max", seed=0),
            scheduler=rungs,
            num_samples=trials,
            max_concurrent_trials=2,
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(storage_path=str(folder), verbose=0, callbacks=[mlflow]),
    ).fit()


def main() -> None:
    """Print seconds a trial of both, and their ratio in pairs."""
    import ray

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--pairs", type=int, default=3)
    asked = parser.parse_args()
    sys.path.insert(0, os.getcwd())
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    ratios = []
    for _ in range(asked.pairs):
        took = []
        for part in (ours, stock):
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                part(asked.trials, Path(folder))
                took.append((time.perf_counter() - began) / asked.trials)
        ratios.append(took[0] / took[1])
        print(f"ours {took[0]:.2f} s a trial, stock {took[1]:.2f} s a trial, ratio {ratios[-1]:.2f}")
    ray.shutdown()
    machine = f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}"
    print(f"{asked.trials} trials, median ratio {statistics.median(ratios):.2f} ({machine})")


if __name__ == "__main__":
    main()
