"""Kills a study at every moment at which something is written for good, resumes it, and compares.

    python tests/chaos/every_commit.py [--slots 1] [--every 1] [--folder DIR]

Moments are the ends of transactions, of the record's and of MLflow's database, the making of each table, and
both sides of each rename.
The study that was killed at moment k and begun again has to equal the one that nobody disturbed, for each k.
"""

# ruff: noqa: E402

import argparse
import os
import pickle
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "helpers"), str(_HERE.parents[1])]

import torch
from loop import SPEC, Points, search
from outcome import recorded, tracked, wrong_decisions

from tuner.record import Record
from tuner.tracking import check


def in_a_process(do: Callable[[], Any]) -> Any:
    """What `do` returns in a forked process of its own; None where that was killed."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(read)
        try:
            with os.fdopen(write, "wb") as out:
                pickle.dump(do(), out)
            os._exit(0)
        except BaseException:
            import traceback

            traceback.print_exc()
            os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as given:
        content = given.read()
    status = os.waitpid(pid, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return None
    if status != 0:
        raise RuntimeError(f"the process ended with {status}")
    return pickle.loads(content)


def study(root: Path, store: Path, slots: int, at: int | None = None) -> Callable[[], list[str]]:
    """A study below `root`, killed at moment `at`; the names of its moments."""

    def do() -> list[str]:
        torch.set_num_threads(1)
        points = Points(at)
        if not (root / "mlflow.db").exists():
            root.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(store, root / "mlflow.db")
        search(root, SPEC | {"resources": {"concurrent": slots}}, points)
        return points.names

    return do


def came_to(root: Path) -> Callable[[], tuple[dict[str, Any], dict[str, Any], list[str]]]:
    """What the study below `root` has in its record and in MLflow, and decisions that do not follow."""

    def do() -> tuple[dict[str, Any], dict[str, Any], list[str]]:
        record = Record(f"sqlite:///{root}/small/study.db", "small")
        wrong = wrong_decisions(record.rows("proposal"), record.spec, record.metric, record.direction)
        return recorded(record), tracked(f"sqlite:///{root}/mlflow.db", record.uuid), wrong

    return do


def faults(root: Path, undisturbed: Any, slots: int) -> list[str]:
    """In what the study below `root` differs from the undisturbed one, in a few words each."""
    rows, runs, wrong = in_a_process(came_to(root))
    found = [f"decided otherwise: {one}" for one in wrong]
    found += [f"{len(each)} runs of {label or 'the study'}" for label, each in runs.items() if len(each) != 1]
    if set(rows) != set(undisturbed[0]):
        found.append(f"trials {sorted(rows)}")
    if set(runs) != set(undisturbed[1]):
        found.append(f"runs {sorted(runs)}")
    for label, row in rows.items():
        if row["state"] == "RUNNING":
            found.append(f"{label} is still RUNNING")
        points = {step: one["score"] for step, one in row["evaluations"].items()}
        for run in runs.get(label, []):
            if dict(run["points"].get("score", ())) != points or run["tags"]["state"] != row["state"]:
                found.append(f"MLflow has another history of {label}")
    if slots == 1:
        found += [
            f"{label}: {rows.get(label)} for {row}"
            for label, row in undisturbed[0].items()
            if rows.get(label) != row
        ]
        found += [
            f"MLflow's {label or 'study'}: {runs[label]} for {each}"
            for label, each in undisturbed[1].items()
            if label in runs and runs[label] != each
        ]
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, help="only every n-th moment")
    parser.add_argument("--first", type=int, default=1, help="beginning with this one")
    parser.add_argument("--folder", type=Path)
    told = parser.parse_args()
    folder = told.folder or Path(tempfile.mkdtemp(prefix="every-commit-"))
    store = folder / "empty.db"
    check(f"sqlite:///{store}")
    names = in_a_process(study(folder / "undisturbed", store, told.slots))
    undisturbed = in_a_process(came_to(folder / "undisturbed"))
    print(f"{len(names)} moments, {len(undisturbed[0])} trials")
    began, bad, hit = time.monotonic(), 0, Counter[str]()
    for at in range(told.first, len(names) + 1, told.every):
        root = folder / "killed"
        if in_a_process(study(root, store, told.slots, at)) is not None:
            raise RuntimeError(f"the study ended before moment {at} of {len(names)}")
        in_a_process(study(root, store, told.slots))
        found = faults(root, undisturbed, told.slots)
        hit[names[at - 1]] += 1
        bad += bool(found)
        for one in found:
            print(f"moment {at} ({names[at - 1]}): {one}"[:600], flush=True)
        shutil.rmtree(root)
        if hit.total() % 20 == 0:
            print(
                f"{hit.total()} kills, the last at moment {at} of {len(names)}, {bad} with a fault",
                flush=True,
            )
    print(f"{hit.total()} kills in {time.monotonic() - began:.0f} s, {bad} of them with a fault")
    for name, count in hit.most_common():
        print(f"  {count:4} {name}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
