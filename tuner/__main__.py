"""`python -m tuner`."""

from tuner.cli import run

run()
