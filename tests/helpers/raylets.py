"""A real Ray cluster of several raylets on one machine, each as good as a machine of its own.

Every node is a process group, stands in a folder of its own, and runs an interpreter that has the installed
packages and not this checkout. The cluster asks for a token, as Ray's clusters do by default from 2.61 on.
"""

import json
import os
import shutil
import signal
import subprocess
import sysconfig
import tempfile
import venv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tracked import free_port

# What would lead a node back to this checkout, or to another cluster.
_NOT_INHERITED = ("PYTHONPATH", "RAY_ADDRESS", "RAY_JOB_CONFIG_JSON_ENV_VAR", "MLFLOW_TRACKING_URI")


class Raylets:
    """A head that takes no trials, and workers that come and go; a context.

    With an autoscaler's configuration the head starts workers itself, as processes of its own group.

    `address` is what `--address` takes, `environment` what a driver of this cluster needs beside its own,
    `python` the nodes' interpreter.
    """

    def __init__(self, autoscaling: Mapping[str, Any] | None = None) -> None:
        # Short: below it lie Ray's sockets, whose paths have room for 107 characters.
        self.folder = Path(tempfile.mkdtemp(prefix="rl"))
        self.address = f"127.0.0.1:{free_port()}"
        self.python = _interpreter(self.folder / "v")
        (self.folder / "token").write_text("0123456789abcdef" * 2)
        self.environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(self.folder / "token"),
            "RAY_TMPDIR": str(self.folder),
        }
        self._autoscaling = autoscaling
        self._nodes: dict[str, subprocess.Popen[str]] = {}

    def __enter__(self) -> "Raylets":
        port = self.address.partition(":")[2]
        head = ["--head", f"--port={port}", "--include-dashboard=false", f"--temp-dir={self.folder / 't'}"]
        environment = {}
        if self._autoscaling is not None:
            provider = self._autoscaling["provider"] | {"gcs_address": self.address}
            config = {**self._autoscaling, "provider": provider}
            (self.folder / "autoscaling.yaml").write_text(json.dumps(config))
            head += [f"--autoscaling-config={self.folder / 'autoscaling.yaml'}"]
            environment = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
        self._start("head", head, cpus=0, environment=environment)
        return self

    def __exit__(self, *_: object) -> None:
        for name in list(self._nodes):
            self.kill(name)
        shutil.rmtree(self.folder, ignore_errors=True)

    def add(self, *names: str, cpus: int = 1, environment: Mapping[str, str] | None = None) -> None:
        """Start workers, one behind the other: at once they would take the same names for their sockets."""
        for name in names:
            self._start(name, [f"--address={self.address}"], cpus=cpus, environment=environment or {})

    def kill(self, name: str) -> None:
        """End a node as a lost machine ends: all of its processes at once, without a word."""
        process = self._nodes.pop(name)
        os.killpg(process.pid, signal.SIGKILL)  # its own group, begun by _start
        process.wait()
        assert process.stdout is not None
        process.stdout.close()

    def place(self, name: str) -> Path:
        """The folder in which a node stands; its cache of prepared files is `cache` in it."""
        return self.folder / name

    def _start(self, name: str, arguments: list[str], *, cpus: int, environment: Mapping[str, str]) -> None:
        place = self.place(name)
        place.mkdir()
        command = [str(self.python), "-m", "ray.scripts.scripts", "start", "--block", *arguments]
        command += [f"--num-cpus={cpus}", "--num-gpus=0", f"--node-name={name}"]
        command += [f"--object-store-memory={2**27}", "--include-log-monitor=false"]
        inherited = {key: value for key, value in os.environ.items() if key not in _NOT_INHERITED}
        own = {"SPARSITY_TUNER_CACHE": str(place / "cache")}
        self._nodes[name] = subprocess.Popen(
            command,
            cwd=place,
            env=inherited | self.environment | own | dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        process, said = self._nodes[name], []
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if "Ray runtime started" in line:
                return
        raise AssertionError(f"{name} did not start:\n{''.join(said)}")


def _interpreter(folder: Path) -> Path:
    """A Python that imports what is installed here, but for what is installed as editable: this checkout.

    A .pth file names the installed packages, and Python does not follow those that lie beside them.
    """
    venv.EnvBuilder(symlinks=True, with_pip=False).create(folder)
    packages = next((folder / "lib").glob("python*/site-packages"))
    (packages / "installed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder / "bin" / "python"
