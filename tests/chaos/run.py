"""Injects faults into real studies at moments drawn at random, resumes them until they end, and counts.

    python tests/chaos/run.py [--times 10] [--faults "driver killed,Ctrl-C"] [--tasks dip,gan] [--slots 1,2]

Each study that was disturbed is a line in the ledger, which is added to by every run of this program: it can
go on for hours, in parts. The table is made from the whole ledger; `--times 0` prints it and runs nothing.
"""

# ruff: noqa: E402

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "helpers"), str(_HERE.parents[1])]
os.environ["OMP_NUM_THREADS"] = "1"

from faults import ENDS_IT, FAULTS, KILLS, MAY_END_IT, SIGNALS, Arena, NotInjected
from ledger import Ledger, moments, table
from outcome import recorded, tracked, wrong_decisions
from proxy import Proxy
from small_disk import small_disk
from studies import NAME, Driver, evaluations, spec, trained_again, write
from tracked import Server

from tuner.record import Record

_MOST_STARTS = 40
_STARTED = 4.0  # seconds after which a process has its handlers of signals
_LATEST = 10.0  # seconds in which Ctrl-C and SIGTERM have to end a study
_PATIENCE = 300.0  # seconds in which a study of some seconds has to end
_EVALUATIONS = 6  # at most so many are awaited; a study has about 14
_A_STUDY = 5  # so often one study is disturbed
_FRUITLESS = 20  # studies of a kind, when one in which nothing was injected is the last
_HOUR = 3600.0


class Campaign:
    """Studies that are disturbed, beside the undisturbed one of each kind.

    Args:
        folder: where they are run; those in which something was wrong stay there.
        server: a real MLflow server.
        proxy: the way by which studies reach it.
    """

    def __init__(self, folder: Path, server: Server, proxy: Proxy) -> None:
        self._folder, self._server, self._proxy = folder, server, proxy
        self._undisturbed: dict[tuple[str, int], tuple[dict[str, Any], float]] = {}

    def undisturbed(self, task: str, slots: int) -> tuple[dict[str, Any], float]:
        """What the study comes to when nobody disturbs it, and how many seconds it takes."""
        if (task, slots) not in self._undisturbed:
            folder = self._folder / f"undisturbed-{task}-{slots}"
            shutil.rmtree(folder, ignore_errors=True)
            write(folder, task, slots)
            driver = Driver(folder, ["search", "spec.yaml"], self._proxy.url)
            driver.process.wait()
            took = time.monotonic() - driver.began
            if driver.process.returncode != 0:
                raise RuntimeError(f"the undisturbed study failed: {driver.said()}")
            self._undisturbed[task, slots] = recorded(_record(folder)), took
        return self._undisturbed[task, slots]

    def study(self, fault: str, task: str, slots: int, seed: int, most: int) -> dict[str, Any]:
        """One study, disturbed at most so often, and what was wrong with it at its end."""
        wanted, took = self.undisturbed(task, slots)
        folder = self._folder / f"{fault.replace(' ', '-')}-{task}-{slots}-{seed}"
        shutil.rmtree(folder, ignore_errors=True)
        write(folder, task, slots)
        small = small_disk(folder / "studies", 24) if fault == "storage full" else contextlib.nullcontext()
        with small:
            told = self._disturb(fault, folder, random.Random(f"{fault} {task} {slots} {seed}"), took, most)
            told |= {"fault": fault, "task": task, "slots": slots, "seed": seed, "commit": _commit()}
            told |= self._compare(folder, wanted, task, slots)
            told["faults"] += told.pop("on the way")
            if not told["faults"] and not told["lost"] and not told["doubled"]:
                shutil.rmtree(folder, ignore_errors=True)
        return told

    def _disturb(
        self, fault: str, folder: Path, draw: random.Random, took: float, most: int
    ) -> dict[str, Any]:
        hits: list[dict[str, Any]] = []
        wrong: list[str] = []
        restarts: dict[str, int] = {}
        for start in range(_MOST_STARTS):
            words = ["resume", NAME] if evaluations(folder) >= 0 else ["search", "spec.yaml"]
            back = _HOUR * start if fault == "clock set back" else 0.0
            driver = Driver(folder, words, self._proxy.url, back)
            before, longest = len(hits), took
            while len(hits) < most and _still_runs(driver, folder, draw, longest):
                longest = took / 3
                moment = time.monotonic() - driver.began
                at = evaluations(folder)
                try:
                    FAULTS[fault](Arena(driver, self._proxy, folder, draw))
                except NotInjected:
                    break
                hits.append({"second": round(moment, 1), "evaluations": at})
                if fault in ENDS_IT:
                    began = time.monotonic()
                    driver.wait(_PATIENCE)
                    hits[-1]["ended after"] = after = round(time.monotonic() - began, 1)
                    if after > _LATEST:
                        wrong.append(f"start {start} ended {after} s after its signal")
            if not driver.wait(_PATIENCE):
                wrong.append(f"start {start} did not end within {_PATIENCE:.0f} s: {driver.said()[-500:]}")
                driver.process.kill()
            if "Traceback" in driver.said() or "unforeseen" in driver.said():
                wrong.append(f"start {start} printed {driver.said()[-1500:]}")
            if not _as_it_should(fault, driver, hits[before:]):
                wrong.append(f"start {start} ended with {driver.process.returncode}: {driver.said()[-500:]}")
            wrong += _begun_again(folder, restarts)
            # Nobody ends Ray's two agents behind these: they find out after a minute.
            patience = 90.0 if fault in (*KILLS, "raylet killed") else 15.0
            if left := driver.left_behind(patience):
                wrong.append(f"start {start} left behind {', '.join(left)}")
            if driver.process.returncode == 0 and evaluations(folder) >= 0:
                break
        else:
            wrong.append(f"it was not done after {_MOST_STARTS} starts: {driver.said()[-500:]}")
        if "sparsity-tuner sync" in driver.said() or "MLflow lacks" in driver.said():
            sync = Driver(folder, ["sync", NAME], self._proxy.url)
            sync.wait(_PATIENCE)
            if sync.process.returncode != 0:
                wrong.append(f"sync ended with {sync.process.returncode}: {sync.said()}")
        return {"injected": hits, "starts": start + 1, "on the way": wrong}

    def _compare(self, folder: Path, wanted: dict[str, Any], task: str, slots: int) -> dict[str, Any]:
        with _record(folder) as record:
            rows, runs = recorded(record), tracked(self._server.url, record.uuid)
        faults = [f"decided otherwise: {one}" for one in self._decisions(record)]
        asked = {*map(str, range(spec(task, slots)["budget"]["trials"])), "baseline:0"}
        open_ = {label for label, row in rows.items() if row["state"] == "RUNNING"}
        lost = len((asked - set(rows)) | open_) + len(set(rows) - set(runs))
        doubled = len(set(rows) - asked) + sum(len(each) - 1 for each in runs.values())
        for label, row in rows.items():
            faults += [
                f"MLflow has of {label} {one}" for run in runs.get(label, []) if (one := _other(row, run))
            ]
        if slots == 1:
            faults += [
                f"{label} is {rows.get(label)} and was {row}"
                for label, row in wanted.items()
                if rows.get(label) != row
            ]
        else:
            for row, given in trained_again(folder):
                kept = {one.step: one.metrics for one in row.evaluations}
                if kept != given:
                    faults.append(f"{row.label} measured {kept}, and undisturbed {given}")
        written = sum(len(row["evaluations"]) for row in rows.values())
        return {
            "evaluations": written,
            "trials": len(rows),
            "lost": lost,
            "doubled": doubled,
            "faults": faults,
        }

    @staticmethod
    def _decisions(record: Record) -> list[str]:
        return wrong_decisions(record.rows("proposal"), record.spec, record.metric, record.direction)


def _still_runs(driver: Driver, folder: Path, draw: random.Random, took: float) -> bool:
    """Let time go by, so long as is drawn or until some more evaluations are written; whether it runs then.

    By time alone most moments would fall into the start of Ray, which is half of so small a study.
    """
    if draw.random() < 0.5:
        return not driver.wait(draw.uniform(0, took))
    wanted = max(0, evaluations(folder)) + draw.randint(1, _EVALUATIONS)
    while evaluations(folder) < wanted:
        if driver.wait(0.1):
            return False
    return not driver.wait(draw.uniform(0, 1))


def _begun_again(folder: Path, restarts: dict[str, int]) -> list[str]:
    """Trials that had an evaluation, and with it a checkpoint, and yet began again in this start."""
    if evaluations(folder) < 0:
        return []
    with _record(folder) as record:
        now = {row.label: row.restarts for row in record.rows()}
        again = [label for label, count in restarts.items() if now[label] > count]
        restarts |= {row.label: row.restarts for row in record.rows() if row.evaluations}
    return [f"{label} began again, with a checkpoint there" for label in again]


def _as_it_should(fault: str, driver: Driver, hits: list[dict[str, Any]]) -> bool:
    """Whether a start ended as that fault may end one, or else well."""
    status, said = driver.process.returncode, driver.said()
    if status == 0:
        return True
    if not hits:
        return False
    written = hits[-1]["evaluations"] >= 0
    if fault in KILLS:
        return status == -9
    if fault in SIGNALS:  # before or behind Python's own handlers a signal ends the process by itself
        bare = hits[-1]["second"] < _STARTED or "Export" in said
        return (status == 130 and ("goes on from here: " in said or not written or bare)) or (
            status in (-2, -15) and bare
        )
    return status == 1 and (fault in MAY_END_IT or not written)


def _record(folder: Path) -> Record:
    return Record(f"sqlite:///{folder}/studies/{NAME}/study.db", NAME)


def _commit() -> str:
    """What was tried."""
    asked = ["git", "-C", str(_HERE), "describe", "--always", "--dirty"]
    return subprocess.run(asked, capture_output=True, text=True).stdout.strip()


def _other(row: dict[str, Any], run: dict[str, Any]) -> str | None:
    """What a run has that its trial has not, or the other way round."""
    if run["tags"].get("state") != row["state"]:
        return f"the state {run['tags'].get('state')} for {row['state']}"
    names = {name for one in row["evaluations"].values() for name in one}
    for name in names:
        points = [(step, one[name]) for step, one in sorted(row["evaluations"].items()) if name in one]
        if run["points"].get(name) != points:
            return f"{name} {run['points'].get(name)} for {points}"
    return None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--times", type=int, default=10, help="so many injections of each fault, task and slots"
    )
    parser.add_argument("--faults", default=",".join(FAULTS))
    parser.add_argument("--tasks", default="dip,gan")
    parser.add_argument("--slots", default="1,2")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no study after so long")
    parser.add_argument("--ledger", type=Path, default=Path(".chaos/ledger.jsonl"))
    parser.add_argument("--folder", type=Path, help="where the studies lie [a temporary one]")
    told = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what it has started ends with it
    ledger, began = Ledger(told.ledger), time.monotonic()
    kinds = [
        (fault, task, int(slots))
        for fault in told.faults.split(",")
        for task in told.tasks.split(",")
        for slots in told.slots.split(",")
    ]
    folder = told.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    kept, spared = len(ledger.lines), set[tuple[str, str, int]]()
    if any(ledger.injected(*kind) < told.times for kind in kinds):
        with _campaign(folder) as campaign:
            while time.monotonic() - began < told.minutes * 60:
                missing = [
                    kind for kind in kinds if ledger.injected(*kind) < told.times and kind not in spared
                ]
                if not missing:
                    break
                fault, task, slots = min(missing, key=lambda kind: ledger.injected(*kind))
                most = min(_A_STUDY, told.times - ledger.injected(fault, task, slots))
                line = campaign.study(fault, task, slots, ledger.studies(fault, task, slots), most)
                ledger.add(line)
                print(json.dumps(line)[:2000], flush=True)
                if not line["injected"] and ledger.studies(fault, task, slots) >= _FRUITLESS:
                    spared.add((fault, task, slots))  # nothing to do it to is ever there
    print(table(ledger.lines))
    print(moments(ledger.lines))
    bad = any(line["lost"] or line["doubled"] or line["faults"] for line in ledger.lines[kept:])
    return 1 if bad or spared else 0


@contextlib.contextmanager
def _campaign(folder: Path) -> Iterator[Campaign]:
    (folder / "server").mkdir(parents=True, exist_ok=True)
    server = Server(folder / "server")
    server.start()
    try:
        with contextlib.closing(Proxy(server.port)) as proxy:
            yield Campaign(folder, server, proxy)
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
