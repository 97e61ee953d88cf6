"""Optional extras beside the settings: a learning rate and the like, varied in the same search."""

from __future__ import annotations

from collections.abc import Mapping

from search_spaces.ranges import Range
from search_spaces.sparsity import RESERVED, Proposer


def suggest(ranges: Mapping[str, Range], trial: Proposer) -> dict[str, float]:
    """Draw each extra log-uniformly from its range, as the parameter `extras.NAME`.

    Args:
        ranges: {name: (low, high)} with 0 < low <= high, as `search_spaces.ranges.read_pair` gives them; an
            extra whose ends are equal has that value and is not asked for.
        trial: any Optuna trial.

    >>> import optuna
    >>> suggest({"lr": (1e-4, 1e-2)}, optuna.trial.FixedTrial({"extras.lr": 1e-3}))
    {'lr': 0.001}
    """
    return {
        name: low if low == high else trial.suggest_float(f"{RESERVED}.{name}", low, high, log=True)
        for name, (low, high) in ranges.items()
    }
