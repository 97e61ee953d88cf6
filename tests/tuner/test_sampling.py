"""Samplers: quiet, repeatable across kills, and refused where they cannot search."""

import doctest
import warnings
from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from scipy.stats import qmc

from search_spaces.sparsity import SparsitySpace
from trainers.settings import Mistake
from tuner import sampling
from tuner.sampling import SAMPLERS, STATIC_ONLY, check_sampler, make_sampler, seed_of

optuna.logging.set_verbosity(optuna.logging.WARNING)
STATIC = SparsitySpace(("code",), 1, {"code": {"l0": (0.05, 0.5)}})
CONDITIONAL = SparsitySpace(
    ("up0", "code"), 2, {site: {"l0": (0.05, 0.5), "l0inf": (1, 12)} for site in ("up0", "code")}
)


def proposals(
    name: str, number: int, space: SparsitySpace, value: Callable[[Trial], float], startup: int = 3
) -> list[dict[str, object]]:
    """The parameters of a study killed before each proposal: a new mirror and a new sampler each time."""
    past: list[FrozenTrial] = []
    for n in range(number):
        mirror = optuna.create_study(direction="maximize")
        mirror.add_trials(past)
        seed = seed_of(0, 0 if name == "qmc" else n)
        mirror.sampler = make_sampler(name, seed=seed, startup_trials=startup)
        trial = mirror.ask()
        space.suggest(trial)
        past.append(
            create_trial(
                state=TrialState.COMPLETE,
                value=value(trial),
                params=trial.params,
                distributions=trial.distributions,
            )
        )
    return [trial.params for trial in past]


def at_a_quarter(trial: Trial) -> float:
    return -abs(trial.params.get("code.l0", 0.5) - 0.25)


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_sampler_searches_a_static_space_without_a_warning(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = proposals(name, 8, STATIC, at_a_quarter)
    assert all(set(params) == {"code.l0"} for params in found)
    assert len({str(params) for params in found}) == 8
    assert found == proposals(name, 8, STATIC, at_a_quarter)


@pytest.mark.parametrize("name", ["tpe", "random"])
def test_a_conditional_space_is_searched_too(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = proposals(name, 12, CONDITIONAL, at_a_quarter)
    assert len({frozenset(params) for params in found}) > 2


@pytest.mark.parametrize(("name", "number"), [("tpe", 40), ("gp", 10)])
def test_the_model_finds_the_good_region(name: str, number: int) -> None:
    learnt, drawn = (
        np.median([abs(float(str(params["code.l0"])) - 0.25) for params in found[number // 2 :]])
        for found in (proposals(one, number, STATIC, at_a_quarter) for one in (name, "random"))
    )
    assert learnt < 0.5 * drawn


@pytest.mark.parametrize("startup", [2, 6])
def test_tpe_learns_after_exactly_the_startup_trials(startup: int) -> None:
    tpe = proposals("tpe", 8, STATIC, at_a_quarter, startup)
    random = proposals("random", 8, STATIC, at_a_quarter)
    assert [a == b for a, b in zip(tpe, random, strict=True)] == [n < startup for n in range(8)]


def test_tpe_models_together_what_occurs_together() -> None:
    """Stock TPE models each parameter alone; a joint model has a relative space, group by group."""
    study = optuna.create_study(sampler=make_sampler("tpe", seed=0, startup_trials=1))
    for _ in range(20):
        trial = study.ask()
        CONDITIONAL.suggest(trial)
        study.tell(trial, at_a_quarter(trial))
    asked = study.ask()
    frozen = study.get_trials(deepcopy=False)[asked.number]
    joint = study.sampler.infer_relative_search_space(study, frozen)
    assert {"count", "site1", "code.kind", "code.l0", "up0.l0inf"} <= set(joint)


def test_a_quasi_random_study_is_one_sequence_whatever_kills_it() -> None:
    """Re-seeded for each proposal, as the others are, the points would be no better than random ones."""
    space = SparsitySpace(("code",), 1, {"code": {"l1": (1.0, 16.0)}})
    found = [np.log2(float(str(p["code.l1"]))) / 4 for p in proposals("qmc", 17, space, lambda _: 0.0)]
    assert sorted(int(16 * value) for value in found[1:]) == list(range(16))
    engine = qmc.Sobol(1, seed=seed_of(0, 0), scramble=True)
    assert np.allclose(found[1:], engine.random(16)[:, 0], atol=1e-6)


def test_a_sampler_that_needs_a_static_space_is_refused_with_its_reason() -> None:
    for name in STATIC_ONLY:
        with pytest.raises(
            Mistake, match=f"search.sampler is '{name}', but this space is conditional .* tpe or"
        ):
            check_sampler(name, static=False)
        check_sampler(name, static=True)
    assert set(STATIC_ONLY) == {"gp", "qmc"}


@pytest.mark.parametrize(
    ("name", "seed", "startup", "sentence"),
    [
        (
            "tep",
            0,
            1,
            r"search.sampler is 'tep', but the samplers are tpe, random, gp, qmc; did you mean tpe\?",
        ),
        ("bayes", 0, 1, r"the samplers are tpe, random, gp, qmc$"),
        ("tpe", -1, 1, "seed is -1, but it must be in"),
        ("tpe", 2**32, 1, "seed is 4294967296, but it must be in"),
        ("tpe", 0, -1, "startup_trials is -1, but it must not be negative"),
    ],
)
def test_what_no_sampler_takes_is_refused(name: str, seed: int, startup: int, sentence: str) -> None:
    with pytest.raises(Mistake, match=sentence):
        make_sampler(name, seed=seed, startup_trials=startup)


def test_seeds_of_proposals_differ_between_numbers_and_studies() -> None:
    seeds = {seed_of(study, number) for study in range(10) for number in range(100)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_the_examples_of_the_docstrings_run() -> None:
    tried = doctest.testmod(sampling)
    assert tried.failed == 0 and tried.attempted > 4
