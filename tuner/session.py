"""What all commands share: the options that may stand before or after a command's name, and what they say."""

import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from trainers.settings import Mistake
from tuner.called import DEFAULT_ROOT, Commands, program
from tuner.secrets import without_password


@dataclass
class Session:
    """One call of the program: its global options, and what to say when it is interrupted."""

    root: str = DEFAULT_ROOT
    tracking: str | None = None
    debug: bool = False
    words: tuple[str, ...] = ()  # as they were typed
    interrupted: str = field(default="Interrupted.", init=False)
    _once: Path | None = field(default=None, init=False)

    @property
    def folder(self) -> Path:
        """ROOT."""
        return Path(self.root)

    @property
    def commands(self) -> Commands:
        """The commands to print."""
        return Commands(self.root, self.tracking)

    def goes_on_with(self, *words: str, once: Path | None = None) -> None:
        """From now on an interruption loses nothing that is written: say which command goes on.

        While the file `once` is not there, that is the command that was given.
        """
        self.interrupted = (
            f"Interrupted; what is written stays, and this goes on from here: {self.commands.line(*words)}"
        )
        self._once = once

    def when_interrupted(self) -> str:
        """What to say where the program is interrupted now."""
        if self._once is not None and not self._once.is_file():
            again = without_password(f"{program()} {shlex.join(self.words)}")
            return f"Interrupted before anything was written; this begins again: {again}"
        return self.interrupted


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    if value:
        setattr(context.ensure_object(Session), str(parameter.name), value)


def global_options() -> list[click.Parameter]:
    """--root, --tracking and --debug; every command takes them too, and the last one wins."""
    return [
        click.Option(
            ["--root"],
            metavar="DIR",
            expose_value=False,
            callback=_remember,
            help="Where studies live [./studies].",
        ),
        click.Option(
            ["--tracking"],
            metavar="URI",
            expose_value=False,
            callback=_remember,
            help="MLflow: a server's address or sqlite:///FILE [SQLite under the root].",
        ),
        click.Option(
            ["--debug"], is_flag=True, expose_value=False, callback=_remember, help="Show tracebacks."
        ),
    ]


class Command(click.Command):
    """A command that takes the global options after its name as well."""

    def __init__(self, name: str | None, **settings: Any) -> None:
        super().__init__(name, **settings)
        self.params += global_options()


class Program(click.Group):
    """The group of all commands; an unknown one is answered with those that exist."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            raise Mistake(
                f"there is no command {name!r}: the commands are {', '.join(self.list_commands(ctx))}"
            )
        return super().resolve_command(ctx, args)
