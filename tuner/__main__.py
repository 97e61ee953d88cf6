"""`sparsity-tuner` and `python -m tuner`; Ctrl-C is no traceback while the program is imported, either."""

import sys
from typing import NoReturn

from tuner.interruption import INTERRUPTED


def run() -> NoReturn:
    """The program's entry."""
    try:
        from tuner import cli
    except KeyboardInterrupt:
        print("Interrupted before anything was begun", file=sys.stderr)
        sys.exit(INTERRUPTED)
    cli.run()


if __name__ == "__main__":
    run()
