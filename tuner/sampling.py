"""Who proposes: Optuna's samplers by name, each a function of a seed and of the trials it is shown."""

from __future__ import annotations

import difflib
import heapq
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from trainers.settings import Mistake
from tuner.states import COMPLETE, DIVERGED, OUT_OF_MEMORY, PRUNED

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

    from tuner.rows import Row

SAMPLERS = ("tpe", "random", "gp", "qmc")
LEARNS_FROM = 250  # ended trials at most: `tpe` and `gp` take longer the more they are shown
BEST = 25  # of these, however old: as many as TPE ever counts as good
STATIC_ONLY = {
    "gp": "it models only parameters that every trial has",
    "qmc": "its sequence needs the same parameters in every trial",
}


def check_sampler(name: str, static: bool) -> None:
    """Refuse a sampler that does not exist, or one that cannot search a conditional space.

    Raises:
        Mistake: `name` is not among SAMPLERS, or is in STATIC_ONLY while `static` is false.
    """
    if name not in SAMPLERS:
        near = difflib.get_close_matches(str(name), SAMPLERS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise Mistake(f"search.sampler is {name!r}, but the samplers are {', '.join(SAMPLERS)}{hint}")
    if name in STATIC_ONLY and not static:
        raise Mistake(
            f"search.sampler is {name!r}, but this space is conditional (the parameters of a trial depend "
            f"on the sites and kinds it draws) and {STATIC_ONLY[name]}: search one site with one "
            "regularizer, or take tpe or random"
        )


def seed_of(seed: int, number: int) -> int:
    """The sampler's seed for proposal `number` of a study: unlike its neighbours', the same after a kill.

    >>> seed_of(0, 7) == seed_of(0, 7) != seed_of(0, 8)
    True
    """
    return int(np.random.SeedSequence([seed, number]).generate_state(1)[0])


def overlooked(rows: Sequence[Row], *, sampler: str, metric: str, direction: str) -> frozenset[int]:
    """The numbers of the proposals that the sampler is not shown: of many, all but the best and the newest.

    TPE divides what it is shown into the best 25 (of fewer than 250 a tenth) and the others, of which the
    old ones weigh least. So it is shown the best 25, in Optuna's order (who came furthest, then the value
    there), and of the others the newest: what it counts as good is the same as if it saw all. A function of
    the rows alone, so that a kill changes no proposal. `benchmarks/forgetting.py` compares the two.

    Args:
        rows: the proposals, in order of their numbers.
        sampler: one of SAMPLERS; `random` learns nothing and `qmc` counts all, so both are shown all.
        metric: whose value counts.
        direction: "minimize" or "maximize".
    """
    ended = [row for row in rows if row.state in (COMPLETE, PRUNED)]
    if sampler not in ("tpe", "gp") or len(ended) <= LEARNS_FROM:
        return frozenset()
    sign = 1 if direction == "minimize" else -1

    def rank(row: Row) -> tuple[int, float]:
        last = row.evaluations[-1]
        return -last.step, sign * last.metrics[metric]

    sound = (row for row in ended if row.reason not in (DIVERGED, OUT_OF_MEMORY))
    best = {row.number for row in heapq.nsmallest(BEST, sound, key=rank)}
    others = [row.number for row in ended if row.number not in best]
    return frozenset(others[: len(ended) - LEARNS_FROM])


def make_sampler(name: str, *, seed: int, startup_trials: int) -> BaseSampler:
    """Optuna's sampler `name`; its experimental warnings stay silent.

    `tpe`, `random` and `gp` are made anew for each proposal with `seed_of(seed, number)`, so that a proposal
    depends on what the record holds and not on the process. `qmc` must be given *one* seed for the whole
    study, `seed_of(seed, 0)`: re-seeded for each proposal its points no longer belong to one sequence, and
    it is worse than random. It may be made anew all the same: the point it gives is counted by the trials of
    the study that asks, which must hold all earlier proposals and the one that is being asked.

    Args:
        name: one of SAMPLERS.
        seed: 0 <= seed < 2**32.
        startup_trials: proposals drawn at random before a model is used (`tpe`, `gp`); frozen in the spec.

    Raises:
        Mistake: an unknown name, or a number outside its range.
    """
    check_sampler(name, static=True)
    if not 0 <= seed < 2**32:
        raise Mistake(f"seed is {seed}, but it must be in 0..{2**32 - 1}")
    if startup_trials < 0:
        raise Mistake(f"startup_trials is {startup_trials}, but it must not be negative")
    from optuna.exceptions import ExperimentalWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        return _make(name, seed, startup_trials)


def _make(name: str, seed: int, startup_trials: int) -> BaseSampler:
    from optuna import samplers

    if name == "tpe":
        return samplers.TPESampler(seed=seed, n_startup_trials=startup_trials, multivariate=True, group=True)
    if name == "random":
        return samplers.RandomSampler(seed=seed)
    if name == "gp":
        return samplers.GPSampler(seed=seed, n_startup_trials=startup_trials)
    return _sobol(seed)


def _sobol(seed: int) -> BaseSampler:
    """A scrambled Sobol' sequence that goes on where the record stands, in whichever process.

    Optuna's quasi-random sampler counts the points in an attribute of the study, which a mirror that is built
    again after a kill lacks: it would begin anew and propose the first points twice. Here the trials that
    exist are the position: proposal n is point n - 1 (proposal 0 is drawn at random, as Optuna learns the
    parameters from it).

    >>> import optuna
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> study = optuna.create_study(sampler=make_sampler("qmc", seed=0, startup_trials=0))
    >>> values = [study.ask().suggest_float("x", 0, 1) for _ in range(9)]
    >>> sorted(int(8 * value) for value in values[1:])
    [0, 1, 2, 3, 4, 5, 6, 7]
    """
    from optuna.samplers import QMCSampler

    class Sobol(QMCSampler):
        def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
            others = len(study.get_trials(deepcopy=False)) - 1  # without the one that asks
            return max(0, others - 1)  # and without proposal 0

    return Sobol(qmc_type="sobol", scramble=True, seed=seed, warn_independent_sampling=False)
