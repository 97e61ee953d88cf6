"""A trial as the record holds it, read from its Optuna trial: what the rest of this package reads."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from trainers.settings import Regularizer, from_json
from tuner.checks import CHECK, digest_of_evaluation, digest_of_trial
from tuner.states import COMPLETE, FAILED, PRUNED, RUNNING

STATES = {
    TrialState.RUNNING: RUNNING,
    TrialState.COMPLETE: COMPLETE,
    TrialState.PRUNED: PRUNED,
    TrialState.FAIL: FAILED,
}
EVALUATION = "evaluation:"  # begins the name of the attribute that holds one


@dataclass(frozen=True)
class Recorded:
    """One evaluation as it was written: `seq` counts the study's evaluations, `time` is unix seconds."""

    seq: int
    time: float
    step: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Row:
    """One trial of the record. `value` is the metric at the last step, of COMPLETE trials only.

    `nodes` are those that trained it, in order; `restarts` counts how often it began again, because its
    process had died and left nothing to go on from; `failures` how often its process failed, lost nodes not
    counted.
    """

    role: str
    number: int
    state: str
    reason: str | None
    seed: int
    settings: dict[str, Regularizer]
    extras: dict[str, float]
    evaluations: tuple[Recorded, ...]
    value: float | None
    started: float
    finished: float | None
    pair: int | None = None
    nodes: tuple[str, ...] = ()
    restarts: int = 0
    failures: int = 0

    @property
    def label(self) -> str:
        """How people and folders name it: `7` for a proposal, else `baseline:2`."""
        return str(self.number) if self.role == "proposal" else f"{self.role}:{self.number}"

    def at(self, step: int) -> Recorded | None:
        """The evaluation at `step`, if there is one."""
        return next((one for one in self.evaluations if one.step == step), None)


def row_of(role: str, trial: FrozenTrial) -> Row:
    """The row that an Optuna trial of that role holds.

    Raises:
        ValueError: something in it is not what was written. Rows of before the digests have none to check.
        KeyError, TypeError: something is missing, or of another kind.
    """
    attributes, state = trial.user_attrs, STATES[trial.state]
    if CHECK in attributes and attributes[CHECK] != digest_of_trial(role, trial.number, trial):
        raise ValueError(f"the checksum of {role} {trial.number} is wrong")
    evaluations = [
        _evaluation(role, trial.number, int(key.removeprefix(EVALUATION)), one)
        for key, one in attributes.items()
        if key.startswith(EVALUATION)
    ]
    return Row(
        role=role,
        number=trial.number,
        state=state,
        # A kill between reason and state leaves a reason; the trial goes on, and may end well.
        reason=attributes.get("reason") if state in (PRUNED, FAILED) else None,
        seed=attributes["seed"],
        settings={site: from_json(one, site) for site, one in attributes["settings"].items()},
        extras=attributes["extras"],
        evaluations=tuple(sorted(evaluations, key=lambda one: one.seq)),
        value=trial.value if trial.state == TrialState.COMPLETE else None,
        started=_seconds(trial.datetime_start) or 0.0,
        finished=_seconds(trial.datetime_complete),
        pair=attributes.get("pair"),
        nodes=tuple(attributes.get("nodes", ())),
        restarts=attributes.get("restarts", 0),
        failures=attributes.get("failures", 0),
    )


def _evaluation(role: str, number: int, step: int, written: dict[str, Any]) -> Recorded:
    one = Recorded(written["seq"], written["time"], step, written["metrics"])
    if CHECK in written and written[CHECK] != digest_of_evaluation(role, number, one):
        raise ValueError(f"the checksum of {role} {number} at step {step} is wrong")
    return one


def _seconds(moment: datetime | None) -> float | None:
    return None if moment is None else moment.timestamp()
