"""The program as processes: begun as a shell begins one, told to stop, and looked for afterwards."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

_MARK = "SPARSITY_TUNER_TEST"  # in the environment of all that one call has begun
PATIENCE = 400.0  # seconds, for a machine that is busy


@dataclass
class Call:
    """One call of the program in a session of its own, as in a terminal of its own."""

    process: subprocess.Popen[str]
    mark: str

    def waits_until(self, condition: Callable[[], bool]) -> None:
        """Look until the condition holds; the call must not have ended by then."""
        until = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < until, "it did not come that far"
            time.sleep(0.02)

    def is_sent(self, sent: signal.Signals, *, to_all: bool = False) -> None:
        """Send a signal to the program, or to all in its session, as a terminal does."""
        (os.killpg if to_all else os.kill)(self.process.pid, sent)

    def ends(self) -> tuple[int, str, str]:
        """Its exit status, output and errors; how long it took from here on is printed."""
        began = time.monotonic()
        out, err = self.process.communicate(timeout=PATIENCE)
        print(f"ended after {time.monotonic() - began:.1f} s")
        return self.process.returncode, out, err

    def left(self) -> list[str]:
        """The processes that it has begun, at any depth, and that live."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if f"{_MARK}={self.mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                    found.append(f"{folder.name} {words[:100]}")
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue
        return found

    def leaves_nothing(self) -> None:
        """No process of it is left, at most a few seconds after its end: a worker that was killed is slow."""
        until = time.monotonic() + 5
        while (left := self.left()) and time.monotonic() < until:
            time.sleep(0.05)
        assert left == []


def begin(folder: Path, *words: str, **variables: str) -> Call:
    """Begin `python -m tuner WORDS…` in a folder, with signals as a shell's foreground has them."""
    mark = uuid4().hex
    path = os.pathsep.join(path for path in sys.path if path)
    process = subprocess.Popen(
        [sys.executable, "-m", "tuner", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, _MARK: mark, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=_plain_signals,
    )
    return Call(process, mark)


def _plain_signals() -> None:
    """What runs in the background of a shell ignores Ctrl-C, and so would all that it begins."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_DFL)
