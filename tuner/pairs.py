"""Which pairs of winner and baseline a confirmation takes, and what the record's rows say of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from trainers.settings import Mistake, Regularizer
from trainers.tasks import ORACLES, direction_of, find_task, scope_of
from tuner.confirm import Companion, Confirmation, Pair, compare
from tuner.standing import identity, identity_of, leaders
from tuner.states import COMPLETE, FAILED, PRUNED

if TYPE_CHECKING:
    from tuner.rows import Row
    from tuner.spec import StudySpec

FIRST_SEED = 1000  # pair i has the seed search.seed + 1000 + i: no trial of the search has it


@dataclass(frozen=True)
class Member:
    """One training that a confirmation still needs; without settings it is the baseline's."""

    pair: int
    seed: int
    settings: dict[str, Regularizer]
    extras: dict[str, float]


def winners(rows: Iterable["Row"], top: int, direction: str) -> list["Row"]:
    """The `top` best proposals, each with other settings, the leader first; fewer where there are no more.

    Raises:
        Mistake: no proposal is COMPLETE, or `top` is below 1.
    """
    if top < 1:
        raise Mistake(f"--top is {top}, but it has to be a whole number of at least 1")
    ranked = leaders(rows, direction, distinct=True)
    if not ranked:
        raise Mistake("no proposal is COMPLETE, so there is nothing to confirm: go on with `resume`")
    return ranked[:top]


def missing_members(
    rows: Iterable["Row"], chosen: Sequence["Row"], seeds: int, search_seed: int
) -> list[Member]:
    """What `seeds` pairs of each chosen winner with the baseline lack; both members of pair i share one seed.

    A member that FAILED is no pair and is wanted again; one that diverged is a result.

    Raises:
        Mistake: `seeds` is below 1.
    """
    if seeds < 1:
        raise Mistake(f"--seeds is {seeds}, but it has to be a whole number of at least 1")
    kept = [row for row in rows if row.role == "confirmation" and row.state != FAILED]
    there = {(identity(row), row.pair) for row in kept}
    wanted = []
    for pair in range(seeds):
        seed = search_seed + FIRST_SEED + pair
        members = [Member(pair, seed, {}, {})]
        members += [Member(pair, seed, row.settings, row.extras) for row in chosen]
        wanted += [
            member for member in members if (identity_of(member.settings, member.extras), pair) not in there
        ]
    return wanted


def confirmations(rows: Iterable["Row"], spec: "StudySpec") -> list[Confirmation]:
    """All confirmations that the record holds, one for each winner that has pairs, together at 95%."""
    rows = list(rows)
    members: dict[str, dict[int, Row]] = {}
    for row in rows:
        if row.role == "confirmation" and row.pair is not None and row.state != FAILED:
            members.setdefault(identity(row), {})[row.pair] = row
    numbers = {identity(row): row.number for row in leaders(rows, spec.direction(), distinct=True)}
    baseline = members.pop(identity_of({}, {}), {})

    def by(metric: str) -> list[Confirmation]:
        pairs = {
            numbers[identity]: [_pair(row, baseline.get(pair), metric) for pair, row in sorted(of.items())]
            for identity, of in members.items()
            if identity in numbers
        }
        return compare(
            pairs,
            metric=metric,
            direction=direction_of(find_task(spec.task), metric),
            steps=spec.evaluate_at(),
            scope=scope_of(find_task(spec.task), spec.plan_with({}, {})),
            oracle=metric in ORACLES,
        )

    found = by(spec.metric())
    for name in spec.companions():
        beside = by(name)
        found = [
            replace(one, companions={**one.companions, name: _companion(other)})
            for one, other in zip(found, beside, strict=True)
        ]
    return found


def _companion(one: Confirmation) -> Companion:
    return Companion(**vars(one.last), direction=one.direction, oracle=one.oracle)


def _pair(winner: "Row", baseline: "Row | None", metric: str) -> Pair:
    return Pair(winner.seed, _values(winner, metric), _values(baseline, metric))


def _values(row: "Row | None", metric: str) -> dict[int, float] | None:
    if row is None or row.state not in (COMPLETE, PRUNED):
        return None
    return {one.step: one.metrics[metric] for one in row.evaluations if metric in one.metrics}
