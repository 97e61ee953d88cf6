"""Ray as a place: a Ray of this process's own, or a running cluster that is joined, used and left as it was.

What it has room for is `slots.py`, whether its nodes will do is `nodes.py`.
"""

import contextlib
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import tuner.ray_quiet  # noqa: F401  before ray

# isort: split
import ray
from ray.exceptions import RayError

from trainers.settings import Mistake
from tuner.interruption import undisturbed
from tuner.secrets import why

_joined: str | None = None  # the address of the cluster that this process is in
_ANSWER = 90.0  # seconds; Ray itself tries for some minutes, and then ends the process

# Asked in a process of its own: where nothing answers, Ray's client can be neither interrupted nor silenced.
_ASK = """
import logging, sys, ray
ray.init(address=sys.argv[1], log_to_driver=False, logging_level=logging.ERROR)
print("joined")
"""
_SILENT = "Failed to connect to GCS"  # said after 5 seconds, while Ray goes on trying
_LOCAL = "leave --address away for a Ray of the study's own"
# What Ray says, and what it means with the way out; {at} is the address.
_REFUSALS = (
    (
        "Could not find any running Ray instance",
        f"no Ray runs on this machine, where auto looks for one: start it with `ray start`, or {_LOCAL}",
    ),
    (
        "No node info found",
        "this machine is no node of the cluster at {at}, and a study is driven from one: run the same "
        "command on a node (over ssh, or `ray exec`), or submit it with `ray job submit`",
    ),
    (
        "InvalidAuthToken",
        "the cluster at {at} asks for Ray's token: set RAY_AUTH_MODE=token, with the cluster's token in "
        "RAY_AUTH_TOKEN or ~/.ray/auth_token",
    ),
    (
        "no authentication token was found",
        "RAY_AUTH_MODE is token and there is no token for the cluster at {at}: put it into RAY_AUTH_TOKEN or "
        "~/.ray/auth_token",
    ),
    (
        _SILENT,
        "no Ray cluster answers at {at}, where something else may listen: give the address that "
        f"`ray start --head` printed there, or {_LOCAL}",
    ),
    (
        "ersion mismatch",
        "the cluster at {at} runs another version of Ray or Python than this program: install the same here "
        "and there, as `ray --version` and `python --version` say",
    ),
)


@contextlib.contextmanager
def cluster(address: str | None, modules: Sequence[Path] = ()) -> Iterator[None]:
    """A Ray to run on: the one this process has joined already, the one at `address`, or one of its own.

    Args:
        address: `auto` or HOST:PORT; None: a Ray of this process's own, ended with it.
        modules: what the workers of a running cluster get beside this program: folders of packages, and
            single files.

    Raises:
        Mistake: no cluster can be joined at that address; the sentence says why and what to do.
    """
    global _joined
    if address is not None and address.startswith("ray://"):
        raise Mistake(
            f"the address is {address!r}, and a study is driven from a node of its cluster: "
            "run it there with the address auto, or submit it with `ray job submit`"
        )
    if ray.is_initialized():
        if address not in (None, _joined):
            raise Mistake(
                f"the address is {address!r}, but this process has joined another Ray already: leave the "
                "address away to use that one, or call ray.shutdown() first"
            )
        yield
        return
    if address is not None:
        check(address)
    try:
        with _own_sigterm():
            if address is None:
                _start()
            else:
                _join(address, modules)
        _joined = address
        yield
    finally:
        _joined = None
        with undisturbed():
            ray.shutdown()  # of a cluster that was joined: this process leaves it, and what it had there ends


def _start() -> None:
    """Start a Ray of this process's own.

    Raises:
        RuntimeError: one of its processes does not come up.
    """
    try:
        ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises that very class, too
        raise RuntimeError(
            f"Ray does not start on this machine ({why(error)}): see that it has memory, and room in /tmp, "
            "and start again"
        ) from error


def _join(address: str, modules: Sequence[Path]) -> None:
    """Join a running cluster; its workers import from what is sent, before all that is installed there."""
    with tempfile.TemporaryDirectory() as empty:
        environment: dict[str, Any] = {
            "py_modules": [str(path) for path in modules],
            "excludes": ["**/__pycache__/"],
        }
        if "RAY_JOB_CONFIG_JSON_ENV_VAR" not in os.environ:
            # Without a folder to work in, Ray puts the folders of the driver first on the workers' path, and
            # on another machine they may hold another version. A job that was submitted has such a folder.
            environment["working_dir"] = empty
        try:
            ray.init(
                address=address, log_to_driver=False, logging_level=logging.ERROR, runtime_env=environment
            )
        except (ConnectionError, RuntimeError, ValueError, RayError) as error:
            ray.shutdown()  # it may have joined before it failed
            raise Mistake(
                f"the cluster at {address} cannot be used ({why(error)}): mend that, or {_LOCAL}"
            ) from error


def check(address: str) -> None:
    """Raise Mistake unless a cluster answers at the address and this machine is one of its nodes."""
    if address != "auto":
        _check_port(address)
    said = _asked(address)
    if said is None:
        return
    for words, meaning in _REFUSALS:
        if words in said:
            raise Mistake(meaning.format(at=address))
    last = (said.strip().splitlines() or ["no reason was given"])[-1]
    raise Mistake(f"the cluster at {address} cannot be joined ({last}): mend that, or {_LOCAL}")


def _check_port(address: str) -> None:
    found = re.fullmatch(r"\[?([^\[\]/@]+?)\]?:(\d{1,5})", address)
    if found is None or not 0 < int(found[2]) < 2**16:
        raise Mistake(f"the address is {address!r}, but it must be auto or HOST:PORT, as in 10.0.0.4:6379")
    try:
        socket.create_connection((found[1], int(found[2])), timeout=10).close()
    except OSError as error:
        raise Mistake(
            f"no Ray runs at {address} ({error.strerror or error}): start one there with `ray start --head`, "
            f"give another address, or {_LOCAL}"
        ) from error


def _asked(address: str) -> str | None:
    """What Ray says where it cannot join the cluster at the address; None where it can."""
    # Ray looks so many seconds for a raylet of this machine.
    environment = {"RAY_gcs_server_request_timeout_seconds": "10", **os.environ}
    process = subprocess.Popen(
        [sys.executable, "-c", _ASK, address],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    late = threading.Timer(_ANSWER, process.kill)
    late.start()
    said = []
    try:
        for line in process.stderr or ():
            said.append(line)
            if any(words in line for words, _ in _REFUSALS):  # Ray would say it again and again
                process.kill()
        status = process.wait()
    finally:
        late.cancel()
        process.kill()  # what interrupts this process may not have reached that one
    return None if status == 0 else "".join(said) or _SILENT


@contextlib.contextmanager
def _own_sigterm() -> Iterator[None]:
    """Keep what SIGTERM does here: `ray.init` sets a handler that leaves by SystemExit.

    One that comes before it is set back is a KeyboardInterrupt.
    """
    before = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL
    try:
        yield
    except SystemExit:
        raise KeyboardInterrupt from None
    finally:
        if threading.current_thread() is threading.main_thread():  # Python lets no other one set it
            signal.signal(signal.SIGTERM, before)
