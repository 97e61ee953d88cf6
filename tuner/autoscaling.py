"""What the autoscaler of a cluster could start, and how it is asked to."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tuner.ray_quiet  # noqa: F401  before ray

# isort: split
import ray
import yaml

from tuner.sections import Resources

_FLAG = "--autoscaling-config="


def node_types() -> list[tuple[dict[str, float], int]]:
    """The kinds of nodes that the autoscaler starts: what one holds, and how many there may be.

    From the file that `ray up` gave to the autoscaler, which runs on the head: a driver on another node
    knows of none, and takes the cluster as it is.
    """
    for command in _commands():
        for word in command:
            if word.startswith(_FLAG):
                return types_of(_read(Path(word.removeprefix(_FLAG)).expanduser()))
    return []


def types_of(config: Mapping[str, Any]) -> list[tuple[dict[str, float], int]]:
    """The node types of a cluster's configuration that trials may run on.

    >>> types_of({"max_workers": 4, "available_node_types": {
    ...     "head": {"resources": {"CPU": 0}, "max_workers": 0}, "gpu": {"resources": {"CPU": 8, "GPU": 1}}}})
    [({'CPU': 8.0, 'GPU': 1.0}, 4)]
    """
    most = config.get("max_workers", 0)
    found = []
    for name, kind in config.get("available_node_types", {}).items():
        count = 0 if name == config.get("head_node_type") else min(kind.get("max_workers", most), most)
        if count:
            found.append(({key: float(one) for key, one in kind.get("resources", {}).items()}, count))
    return found


class Scouts:
    """Tasks that take what a trial takes and do nothing: a trial is proposed when it has a slot, and Ray's
    autoscaler starts a node for what waits. They end with this process.
    """

    def __init__(self, resources: Resources) -> None:
        self._ask = _nothing.options(num_cpus=resources.cpu, num_gpus=resources.gpu)
        self._waiting: list[Any] = []

    def want(self, count: int) -> None:
        """Let so many wait for a node, as far as they have not found one."""
        if self._waiting:
            self._waiting = ray.wait(self._waiting, num_returns=len(self._waiting), timeout=0)[1]
        while len(self._waiting) > count:
            ray.cancel(self._waiting.pop(), force=True)
        while len(self._waiting) < count:
            self._waiting.append(self._ask.remote())


@ray.remote(max_retries=0)
def _nothing() -> None:
    """A node that runs this is there."""


def _commands() -> list[list[str]]:
    """The command lines of the autoscalers that run on this machine for the cluster that was joined."""
    import psutil

    here = f"--gcs-address={ray.get_runtime_context().gcs_address}"
    found = []
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if here in command and any(word.endswith("monitor.py") for word in command):
            found.append(command)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}
