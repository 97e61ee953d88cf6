"""How well an objective that needs no clean picture ranks settings: `python -m benchmarks.objectives SPEC`.

Settings are drawn as a search would draw them, and each is trained once for each photograph and objective, on
a clean photograph to which noise is added, so that the true PSNR is known, too. A line for each: Kendall's τ
of the objective with PSNR over the settings, with its p; PSNR of the baseline, of the setting that the
objective picks, and of the best one. Trainings run one thread each and as many at once as there are cores.
"""

import argparse
import os
from pathlib import Path

import optuna
from scipy import stats

from benchmarks.plans import trained
from tuner.spec import freeze, load_spec

PSNR = "psnr"


def compare(asked: argparse.Namespace, image: str, objective: str) -> str:
    """One line of the table."""
    overrides = [*asked.overrides, f"plan.image={image}", f"plan.objective={objective}"]
    spec = freeze(load_spec(asked.spec, overrides=overrides))
    space, drawn = spec.sparsity_space(), optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    named = {"baseline": {}} | {f"{i}": space.suggest(drawn.ask()) for i in range(asked.settings)}
    found = trained(spec, named, range(spec.search.seed, spec.search.seed + 1), asked.log)
    last = {name: curves[spec.search.seed][spec.budget.steps] for name, curves in found.items()}
    baseline, sign = last.pop("baseline"), 1 if spec.direction() == "maximize" else -1
    score = [sign * of[objective] for of in last.values()]
    psnr = [of[PSNR] for of in last.values()]
    agreed = stats.kendalltau(score, psnr)
    picked = psnr[max(range(len(score)), key=score.__getitem__)]
    return (
        f"{image:12} {objective:9} {spec.budget.steps:>6} {agreed.statistic:+.2f} (p = {agreed.pvalue:.1g})  "
        f"{baseline[PSNR]:.2f}  {picked:.2f}  {max(psnr):.2f}"
    )


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("spec", help="a preset or a file of task dip")
    parser.add_argument("--set", action="append", default=[], dest="overrides", metavar="key=value")
    parser.add_argument("--images", nargs="+", default=["astronaut", "chelsea"])
    parser.add_argument("--objectives", nargs="+", default=["held_out", "sure"])
    parser.add_argument("--settings", type=int, default=40, help="how many are drawn")
    parser.add_argument("--log", type=Path)
    asked = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    lines = [compare(asked, image, objective) for image in asked.images for objective in asked.objectives]
    print("\nphotograph   objective  steps τ with PSNR       PSNR: baseline, picked, best")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
