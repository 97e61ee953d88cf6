"""The fuzz in short: a few hundred files here, ten thousand in `make chaos`."""

import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).with_name("fuzz.py")


def test_some_hundred_damaged_files_are_refused_or_read_as_they_stand() -> None:
    done = subprocess.run(
        [sys.executable, str(FUZZ), "300", "1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {
        line.split()[0]: [int(cell) for cell in line.split()[1:]] for line in done.stdout.splitlines()[1:-1]
    }
    assert set(rows) == {"spec", "settings", "--set", "--where"}
    for files, accepted, refused, *bad in rows.values():
        assert files == accepted + refused >= 30 and bad == [0, 0]
        assert accepted and refused  # a fuzz of which all is refused at once finds nothing
