"""What the plan of a study can show, before it is searched: run `python -m benchmarks.plans l1|signal SPEC`.

l1: one λ after another at one site after another, beside the baseline; where the range of a search should
end on both sides. signal: the baseline over seeds, and settings drawn as the search would draw them, each
with several seeds: how far seeds agree (Kendall's τ over the settings), how far a rung tells the end, whether
settings differ at all (F of a one-way analysis of variance). Trainings run as the study's would, one thread
each and as many at once as there are cores; `--set key=value` is that of `search`.
"""

import argparse
import itertools
import json
import math
import multiprocessing
import os
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import optuna
from scipy import stats

from trainers.settings import L1, Regularizer
from trainers.tasks import find_task, prepared_of
from tuner.spec import StudySpec, freeze, load_spec

Job = tuple[str, str, dict[str, Regularizer], int]  # what it is called, the spec as JSON, settings, seed
Curve = dict[int, dict[str, float]]  # step → metrics


def train(job: Job) -> tuple[str, int, Curve]:
    """One training of a study's plan; in a process of its own."""
    import torch

    torch.set_num_threads(1)
    name, spec_json, settings, seed = job
    spec = load_spec(json.loads(spec_json))
    plan = spec.plan_with(settings, {})
    curve = {e.step: e.metrics for e in find_task(spec.task).train(plan, seed=seed)}
    return name, seed, curve


def trained(
    spec: StudySpec, named: Mapping[str, dict[str, Regularizer]], seeds: range, log: Path | None
) -> dict[str, dict[int, Curve]]:
    """{name: {seed: curve}}; each line that is done is printed, and kept in `log` as JSON."""
    text = spec.model_dump_json()
    jobs = [(name, text, settings, seed) for name, settings in named.items() for seed in seeds]
    prepared_of(find_task(spec.task), spec.plan_with({}, {}))  # once, and not by each training at first
    found: dict[str, dict[int, Curve]] = defaultdict(dict)
    with multiprocessing.get_context("spawn").Pool(len(os.sched_getaffinity(0))) as pool:
        for name, seed, curve in pool.imap_unordered(train, jobs):
            found[name][seed] = curve
            values = ", ".join(f"{step}: {metrics[spec.metric()]:.4g}" for step, metrics in curve.items())
            print(f"{name:40} seed {seed}  {values}", flush=True)
            if log is not None:
                with log.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps([name, seed, curve]) + "\n")
    return found


def l1(spec: StudySpec, weights: Iterable[float], seeds: range, log: Path | None) -> None:
    """A table of the last value relative to the baseline's mean, and of mean|h| relative to its own."""
    sites = spec.sparsity_space().sites
    named: dict[str, dict[str, Regularizer]] = {"baseline": {}}
    named |= {f"{site} {weight:g}": {site: L1(weight)} for site in sites for weight in weights}
    found = trained(spec, named, seeds, log)
    metric, last = spec.metric(), spec.budget.steps

    def mean(name: str, of: str) -> float:
        return statistics.fmean(curve[last][of] for curve in found[name].values())

    print(
        f"\n{metric} at step {last}, ratio to the baseline's {mean('baseline', metric):.4g} "
        f"({len(seeds)} seeds); below it mean|h|, ratio to the baseline's"
    )
    print("λ       " + "".join(f"{weight:>9g}" for weight in weights))
    for site in sites:
        for of, label in ((metric, site), (f"{site}.mean_abs", "")):
            ratios = (mean(f"{site} {weight:g}", of) / mean("baseline", of) for weight in weights)
            print(f"{label:8}" + "".join(f"{ratio:9.3f}" for ratio in ratios))
    report(spec, found.pop("baseline"), found, seeds)


def signal(spec: StudySpec, count: int, seeds: range, log: Path | None) -> None:
    """The spread of the baseline, and what `count` drawn settings say of seeds and rungs."""
    space, drawn = spec.sparsity_space(), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    named = {f"{i}": space.suggest(drawn.ask()) for i in range(count)}
    for name, settings in named.items():
        print(name, settings)
    base = trained(spec, {"baseline": {}}, range(seeds.start, seeds.start + 4), log)["baseline"]
    found = trained(spec, named, seeds, log)
    report(spec, base, found, seeds)


def report(
    spec: StudySpec, base: Mapping[int, Curve], found: Mapping[str, Mapping[int, Curve]], seeds: range
) -> None:
    """For each metric one line a step."""
    for metric in (spec.metric(), *spec.companions()):
        print(f"\n{metric}: baseline over {len(base)} seeds; {len(found)} settings × {len(seeds)} seeds")
        for step in spec.evaluate_at():
            print(f"  step {step:>6}: {told(metric, step, spec.budget.steps, base, found)}")


def told(
    metric: str,
    step: int,
    last: int,
    base: Mapping[int, Curve],
    found: Mapping[str, Mapping[int, Curve]],
) -> str:
    """The baseline's mean ± sd at the step, and what the settings' values there say."""
    values = [curve[step][metric] for curve in base.values()]
    rows = [[curve[step][metric] for _, curve in sorted(curves.items())] for curves in found.values()]
    ends = [[curve[last][metric] for _, curve in sorted(curves.items())] for curves in found.values()]
    columns, final = list(zip(*rows, strict=True)), list(zip(*ends, strict=True))
    between = [tau(one, other) for one, other in itertools.combinations(columns, 2)]
    rung = [tau(one, end) for one, end in zip(columns, final, strict=True)]
    spread = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
    text = f"{statistics.fmean(values):.4g}{spread}; τ with the end {statistics.fmean(rung):.2f}"
    if not between:
        return text
    f, p = stats.f_oneway(*[[math.log(max(value, 1e-12)) for value in row] for row in rows])
    return f"{text}, between seeds {statistics.fmean(between):.2f}; settings differ: F = {f:.1f}, p = {p:.2g}"


def tau(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's τ."""
    return float(stats.kendalltau(one, other).statistic)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["l1", "signal"])
    parser.add_argument("spec", help="a preset or a file")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="key=value")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--settings", type=int, default=12, help="how many are drawn (signal)")
    parser.add_argument("--weights", type=float, nargs="+", default=[0.003, 0.01, 0.03, 0.1, 0.3, 1.0])
    parser.add_argument("--log", type=Path)
    asked = parser.parse_args()
    spec, seeds = freeze(load_spec(asked.spec, overrides=asked.overrides)), range(asked.seeds)
    if asked.what == "l1":
        l1(spec, asked.weights, seeds, asked.log)
    else:
        signal(spec, asked.settings, seeds, asked.log)


if __name__ == "__main__":
    main()
