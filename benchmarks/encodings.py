"""How the choice of sites is encoded, compared on synthetic landscapes: run `python -m benchmarks.encodings`.

Four sites, three kinds; a kind and a narrow range of its strength are good at one site (`one`) or, half
each, at two sites (`two`), and everything else costs a little. Printed are, over the seeds, the median of
the best value after 24 and 60 trials and the share of the last 20 proposals in the good region.
"""

from __future__ import annotations

import argparse
import itertools
import math
import statistics
from collections.abc import Callable, Mapping
from typing import Any

import optuna

from search_spaces.sparsity import SparsitySpace
from trainers.settings import L0, L1, Regularizer
from tuner.sampling import make_sampler, seed_of

SITES = ("down1", "up0", "up1", "code")
RANGES = {"l1": (1e-3, 1.0), "l0": (0.05, 0.5), "l0inf": (1, 12)}
SPACE = SparsitySpace(SITES, 2, {site: RANGES for site in SITES})
SUBSETS = [subset for count in (1, 2) for subset in itertools.combinations(SITES, count)]
Draw = Callable[[Any], Mapping[str, Regularizer]]


def bump(strength: float, best: float) -> float:
    """1 at the best strength, 0.37 a factor of 1.35 away from it."""
    return math.exp(-((math.log(strength / best) / 0.3) ** 2))


def value(settings: Mapping[str, Regularizer], landscape: str) -> float:
    """What settings gain: at most 1, below 0 where they only cost."""
    gain = 0.0
    for site, regularizer in settings.items():
        if site == "up0" and isinstance(regularizer, L0):
            gain += bump(regularizer.keep, 0.25) * (1.0 if landscape == "one" else 0.5)
        elif site == "down1" and isinstance(regularizer, L1) and landscape == "two":
            gain += 0.5 * bump(regularizer.weight, 0.05)
        else:
            gain -= 0.3
    return gain


def flat(trial: Any) -> Mapping[str, Regularizer]:
    """One categorical over all subsets."""
    taken = SUBSETS[trial.suggest_categorical("subset", range(len(SUBSETS)))]
    return {site: SPACE._suggest_regularizer(trial, site) for site in taken}


def categorical_count(trial: Any) -> Mapping[str, Regularizer]:
    """As ours, with a categorical count."""
    count = trial.suggest_categorical("count", (1, 2))
    first = trial.suggest_categorical("site1", SITES)
    taken = [first]
    if count == 2:
        taken.append(trial.suggest_categorical(f"site2|{first}", [site for site in SITES if site != first]))
    return {site: SPACE._suggest_regularizer(trial, site) for site in taken}


ENCODINGS: dict[str, tuple[str, Draw]] = {
    "random search": ("random", SPACE.suggest),
    "one categorical over all subsets": ("tpe", flat),
    "categorical count, site1, site2|FIRST": ("tpe", categorical_count),
    "count, site1, site2|FIRST (ours)": ("tpe", SPACE.suggest),
}


def search(sampler: str, draw: Draw, landscape: str, seed: int, trials: int) -> list[float]:
    """The values of one study, in order; the sampler is made anew for each proposal, as in the record."""
    study = optuna.create_study(direction="maximize")
    values = []
    for number in range(trials):
        study.sampler = make_sampler(sampler, seed=seed_of(seed, number), startup_trials=10)
        trial = study.ask()
        values.append(value(draw(trial), landscape))
        study.tell(trial, values[-1])
    return values


def main() -> None:
    """Print one line for each encoding and landscape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    seeds = parser.parse_args().seeds
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    print(f"{'encoding':<40} {'landscape':<9} {'best at 24':>10} {'at 60':>7} {'share':>6}   ({seeds} seeds)")
    for (name, (sampler, draw)), landscape in itertools.product(ENCODINGS.items(), ("one", "two")):
        studies = [search(sampler, draw, landscape, seed, 60) for seed in range(seeds)]
        early, late = (statistics.median(max(values[:n]) for values in studies) for n in (24, 60))
        share = statistics.mean(one > 0.7 for values in studies for one in values[-20:])
        print(f"{name:<40} {landscape:<9} {early:>10.2f} {late:>7.2f} {share:>6.2f}", flush=True)


if __name__ == "__main__":
    main()
