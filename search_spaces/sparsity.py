"""Which sites are made sparse, by which regularizer, how strongly: a draw is a proposal's settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from search_spaces.ranges import Range, check_range, is_whole
from trainers.settings import Mistake, Regularizer, regularizer

RESERVED = "extras"  # its parameters are `extras.NAME`, so no site may have this name


class Proposer(Protocol):
    """What a space asks of an Optuna trial; `optuna.Trial`, `FixedTrial` and `FrozenTrial` all have it."""

    def suggest_categorical(self, name: str, choices: Sequence[str]) -> Any: ...

    def suggest_int(self, name: str, low: int, high: int, *, step: int = 1, log: bool = False) -> int: ...

    def suggest_float(
        self, name: str, low: float, high: float, *, step: float | None = None, log: bool = False
    ) -> float: ...


@dataclass(frozen=True)
class SparsitySpace:
    """The conditional space of settings, from which any Optuna trial draws.

    Before anything is learnt, each number of active sites in 1..max_sites is equally likely, and so is each
    choice of that many sites, each kind at a site, and each strength on a logarithmic scale.

    The encoding is `count`; then `site1`, `site2|FIRST`, `site3|FIRST|SECOND` …, where the name carries what
    is already taken (in the order of `sites`: the choices that are left depend on the set alone, and
    whichever was taken first, the sampler learns from both); then for each active site `SITE.kind` and
    `SITE.KIND`, its strength. Names, choices and ranges depend on the space alone and never on the history,
    since Optuna learns only across identical distributions. What has one possible value is not asked for.

    Args:
        sites: the sites in order of execution; at least one.
        max_sites: how many may be active at once, in 1..len(sites).
        ranges: {site: {kind: (low, high)}}, at least one kind a site; 0 < low <= high, both ends in the
            regularizer's own range; whole numbers for `k`. An end is included.

    Raises:
        Mistake: an argument breaks one of these rules.

    >>> import optuna
    >>> ranges = {"down1": {"l0": (0.05, 0.5)}, "code": {"l0inf": (1, 15)}}
    >>> space = SparsitySpace(("down1", "code"), 1, ranges)
    >>> space.suggest(optuna.trial.FixedTrial({"site1": "code", "code.l0inf": 3}))
    {'code': L0Inf(k=3)}
    """

    sites: tuple[str, ...]
    max_sites: int
    ranges: Mapping[str, Mapping[str, Range]]

    def __post_init__(self) -> None:
        _check_sites(self.sites)
        if isinstance(self.max_sites, bool) or not isinstance(self.max_sites, int):
            raise Mistake(
                f"max_sites: {self.max_sites!r} is not a whole number; give one in 1..{len(self.sites)}"
            )
        if not 1 <= self.max_sites <= len(self.sites):
            raise Mistake(f"max_sites: {self.max_sites} is not in 1..{len(self.sites)}, the number of sites")
        strangers = [site for site in self.ranges if site not in self.sites]
        if strangers:
            raise Mistake(f"ranges: {strangers[0]!r} is not a site of this space ({', '.join(self.sites)})")
        for site in self.sites:
            if not self.ranges.get(site):
                raise Mistake(f"ranges: site {site!r} has no regularizer; give it one or leave the site out")
            for kind, bounds in self.ranges[site].items():
                check_range(kind, bounds, f"ranges.{site}.{kind}")

    def suggest(self, trial: Proposer) -> dict[str, Regularizer]:
        """Draw settings, define-by-run: 1..max_sites sites in the order of `sites`, each with its kind."""
        taken = self._suggest_sites(trial)
        return {site: self._suggest_regularizer(trial, site) for site in self.sites if site in taken}

    @property
    def is_static(self) -> bool:
        """Whether every draw asks for the same parameters, which the samplers `gp` and `qmc` need."""
        if len(self.sites) > 1:
            third_choice_is_conditional = self.max_sites > 1 and len(self.sites) > 2
            return not third_choice_is_conditional and not any(self._is_open(site) for site in self.sites)
        kinds = self.ranges[self.sites[0]]
        return len(kinds) == 1 or not any(_is_open(bounds) for bounds in kinds.values())

    def _is_open(self, site: str) -> bool:
        """Whether an active `site` asks for a parameter of its own."""
        kinds = self.ranges[site]
        return len(kinds) > 1 or any(_is_open(bounds) for bounds in kinds.values())

    def _suggest_sites(self, trial: Proposer) -> set[str]:
        count = 1 if self.max_sites == 1 else trial.suggest_int("count", 1, self.max_sites)
        taken: set[str] = set()
        for position in range(1, count + 1):
            name = "|".join([f"site{position}", *(site for site in self.sites if site in taken)])
            taken.add(_one_of(trial, name, [site for site in self.sites if site not in taken]))
        return taken

    def _suggest_regularizer(self, trial: Proposer, site: str) -> Regularizer:
        kind = _one_of(trial, f"{site}.kind", list(self.ranges[site]))
        low, high = self.ranges[site][kind]
        name = f"{site}.{kind}"
        strength: float
        if not _is_open((low, high)):
            strength = low
        elif is_whole(kind):
            strength = trial.suggest_int(name, int(low), int(high), log=True)
        else:
            strength = trial.suggest_float(name, low, high, log=True)
        return regularizer(kind, strength)


def _check_sites(sites: Sequence[str]) -> None:
    if not sites:
        raise Mistake("sites: none is left to search; name at least one")
    for site in sites:
        if not site or "|" in site or site == RESERVED:
            raise Mistake(f"sites: {site!r} cannot name a site: not empty, not {RESERVED!r}, and without '|'")
        if list(sites).count(site) > 1:
            raise Mistake(f"sites: {site!r} is named twice; name each site once")


def _one_of(trial: Proposer, name: str, choices: Sequence[str]) -> str:
    return choices[0] if len(choices) == 1 else str(trial.suggest_categorical(name, choices))


def _is_open(bounds: Range) -> bool:
    return bounds[0] < bounds[1]
