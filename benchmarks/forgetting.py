"""What it costs, and saves, that TPE learns from the best and the newest trials alone.

`tuner.sampling.overlooked` says which these are:

    python -m benchmarks.forgetting [--trials 900] [--seeds 4]

Whole records, with ASHA, on the landscapes of `benchmarks.encodings`: proposed beside each other from all
trials and from those that the sampler is shown. Printed are, over the seeds, the median of the best value,
the share of the last 100 proposals in the good region, and the CPU seconds of one of the last 100 proposals.
"""

import argparse
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.encodings import RANGES, SITES, value
from trainers.plan import Plan
from trainers.tasks import Task
from trainers.training import Evaluation
from tuner import sampling
from tuner.record import Record
from tuner.spec import freeze, load_spec


def _train(plan: Plan, *, seed: int, device: str = "cpu", folder: Path | None = None) -> Iterator[Evaluation]:
    raise RuntimeError("played by hand")


TASK = Task("landscape", "score", "maximize", _train, sites={name: (16, 8, 8) for name in SITES})


def play(root: Path, landscape: str, seed: int, trials: int, shown: int) -> tuple[list[float], float]:
    """The values of a study in order, and the CPU seconds of one of its last 100 proposals."""
    regularizers = {
        "l1": {"weight": RANGES["l1"]},
        "l0": {"keep": RANGES["l0"]},
        "l0inf": {"k": RANGES["l0inf"]},
    }
    spec = {
        "name": f"{landscape}-{seed}-{shown}",
        "task": "benchmarks.forgetting:TASK",
        "budget": {"trials": trials, "steps": 90, "grace": 10, "reduction": 3},
        "space": {"max_sites": 2, "regularizers": regularizers},
        "search": {"seed": seed},
    }
    frozen = freeze(load_spec(spec)).model_copy(update={"uuid": "u1"})
    record = Record.create(f"sqlite:///{root}/{spec['name']}.db", frozen)
    sampling.LEARNS_FROM = shown
    values, took = [], []
    for _ in range(trials):
        began = time.thread_time()
        row = record.propose()
        took.append(time.thread_time() - began)
        values.append(value(row.settings, landscape))
        for step in frozen.evaluate_at():
            if (
                record.evaluation("proposal", row.number, step, {"score": values[-1] * step / 90})
                != "RUNNING"
            ):
                break
    record.close()
    return values, statistics.mean(took[-100:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trials", type=int, default=900)
    parser.add_argument("--seeds", type=int, default=4)
    told = parser.parse_args()
    print(f"{told.trials} trials, {told.seeds} seeds; {platform.machine()}, {os.cpu_count()} CPUs")
    print(
        f"{'landscape':<10} {'learns from':<12} {'best':>6} {'in good region':>19} {'CPU s a proposal':>17}"
    )
    few = sampling.LEARNS_FROM
    with tempfile.TemporaryDirectory() as root:
        for landscape in ("one", "two"):
            played = {
                shown: [play(Path(root), landscape, seed, told.trials, shown) for seed in range(told.seeds)]
                for shown in (told.trials, few)
            }
            for shown, studies in played.items():
                best = statistics.median(max(values) for values, _ in studies)
                share = statistics.mean(one > 0.7 for values, _ in studies for one in values[-100:])
                cost = statistics.mean(one for _, one in studies)
                name = "all" if shown == told.trials else str(shown)
                print(f"{landscape:<10} {name:<12} {best:>6.3f} {share:>19.2f} {cost:>17.3f}", flush=True)


if __name__ == "__main__":
    main()
