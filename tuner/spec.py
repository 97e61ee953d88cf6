"""StudySpec: what a user asks for, typed; read from a file or a preset, frozen before the first trial."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, PlainValidator, ValidationError, model_validator

from search_spaces.ranges import by_site, cut_to_sites, is_whole, shown
from search_spaces.sparsity import SparsitySpace
from trainers.plan import Frozen, Plan, Prepared, one_sentence, places
from trainers.settings import Mistake, Regularizer, is_discriminators, strength_of
from trainers.tasks import (
    TASKS,
    Direction,
    companions_of,
    confirmation_of,
    direction_of,
    find_task,
    make_plan,
    measured_of,
    metric_of,
    options_model,
    sites_of,
    way_to,
)
from tuner.sampling import check_sampler
from tuner.secrets import refuse_password
from tuner.sections import AS_WRITTEN, REGULARIZERS_KEY, Budget, Resources, Search, Space, Stall, Whole
from tuner.spec_file import apply_overrides, plain, read_source, seconds

COMPARED = ("task", "plan", "space", "search", "budget")  # what makes two specs the same study


def is_name(value: object) -> bool:
    """Whether it may name a study, and so a folder below ROOT and nothing else.

    >>> is_name("dip-denoise"), is_name(".."), is_name("a/b")
    (True, False, False)
    """
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", value) is not None


def _name(value: object) -> str:
    if not isinstance(value, str) or not is_name(value):
        raise ValueError(
            "it must be a name, not a path: letters, digits, '.', '_' and '-', at most 100, "
            "a letter or digit first"
        )
    return value


def _duration(value: object) -> float | str | None:
    if value is not None:
        seconds(value)
    return value  # type: ignore[return-value]  # seconds() has refused all but numbers and text


Duration = Annotated[float | str | None, PlainValidator(_duration), AS_WRITTEN]
Text = Annotated[str, Field(min_length=1)]


class StudySpec(Frozen):
    """One study. Every key but `name` has a default; `docs/spec.yaml` shows them all.

    Raises:
        pydantic.ValidationError (a ValueError): `load_spec` turns it into one sentence, a `Mistake`.
    """

    name: Annotated[str, PlainValidator(_name)] = Field(
        description="of the study and of its folder under ROOT"
    )
    task: Text = Field(
        default="dip", description=f"{', '.join(TASKS)}, or a task of your own as module:attribute"
    )
    plan: dict[str, Any] = Field(
        default={}, description="one training, by the keys of its task; here those of dip, then others"
    )
    space: Space = Field(default=Space(), description="what may vary")
    budget: Budget = Field(default=Budget.model_validate({}), description="how much is trained")
    search: Search = Field(default=Search(), description="who proposes and who stops")
    resources: Resources = Field(default=Resources(), description="what one trial takes")
    checkpoint_every: Duration = Field(
        default="5m", description="a death costs at most so much training: 90s, 5m, 1h"
    )
    retries: Whole = Field(
        default=3, ge=0, description="of a trial whose worker died; lost machines do not count"
    )
    stall: Stall = Field(default=Stall(), description="when a trial that hangs or crawls is ended")
    storage: Text | None = Field(
        default=None,
        description="the trials' folders: a shared path or an fsspec address; null: in the study's folder",
    )
    database: Text | None = Field(
        default=None, description="the record: a PostgreSQL address; null: SQLite beside the spec"
    )
    tracking: Text | None = Field(
        default=None, description="MLflow; null: MLFLOW_TRACKING_URI, else SQLite under ROOT"
    )
    time: Duration = Field(default=None, description="no trial starts after it: 30m, 2h; null: no limit")
    uuid: Text | None = Field(default=None, description="written by the program; leave it null")
    prepared: Prepared = Field(
        default={}, description="written by the program: what all trials share, with its SHA-256"
    )

    @model_validator(mode="after")
    def _checked(self) -> StudySpec:
        """The plan and the extras must suit the task before anything is started."""
        for key in ("tracking", "database", "storage"):
            refuse_password(key, getattr(self, key))
        if self.checkpoint_every is None:
            raise Mistake(
                "checkpoint_every is None, but a training must be saved now and then: write for example 5m"
            )
        if self.database is not None and "://" not in self.database:
            raise Mistake(
                f"database is {shown(self.database)}, but it must be an address such as postgresql://host/name"
            )
        check_sampler(self.search.sampler, static=True)
        self.plan_with({}, {})
        for name, bounds in self.space.extras.items():
            for end in bounds:
                self.plan_with({}, {name: end})
        return self

    def seconds(self, key: Literal["time", "checkpoint_every"]) -> float | None:
        """That length of time in seconds; None where there is no limit."""
        value: float | str | None = getattr(self, key)
        return None if value is None else seconds(value)

    def rungs(self) -> tuple[int, ...]:
        """The steps at which trials are stopped: grace · ηⁱ, rounded, below the last step."""
        budget = self.budget
        steps: list[int] = []
        while (step := round(budget.grace * budget.reduction ** len(steps))) < budget.steps:
            steps.append(step)
        return tuple(steps)

    def evaluate_at(self) -> tuple[int, ...]:
        """The steps of every trial's evaluations, ascending: rungs, the user's own, and the last."""
        return tuple(sorted({*self.rungs(), *self.budget.evaluate_at, self.budget.steps}))

    def plan_with(
        self, settings: Mapping[str, Regularizer], extras: Mapping[str, float], *, role: str = ""
    ) -> Plan:
        """The plan of one training of this study; empty settings and extras make the baseline's.

        role: of the trial, since a confirmation may train on what the search does not see.
        """
        task = find_task(self.task)
        plan = make_plan(
            task,
            self.plan,
            settings=settings,
            extras=extras,
            evaluate_at=self.evaluate_at(),
            checkpoint_every=seconds(self.checkpoint_every),
            prepared=self.prepared,
        )
        return confirmation_of(task, plan) if role == "confirmation" else plan

    def metric(self) -> str:
        """The name of what is optimised."""
        return metric_of(find_task(self.task), self.plan_with({}, {}))

    def direction(self) -> Direction:
        """`minimize` or `maximize`."""
        return direction_of(find_task(self.task), self.metric())

    def measured(self, role: str = "") -> str:
        """How that is measured in trials of a role, in one clause; empty where the task does not say."""
        return measured_of(find_task(self.task), self.plan_with({}, {}, role=role))

    def companions(self) -> dict[str, Direction]:
        """The metrics that are shown beside it, and which way each is better."""
        task = find_task(self.task)
        return {name: direction_of(task, name) for name in companions_of(task, self.plan_with({}, {}))}

    def sparsity_space(self) -> SparsitySpace:
        """The space that a frozen spec searches."""
        space = self.space
        whole = [entry[strength_of(kind)] for kind, entry in space.regularizers.items() if is_whole(kind)]
        if isinstance(space.sites, str) or not all(isinstance(bounds, dict) for bounds in whole):
            raise RuntimeError(
                f"the spec of {self.name!r} is not frozen, so its sites and ranges are open: freeze it"
            )
        return SparsitySpace(space.sites, space.max_sites, by_site(space.regularizers, space.sites))


def load_spec(
    source: str | Path | Mapping[str, Any] | StudySpec,
    *,
    overrides: Sequence[str] = (),
    name: str | None = None,
    trials: int | None = None,
    time: float | str | None = None,
) -> StudySpec:
    """Read a study from a preset's name, a YAML file or a mapping, and check all that needs no network.

    Args:
        source: a string is a preset where there is one of that name, else a path.
        overrides: `budget.trials=8`, values in YAML; `name`, `trials` and `time` override after them.

    Raises:
        Mistake: what is wrong with it, in one sentence.

    >>> load_spec({"name": "mine", "plan": {"image": "chelsea"}}, overrides=["budget.steps=900"]).rungs()
    (100, 300)
    """
    if isinstance(source, StudySpec):
        source = source.model_dump(mode="json")
    content = plain(source) if isinstance(source, Mapping) else read_source(source)
    apply_overrides(content, overrides)
    for section in (*COMPARED[1:], "resources"):
        if content.get(section, {}) is None:
            del content[section]  # `space:` with nothing below it
        elif not isinstance(content.get(section, {}), dict):
            raise Mistake(
                f"{section} is {shown(content[section])}, but it is a section: write its keys below it"
            )
    for key, value in (("name", name), ("time", time)):
        if value is not None:
            content[key] = value
    if trials is not None:
        content["budget"] = {**(content.get("budget") or {}), "trials": trials}
    try:
        return StudySpec.model_validate(content)
    except ValidationError as error:
        raise one_sentence(error, StudySpec) from None


def freeze(spec: StudySpec, *, startup_trials: int | None = None) -> StudySpec:
    """The spec with every default written in, so that a later version or another machine searches the same.

    Written in are the complete plan, the sites in order of execution, `k` cut to C - 1 of each site and the
    start-up trials. Freezing a frozen spec changes nothing.

    Args:
        startup_trials: what the record holds already, used where the spec leaves it open: it must not
            change when a study is extended.

    Raises:
        Mistake: unknown sites, none left, a k range above its site, or gp/qmc on a conditional space.
    """
    task, plan = find_task(spec.task), spec.plan_with({}, {})
    shapes = _chosen(spec, plan, sites_of(task, plan))
    ranges = cut_to_sites(spec.space.regularizers, shapes, REGULARIZERS_KEY)
    bare = [site for site, kinds in by_site(ranges, list(shapes)).items() if not kinds]
    if bare:
        raise Mistake(
            f"space.sites names {shown(bare[0])}, but no regularizer of {REGULARIZERS_KEY} can act there: "
            "give it a range, or leave the site out"
        )
    start = next(
        (n for n in (spec.search.startup_trials, startup_trials) if n is not None),
        _startup(spec.budget.trials),
    )
    space = {
        "sites": tuple(shapes),
        "max_sites": min(spec.space.max_sites, len(shapes)),
        "regularizers": ranges,
    }
    frozen = StudySpec.model_validate(
        {
            **spec.model_dump(),
            "plan": plan.options.model_dump(mode="json"),
            "space": {**spec.space.model_dump(), **space},
            "search": {**spec.search.model_dump(), "startup_trials": start},
        }
    )
    check_sampler(frozen.search.sampler, static=frozen.sparsity_space().is_static)
    return frozen


def _chosen(
    spec: StudySpec, plan: Plan, known: Mapping[str, tuple[int, int, int]]
) -> dict[str, tuple[int, int, int]]:
    if not known:
        raise Mistake(f"task is {spec.task!r}, but its network has no site, so nothing is left to search")
    for site in () if isinstance(spec.space.sites, str) else spec.space.sites:
        if site not in known:
            names = ", ".join(known)
            raise Mistake(
                f"space.sites names {shown(site)}, but the sites of this network are {names}"
                f"{way_to(site, plan)}"
            )
    chosen = {
        site: shape for site, shape in known.items() if spec.space.sites == "all" or site in spec.space.sites
    }
    judging = [site for site in known if is_discriminators(site)]
    if getattr(plan.options, "discriminator_sites", False) and not chosen.keys() & set(judging):
        raise Mistake(
            "plan.discriminator_sites is true, but space.sites names none of them: add those to search, as "
            f"{judging[0]}, or write sites: all"
        )
    return chosen


def _startup(trials: int) -> int:
    """TPE's own 10 would be most of a short study (FACTS: below 30 trials a third of them)."""
    return max(1, trials // 3) if trials < 30 else 10


def differences(first: StudySpec, second: StudySpec) -> list[str]:
    """The dotted keys by which two frozen specs are different studies.

    Compared are task, plan, space, search and budget; not the number of trials, not where data lie, and not
    the start-up trials where one of the two leaves them open.
    """
    one, other = _flat(first), _flat(second)
    ignored = {"budget.trials", *(f"plan.{name}" for name in places(options_model(find_task(first.task))))}
    if None in (first.search.startup_trials, second.search.startup_trials):
        ignored.add("search.startup_trials")
    return [
        key for key in {**one, **other} if key not in ignored and one.get(key, ...) != other.get(key, ...)
    ]


def _flat(spec: StudySpec) -> dict[str, Any]:
    result: dict[str, Any] = {}

    def walk(key: str, value: Any) -> None:
        if isinstance(value, dict) and value:
            for part, below in value.items():
                walk(f"{key}.{part}", below)
        else:
            result[key] = value

    # An earlier version has written fewer keys into the plan: what it left out is at its default.
    plan = spec.plan_with({}, {}).options.model_dump(mode="json")
    for key, value in (spec.model_dump(mode="json", include=set(COMPARED)) | {"plan": plan}).items():
        walk(key, value)
    return result


def to_yaml(spec: StudySpec) -> str:
    """The spec as YAML; `load_spec` reads the same spec from it."""
    text: str = yaml.safe_dump(
        spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110, default_flow_style=None
    )
    return text
