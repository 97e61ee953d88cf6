"""The smaller commands: train, layers, presets, list, delete, logs, sync, doctor."""

import contextlib
import math
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainers.settings import Mistake
from tuner.session import Command, Session
from tuner.states import RUNNING

if TYPE_CHECKING:
    from trainers.plan import Plan
    from trainers.settings import SettingsFile
    from trainers.tasks import Task
    from trainers.training import Evaluation


@click.command(cls=Command)
@click.option(
    "--settings", "file", required=True, type=click.Path(), metavar="FILE", help="An exported file."
)
@click.option("--spec", metavar="SPEC", help="Take the plan of this study instead of the file's.")
@click.option("--seed", type=click.IntRange(0, 2**63 - 1), metavar="S", help="[the file's, else 0]")
@click.option("-o", "--output", type=click.Path(), metavar="DIR", help="[trained/STUDY-seedS]")
@click.pass_obj
def train(session: Session, file: str, spec: str | None, seed: int | None, output: str | None) -> None:
    """Train once with exported settings.

    This happens outside any study. Pictures and a checkpoint go to DIR; run again, it goes on from there.
    """
    from trainers.settings import load

    settings = load(file)
    task, plan = _task_and_plan(file, settings, spec)
    if seed is None:
        kept = settings.provenance.get("seed")
        seed = kept if isinstance(kept, int) and kept >= 0 else 0
    folder = Path(output) if output else Path("trained") / f"{_whose(settings, file)}-seed{seed}"
    _refuse_foreign(folder)
    device = _device()
    first = "" if task.prepare is None else "; first, what they need is prepared"  # it may take minutes
    print(f"{plan.steps} steps with seed {seed} on {device}, into {folder}{first}", flush=True)
    plan = _prepared_here(task, plan)
    session.interrupted = "Interrupted; the same command goes on from the last checkpoint."
    with _threads_of(settings):
        _follow(task.evaluations(plan, seed=seed, device=device, folder=folder), task, plan, folder)


def _whose(settings: "SettingsFile", file: str) -> str:
    """What a folder for a training with the file is called: as its study, or as the file without one."""
    study = settings.provenance.get("study")
    return study if isinstance(study, str) and re.fullmatch(r"[\w-][\w.-]*", study) else Path(file).stem


def _refuse_foreign(folder: Path) -> None:
    """A Mistake where a training's files would lie among others, or cannot lie at all."""
    from trainers.checkpoint import FILE

    if folder.exists() and not folder.is_dir():
        raise Mistake(f"-o is {str(folder)!r}, which is a file: give a folder, new or empty")
    there = sorted(one.name for one in folder.iterdir()) if folder.is_dir() else []
    if there and FILE not in there and set(there) != {"pictures"}:
        raise Mistake(
            f"-o is {str(folder)!r}, where {there[0]!r} lies and no training: give a folder, new or empty"
        )


@contextlib.contextmanager
def _threads_of(settings: "SettingsFile") -> Iterator[None]:
    """As many threads as the trial had: with others sums round otherwise, and a GAN soon goes another way."""
    import torch

    threads, before = settings.provenance.get("threads"), torch.get_num_threads()
    torch.set_num_threads(threads if type(threads) is int and threads > 0 else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _task_and_plan(file: str, settings: "SettingsFile", spec: str | None) -> "tuple[Task, Plan]":
    """What to train: SPEC's plan where one is given, else the file's own; both with the file's settings."""
    from trainers.tasks import find_task, network_of, plan_from_json
    from tuner.spec import load_spec

    if not settings:
        raise Mistake(f"{file} names no site, so there is nothing to train with: export a file from a study")
    if spec is not None:
        wanted = load_spec(spec)
        task, plan = find_task(wanted.task), wanted.plan_with({}, {})
    elif settings.plan:
        plan = plan_from_json(settings.plan)
        task = find_task(plan.task)
    else:
        raise Mistake(f"{file} has no plan in it: give the study's file with --spec")
    if settings.network and settings.network != network_of(plan):
        raise Mistake(
            f"{file} is for the network {settings.network!r} and the plan trains {network_of(plan)!r}: "
            "give a file of this network, or with --spec a study of that one"
        )
    if spec is not None:
        extras = _extras(settings) if settings.task == wanted.task else {}
        return task, wanted.plan_with(settings.sites, extras)
    return task, plan_from_json(settings.plan, settings=settings.sites)


def _prepared_here(task: "Task", plan: "Plan") -> "Plan":
    """The plan with what this machine prepares for it, and a warning where that is not the study's own."""
    from trainers.tasks import prepared_of

    found = prepared_of(task, plan)
    other = {name for name, _ in found.items() ^ plan.prepared.items()}
    if plan.prepared and other:
        print(
            f"This machine has another {', '.join(sorted(other))} than the study, so this training is like "
            "its own and not equal to it.",
            file=sys.stderr,
        )
    return plan.model_copy(update={"prepared": found})


def _extras(settings: "SettingsFile") -> dict[str, float]:
    """The extras that were found together with the settings."""
    extras = (settings.plan or {}).get("extras", {})
    if not isinstance(extras, dict):
        raise Mistake(f"plan.extras is {extras!r}, but it must be a mapping of names to values")
    return extras


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _follow(evaluations: "Iterator[Evaluation]", task: "Task", plan: "Plan", folder: Path) -> None:
    """Print each evaluation and keep its pictures; what the sites attained is said once, at the end."""
    from trainers.images import save_pictures
    from trainers.tasks import companions_of, direction_of, measured_of, metric_of
    from tuner.screen import caption, shown_metric

    metric, last = metric_of(task, plan), None
    folder.mkdir(parents=True, exist_ok=True)
    for last in evaluations:
        save_pictures(last, folder / "pictures")
        companions = [name for name in last.metrics if "." not in name and name != metric]
        said = [f"{shown_metric(name)} {last.metrics[name]:.4g}" for name in (metric, *companions)]
        print(f"step {last.step}: {', '.join(said)}", flush=True)
    if last is None or last.step != plan.steps:
        raise RuntimeError(f"the training ended before step {plan.steps}")
    for site in plan.settings:
        attained = [
            f"{key.rpartition('.')[2]} {value:.3g}" for key, value in last.metrics.items() if _of(key, site)
        ]
        print(f"{site}: {', '.join(attained)}")
    if not math.isfinite(last.metrics[metric]):
        raise RuntimeError(f"the training diverged: {metric} is {last.metrics[metric]} at step {last.step}")
    ways = {name: direction_of(task, name) for name in companions_of(task, plan)}
    print(caption(direction_of(task, metric), measured_of(task, plan), ways))
    print(f"Pictures and checkpoint: {folder}")


def _of(key: str, site: str) -> bool:
    return key.rpartition(".")[0] == site


@click.command(cls=Command)
@click.argument("network", metavar="NETWORK|SPEC|PRESET|MODULE:NAME")
@click.option(
    "--input", "shape", metavar="C,H,W", help="What your own network takes; L for a vector [guessed]."
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    help="An argument of your own factory, as width=64; or any key of SPEC.",
)
def layers(network: str, shape: str | None, overrides: Sequence[str]) -> None:
    """Show the sites of a network, with their shapes.

    MODULE:NAME is a Task of your own, an nn.Module, or a factory of one.
    """
    from trainers.own_options import imported
    from trainers.tasks import TASKS, Task, find_task, make_plan, network_of, networks_of, sites_of
    from tuner.tables import sites_table

    own = re.fullmatch(r"[\w.]+:[\w.]+", network) is not None and not os.path.exists(network)
    if own and not isinstance(thing := imported(network, "NETWORK"), Task):
        _show_candidates(network, thing, shape, overrides)
        return
    if shape is not None:
        raise Mistake(f"--input is {shape!r}, but only an nn.Module of your own needs it: leave it out")
    trained_by = {name: task for task in reversed(TASKS.values()) for name in networks_of(task)}
    if overrides and (own or network in trained_by):
        raise Mistake(
            f"--set is {overrides[0]!r}, but it is for a factory of your own or a study's file: leave it out"
        )
    if network in trained_by:
        task = trained_by[network]
        plan = make_plan(task, {"network": {"kind": network}}, evaluate_at=(1,))
    elif own:
        task = find_task(network)
        plan = make_plan(task, {}, evaluate_at=(1,))
    else:
        task, plan = _plan_of_study(network, sorted(trained_by), overrides)
    print(f"{network_of(plan)}, as task {task.name} trains it (k is out of channels, keep out of entries):")
    print(sites_table(sites_of(task, plan)))
    if getattr(plan.options, "discriminator_sites", None) is False:
        _show_discriminator(task, plan)


def _show_discriminator(task: "Task", plan: "Plan") -> None:
    """The sites that a GAN's plan may ask for beside those that it has; a user's own may have none."""
    from trainers.tasks import make_plan, sites_of
    from tuner.tables import sites_table

    with_judge = dict(plan.options) | {"discriminator_sites": True}
    try:
        found = sites_of(task, make_plan(task, with_judge, evaluate_at=(1,)))
    except Mistake as mistake:
        print(f"With plan.discriminator_sites: true none more, for {mistake}")
        return
    print("With plan.discriminator_sites: true also:")
    print(sites_table({site: shape for site, shape in found.items() if site not in sites_of(task, plan)}))


def _show_candidates(name: str, thing: object, shape: str | None, overrides: Sequence[str]) -> None:
    """Where regularizers may sit in a network that no task of ours trains."""
    from trainers.layers import built, candidates, guessed_inputs
    from tuner.spec_file import apply_overrides
    from tuner.tables import sites_table

    arguments: dict[str, Any] = {}
    apply_overrides(arguments, overrides)
    inputs = None
    if shape is not None:
        if not re.fullmatch(r"[1-9][0-9]{0,6}(,[1-9][0-9]{0,6}){2}|[1-9][0-9]{0,6}", shape):
            raise Mistake(f"--input is {shape!r}, but it must be C,H,W or L in whole numbers, as 3,64,64")
        inputs = [tuple(map(int, shape.split(",")))]
    network = built(name, thing, arguments)
    taken, found = candidates(network, inputs or guessed_inputs(network, thing, arguments))
    print(
        f"{name}, for an input of {'×'.join(map(str, taken))}: its activations before a convolution or "
        "linear layer (k is out of channels, keep out of entries)"
    )
    print(sites_table({site: uses[0] for site, uses in found.items()}))
    for site, uses in found.items():
        if len(uses) > 1:
            shapes = ", ".join("×".join(map(str, one)) for one in uses)
            print(f"{site} runs {len(uses)} times ({shapes}): a regularizer there acts each time")


def _plan_of_study(source: str, networks: list[str], overrides: Sequence[str]) -> "tuple[Task, Plan]":
    from search_spaces.presets import preset_names
    from trainers.tasks import find_task
    from tuner.spec import load_spec

    if source not in preset_names() and not os.path.exists(source):
        raise Mistake(
            f"{source!r} is neither a network ({', '.join(networks)}) nor a preset "
            f"({', '.join(preset_names())}) nor a study's file: name one of these"
        )
    spec = load_spec(source, overrides=overrides)
    return find_task(spec.task), spec.plan_with({}, {})


@click.command(cls=Command)
@click.argument("name", required=False)
def presets(name: str | None) -> None:
    """List the ready studies, or print the one named NAME."""
    from search_spaces.presets import preset_names, preset_text
    from tuner.tables import columns

    if name is not None:
        print(preset_text(name), end="")
        return
    print(columns([(one, preset_text(one).partition("\n")[0].lstrip("# ")) for one in preset_names()]))


@click.command(name="list", cls=Command)
@click.pass_obj
def list_(session: Session) -> None:
    """List the studies under the root."""
    from tuner.folder import studies
    from tuner.tables import columns

    names = studies(session.folder)
    if not names:
        begin = session.commands.line("search", "dip-denoise")
        print(f"no study under {session.root!r} yet; begin with {begin}")
        return
    heading = ("study", "task", "proposals", "leader", "differs from the baseline by", "uuid")
    print(columns([heading, *(_listed(session.folder, name) for name in names)]))


def _listed(root: Path, name: str) -> tuple[str, ...]:
    """One study's line; a study that cannot be read says why and hides no other."""
    from tuner.screen import difference, number, shown_metric, standing
    from tuner.study import open_study

    try:
        study = open_study(name, root=root)
    except (Mistake, RuntimeError) as error:
        return (name, "", str(error), "", "", "")
    rows, spec = study.record.rows(), study.spec
    ended = sum(row.role == "proposal" and row.state != RUNNING for row in rows)
    now = standing(rows, spec.direction())
    leader, gap = "", ""
    if now is not None:
        leader = f"{shown_metric(spec.metric())} {number(now.value, now.sd)}"
        gap = difference(now.value, now.baseline.mean, now.baseline.sd) if now.baseline else ""
    return (name, spec.task, f"{ended} of {spec.budget.trials}", leader, gap, study.uuid)


@click.command(cls=Command)
@click.argument("name")
@click.pass_obj
def delete(session: Session, name: str) -> None:
    """Remove a study, and mark its MLflow runs as deleted."""
    from tuner.study import open_study

    study = open_study(name, root=session.folder, tracking=session.tracking)
    study.delete()
    print(
        f"Deleted study {study.name!r} with its folder {study.folder}; its MLflow runs are marked as deleted"
    )


@click.command(cls=Command)
@click.argument("name")
@click.argument("trial")
@click.pass_obj
def logs(session: Session, name: str, trial: str) -> None:
    """Print what TRIAL (7, or baseline:2) wrote."""
    from tuner.study import open_study

    print(open_study(name, root=session.folder).log(trial), end="")


@click.command(cls=Command)
@click.argument("name")
@click.pass_obj
def sync(session: Session, name: str) -> None:
    """Bring MLflow up to the record."""
    from tuner.study import open_study
    from tuner.tracking import check

    study = open_study(name, root=session.folder, tracking=session.tracking)
    check(study.tracking)
    study.sync()
    print(f"MLflow has all that the record of {study.name!r} has: {session.commands.page(study.tracking)}")


@click.command(cls=Command)
@click.pass_obj
def doctor(session: Session) -> int:
    """Say what this machine can do."""
    from tuner.doctor import examine

    fine = True
    for check in examine(session.folder, session.tracking):
        print(check, flush=True)
        fine = fine and check.fine
    return 0 if fine else 1


COMMANDS = (train, list_, delete, logs, sync, layers, presets, doctor)
