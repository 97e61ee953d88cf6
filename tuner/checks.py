"""What a record must say to be believed: digests of what was written, and no gaps.

SQLite keeps no checksums: a number that a failing disk has changed is read as another number.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial

from tuner.states import COMPLETE, DIVERGED, OUT_OF_MEMORY

if TYPE_CHECKING:
    from tuner.rows import Recorded, Row

CHECK = "check"  # the attribute of a trial, and the key of an evaluation, that holds a digest
# Optuna ranks a trial with a violated constraint behind all others; without it TPE takes a trial that
# diverged after good rungs for the best of the pruned ones.
CONSTRAINT = "constraints:finite"


def digest(*parts: Any) -> str:
    """Sixteen digits that tell what is read from what was written."""
    plain = json.dumps(parts, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(plain.encode()).hexdigest()[:16]


def digest_of_trial(role: str, number: int, trial: FrozenTrial) -> str:
    """The digest of what a trial was begun with: its plan's part, and what the sampler is told of it."""
    begun = {key: trial.user_attrs.get(key) for key in ("seed", "settings", "extras", "pair")}
    space = {name: distribution_to_json(one) for name, one in trial.distributions.items()}
    return digest(role, number, begun, trial.params, space)


def digest_of_evaluation(role: str, number: int, one: "Recorded") -> str:
    """The digest of an evaluation, in its place."""
    return digest(role, number, one.step, one.seq, one.time, one.metrics)


def check_row(row: "Row", trial: FrozenTrial, *, metric: str, steps: int) -> None:
    """See that what follows from a trial's evaluations is what stands in it.

    Raises:
        ValueError: something else does.
    """
    values = {one.step: one.metrics[metric] for one in row.evaluations}
    for step, value in trial.intermediate_values.items():
        if values.get(step) != value:
            raise ValueError(f"the value of {row.role} {row.number} at step {step} is not its evaluation's")
    if row.state == COMPLETE and row.value != values.get(steps):
        raise ValueError(f"the value of {row.role} {row.number} is not its last evaluation's")
    if row.reason in (DIVERGED, OUT_OF_MEMORY) and trial.system_attrs.get(CONSTRAINT) != 1.0:
        raise ValueError(f"{row.role} {row.number} ended {row.reason}, and its constraint does not say so")


def check_rows(rows: "Sequence[Row]") -> None:
    """See that no evaluation of a study is missing or doubled: their `seq` count from 0 without a gap.

    Raises:
        ValueError: one is.
    """
    seqs = sorted(one.seq for row in rows for one in row.evaluations)
    if seqs != list(range(len(seqs))):
        raise ValueError("an evaluation is missing or doubled")
