"""Extras are drawn log-uniformly beside the settings."""

import doctest

import optuna
from scipy import stats

from search_spaces import extras

optuna.logging.set_verbosity(optuna.logging.WARNING)


def test_an_extra_is_log_uniform() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    found = [extras.suggest({"lr": (1e-4, 1e-2)}, study.ask())["lr"] for _ in range(500)]
    assert stats.kstest(found, stats.loguniform(1e-4, 1e-2).cdf).pvalue > 1e-3


def test_one_with_a_single_value_is_not_asked_for() -> None:
    assert extras.suggest({"lr": (0.1, 0.1)}, optuna.trial.FixedTrial({})) == {"lr": 0.1}
    assert extras.suggest({}, optuna.trial.FixedTrial({})) == {}


def test_the_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(extras) == doctest.TestResults(failed=0, attempted=2)
