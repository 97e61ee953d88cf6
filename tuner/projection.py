"""What a study looks like in MLflow: one run for it, and one below it for each trial.

A function of the record alone; `runs.py` knows what MLflow has of it already.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from trainers.settings import Mistake, SettingsFile
from trainers.tasks import ORACLES, find_task, sites_of
from tuner import tracking as names
from tuner.artifacts import Unreadable, send_checkpoint, send_files
from tuner.confirm import Confirmation
from tuner.exported import (
    Shapes,
    baseline_of,
    compared,
    downloaded,
    settings_file_of,
    sites_of_row,
    text_of,
)
from tuner.pairs import confirmations
from tuner.points import baseline_points, milliseconds, parameters, points, strengths
from tuner.runs import Run, experiment_of, the_one
from tuner.secrets import without_password
from tuner.standing import is_done, leaders
from tuner.states import COMPLETE, FAILED, PRUNED, RUNNING

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as Found

    from tuner.record import Record
    from tuner.rows import Row
    from tuner.spec import StudySpec
    from tuner.storage import Storage

_STATUS = {COMPLETE: "FINISHED", PRUNED: "FINISHED", FAILED: FAILED, RUNNING: RUNNING}
_KEPT_CHECKPOINTS = 3
_LONGEST_REASON = 1000
_REFUSALS = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "RESOURCE_DOES_NOT_EXIST", "INVALID_STATE")


@dataclass
class _There:
    """What was found in MLflow: the experiment, the study's run, and those of the trials by their labels."""

    client: "MlflowClient"
    experiment: str
    study: Run
    trials: dict[str, Run]


class Projection:
    """Brings MLflow up to a record; for one thread, that of `tracking.Tracker`."""

    def __init__(self, record: "Record", tracking: str, storage: "Storage") -> None:
        self._record, self._tracking, self._storage = record, tracking, storage
        self._there: _There | None = None
        self._shapes: Shapes | None = None
        self._known: dict[
            str, tuple[Row, Confirmation | None]
        ] = {}  # delivered, and nothing has failed since
        self._counted: dict[str, Row] = {}  # delivered, as far as this process knows
        self._version = -1  # of the record, when all of it was last copied
        self._spec: StudySpec | None = None  # and the spec and the leader that were
        self._best: tuple[object, ...] = ()

    def behind(self, rows: Sequence["Row"]) -> int:
        """How many evaluations MLflow lacks; a change of a trial's state alone counts as one."""
        lacking = 0
        for row in rows:
            copied = self._counted.get(row.label)
            if copied is not row:
                lacking += max(1, len(row.evaluations) - (len(copied.evaluations) if copied else 0))
        return lacking

    @property
    def is_known(self) -> bool:
        """Whether a pass has come to its end, so that `behind` counts what earlier processes delivered."""
        return self._version >= 0

    def bring_up_to_date(self, afresh: bool = False) -> None:
        """One pass over the record; a run that MLflow refuses does not keep the others from being copied.

        Args:
            afresh: look up what MLflow has, whatever is known of it.
        """
        version, rows = self._record.version(), self._record.rows()
        if afresh:
            self._forget()
        if self._there is not None and version == self._version:
            return
        try:
            there = self._there = self._there or self._look_up()
            confirmed = self._confirmed(rows)
            refused = [error for row in rows if (error := self._offer(there, row, confirmed.get(row.label)))]
            self._copy_study(there, rows, confirmed)
            if refused:
                raise refused[0]
            self._version = version
        except Exception:
            self._forget()  # what came through is not known
            raise

    def _forget(self) -> None:
        """Let the next pass look up what MLflow has."""
        self._there, self._known, self._spec = None, {}, None

    def _look_up(self) -> _There:
        client, spec = names.connect(self._tracking), self._record.spec
        experiment = experiment_of(client, spec.task, self._tracking)
        query = f"tags.{names.STUDY_UUID} = '{self._record.uuid}'"
        doubles: dict[str, list[Found]] = {}
        for run in names.search(client, query):
            doubles.setdefault(run.data.tags.get(names.TRIAL, ""), []).append(run)
        found = {label: the_one(client, runs) for label, runs in doubles.items()}
        of_study = found.pop("", None)
        if of_study is None:
            tags = {names.ROLE: names.STUDY_ROLE, names.STATE: RUNNING}
            tags |= {names.METRIC: spec.metric(), names.DIRECTION: spec.direction()}
            if measured := spec.measured():
                tags[names.MEASURED] = measured
            if companions := spec.companions():
                tags[names.COMPANIONS] = json.dumps(companions)
            of_study = client.create_run(experiment, tags=self._common() | tags, run_name=spec.name)
        study = Run(client, of_study)
        for run in found.values():  # a child may have been made below a run of the study that is gone
            if run.data.tags.get(names.PARENT) != study.id:
                client.set_tag(run.info.run_id, names.PARENT, study.id)
        return _There(client, experiment, study, {label: Run(client, run) for label, run in found.items()})

    def _common(self) -> dict[str, str]:
        spec = self._record.spec
        oracle = {names.ORACLE: "true"} if spec.metric() in ORACLES else {}
        return {names.STUDY: spec.name, names.STUDY_UUID: self._record.uuid} | oracle

    # trials

    def _offer(self, there: _There, row: "Row", confirmed: Confirmation | None) -> Exception | None:
        """Copy a trial that has changed; what MLflow refuses is returned, a lost connection is raised."""
        known = self._known.get(row.label)
        if known is not None and known[0] is row and known[1] == confirmed:
            return None
        try:
            self._copy(self._run_of(there, row), row, confirmed)
        except Exception as error:
            if not _is_about_one_run(error):
                raise
            return error
        self._known[row.label], self._counted[row.label] = (row, confirmed), row
        return None

    def _run_of(self, there: _There, row: "Row") -> Run:
        if row.label not in there.trials:
            tags = {names.ROLE: row.role, names.TRIAL: row.label, names.STATE: RUNNING}
            tags[names.PARENT] = there.study.id
            started = milliseconds(row.started)
            made = there.client.create_run(there.experiment, started, self._common() | tags, row.label)
            there.trials[row.label] = Run(there.client, made)
        return there.trials[row.label]

    def _copy(self, run: Run, row: "Row", confirmed: Confirmation | None) -> None:
        tags = self._tags(row, confirmed)
        if not run.lacks(len(row.evaluations), tags):
            return
        unread = None
        try:
            send_files(run, row, self._storage)
        except Unreadable as error:  # all the rest is delivered, and the files by a later pass
            unread = error
        run.is_whole = unread is None
        if row.state != RUNNING:
            if not run.has(names.SETTINGS_FILE):  # once: a later version of this program did not train it
                run.put(names.SETTINGS_FILE, text_of(self._settings_file(run, row)))
            run.end(_STATUS[row.state], milliseconds(row.finished or row.started))
        if confirmed is not None:
            run.put(names.CONFIRMED_FILE, json.dumps(confirmed.to_json(), indent=2))
        new = [point for one in row.evaluations[run.evaluations :] for point in points(one)]
        run.evaluations = len(row.evaluations)
        if run.is_new:
            run.send(tags, [*strengths(row), *new], parameters(row))
        else:
            run.send(tags, new)
        if unread is not None:
            raise unread

    def _tags(self, row: "Row", confirmed: Confirmation | None) -> dict[str, str]:
        tags = {names.STATE: row.state, names.SETTINGS: json.dumps(sites_of_row(row, self._all_shapes()))}
        if row.reason is not None:
            tags[names.REASON] = row.reason[:_LONGEST_REASON]
        if row.evaluations:
            tags[names.STEP] = str(row.evaluations[-1].step)
            tags |= _oracles(row.evaluations[-1].metrics)
        if row.nodes:
            tags[names.NODES] = ", ".join(row.nodes)
        if row.restarts:
            tags[names.RESTARTS] = str(row.restarts)
        if confirmed is not None:
            tags[names.CONFIRMED] = json.dumps(confirmed.summary())
        return tags

    def _settings_file(self, run: Run, row: "Row") -> SettingsFile:
        """The trial's exported file, without the comparisons, which may still change: `export` adds them."""
        study = {"uuid": self._record.uuid, "run": run.id}
        return settings_file_of(row, self._record.spec, shapes=self._all_shapes(), study=study)

    def _all_shapes(self) -> Shapes:
        if self._shapes is None:
            spec = self._record.spec
            self._shapes = sites_of(find_task(spec.task), spec.plan_with({}, {}))
        return self._shapes

    def _confirmed(self, rows: Sequence["Row"]) -> dict[str, Confirmation]:
        """Confirmations by the proposal's label; none while pairs are trained: that would be peeking."""
        pairs = [row for row in rows if row.role == "confirmation"]
        if not pairs or any(row.state == RUNNING for row in pairs):
            return {}
        found = confirmations(rows, self._record.spec)
        return {str(one.proposal): one for one in found}

    # the study's own run

    def _copy_study(
        self, there: _There, rows: Sequence["Row"], confirmed: Mapping[str, Confirmation]
    ) -> None:
        """The study's spec, baseline, leader and state; at its end, the checkpoints of the best."""
        from tuner.spec import to_yaml

        spec, run = self._record.spec, there.study
        baseline = baseline_of(rows, spec.companions())
        done = is_done(rows, spec.budget)
        best = leaders(rows, spec.direction(), _KEPT_CHECKPOINTS)
        if self._spec is not spec:
            run.put(names.SPEC_FILE, without_password(to_yaml(spec)))
            self._spec = spec
        if baseline is not None:
            run.put(names.BASELINE_FILE, json.dumps(baseline, indent=2))
        if best:
            self._copy_best(there, best[0], baseline, confirmed.get(best[0].label))
        for row in best if done else ():
            self._copy_checkpoint(there.trials[row.label], row, confirmed.get(row.label))
        state = COMPLETE if done else RUNNING
        run.end(_STATUS[state], milliseconds(max(row.finished or 0.0 for row in rows)) if done else None)
        tags = {names.STATE: state}
        if baseline is not None:  # its measures are metrics: a tag has no room for those of many sites
            told = {key: value for key, value in baseline.items() if key != "metrics"}
            tags[names.BASELINE] = json.dumps(told)
            tags |= _oracles(baseline["metrics"])
        run.send(tags, baseline_points(rows, baseline))

    def _copy_best(
        self, there: _There, row: "Row", baseline: dict[str, Any] | None, confirmed: Confirmation | None
    ) -> None:
        """The leader's file, complete: the very text that `export` writes."""
        if self._best == (there, row, baseline, confirmed):
            return
        from mlflow.exceptions import MlflowException

        known, run = None if confirmed is None else confirmed.summary(), there.trials[row.label]
        try:
            content = downloaded(there.client, run.id)
        except (MlflowException, OSError, Mistake):  # somebody removed it, or the next request fails as well
            content = self._settings_file(run, row)
        there.study.put(names.BEST_FILE, text_of(compared(content, baseline, known)))
        self._best = (there, row, baseline, confirmed)

    def _copy_checkpoint(self, run: Run, row: "Row", confirmed: Confirmation | None) -> None:
        if send_checkpoint(run, row, self._storage):
            run.send(self._tags(row, confirmed))


def _oracles(metrics: Iterable[str]) -> dict[str, str]:
    """The tag of a run that holds these metrics; MLflow shows their bare names."""
    marked = [name for name in metrics if name in ORACLES]
    return {names.ORACLES: ", ".join(marked)} if marked else {}


def _is_about_one_run(error: Exception) -> bool:
    """Whether an error says nothing about the next run: MLflow refuses this one, or its trial is at fault."""
    from mlflow.exceptions import MlflowException

    if isinstance(error, MlflowException):
        return error.error_code in _REFUSALS
    return isinstance(error, FileNotFoundError) or not isinstance(error, OSError)
