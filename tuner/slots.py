"""How many trials the nodes of a cluster hold at once, and what its autoscaler could add."""

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any

import tuner.ray_quiet  # noqa: F401  before ray

# isort: split
import ray

from trainers.settings import Mistake
from tuner.autoscaling import Scouts, node_types
from tuner.sections import Resources

Holds = Mapping[str, float]  # "CPU" and "GPU" of a node, and other things
_FRESH = 1.0  # seconds for which the nodes are not asked again


def alive() -> list[dict[str, Any]]:
    """The nodes that are there now, as Ray describes them, in order of their names."""
    return sorted((node for node in ray.nodes() if node["Alive"]), key=node_name)


def node_name(node: Mapping[str, Any]) -> str:
    """How people are told of a node: the name it was given, else its host's, with the id's beginning.

    >>> node_name({"NodeID": "0483fa45048f44a5", "NodeName": "w1", "NodeManagerAddress": "10.0.0.7"})
    'w1 (0483fa45)'
    """
    given = node["NodeName"] if node["NodeName"] != node["NodeManagerAddress"] else None
    return f"{given or node['NodeManagerHostname']} ({node['NodeID'][:8]})"


@functools.cache
def node_called(node_id: str) -> str:
    """The same for a node by its id, gone or not."""
    found = (node for node in ray.nodes() if node["NodeID"] == node_id)
    return next(map(node_name, found), node_id[:8])


class Slots:
    """How many trials may run now; nodes that join or leave are seen within a second or two.

    Args:
        resources: what a trial takes.
        shared: whether the Ray is a running cluster: others may run something there, so that what is free has
            to be looked at, and it may grow.
    """

    def __init__(self, resources: Resources, *, shared: bool) -> None:
        self._resources, self._shared = resources, shared
        self._asked = -_FRESH
        self._fit = self._free = 0
        self._growth = sum(fit(holds, resources) * count for holds, count in node_types()) if shared else 0
        self._scouts = Scouts(resources)

    def have_room(self, live: int, waiting: int, left: int) -> bool:
        """Whether one more trial has a slot, beside `live` ones, of which `waiting` have not begun.

        `left` is how many are still to begin. Where others take the rest, one trial may wait for a slot that
        they give back.
        """
        if time.monotonic() - self._asked >= _FRESH:
            self._ask()
            if self._growth:
                most = min(live + left, self._resources.concurrent or live + left, self._growth)
                self._scouts.want(max(0, most - max(self._fit, live)))
        if live >= min(self._fit, self._resources.concurrent or self._fit):
            return False
        return not self._shared or waiting == 0 or waiting < self._free

    def close(self) -> None:
        """Ask the autoscaler for nothing any more."""
        self._scouts.want(0)

    def _ask(self) -> None:
        self._fit = sum(fit(node["Resources"], self._resources) for node in alive())
        self._free = fit(ray.available_resources(), self._resources) if self._shared else self._fit
        self._asked = time.monotonic()


def slots(resources: Resources) -> int:
    """How many trials fit on the cluster now, at most `resources.concurrent`; 0 where a node has to start.

    Raises:
        Mistake: none fits on any node, nor on one that the autoscaler could start.
    """
    return slots_of([node["Resources"] for node in alive()], resources, [holds for holds, _ in node_types()])


def slots_of(nodes: Sequence[Holds], resources: Resources, types: Sequence[Holds] = ()) -> int:
    """How many trials fit at once on nodes that have so many "CPU" and "GPU"; raises as `slots` does.

    `types` are nodes that are not there and could be.

    >>> slots_of([{"CPU": 8, "GPU": 2}], Resources(gpu=0.4))  # 0.2 of each GPU stays free
    4
    """
    fits = sum(fit(node, resources) for node in nodes)
    if not fits and not any(fit(node, resources) for node in types):
        most_cpu = max((node.get("CPU", 0) for node in (*nodes, *types)), default=0)
        most_gpu = max((node.get("GPU", 0) for node in (*nodes, *types)), default=0)
        raise Mistake(
            f"a trial asks for {resources.cpu:g} CPUs and {resources.gpu:g} GPUs and the largest node has "
            f"{most_cpu:g} and {most_gpu:g}: lower resources.cpu or resources.gpu"
        )
    return min(fits, resources.concurrent or fits)


def fit(node: Holds, resources: Resources) -> int:
    """How many trials a node holds."""
    by_cpu = int(node.get("CPU", 0) / resources.cpu)
    return by_cpu if resources.gpu == 0 else min(by_cpu, _fit_gpus(node.get("GPU", 0), resources.gpu))


def _fit_gpus(gpus: float, share: float) -> int:
    """A share never lies across two GPUs, so each GPU is counted for itself."""
    if share >= 1:
        return int(gpus / share)
    return int(gpus) * int(1 / share + 1e-9)  # 1 / 0.1 must not fall below 10
