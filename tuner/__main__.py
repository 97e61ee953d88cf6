"""`sparsity-tuner` and `python -m tuner`; Ctrl-C is no traceback while the program is imported, either."""

import sys
from typing import NoReturn


def run() -> NoReturn:
    """The program's entry."""
    try:
        from tuner import cli
    except KeyboardInterrupt:
        print("Interrupted before anything was begun", file=sys.stderr)
        sys.exit(130)
    cli.run()


if __name__ == "__main__":
    run()
