"""ASHA's rule on recorded values: whether a trial goes on past a rung (arXiv 1810.05934)."""

from collections.abc import Sequence

import numpy as np


def goes_on(value: float, earlier: Sequence[float], *, direction: str, reduction: float) -> bool:
    """Say whether a trial with `value` at a rung goes on, given the values that came there `earlier`.

    The first to arrive always goes on; later ones must lie in the better 1/η of those before them: at or
    above their (1 − 1/η) percentile where the metric is maximized, and the same of the negated values where
    it is minimized. A pure function of its arguments: asked again after a kill, it answers the same.

    Args:
        value: the trial's metric at this rung, finite.
        earlier: the finite values of the trials that reached this rung before.
        direction: "maximize" or "minimize".
        reduction: η, above 1; of η trials about one goes on.

    >>> goes_on(2.0, [1.0, 3.0, 1.5], direction="maximize", reduction=3)
    True
    >>> goes_on(2.0, [1.0, 3.0, 1.5], direction="minimize", reduction=3)
    False
    """
    if not earlier:
        return True
    sign = 1 if direction == "maximize" else -1
    return bool(sign * value >= np.percentile(sign * np.asarray(earlier), 100 * (1 - 1 / reduction)))
