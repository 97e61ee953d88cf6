"""The program `sparsity-tuner`: its commands, and how an error becomes one sentence and an exit status.

0: done. 2: a user's mistake. 1: a failure at run time. 130: interrupted. Heavy imports happen inside the
commands, so `--help` and a mistyped option answer at once.
"""

import contextlib
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from typing import NoReturn

import click

from trainers.settings import Mistake
from tuner import commands, errands
from tuner.called import NAME
from tuner.interruption import INTERRUPTED, end_in_time, sigterm_as_ctrl_c
from tuner.secrets import without_password
from tuner.session import Program, Session, global_options

_LONGEST = 2000  # characters of a sentence; some list all that is known


@click.group(
    name=NAME, cls=Program, params=global_options(), context_settings={"help_option_names": ["-h", "--help"]}
)
@click.version_option(package_name=NAME)
def program() -> None:
    """Find which activations of an image generator to make sparse, with which regularizer, and how strongly.

    Commands take a study's NAME or its spec file. Begin with: sparsity-tuner search dip-denoise
    """


for _command in (*commands.COMMANDS, *errands.COMMANDS):
    program.add_command(_command)


def main(arguments: Sequence[str] | None = None, session: Session | None = None) -> int:
    """Run one command; returns the exit status.

    >>> main(["presets"])  # doctest: +SKIP
    0
    """
    session = session or Session(words=tuple(sys.argv[1:] if arguments is None else arguments))
    if "" not in sys.path:
        sys.path.append("")  # a task of one's own lies where one stands; last, so that it shadows no package
    try:
        with plain_warnings(), sigterm_as_ctrl_c():
            status = program.main(arguments, prog_name=NAME, standalone_mode=False, obj=session)
        return status if isinstance(status, int) else 0
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message(), file=sys.stderr)
        return 2
    except (click.Abort, KeyboardInterrupt):
        print(session.when_interrupted(), file=sys.stderr)
        return INTERRUPTED
    except Exception as error:
        if session.debug:
            print(without_password(traceback.format_exc()), file=sys.stderr, end="")
        print(sentence(error), file=sys.stderr)
        return 2 if isinstance(error, Mistake | click.UsageError) else 1


def run() -> NoReturn:
    """The program's entry: `main`, and an end in time where it is interrupted.

    Nothing is left to be done then, and Python's own end takes seconds where so much was imported, or as long
    as a thread waits for a server that is away.
    """
    session = Session(words=tuple(sys.argv[1:]))
    end_in_time(lambda: print(session.when_interrupted(), file=sys.stderr, flush=True))
    status = main(session=session)
    if status == INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


@contextlib.contextmanager
def plain_warnings() -> Iterator[None]:
    """Within it a warning is its sentence alone: where in the code it was given helps no user."""
    before = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"{' '.join(str(message).split())}\n"
    try:
        yield
    finally:
        warnings.formatwarning = before


def sentence(error: Exception) -> str:
    """What went wrong, in one sentence on one line, and without passwords."""
    return without_password(_sentence(error))


def _sentence(error: Exception) -> str:
    text = _line(str(error))
    if isinstance(error, click.NoSuchOption):
        return f"there is no option {error.option_name!r}: the options are {', '.join(_options(error))}"
    if isinstance(error, click.UsageError):
        usage = f" ({' '.join(error.ctx.get_usage().split())})" if error.ctx else ""
        return f"{_line(error.format_message()).rstrip('.')}{usage}"
    if isinstance(error, click.ClickException):
        return _line(error.format_message())
    if isinstance(error, Mistake) or (type(error) is RuntimeError and text):
        return text
    from tuner.storage import no_room

    if isinstance(error, OSError) and (no_room(error) or isinstance(error, PermissionError)):
        place = _line(str(error.filename2 or error.filename or "a file that is being written"))
        return (
            f"{place} cannot be written or read ({error.strerror}): free room there, or mend its rights, and "
            "run the same command again"
        )
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{_line(str(error.filename))} cannot be used ({error.strerror}): name another place"
    kind = type(error).__name__
    return f"{kind}: {text or 'no more is known'} (unforeseen; --debug shows where it happened)"


def _line(text: str) -> str:
    """A text as one line; what it quotes of files from elsewhere moves no cursor and is not pages long."""
    line = "".join(one if one.isprintable() else repr(one)[1:-1] for one in " ".join(text.split()))
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"


def _options(error: click.UsageError) -> list[str]:
    """All options of the command that the error is about."""
    parameters = error.ctx.command.get_params(error.ctx) if error.ctx else []
    return [name for one in parameters for name in one.opts if name.startswith("-")]
