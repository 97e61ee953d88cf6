"""The prior is counted, the encoding enumerated, and what is static compared with every possible draw."""

import doctest
import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from optuna.distributions import BaseDistribution
from scipy import stats

from search_spaces import sparsity
from search_spaces.ranges import Range
from search_spaces.sparsity import SparsitySpace
from trainers.settings import L0, REGULARIZERS, L0Inf, Mistake, Regularizer, strength_of

optuna.logging.set_verbosity(optuna.logging.WARNING)
RANGES: dict[str, Range] = {"l1": (1e-3, 1.0), "l0": (0.05, 0.5), "l0inf": (1, 12)}
OTHERS: dict[str, Range] = {
    "group_lasso": (1e-3, 1.0),
    "hoyer": (1e-3, 1.0),
    "soft_threshold": (0.01, 1.0),
    "hard_threshold": (0.01, 1.0),
    "spatial_topk": (0.05, 0.5),
}
SITES = ("down1", "up0", "up1", "code")
ALL = SparsitySpace(SITES, 2, {site: RANGES for site in SITES})
DRAWS = 5000
RARE = 1e-3  # a right prior fails a test of fixed seed with this probability once, and then never again


@pytest.fixture(scope="module")
def draws() -> list[dict[str, Regularizer]]:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    return [ALL.suggest(study.ask()) for _ in range(DRAWS)]


def chance(counts: Counter[Any], expected: dict[Any, float]) -> float:
    """The p-value of the counts, given the probabilities; nothing else may have occurred."""
    assert set(counts) <= set(expected)
    total = sum(counts.values())
    return float(
        stats.chisquare([counts[key] for key in expected], [total * p for p in expected.values()]).pvalue
    )


class Script:
    """A trial that answers from a script and notes what was asked; a strength is always its lowest."""

    def __init__(self, answers: Sequence[int]) -> None:
        self.answers = list(answers)
        self.widths: list[int] = []
        self.asked: dict[str, Any] = {}

    def _answer(self, name: str, choices: Sequence[Any]) -> Any:
        position = len(self.widths)
        self.widths.append(len(choices))
        self.asked[name] = tuple(choices)
        return choices[self.answers[position] if position < len(self.answers) else 0]

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> Any:
        return self._answer(name, choices)

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int:
        if name == "count":
            return int(self._answer(name, range(low, high + 1)))
        self.asked[name] = (low, high, log)
        return low

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float:
        self.asked[name] = (low, high, log)
        return low


def every_draw(space: SparsitySpace) -> Iterator[tuple[dict[str, Any], dict[str, Regularizer]]]:
    """What is asked and what comes out, for each combination of choices."""
    answers: list[int] | None = []
    while answers is not None:
        trial = Script(answers)
        yield trial.asked, space.suggest(trial)
        full = answers + [0] * (len(trial.widths) - len(answers))
        while full and full[-1] == trial.widths[len(full) - 1] - 1:
            full.pop()
        answers = [*full[:-1], full[-1] + 1] if full else None


def test_each_number_of_sites_is_equally_likely(draws: list[dict[str, Regularizer]]) -> None:
    assert chance(Counter(len(draw) for draw in draws), {1: 0.5, 2: 0.5}) > RARE


@pytest.mark.parametrize("count", [1, 2])
def test_each_choice_of_sites_is_equally_likely(draws: list[dict[str, Regularizer]], count: int) -> None:
    subsets = list(itertools.combinations(SITES, count))
    counts = Counter(tuple(draw) for draw in draws if len(draw) == count)
    assert chance(counts, {subset: 1 / len(subsets) for subset in subsets}) > RARE


def test_each_kind_is_equally_likely_at_each_site(draws: list[dict[str, Regularizer]]) -> None:
    counts = Counter((site, regularizer.kind) for draw in draws for site, regularizer in draw.items())
    assert chance(counts, {pair: 1 / 12 for pair in itertools.product(SITES, RANGES)}) > RARE


@pytest.mark.parametrize("kind", ["l1", "l0"])
def test_a_real_strength_is_log_uniform(draws: list[dict[str, Regularizer]], kind: str) -> None:
    low, high = RANGES[kind]
    found = [getattr(r, strength_of(kind)) for draw in draws for r in draw.values() if r.kind == kind]
    assert stats.kstest(found, stats.loguniform(low, high).cdf).pvalue > RARE


def test_k_is_log_uniform_over_whole_numbers(draws: list[dict[str, Regularizer]]) -> None:
    total = math.log(12.5 / 0.5)
    expected = {k: math.log((k + 0.5) / (k - 0.5)) / total for k in range(1, 13)}
    found = Counter(r.k for draw in draws for r in draw.values() if isinstance(r, L0Inf))
    assert chance(found, expected) > RARE


def test_the_prior_holds_for_three_of_five_sites_too() -> None:
    space = SparsitySpace(tuple("abcde"), 3, {site: {"l0": (0.1, 0.1)} for site in "abcde"})
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    counts = Counter(tuple(space.suggest(study.ask())) for _ in range(3000))
    expected = {
        subset: 1 / 3 / math.comb(5, count)
        for count in (1, 2, 3)
        for subset in itertools.combinations("abcde", count)
    }
    assert chance(counts, expected) > RARE


def test_names_and_distributions_depend_on_the_space_alone() -> None:
    """A sampler that has learnt is asked exactly what the enumeration asks, however the study went."""
    known: dict[str, Any] = {}
    for asked, _ in every_draw(ALL):
        for name, distribution in asked.items():
            assert known.setdefault(name, distribution) == distribution
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    seen: dict[str, BaseDistribution] = {}
    for _ in range(80):
        trial = study.ask()
        found = ALL.suggest(trial)
        study.tell(trial, getattr(found.get("code"), "k", 30.0))
        for name, distribution in trial.distributions.items():
            assert seen.setdefault(name, distribution) == distribution
    assert len(seen) > 15
    for name, distribution in seen.items():
        as_asked = getattr(distribution, "choices", None) or (
            distribution.low,  # type: ignore[attr-defined]
            distribution.high,  # type: ignore[attr-defined]
            distribution.log,  # type: ignore[attr-defined]
        )
        assert known[name] == (as_asked if name != "count" else (1, 2))


def test_the_parameters_are_those_of_the_encoding() -> None:
    names = {name for asked, _ in every_draw(ALL) for name in asked}
    strengths = {f"{site}.{kind}" for site in SITES for kind in RANGES}
    kinds = {f"{site}.kind" for site in SITES}
    assert names == {"count", "site1", *(f"site2|{site}" for site in SITES)} | kinds | strengths


def test_a_third_site_depends_on_the_set_that_is_taken_and_not_on_its_order() -> None:
    space = SparsitySpace(tuple("abcd"), 3, {site: {"l0": (0.1, 0.1)} for site in "abcd"})
    names = {name for asked, _ in every_draw(space) for name in asked if name.startswith("site3")}
    assert names == {f"site3|{first}|{second}" for first, second in itertools.combinations("abcd", 2)}


def test_settings_stand_in_the_order_of_the_sites_whichever_was_drawn_first() -> None:
    chosen = {"count": 2, "site1": "code", "site2|code": "up0", "up0.kind": "l0", "up0.l0": 0.2}
    drawn = ALL.suggest(optuna.trial.FixedTrial({**chosen, "code.kind": "l0inf", "code.l0inf": 3}))
    assert list(drawn.items()) == [("up0", L0(keep=0.2)), ("code", L0Inf(k=3))]


def test_the_parameters_of_a_trial_give_its_settings_again(draws: list[dict[str, Regularizer]]) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for draw in draws[:50]:
        trial = study.ask()
        assert ALL.suggest(trial) == draw
        assert ALL.suggest(optuna.trial.FixedTrial(trial.params)) == draw


def test_a_kind_or_site_that_cannot_vary_is_not_asked_for() -> None:
    space = SparsitySpace(("code",), 1, {"code": {"l0inf": (3, 3)}})
    assert space.suggest(optuna.trial.FixedTrial({})) == {"code": L0Inf(k=3)}
    both = SparsitySpace(("a", "b"), 2, {"a": {"l0inf": (1, 9)}, "b": {"l0": (0.5, 0.5)}})
    assert [set(asked) for asked, _ in every_draw(both)] == [
        {"count", "site1", "a.l0inf"},
        {"count", "site1"},
        {"count", "site1", "a.l0inf"},
        {"count", "site1", "a.l0inf"},
    ]


def test_a_site_draws_only_from_its_own_kinds() -> None:
    space = SparsitySpace(("a", "b"), 1, {"a": {"l1": (0.1, 1.0)}, "b": {"l0": (0.1, 0.5)}})
    assert {(site, r.kind) for _, drawn in every_draw(space) for site, r in drawn.items()} == {
        ("a", "l1"),
        ("b", "l0"),
    }


def test_every_regularizer_can_be_drawn() -> None:
    every = RANGES | OTHERS
    assert set(every) == set(REGULARIZERS), "give the new regularizer a range here"
    space = SparsitySpace(SITES[:2], 1, {site: every for site in SITES[:2]})
    drawn = {type(r) for _, settings in every_draw(space) for r in settings.values()}
    assert drawn == set(REGULARIZERS.values())


ranges = some.sampled_from(
    [("l1", (0.1, 1.0)), ("l1", (0.1, 0.1)), ("l0", (0.1, 0.5)), ("l0", (0.2, 0.2)), ("l0inf", (1, 4))]
)
spaces = some.lists(some.lists(ranges, min_size=1, max_size=3).map(dict), min_size=1, max_size=4).flatmap(
    lambda kinds: some.integers(1, len(kinds)).map(
        lambda count: SparsitySpace(
            tuple("abcd"[: len(kinds)]), count, dict(zip("abcd", kinds, strict=False))
        )
    )
)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(spaces)
def test_static_is_exactly_what_asks_the_same_in_every_draw(space: SparsitySpace) -> None:
    asked = {frozenset(asked) for asked, _ in every_draw(space)}
    assert space.is_static == (len(asked) == 1)


RANGE = {"code": {"l0": (0.1, 0.5)}}


@pytest.mark.parametrize(
    ("sites", "max_sites", "ranges", "sentence"),
    [
        ((), 1, {}, "sites: none is left"),
        (("code", "code"), 1, RANGE, "sites: 'code' is named twice"),
        (("a|b",), 1, {"a|b": RANGE["code"]}, r"sites: 'a\|b' cannot name a site"),
        (("extras",), 1, {"extras": RANGE["code"]}, "sites: 'extras' cannot name a site"),
        (("",), 1, {"": RANGE["code"]}, "sites: '' cannot name a site"),
        (("code",), 0, RANGE, r"max_sites: 0 is not in 1..1"),
        (("code",), 2, RANGE, r"max_sites: 2 is not in 1..1"),
        (("code",), True, RANGE, "max_sites: True is not a whole number"),
        (("code",), 1, {}, "site 'code' has no regularizer"),
        (("code",), 1, {"code": {}}, "site 'code' has no regularizer"),
        (("code",), 1, {**RANGE, "up0": RANGE["code"]}, "'up0' is not a site of this space"),
        (("code",), 1, {"code": {"l2": (0.1, 0.5)}}, "ranges.code.l2: 'l2' is not a regularizer; .* l1, l0"),
        (("code",), 1, {"code": {"l0": (0.5, 0.1)}}, r"ranges.code.l0: \[0.5, 0.1\] is upside down"),
    ],
)
def test_a_space_that_cannot_be_is_refused(sites: Any, max_sites: Any, ranges: Any, sentence: str) -> None:
    with pytest.raises(Mistake, match=sentence):
        SparsitySpace(sites, max_sites, ranges)


def test_the_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(sparsity) == doctest.TestResults(failed=0, attempted=4)
