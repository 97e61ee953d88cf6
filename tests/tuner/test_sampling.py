"""Samplers: quiet, repeatable across kills, and refused where they cannot search."""

import doctest
import warnings
from collections.abc import Callable

import numpy as np
import optuna
import pytest
from optuna.samplers._tpe.sampler import _split_trials, default_gamma
from optuna.trial import FrozenTrial, Trial, TrialState, create_trial
from scipy.stats import qmc

from search_spaces.sparsity import SparsitySpace
from trainers.settings import Mistake
from tuner import sampling
from tuner.checks import CONSTRAINT
from tuner.rows import Recorded, Row
from tuner.sampling import (
    BEST,
    LEARNS_FROM,
    SAMPLERS,
    STATIC_ONLY,
    check_sampler,
    make_sampler,
    overlooked,
    seed_of,
)
from tuner.states import COMPLETE, DIVERGED, FAILED, OUT_OF_MEMORY, PRUNED, RUNNING

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


def ends(number: int, rng: np.random.Generator) -> Row:
    """A proposal that ended, or did not, in one of all ways."""
    values = rng.normal(size=3).round(1).tolist()
    state, reason, steps = [
        (COMPLETE, None, (10, 30, 90)),
        (PRUNED, "behind at step 30", (10, 30)),
        (PRUNED, "behind at step 10", (10,)),
        (PRUNED, DIVERGED, (10, 30)),
        (PRUNED, OUT_OF_MEMORY, ()),
        (FAILED, "ValueError", (10,)),
        (RUNNING, None, (10,)),
    ][rng.choice(7, p=[0.04, 0.1, 0.46, 0.1, 0.1, 0.1, 0.1])]
    written = tuple(
        Recorded(n, 0.0, step, {"score": value})
        for n, (step, value) in enumerate(zip(steps, values, strict=False))
    )
    value = values[2] if state == COMPLETE else None
    return Row("proposal", number, state, reason, 0, {}, {}, written, value, 0.0, None)


def as_optuna_sees(row: Row) -> FrozenTrial:
    states = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, FAILED: TrialState.FAIL}
    trial = create_trial(
        state=states.get(row.state, TrialState.RUNNING),
        value=row.value,
        intermediate_values={one.step: one.metrics["score"] for one in row.evaluations},
        system_attrs={CONSTRAINT: float(row.reason in (DIVERGED, OUT_OF_MEMORY))},
    )
    trial.number = row.number
    return trial


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("seed", range(3))
def test_what_counts_as_good_is_the_same_as_if_all_trials_were_shown(direction: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = [ends(number, rng) for number in range(900)]
    hidden = overlooked(rows, sampler="tpe", metric="score", direction=direction)
    study = optuna.create_study(direction=direction)
    learnt = (TrialState.COMPLETE, TrialState.PRUNED)

    def good(shown: list[Row]) -> list[int]:
        trials = [one for row in shown if (one := as_optuna_sees(row)).state in learnt]
        return [trial.number for trial in _split_trials(study, trials, default_gamma(len(trials)))[0]]

    left = [row for row in rows if row.number not in hidden]
    assert good(left) == good(rows)
    assert len(good(left)) == BEST
    ended = [row for row in left if row.state in (COMPLETE, PRUNED)]
    assert len(ended) == LEARNS_FROM
    assert all(row in left for row in rows if row.state in (RUNNING, FAILED))
    assert min(row.number for row in ended if row.number not in good(left)) > max(hidden)


def test_few_trials_and_samplers_that_count_all_are_shown_all() -> None:
    rng = np.random.default_rng(0)
    rows = [ends(number, rng) for number in range(900)]
    few = [row for row in rows if row.state == COMPLETE]
    assert overlooked(few, sampler="tpe", metric="score", direction="minimize") == frozenset()
    for sampler, some in (("gp", True), ("random", False), ("qmc", False)):
        assert bool(overlooked(rows, sampler=sampler, metric="score", direction="minimize")) == some
