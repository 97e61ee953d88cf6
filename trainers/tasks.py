"""Ways of training by name: ours, and a user's own as "module:attribute". No torch at import."""

import os
import random
import reprlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ValidationError, create_model

from trainers import classifier_options, ddpm_options, dip_options, picture_options
from trainers.classifier_options import ClassifierOptions
from trainers.ddpm_options import DdpmOptions
from trainers.dip_options import DipOptions
from trainers.gan_options import GanOptions
from trainers.own_options import OwnModule, imported
from trainers.plan import Frozen, Plan, checked_prepared, models_in, one_sentence
from trainers.psnr import METRICS, ORACLE
from trainers.psnr import ORACLES as ORACLES
from trainers.settings import Mistake, Regularizer, is_discriminators
from trainers.vae_options import VaeOptions

if TYPE_CHECKING:
    from trainers.training import Evaluation, Training

Direction = Literal["minimize", "maximize"]
Shape = tuple[int, int, int]
Sites = Mapping[str, Shape]
_METHODS = ("step", "evaluate", "state_dict", "load_state_dict")  # of a training that can be saved


@dataclass(frozen=True)
class Task:
    """One way of training.

    name: as in `task:` of a spec, and of the MLflow experiment. metric: the key of an evaluation's metrics
    that is optimised, direction "minimize" or "maximize". train: a function, of which `train(plan, *, seed,
    device="cpu", folder=None)` yields an Evaluation at every step of plan.evaluate_at; or a class with the
    four methods of `trainers.training.Training`, made by `train(plan, *, seed, device="cpu")`, which is saved
    and goes on after a death. sites: {name: (C, H, W)} in order of execution, or a function of the plan that
    gives it. options: the task's own keys with their defaults, which type them, or a pydantic model. scope:
    where a result holds, as a confirmation says it ("on this picture"), or a function of the plan. data: the
    option that names what is trained on, or has a list of such names, for a file's provenance.

    prepare, measured and companions are functions of the plan that a task may leave out. prepare makes,
    before the first trial of a study and in its driver, what all its trainings share, and returns it as
    {name: SHA-256}; the study keeps that, and every training gets it as `plan.prepared`, to refuse another
    (`plan.refuse_another`). A name that ends in .npz is a file of `trainers.prepared.folder()`, and travels
    to the workers; any other is a fingerprint, for example of the data. Called again it returns the same, and
    fast. measured says in one clause how the metric is measured, for below every table. companions names
    metrics that are shown beside it. Both are asked once a trial, and look at the plan alone.

    directions: for metrics that have another direction than `direction`, where the plan's objective, or what
    is shown beside it, may be one of them; a mapping of names. confirmation: a function of the plan that
    gives the one that a confirmation trains, where that is another: on data that no search sees. part: what
    one calls what has the sites, for `attach(part, …)` as `export` prints it.

    >>> Task("mine", "fid", "minimize", train=print, sites={"h0": (64, 2, 2)}, options={"lr": 2e-3}).name
    'mine'
    """

    name: str
    metric: str
    direction: Direction
    train: Callable[..., "Iterator[Evaluation] | Training"]
    sites: Sites | Callable[[Plan], Sites]
    options: Mapping[str, Any] | type[BaseModel] = field(default_factory=dict)
    scope: str | Callable[[Plan], str] = ""
    data: str = "data"
    prepare: Callable[[Plan], Mapping[str, str]] | None = None
    measured: Callable[[Plan], str] | None = None
    companions: Callable[[Plan], Sequence[str]] | None = None
    directions: Mapping[str, Direction] = field(default_factory=dict)
    confirmation: Callable[[Plan], Plan] | None = None
    part: str = "network"

    def __post_init__(self) -> None:
        for key in ("name", "metric"):
            if not isinstance(getattr(self, key), str) or not getattr(self, key):
                raise Mistake(f"{key} of a Task is {getattr(self, key)!r}, but it must be a word")
        if not isinstance(self.directions, Mapping):
            raise Mistake(
                f"directions of task {self.name} is {self.directions!r}, but it must map metrics to "
                "directions: write for example {'accuracy': 'maximize'}"
            )
        said = {f"directions[{metric!r}]": one for metric, one in self.directions.items()}
        for key, direction in {"direction": self.direction, **said}.items():
            if direction not in ("minimize", "maximize"):
                raise Mistake(
                    f"{key} of task {self.name} is {direction!r}, but it must be 'minimize' or 'maximize'"
                )
        for key in ("train", "prepare", "measured", "companions", "confirmation"):
            given = getattr(self, key)
            if not callable(given) and (given is not None or key == "train"):
                raise Mistake(f"{key} of task {self.name} is {given!r}, but it must be a function")
        lacking = [name for name in _METHODS if not callable(getattr(self.train, name, None))]
        if isinstance(self.train, type) and lacking:
            raise Mistake(
                f"train of task {self.name} is the class {self.train.__name__}, which lacks "
                f"{', '.join(lacking)}: a training has the methods {', '.join(_METHODS)}"
            )

    def evaluations(
        self, plan: Plan, *, seed: int, device: str = "cpu", folder: str | os.PathLike[str] | None = None
    ) -> Iterator["Evaluation"]:
        """Train the plan once; `folder` keeps what a training that was cut off goes on from.

        PyTorch's, NumPy's and Python's global generators begin at the seed: ours draw from generators of
        their own, a user's training or network may not. A Mistake where `train` gives anything but
        Evaluations.
        """
        import numpy as np
        import torch

        from trainers.training import Evaluation, run

        torch.manual_seed(seed)
        np.random.seed(seed % 2**32)
        random.seed(seed)
        if isinstance(self.train, type):
            yield from run(self.train(plan, seed=seed, device=device), plan=plan, seed=seed, folder=folder)
            return
        given: object = self.train(plan, seed=seed, device=device, folder=folder)
        for one in given if isinstance(given, Iterable) else (given,):
            if not isinstance(one, Evaluation):
                raise _gives(
                    self, "train", one, "one trainers.training.Evaluation after the other: yield them"
                )
            yield one


def _later(module: str, name: str) -> Callable[..., Any]:
    """That function, imported when it is called: torch when something trains, not when it is described."""

    def call(*given: Any, **named: Any) -> Any:
        return getattr(import_module(f"trainers.{module}"), name)(*given, **named)

    return call


TASKS: dict[str, Task] = {
    "dip": Task(
        "dip",
        "psnr",
        "maximize",
        _later("dip", "train_dip"),
        sites=dip_options.sites,
        options=DipOptions,
        scope=dip_options.scope,
        data="pictures",
        prepare=dip_options.prepare,
        measured=dip_options.measured,
        companions=dip_options.companions,
        directions=METRICS,
        confirmation=dip_options.confirmation,
    ),
    "gan": Task(
        "gan",
        "fid",
        "minimize",
        _later("gan", "train_gan"),
        sites=picture_options.sites,
        options=GanOptions,
        scope="on these pictures",
        prepare=_later("gan", "prepare"),
        measured=picture_options.measured,
        companions=picture_options.companions,
    ),
    "vae": Task(
        "vae",
        "fid",
        "minimize",
        _later("vae", "train_vae"),
        sites=picture_options.sites,
        options=VaeOptions,
        scope="on these pictures",
        prepare=_later("vae", "prepare"),
        measured=picture_options.measured,
        companions=picture_options.companions,
        part="decoder",
    ),
    "ddpm": Task(
        "ddpm",
        "fid",
        "minimize",
        _later("ddpm", "train_ddpm"),
        sites=picture_options.sites,
        options=DdpmOptions,
        scope="on these pictures",
        prepare=_later("ddpm", "prepare"),
        measured=ddpm_options.measured,
        companions=picture_options.companions,
    ),
    "classifier": Task(
        "classifier",
        "accuracy",
        "maximize",
        _later("classifier", "train_classifier"),
        sites=picture_options.sites,
        options=ClassifierOptions,
        scope=classifier_options.scope,
        prepare=_later("classifier", "prepare"),
        measured=classifier_options.measured,
        companions=classifier_options.companions,
        directions=classifier_options.METRICS,
        confirmation=classifier_options.confirmation,
    ),
}


def find_task(name: str) -> Task:
    """A task of ours by name, or a user's own by "module:attribute", which is imported."""
    if name in TASKS:
        return TASKS[name]
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise Mistake(
            f"task is {name!r}, but the known tasks are {', '.join(TASKS)}; "
            "one of your own is written module:attribute"
        )
    task = imported(name, "task")
    if not isinstance(task, Task):
        raise Mistake(
            f"task is {name!r}, but that is a {type(task).__name__}: it must be a trainers.tasks.Task"
        )
    return task


def options_model(task: Task) -> type[BaseModel]:
    """The task's options as a model: frozen, unknown keys refused, each typed by its default."""
    if not isinstance(task.options, Mapping):
        return task.options
    for key in task.options:
        if not isinstance(key, str) or not key.isidentifier() or key.startswith("_"):
            raise Mistake(
                f"options of task {task.name} have the key {key!r}, but a key must be a word of "
                "letters, digits and inner underscores"
            )
    fields: dict[str, Any] = {
        key: (Any if value is None else type(value), value) for key, value in task.options.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydantic warns of names such as `copy`; as a field they work
        return create_model(f"{task.name} options", __base__=Frozen, **fields)


def make_plan(
    task: Task,
    options: Mapping[str, Any],
    *,
    settings: Mapping[str, Regularizer] | None = None,
    extras: Mapping[str, float] | None = None,
    evaluate_at: Sequence[int],
    checkpoint_every: float = 300.0,
    prepared: Mapping[str, str] | None = None,
) -> Plan:
    """Check everything that one training needs against its task, and freeze it; a Mistake where it is not so.

    >>> from trainers.settings import L0
    >>> plan = make_plan(find_task("dip"), {"size": 96}, settings={"up0": L0(0.25)}, evaluate_at=(100, 900))
    >>> plan.options.network.width, plan.steps
    (128, 900)
    """
    model = options_model(task)
    settings, extras = dict(settings or {}), dict(extras or {})
    try:
        checked = model.model_validate(dict(options))
        _check_extras(task, checked, extras)
        model.model_validate({**checked.model_dump(), **extras})
    except ValidationError as error:
        raise one_sentence(error, model, "plan") from error
    try:
        plan = Plan(
            task=task.name,
            options=checked,
            settings=settings,
            extras=extras,
            evaluate_at=evaluate_at,
            checkpoint_every=checkpoint_every,
            prepared=dict(prepared or {}),
        )
    except ValidationError as error:
        raise one_sentence(error, Plan) from error
    if settings:
        _check_sites(task, plan)
    return plan


def extras_of(options: BaseModel) -> list[str]:
    """The options that extras may override: the top-level ones that are numbers with a fraction.

    Not those of the model's FIXED, which say on what a trial is scored: trials would not compare.
    """
    model = type(options)
    fixed = getattr(model, "FIXED", ())
    return [
        key for key, field in model.model_fields.items() if field.annotation is float and key not in fixed
    ]


def _check_extras(task: Task, options: BaseModel, extras: Mapping[str, float]) -> None:
    known = extras_of(options)
    for name in extras:
        if name not in known:
            raise Mistake(
                f"extras.{name} is not an option of task {task.name} that extras can vary; "
                f"those are {', '.join(known) or 'none'}"
            )


def _check_sites(task: Task, plan: Plan) -> None:
    known = sites_of(task, plan)
    for site in plan.settings:
        if site not in known:
            raise Mistake(
                f"settings name the site {site!r}, but the sites of {network_of(plan)} are {', '.join(known)}"
                f"{way_to(site, plan)}"
            )


def way_to(site: str, plan: Plan) -> str:
    """What a sentence on an unknown site ends with, where a key of the plan would make it one."""
    missing = is_discriminators(site) and not getattr(plan.options, "discriminator_sites", True)
    return ": set plan.discriminator_sites to true" if missing else ""


def plan_from_json(entry: Mapping[str, Any], *, settings: Mapping[str, Regularizer] | None = None) -> Plan:
    """The plan that `Plan.model_dump(mode="json")` wrote, settings replaced; a file never causes an import.

    Only tasks and networks of ours are read: a user's own would be imported by a name that a file holds.
    """
    name = entry.get("task")
    if not isinstance(name, str) or name not in TASKS:
        raise Mistake(
            f"plan.task is {name!r}, but a file can name only {', '.join(TASKS)}: "
            "give the spec of a task of your own"
        )
    unknown = [key for key in entry if key not in Plan.model_fields]
    if unknown:
        raise Mistake(
            f"plan.{unknown[0]} is not a known key; the known keys are {', '.join(Plan.model_fields)}"
        )
    for key in ("options", "extras", "prepared"):
        if not isinstance(entry.get(key, {}), Mapping):
            raise Mistake(f"plan.{key} is {entry[key]!r}, but it must be a mapping of names to values")
    plan = partial(
        make_plan,
        TASKS[name],
        entry.get("options", {}),
        extras=entry.get("extras"),
        evaluate_at=entry.get("evaluate_at", ()),
        checkpoint_every=entry.get("checkpoint_every", 300.0),
        prepared=entry.get("prepared"),
    )
    network = getattr(plan().options, "network", None)
    if isinstance(network, OwnModule):
        raise Mistake(
            f"plan.network.kind is {network.kind!r}, but a file never causes an import: give the study's "
            "file with --spec"
        )
    return plan(settings=settings)


def sites_of(task: Task, plan: Plan) -> dict[str, Shape]:
    """The sites of a plan's network with their (C, H, W), in order of execution."""
    sites = task.sites(plan) if callable(task.sites) else task.sites
    for name, shape in sites.items():
        sides = shape if isinstance(shape, Sequence) else ()
        if len(sides) != 3 or any(not isinstance(side, int) or side < 1 for side in sides):
            raise Mistake(
                f"site {name!r} of task {task.name} has the shape {shape!r}, "
                "but it must be three positive integers (C, H, W)"
            )
    return dict(sites)


def metric_of(task: Task, plan: Plan) -> str:
    """What is optimised: the plan's objective where the task has one, else the task's metric."""
    return str(getattr(plan.options, "objective", task.metric))


def direction_of(task: Task, metric: str) -> Direction:
    """Which way the metric is better: as the task says of it, else as it says of all."""
    return task.directions.get(metric, task.direction)


def scope_of(task: Task, plan: Plan) -> str:
    """Where a result of the plan holds, as a confirmation says it; empty where the task does not say."""
    return task.scope(plan) if callable(task.scope) else task.scope


def confirmation_of(task: Task, plan: Plan) -> Plan:
    """The plan that a confirmation trains with the same settings."""
    return plan if task.confirmation is None else task.confirmation(plan)


def prepared_of(task: Task, plan: Plan) -> dict[str, str]:
    """Make once what all trainings of the plan share, as {name: SHA-256}; empty where they share nothing."""
    if task.prepare is None:
        return {}
    given: object = task.prepare(plan)
    if not isinstance(given, Mapping):
        raise _gives(task, "prepare", given, "a mapping of names to SHA-256")
    return checked_prepared(given)


def measured_of(task: Task, plan: Plan) -> str:
    """How the plan's metric is measured, in one clause; empty where the task does not say."""
    if task.measured is None:
        return ORACLE if metric_of(task, plan) in ORACLES else ""
    given: object = task.measured(plan)
    if not isinstance(given, str):
        raise _gives(task, "measured", given, "a text")
    return given


def companions_of(task: Task, plan: Plan) -> tuple[str, ...]:
    """The metrics that are shown beside the plan's own."""
    given: object = () if task.companions is None else task.companions(plan)
    if (
        not isinstance(given, Sequence)
        or isinstance(given, str)
        or not all(isinstance(name, str) for name in given)
    ):
        raise _gives(task, "companions", given, "a list of the names of metrics")
    return tuple(given)


def _gives(task: Task, key: str, given: object, rule: str) -> Mistake:
    return Mistake(f"{key} of task {task.name} gives {reprlib.repr(given)}, but it must give {rule}")


def networks_of(task: Task) -> list[str]:
    """The networks of ours that the task's option `network` can name; none where it has no such option."""
    field = options_model(task).model_fields.get("network")
    kinds = [model.model_fields.get("kind") for model in models_in(field.annotation)] if field else []
    return [kind.default for kind in kinds if kind is not None and isinstance(kind.default, str)]


def network_of(plan: Plan) -> str:
    """The name of the plan's network, as exported files carry it; the task's where it names none."""
    network = getattr(plan.options, "network", None)
    return str(getattr(network, "kind", network) or plan.task)
