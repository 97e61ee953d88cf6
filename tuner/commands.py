"""The commands that make and read a study: search, resume, confirm, best, export."""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trainers.settings import Mistake
from tuner.session import Command, Session
from tuner.states import RUNNING

if TYPE_CHECKING:
    from trainers.settings import SettingsFile
    from tuner.spec import StudySpec
    from tuner.study import Study

address_option = click.option("--address", metavar="auto|HOST:PORT", help="A Ray cluster [a Ray of its own].")
time_option = click.option("--time", metavar="LENGTH", help="No trial starts after it: 90s, 30m, 2h.")


@click.command(cls=Command)
@click.argument("spec")
@click.option("--name", metavar="NAME", help="The study's name, instead of the spec's.")
@click.option("--trials", type=int, metavar="T", help="Proposals in all.")
@time_option
@address_option
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override any key, as budget.trials=8."
)
@click.pass_obj
def search(
    session: Session, spec: str, name: str | None, trials: int | None, time: str | None, address: str | None,
    overrides: Sequence[str],
) -> int:  # fmt: skip
    """Run a study: SPEC is a YAML file or a preset.

    A study that exists with the same spec is resumed, a finished one just shown; `resume` extends it.
    """
    from tuner.progress import Progress
    from tuner.spec import load_spec
    from tuner.study import run

    wanted = load_spec(spec, overrides=overrides, name=name, trials=trials)
    kept = None if trials is None else _trials_of_record(session, wanted)
    session.goes_on_with("resume", wanted.name, once=session.folder / wanted.name / "spec.yaml")
    with Progress() as progress:
        study = run(
            wanted,
            root=session.folder,
            time=_seconds(time),
            address=address,
            tracking=session.tracking,
            progress=progress,
        )
    status = _end(session, study)
    if kept not in (None, trials):
        more = session.commands.line("resume", study.name, "--trials", str(trials))
        print(f"The study had {kept} trials and keeps them, whatever --trials says; {more} extends it.")
    return status


def _trials_of_record(session: Session, wanted: "StudySpec") -> int | None:
    """How many proposals the study that exists has been given; None where there is none yet.

    Raises:
        Mistake: fewer are wanted than exist.
    """
    from tuner.folder import record_exists, same_study

    folder = session.folder / wanted.name
    if not record_exists(wanted, folder):
        return None
    record = same_study(wanted, folder)
    exist = len(record.rows("proposal"))
    if wanted.budget.trials < exist:
        more = session.commands.line("resume", wanted.name, "--trials", "T")
        raise Mistake(
            f"--trials is {wanted.budget.trials}, but study {wanted.name!r} has {exist} trials already: "
            f"{more} extends it, and --name begins another"
        )
    return record.spec.budget.trials


@click.command(cls=Command)
@click.argument("name")
@click.option("--trials", type=int, metavar="T", help="Proposals in all: extends a finished study.")
@time_option
@address_option
@click.pass_obj
def resume(session: Session, name: str, trials: int | None, time: str | None, address: str | None) -> int:
    """Go on with a study after any interruption, or extend it.

    With a spec file for NAME its resources and its stall are taken from here on.
    """
    from tuner.progress import Progress
    from tuner.spec import load_spec
    from tuner.study import open_study

    limit = _seconds(time)
    study = open_study(name, root=session.folder, tracking=session.tracking)
    given = load_spec(name) if os.path.isfile(name) else None
    session.goes_on_with("resume", study.name)
    with Progress() as progress:
        study.resume(
            trials=trials,
            resources=given.resources if given else None,
            stall=given.stall if given else None,
            time=limit,
            address=address,
            progress=progress,
        )
    return _end(session, study)


def _seconds(time: str | None) -> float | None:
    from tuner.spec_file import seconds

    try:
        return None if time is None else seconds(time)
    except ValueError as error:
        raise Mistake(f"--time is {time!r}, but {error}") from None


def _end(session: Session, study: "Study") -> int:
    """The last screen; a run that stopped early, and was not interrupted, had a time that is up."""
    from tuner.screen import all_failed, last_screen

    rows = study.record.rows()
    print(last_screen(rows, study.spec, tracking=study.tracking, commands=session.commands))
    _tell_lag(session, study)
    if study.is_done():
        return 1 if all_failed(rows) else 0
    go_on = session.commands.line("resume", study.name)
    print(f"The time is up; trials that have not ended go on from their last checkpoint with: {go_on}")
    return 0


def _tell_lag(session: Session, study: "Study") -> None:
    """Say what MLflow lacks and how it gets it; nothing where it has all."""
    if study.lag > 0:
        from tuner.screen import evaluations

        print(f"MLflow lacks {evaluations(study.lag)}: {session.commands.line('sync', study.name)}")


@click.command(cls=Command)
@click.argument("name")
@click.option("--top", type=int, default=1, metavar="N", help="So many winners [1].")
@click.option("--seeds", type=int, default=5, metavar="N", help="So many pairs each [5].")
@address_option
@click.pass_obj
def confirm(session: Session, name: str, top: int, seeds: int, address: str | None) -> int:
    """Compare the winners with the baseline, over fresh seeds.

    Pairs in the record count, so the same command again trains nothing and prints.
    """
    from tuner.progress import Progress
    from tuner.screen import settings_text
    from tuner.study import open_study
    from tuner.tables import confirmation_text

    study = open_study(name, root=session.folder, tracking=session.tracking)
    print(f"{study.name}: {study.cost_of_confirmation(top, seeds)}", flush=True)
    session.goes_on_with("confirm", study.name, "--top", str(top), "--seeds", str(seeds))
    with Progress(confirming=True) as progress:
        confirmations = study.confirm(top, seeds, address=address, progress=progress)
    measured = study.spec.measured("confirmation")
    for one in confirmations:
        row = study.record.row("proposal", one.proposal)
        print(f"\n{confirmation_text(one, settings_text(row.settings, row.extras), measured)}")
    _tell_lag(session, study)
    if any(row.state == RUNNING for row in study.record.rows("confirmation")):
        raise KeyboardInterrupt
    print(f"\nExport it: {session.commands.line('export', study.name)}")
    return 0


@click.command(cls=Command)
@click.argument("name")
@click.option("-n", "n", type=int, default=5, metavar="N", help="So many rows [5].")
@click.option("--where", metavar="FILTER", help='An MLflow filter, as "metrics.up0.keep < 0.3".')
@click.option(
    "--format", "form", type=click.Choice(["table", "json", "csv"]), default="table", help="[table]"
)
@click.pass_obj
def best(session: Session, name: str, n: int, where: str | None, form: str) -> None:
    """Show the best settings, as MLflow has them.

    Needs none of the study's files; NAME may be a uuid.
    """
    from tuner.query import best_trials
    from tuner.tables import best_csv, best_table

    rows = best_trials(_name(name), tracking=session.tracking, root=session.folder, n=n, where=where)
    if form == "json":
        print(json.dumps(rows, indent=2, allow_nan=False))
    else:
        print((best_csv if form == "csv" else best_table)(rows))


@click.command(cls=Command)
@click.argument("name", metavar="NAME|RUN_ID")
@click.option("-o", "--output", type=click.Path(), metavar="FILE", help="[ROOT/NAME/settings.json]")
@click.option(
    "--package", type=click.Path(), metavar="DIR", help="Also a folder to copy; it needs torch alone."
)
@click.option(
    "--weights", is_flag=True, help="Also the trained weights of the network that was scored, as safetensors."
)
@click.pass_obj
def export(session: Session, name: str, output: str | None, package: str | None, weights: bool) -> None:
    """Write the leader's settings, or those of one run, as JSON."""
    from trainers.settings import load
    from tuner.export import export as write
    from tuner.query import tracking_of
    from tuner.tables import columns

    name = _name(name)
    path = write(
        name,
        tracking=session.tracking,
        root=session.folder,
        path=Path(output) if output else None,
        package=Path(package) if package else None,
        weights=weights,
    )
    print(f"Wrote {path}")
    if weights:
        print(f"Wrote {path.with_suffix('.safetensors')}: the weights of the network that was scored")
    if package:
        print(f"Wrote {package}: copy it into any project; it needs torch alone")
    page = session.commands.page(tracking_of(name, session.tracking, session.folder))
    content = load(path)
    train = _train_command(content, path, session.folder)
    apply = [("Use it in Python:", f"{call}, as README shows") for call in _calls_of_attach(content, path)]
    print(columns([("Train with it:", train), *apply, ("See it in MLflow:", page)]))


def _calls_of_attach(content: "SettingsFile", path: Path) -> list[str]:
    """How the settings come to the network; a GAN's may be of two."""
    from trainers.settings import discriminators, generators
    from trainers.tasks import TASKS

    attach, file = "trainers.sparsity.attach", repr(str(path))
    generator = _mapping(_mapping(content.plan, "options"), "network")
    names = _names(generators(content), _mapping(generator, "names"))
    judged = discriminators(content)
    if not judged:
        task = TASKS.get(content.task)
        return [f"{attach}({task.part if task else 'network'}, {file}{names})"]
    judge = _mapping(generator, "discriminator")
    # One of ours calls its modules otherwise, and knows how.
    ours = ":" not in str((judge or generator).get("kind"))
    judges = ", names=discriminator.names" if ours else _names(judged, _mapping(judge, "names"))
    return [
        f"{attach}(generator, generators(load({file})){names})",
        f"{attach}(discriminator, discriminators(load({file})){judges})",
    ]


def _mapping(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    inner = content.get(key)
    return inner if isinstance(inner, Mapping) else {}


def _names(sites: Iterable[str], names: Mapping[str, Any]) -> str:
    """What `attach` has to be told where the plan calls modules of the user's network otherwise."""
    used = {site: names[site] for site in sites if site in names}
    return f", names={used}" if used else ""


def _train_command(content: "SettingsFile", path: Path, root: Path) -> str:
    """`train` with the file; what is a user's own is imported only because a spec that they name says so."""
    from trainers.tasks import TASKS
    from tuner.called import Commands

    spec = root / str(content.provenance.get("study")) / "spec.yaml"
    ours = content.task in TASKS and ":" not in content.network
    more = [] if ours else ["--spec", str(spec)]
    return Commands().line("train", "--settings", str(path), *more)


def _name(name: str) -> str:
    """The study that a spec file is about; a name, a uuid or a run's id stays what it is.

    Read as plain YAML: nothing that a spec names is imported to find out what MLflow holds.
    """
    from tuner.spec_file import read_source

    return str(read_source(Path(name)).get("name")) if Path(name).suffix in (".yaml", ".yml") else name


COMMANDS = (search, resume, confirm, best, export)
