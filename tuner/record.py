"""The record: a study's only durable truth, an Optuna storage that this file alone writes.

Each role is an Optuna study of its own in one database, so the sampler and the rungs see proposals only. The
order of writes is what makes a kill harmless: a proposal is one transaction; an evaluation is one attribute,
the first one wins, and is the commit point; everything after it (intermediate value, decision, final state)
is a pure function of what is written and is repeated at the next start.
"""

import contextlib
import copy
import math
import threading
import time
from collections.abc import Container, Iterator, Mapping
from dataclasses import replace
from typing import Any

import optuna
import sqlalchemy
from optuna.storages import BaseStorage, InMemoryStorage
from optuna.trial import FrozenTrial, TrialState, create_trial
from pydantic import ValidationError

from search_spaces import extras as extras_space
from trainers.plan import one_sentence
from trainers.settings import Mistake, Regularizer, to_json
from tuner import database, pruning
from tuner.checks import (
    CHECK,
    CONSTRAINT,
    check_row,
    check_rows,
    digest,
    digest_of_evaluation,
    digest_of_trial,
)
from tuner.rows import EVALUATION, STATES, Recorded, Row, row_of
from tuner.sampling import make_sampler, overlooked, seed_of
from tuner.secrets import why, without_password
from tuner.spec import StudySpec
from tuner.states import DIVERGED, OUT_OF_MEMORY, RUNNING

_READS = 5  # of a record that another process may write meanwhile
_AGAIN = 0.2  # seconds between two of them

SCHEMA = 1
ROLES = ("proposal", "baseline", "confirmation", "pilot")
optuna.logging.set_verbosity(optuna.logging.WARNING)  # its lines about new studies are of no use to people


class _Mirror(InMemoryStorage):
    """The proposals as the sampler sees them: without those that it is not to learn from any more."""

    def __init__(self) -> None:
        super().__init__()
        self.hide(frozenset())

    def hide(self, numbers: frozenset[int]) -> None:
        """Show all but these: a few old ones, and all since; quick, for a sampler asks often."""
        self._since = max(numbers, default=-1) + 1
        self._old = [number for number in range(self._since) if number not in numbers]

    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        every = super().get_all_trials(study_id, deepcopy=False)
        shown = [*(every[number] for number in self._old), *every[self._since :]]
        wanted = [trial for trial in shown if states is None or trial.state in states]
        return copy.deepcopy(wanted) if deepcopy else wanted


class Record:
    """A study's database, opened by its one driver (or read by anyone).

    Args:
        url: an SQLAlchemy address, `sqlite:///…` or PostgreSQL.
        name: the study's name.
        hold: keep other drivers away, on whichever machine, until the record is closed; of use with
            PostgreSQL alone, for a file the lock in its folder does it.

    Raises:
        Mistake: there is no such study in that database, it was written by another schema, or another process
            holds it.
        RuntimeError: the database is damaged, cannot be written or does not answer; any later write may
            raise it too, and what was written before stands.
    """

    def __init__(self, url: str, name: str, *, hold: bool = False) -> None:
        self._storage = database.storage(url, create=False, hold=name if hold else None)
        try:
            with _damage(url, name):
                self._ids = {role: _study_id(self._storage, name, role) for role in ROLES}
                about = self._storage.get_study_user_attrs(self._ids["proposal"])
                _check_about(about)
            _refuse(about, name)
            # What the spec asks for and is not here, a task of the user's own say, is no damage.
            self._keep_spec(_parsed(about["spec"]))
            self._read_whole(url, about, name, tries=1 if hold else _READS)
        except BaseException:
            self.close()
            raise

    def _read_whole(self, url: str, about: dict[str, Any], name: str, tries: int) -> None:
        """Read it; again where another process may write meanwhile, for it is read in several queries."""
        for left in reversed(range(tries)):
            try:
                with _damage(url, name):
                    return self._read_all(about, name)
            except RuntimeError:
                if not left:
                    raise
                time.sleep(_AGAIN)

    def _read_all(self, about: dict[str, Any], name: str) -> None:
        self.uuid, self._checks = str(about["uuid"]), list(about.get(CHECK, ()))
        if self.spec.name != name:
            raise ValueError(f"the spec is that of study {self.spec.name!r}")
        self._lock = threading.Lock()
        self._rows = {role: self._read(role) for role in ROLES}
        every = [row for rows in self._rows.values() for row in rows]
        check_rows(every)
        self._sequence = sum(len(row.evaluations) for row in every)
        self._came: dict[int, list[Recorded]] = {}  # the proposals' evaluations at each step
        for row in self._rows["proposal"]:
            for one in row.evaluations:
                self._came.setdefault(one.step, []).append(one)
        self._version = 0
        self._mirror: optuna.Study | None = None

    def close(self) -> None:
        """Let go of the database, and of the study where it was held; what was read stays readable."""
        database.close(self._storage)

    def __enter__(self) -> "Record":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @staticmethod
    def create(url: str, frozen: StudySpec) -> "Record":
        """Write a new study, or finish an interrupted creation; the spec, written last, commits it."""
        storage = database.storage(url, create=True, hold=frozen.name)
        try:
            Record._write(storage, frozen)
        finally:
            database.close(storage)
        return Record(url, frozen.name)

    @staticmethod
    def _write(storage: BaseStorage, frozen: StudySpec) -> None:
        """Begin with nothing of that name: what a creation or a removal that was cut off has left goes."""
        there = {one.study_name: one._study_id for one in storage.get_all_studies()}
        about = there.get(f"{frozen.name}/proposal")
        if about is not None and "spec" in storage.get_study_user_attrs(about):
            return
        for role in ROLES:
            name = f"{frozen.name}/{role}"
            if name in there:
                storage.delete_study(there[name])
            optuna.create_study(storage=storage, study_name=name, direction=frozen.direction())
        about = _study_id(storage, frozen.name, "proposal")
        storage.set_study_user_attr(about, "schema", SCHEMA)
        spec = frozen.model_dump(mode="json")
        storage.set_study_user_attr(about, "uuid", frozen.uuid)
        storage.set_study_user_attr(about, CHECK, [digest(frozen.uuid, spec)])
        storage.set_study_user_attr(about, "spec", spec)

    @staticmethod
    def exists(url: str, name: str) -> bool:
        """Say whether `url` holds a study `name` whose creation was finished; raises as `Record`."""
        if not database.holds_tables(url):
            return False
        storage = database.storage(url, create=False)
        try:
            with _damage(url, name):
                return "spec" in storage.get_study_user_attrs(_study_id(storage, name, "proposal"))
        except _NoStudy:
            return False
        finally:
            database.close(storage)

    def delete(self) -> None:
        """Remove the study from its database."""
        for study_id in self._ids.values():
            self._storage.delete_study(study_id)

    # reading

    def rows(self, role: str | None = None) -> list[Row]:
        """All trials, or those of one role, in order of their numbers."""
        with self._lock:
            return [row for one in ([role] if role else ROLES) for row in self._rows[one]]

    def row(self, role: str, number: int) -> Row:
        """One trial."""
        with self._lock:
            return self._rows[role][number]

    def version(self) -> int:
        """A number that grows with each write of this process."""
        return self._version

    # writing

    def set_spec(self, spec: StudySpec) -> None:
        """Keep a changed spec: a larger `budget.trials`, other resources; never what is compared."""
        plain = spec.model_dump(mode="json")
        if self._checks:  # a record of before the digests goes on without
            self._checks = [*self._checks, digest(self.uuid, plain)]
            self._storage.set_study_user_attr(self._ids["proposal"], CHECK, self._checks)
        self._storage.set_study_user_attr(self._ids["proposal"], "spec", plain)
        self._keep_spec(spec)
        self._version += 1

    def _keep_spec(self, spec: StudySpec) -> None:
        self.spec = spec
        self.metric, self.direction = spec.metric(), spec.direction()

    def add(
        self,
        role: str,
        *,
        seed: int,
        settings: Mapping[str, Regularizer] | None = None,
        extras: Mapping[str, float] | None = None,
        pair: int | None = None,
    ) -> Row:
        """Add a trial that no sampler proposed: a baseline, a member of a confirmation pair."""
        attributes = _attributes(seed, settings or {}, extras or {}) | (
            {} if pair is None else {"pair": pair}
        )
        return self._create(role, create_trial(state=TrialState.RUNNING, user_attrs=attributes))

    def propose(self) -> Row:
        """Let the sampler propose a trial, and record it in one transaction.

        The sampler works on an in-memory mirror of the proposals: asking the database itself would commit
        each parameter alone, and a kill in between would leave a torn row.
        """
        mirror, rows, search = self._mirror or self._build_mirror(), self.rows("proposal"), self.spec.search
        number = len(rows)
        self._shown.hide(
            overlooked(rows, sampler=search.sampler, metric=self.metric, direction=self.direction)
        )
        mirror.sampler = make_sampler(
            search.sampler,
            seed=seed_of(search.seed, 0 if search.sampler == "qmc" else number),  # a sequence has one seed
            startup_trials=search.startup_trials or 0,
        )
        asked = mirror.ask()
        settings = self.spec.sparsity_space().suggest(asked)
        extras = extras_space.suggest(self.spec.space.extras, asked)
        template = create_trial(
            state=TrialState.RUNNING,
            params=asked.params,
            distributions=asked.distributions,
            user_attrs=_attributes(search.seed, settings, extras),
        )
        return self._create("proposal", template)

    def evaluation(self, role: str, number: int, step: int, metrics: Mapping[str, float]) -> str:
        """Write an evaluation, decide from it, and return the trial's state; the first one at a step wins."""
        row = self.row(role, number)
        if row.state != RUNNING:
            return row.state
        if row.at(step) is None:
            fault = self._fault(row, step, metrics)
            if fault:
                return self.fail(role, number, fault)
            written = Recorded(self._sequence, time.time(), step, {k: float(v) for k, v in metrics.items()})
            self._storage.set_trial_user_attr(
                self._trial_id(role, number),
                f"{EVALUATION}{step}",
                {
                    "seq": written.seq,
                    "time": written.time,
                    "metrics": written.metrics,
                    CHECK: digest_of_evaluation(role, number, written),
                },
            )
            self._sequence += 1
            if role == "proposal":
                self._came.setdefault(step, []).append(written)
            self._replace(replace(row, evaluations=(*row.evaluations, written)))
        return self._settle(role, number, step)

    def ran(self, role: str, number: int, *, node: str, afresh: bool) -> None:
        """Write where a trial was trained just now, and whether it had begun again; before its evaluation."""
        row = self.row(role, number)
        if row.state != RUNNING:
            return
        trial_id = self._trial_id(role, number)
        if row.nodes[-1:] != (node,):
            row = replace(row, nodes=(*row.nodes, node))
            self._storage.set_trial_user_attr(trial_id, "nodes", list(row.nodes))
        if afresh:
            row = replace(row, restarts=row.restarts + 1)
            self._storage.set_trial_user_attr(trial_id, "restarts", row.restarts)
        if row is not self.row(role, number):
            self._replace(row)

    def died(self, role: str, number: int) -> int:
        """Count that the process of a trial failed, and return how often so far, by all drivers."""
        row = self.row(role, number)
        row = replace(row, failures=row.failures + 1)
        self._storage.set_trial_user_attr(self._trial_id(role, number), "failures", row.failures)
        self._replace(row)
        return row.failures

    def fail(self, role: str, number: int, reason: str) -> str:
        """End a trial as FAILED, with a reason that a person can read; passwords are left out of it."""
        return self._finish(role, number, TrialState.FAIL, reason=without_password(reason))

    def exhausted(self, role: str, number: int) -> str:
        """End a trial that found too little memory: PRUNED, as a divergence is, so the sampler learns."""
        return self._finish(role, number, TrialState.PRUNED, reason=OUT_OF_MEMORY)

    def settle(self) -> None:
        """Repeat what a kill may have cut off behind the last evaluation of each unfinished trial."""
        for row in self.rows():
            if row.state == RUNNING and row.evaluations:
                self._settle(row.role, row.number, row.evaluations[-1].step)

    # the parts

    def _fault(self, row: Row, step: int, metrics: Mapping[str, float]) -> str | None:
        metric = self.metric
        if metric not in metrics:
            known = ", ".join(sorted(metrics)) or "none"
            return f"the evaluation at step {step} has no metric {metric!r}: it has {known}"
        due = [s for s in self.spec.evaluate_at() if row.at(s) is None and s < step]
        if due:
            return f"the training evaluated at step {step} without having evaluated at step {due[0]}"
        return None

    def _settle(self, role: str, number: int, step: int) -> str:
        row = self.row(role, number)
        evaluation = row.at(step)
        if evaluation is None:
            return row.state
        value = evaluation.metrics[self.metric]
        if not math.isfinite(value):
            return self._finish(role, number, TrialState.PRUNED, reason=DIVERGED)
        self._each(role, number, "set_trial_intermediate_value", step, value)
        if step >= self.spec.budget.steps:
            return self._finish(role, number, TrialState.COMPLETE, value=value)
        if self._is_decided_at(role, step) and not self._goes_on(evaluation, value):
            return self._finish(role, number, TrialState.PRUNED, reason=f"behind at step {step}")
        return RUNNING

    def _is_decided_at(self, role: str, step: int) -> bool:
        return role == "proposal" and self.spec.search.scheduler == "asha" and step in self.spec.rungs()

    def _goes_on(self, evaluation: Recorded, value: float) -> bool:
        """Decide from the evaluations with a smaller `seq` alone, so that deciding again decides the same."""
        came = self._came[evaluation.step]
        earlier = [other.metrics[self.metric] for other in came if other.seq < evaluation.seq]
        return pruning.goes_on(
            value,
            [one for one in earlier if math.isfinite(one)],
            direction=self.direction,
            reduction=self.spec.budget.reduction,
        )

    def _finish(
        self,
        role: str,
        number: int,
        state: TrialState,
        *,
        value: float | None = None,
        reason: str | None = None,
    ) -> str:
        row = self.row(role, number)
        if row.state != RUNNING:
            return row.state
        trial_id = self._trial_id(role, number)
        if reason is not None:
            self._storage.set_trial_user_attr(trial_id, "reason", reason)
        if reason in (DIVERGED, OUT_OF_MEMORY):
            self._each(role, number, "set_trial_system_attr", CONSTRAINT, 1.0)
        elif CONSTRAINT in self._storage.get_trial(trial_id).system_attrs:
            # A kill fell between constraint and state, and this time there was memory enough.
            self._each(role, number, "set_trial_system_attr", CONSTRAINT, 0.0)
        self._each(role, number, "set_trial_state_values", state, None if value is None else [value])
        self._replace(replace(row, state=STATES[state], reason=reason, value=value, finished=time.time()))
        return STATES[state]

    def _each(self, role: str, number: int, method: str, *arguments: Any) -> None:
        """Write to the database, then the same to the sampler's mirror of it."""
        getattr(self._storage, method)(self._trial_id(role, number), *arguments)
        if role == "proposal" and self._mirror is not None:
            mirror = self._mirror._storage
            mirrored = mirror.get_trial_id_from_study_id_trial_number(self._mirror._study_id, number)
            getattr(mirror, method)(mirrored, *arguments)

    def _create(self, role: str, trial: FrozenTrial) -> Row:
        trial.set_user_attr(CHECK, digest_of_trial(role, len(self.rows(role)), trial))
        trial_id = self._storage.create_new_trial(self._ids[role], template_trial=trial)
        row = row_of(role, self._storage.get_trial(trial_id))
        with self._lock:
            self._rows[role].append(row)
            self._version += 1
        return row

    def _replace(self, row: Row) -> None:
        with self._lock:
            self._rows[row.role][row.number] = row
            self._version += 1

    def _read(self, role: str) -> list[Row]:
        trials = self._storage.get_all_trials(self._ids[role], deepcopy=False)
        if [trial.number for trial in trials] != list(range(len(trials))):
            raise ValueError(f"a {role} is missing or doubled")
        rows = [row_of(role, trial) for trial in trials]
        for row, trial in zip(rows, trials, strict=True):
            check_row(row, trial, metric=self.metric, steps=self.spec.budget.steps)
        return rows

    def _trial_id(self, role: str, number: int) -> int:
        return self._storage.get_trial_id_from_study_id_trial_number(self._ids[role], number)

    def _build_mirror(self) -> optuna.Study:
        trials = self._storage.get_all_trials(self._ids["proposal"], deepcopy=False)
        self._shown = _Mirror()
        mirror = optuna.create_study(storage=self._shown, direction=self.direction)
        for trial in trials:
            mirror._storage.create_new_trial(mirror._study_id, template_trial=trial)
        self._mirror = mirror
        return mirror


class _NoStudy(Mistake):
    """The database is whole and holds no such study."""


def _refuse(about: Mapping[str, Any], name: str) -> None:
    if "spec" not in about:
        raise _NoStudy(f"no study {name!r} in its database: start it with `search`")
    if about.get("schema") != SCHEMA:
        raise Mistake(
            f"study {name!r} has a record of schema {about.get('schema')} and this version reads {SCHEMA}: "
            "open it with the version that wrote it"
        )


def _check_about(about: Mapping[str, Any]) -> None:
    """The digests are written before the spec, so a kill in between leaves one more than is needed."""
    checks = about.get(CHECK)
    if "spec" in about and checks and digest(about["uuid"], about["spec"]) not in checks:
        raise ValueError("the checksum of the spec is wrong")


def _parsed(spec: Any) -> StudySpec:
    try:
        return StudySpec.model_validate(spec)
    except ValidationError as error:
        raise one_sentence(error, StudySpec) from None


@contextlib.contextmanager
def _damage(url: str, name: str) -> Iterator[None]:
    """Within it what cannot be read as a record is told as damage."""
    try:
        yield
    except _NoStudy:
        raise
    except (MemoryError, OSError, sqlalchemy.exc.TimeoutError):  # of this machine
        raise
    except Exception as error:  # JSON, dates, names of states: each has an error of its own
        if type(error) is RuntimeError:  # the database's own, in a sentence
            raise
        raise database.damaged(url, f"study {name!r}: {type(error).__name__}: {why(error)}") from error


def _study_id(storage: BaseStorage, name: str, role: str) -> int:
    try:
        return storage.get_study_id_from_name(f"{name}/{role}")
    except KeyError:
        raise _NoStudy(f"no study {name!r} in its database: start it with `search`") from None


def _attributes(
    seed: int, settings: Mapping[str, Regularizer], extras: Mapping[str, float]
) -> dict[str, Any]:
    plain = {site: to_json(regularizer) for site, regularizer in settings.items()}
    return {"seed": seed, "settings": plain, "extras": dict(extras)}
