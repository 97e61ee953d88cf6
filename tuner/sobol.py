"""A scrambled Sobol' sequence that goes on where the record stands, in whichever process."""

from __future__ import annotations

from optuna import Study
from optuna.distributions import BaseDistribution
from optuna.samplers import QMCSampler


class Sobol(QMCSampler):
    """Optuna's quasi-random sampler without its own bookkeeping: the trials that exist are its position.

    Optuna counts the points in an attribute of the study, which a mirror that is built again after a kill
    lacks: it would begin anew and propose the first points twice. Here proposal n is point n - 1 (proposal 0
    is drawn at random, as Optuna learns the parameters from it).

    >>> import optuna
    >>> from tuner.sampling import make_sampler
    >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
    >>> study = optuna.create_study(sampler=make_sampler("qmc", seed=0, startup_trials=0))
    >>> values = [study.ask().suggest_float("x", 0, 1) for _ in range(9)]
    >>> sorted(int(8 * value) for value in values[1:])
    [0, 1, 2, 3, 4, 5, 6, 7]
    """

    def __init__(self, seed: int) -> None:
        super().__init__(qmc_type="sobol", scramble=True, seed=seed, warn_independent_sampling=False)

    def _find_sample_id(self, study: Study, search_space: dict[str, BaseDistribution]) -> int:
        others = len(study.get_trials(deepcopy=False)) - 1  # without the one that asks
        return max(0, others - 1)  # and without proposal 0
