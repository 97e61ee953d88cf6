"""Whether a winner is better than doing nothing: the statistics over pairs.

The search saw one noise realisation and picked the best of many, so its winner is expected to look better
than it is. Here each winner meets the baseline over fresh seeds, in pairs that share theirs. Everything in
this file is a pure function; `pairs.py` says which pairs, `study.py` runs them.

>>> pairs = [Pair(1000, {900: 27.5}, {900: 27.1}), Pair(1001, {900: 27.6}, {900: 27.3})]
>>> compare({7: pairs}, metric="psnr", direction="maximize", steps=(900,))[0].sentence
'not distinguishable: a difference of up to 0.985 psnr remains possible (at 900 steps; 2 pairs)'
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

LEVEL = 0.95
_SEEDS_IN_SUMMARY = 200
BETTER, WORSE, OPEN = "better", "worse", "not distinguishable"


@dataclass(frozen=True)
class Pair:
    """The metric by training step of a winner and of its baseline, both trained with `seed`.

    None stands for a member that has not finished or has failed. A member with a value that is not finite has
    diverged; it has none at later steps.
    """

    seed: int
    winner: Mapping[int, float] | None
    baseline: Mapping[int, float] | None


@dataclass(frozen=True)
class AtStep:
    """The comparison at one training step, over the `pairs` of which both members have a finite value there.

    `winner` and `baseline` are means, `difference` is winner − baseline in the metric's own unit, `low` and
    `high` bound it for all winners together (Bonferroni), `p` is the paired t-test after Holm. None: too few
    pairs.
    """

    step: int
    pairs: int
    winner: float | None = None
    baseline: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    p: float | None = None

    def texts(self) -> tuple[str, ...]:
        """A line of `Confirmation.table`."""
        means = ["–" if mean is None else f"{mean:.4g}" for mean in (self.winner, self.baseline)]
        difference = "–" if self.difference is None else f"{self.difference:+.3g}"
        unknown = self.low is None or self.high is None
        interval = "–" if unknown else f"{self.low:+.3g} to {self.high:+.3g}"
        p = "–" if self.p is None else f"{self.p:.2g}"
        return (str(self.step), str(self.pairs), *means, difference, interval, p)


@dataclass(frozen=True)
class Companion(AtStep):
    """The comparison of a metric that stands beside, at the last step; the rest as of a `Confirmation`."""

    direction: str = "minimize"
    oracle: bool = False


@dataclass(frozen=True)
class Confirmation:
    """What the pairs say about one winner; `sentence` follows from the interval at the last step alone.

    `winners` is how many winners the intervals cover together. `target` is the baseline's mean at the last
    step; `reach` and `baseline_reach` are the median steps at which a member first had it (the upper one of
    an even number; None: most never had it). `diverged` counts winners and baselines that did, `missing`
    pairs without an end; `oracle` says that the metric could not be known in earnest. `companions` has, for
    each metric that stands beside it, the comparison at the last step; no verdict follows from it.
    """

    proposal: int
    metric: str
    direction: str
    verdict: str
    sentence: str
    pairs: int
    seeds: tuple[int, ...]
    missing: int
    diverged: tuple[int, int]
    winners: int
    target: float | None
    reach: int | None
    baseline_reach: int | None
    steps: tuple[AtStep, ...]
    oracle: bool = False
    companions: Mapping[str, Companion] = field(default_factory=dict)

    @property
    def last(self) -> AtStep:
        """The comparison at the last step, from which the verdict follows."""
        return self.steps[-1]

    def to_json(self) -> dict[str, Any]:
        """All of it as plain data; no NaN in it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))
        return plain

    def summary(self) -> dict[str, Any]:
        """The same for exported files and MLflow's tags, which are short: `last` in place of `steps`.

        More than 200 `seeds` are left out (None).
        """
        plain = self.to_json()
        plain["last"] = plain.pop("steps")[-1]
        if len(self.seeds) > _SEEDS_IN_SUMMARY:
            plain["seeds"] = None
        return plain

    def table(self) -> list[tuple[str, ...]]:
        """A heading and one line a step, as texts: step, pairs, both means, difference, interval, p."""
        heading = ("step", "pairs", "winner", "baseline", "difference", "95% interval", "p (Holm)")
        return [heading, *(one.texts() for one in self.steps)]


def compare(
    winners: Mapping[int, Sequence[Pair]],
    *,
    metric: str,
    direction: str,
    steps: Sequence[int],
    scope: str = "",
    oracle: bool = False,
) -> list[Confirmation]:
    """Compare each winner (proposal's number → pairs) with its baseline, at 95% for all of them together.

    At each step the mean of the paired differences d has the interval d̄ ± t(1 − 0.05/2m, n − 1) · s/√n for n
    pairs and m winners. `steps` ascend, the last one decides. `scope` says in the sentence where this holds,
    for example "on this picture", and `oracle` has it say that the metric needs what nobody has in earnest.

    Raises:
        ValueError: no steps, or a direction that is none.
    """
    if not steps or list(steps) != sorted(set(steps)):
        raise ValueError(f"steps is {tuple(steps)!r}, but it has to be ascending and not empty")
    if direction not in ("minimize", "maximize"):
        raise ValueError(f"direction is {direction!r}, but it has to be 'minimize' or 'maximize'")
    level = 1 - (1 - LEVEL) / max(1, len(winners))
    columns = [_holm([_at_step(pairs, step, level) for pairs in winners.values()]) for step in steps]
    return [
        _confirmation(
            number,
            pairs,
            at,
            metric=metric,
            direction=direction,
            winners=len(winners),
            scope=scope,
            oracle=oracle,
        )
        for (number, pairs), at in zip(winners.items(), zip(*columns, strict=True), strict=True)
    ]


def _at_step(pairs: Sequence[Pair], step: int, level: float) -> AtStep:
    from scipy.stats import t

    values = [(_value(pair.winner, step), _value(pair.baseline, step)) for pair in pairs]
    both = [(one, other) for one, other in values if one is not None and other is not None]
    n = len(both)
    if n == 0:
        return AtStep(step, 0)
    differences = [one - other for one, other in both]
    mean = statistics.fmean(differences)
    known = AtStep(step, n, statistics.fmean(a for a, _ in both), statistics.fmean(b for _, b in both), mean)
    # One pair, or all alike, as a coarse metric gives: no spread is known.
    if math.isclose(min(differences), max(differences), rel_tol=1e-9, abs_tol=1e-12):
        return known
    error = statistics.stdev(differences) / math.sqrt(n)
    half = float(t.ppf((1 + level) / 2, n - 1)) * error
    return replace(known, low=mean - half, high=mean + half, p=2 * float(t.sf(abs(mean) / error, n - 1)))


def _value(member: Mapping[int, float] | None, step: int) -> float | None:
    value = None if member is None else member.get(step)
    return value if value is not None and math.isfinite(value) else None


def _holm(column: Sequence[AtStep]) -> list[AtStep]:
    """Holm's adjustment over the winners at one step; a winner without a p still counts as one of them."""
    adjusted, largest = list(column), 0.0
    known = sorted((one.p, i) for i, one in enumerate(column) if one.p is not None)
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(column) - rank) * p))
        adjusted[i] = replace(column[i], p=largest)
    return adjusted


def _confirmation(
    number: int,
    pairs: Sequence[Pair],
    steps: tuple[AtStep, ...],
    *,
    metric: str,
    direction: str,
    winners: int,
    scope: str,
    oracle: bool,
) -> Confirmation:
    last = steps[-1]
    whole = [
        pair
        for pair in pairs
        if _value(pair.winner, last.step) is not None and _value(pair.baseline, last.step) is not None
    ]
    diverged = sum(_diverged(pair.winner) for pair in pairs), sum(_diverged(pair.baseline) for pair in pairs)
    unharmed = sum(not _diverged(pair.winner) and not _diverged(pair.baseline) for pair in pairs)
    missing = unharmed - len(whole)
    verdict = _verdict(last, direction, diverged)
    sign, shown = 1 if direction == "maximize" else -1, f"{metric} (oracle)" if oracle else metric
    return Confirmation(
        proposal=number,
        metric=metric,
        direction=direction,
        verdict=verdict,
        sentence=_sentence(verdict, last, shown, scope, len(pairs), missing, diverged),
        pairs=len(whole),
        seeds=tuple(pair.seed for pair in whole),
        missing=missing,
        diverged=diverged,
        winners=winners,
        target=last.baseline,
        reach=_reach([pair.winner or {} for pair in whole], last.baseline, sign),
        baseline_reach=_reach([pair.baseline or {} for pair in whole], last.baseline, sign),
        steps=steps,
        oracle=oracle,
    )


def _diverged(member: Mapping[int, float] | None) -> bool:
    return member is not None and any(not math.isfinite(value) for value in member.values())


def _verdict(last: AtStep, direction: str, diverged: tuple[int, int]) -> str:
    """Leaving out pairs that diverged favours whoever diverged, so no verdict stands against such a pair."""
    if last.low is None or last.high is None or last.low <= 0 <= last.high:
        return OPEN
    better = (last.low > 0) == (direction == "maximize")
    against = diverged[0] if better else diverged[1]
    return OPEN if against else BETTER if better else WORSE


def _sentence(
    verdict: str, last: AtStep, metric: str, scope: str, pairs: int, missing: int, diverged: tuple[int, int]
) -> str:
    notes = [f"{scope}, {_count(last.pairs, 'pair')}" if scope else _count(last.pairs, "pair")]
    if last.pairs > 1 and last.low is None:
        notes.append(f"they all differ by the same {last.difference:+.3g}, so their spread is not known")
    if missing:
        notes.append(f"{missing} more did not finish")
    for count, who in zip(diverged, ("with these settings", "of the baseline"), strict=True):
        if count:
            notes.append(f"{count} of {_count(pairs, 'training')} {who} diverged")
    if verdict != OPEN:
        return (
            f"{verdict} at {last.step} steps: the difference is {last.difference:+.3g} {metric}, "
            f"between {last.low:+.3g} and {last.high:+.3g} at 95% ({'; '.join(notes)})"
        )
    possible = "any size"
    if last.low is not None and last.high is not None and not any(diverged):
        possible = f"up to {max(abs(last.low), abs(last.high)):.3g} {metric}"
    return f"{OPEN}: a difference of {possible} remains possible (at {last.step} steps; {'; '.join(notes)})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _reach(members: Sequence[Mapping[int, float]], target: float | None, sign: int) -> int | None:
    """The median of the first steps at which members are at the target; None where that is never."""
    if target is None or not members:
        return None
    first = [
        min((step for step, value in member.items() if sign * value >= sign * target), default=math.inf)
        for member in members
    ]
    middle = statistics.median_high(first)
    return None if middle == math.inf else int(middle)
