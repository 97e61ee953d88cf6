"""Whether the nodes of a running cluster will do: found at the start, before anything is written.

Each node that can hold a trial is asked, by a small task that runs there: for its Python, for the versions of
what a training imports, and whether it reads and writes the study's storage as the driver does.
"""

import functools
import platform
import socket
import time
from collections.abc import Mapping
from importlib import metadata
from typing import Any
from uuid import uuid4

import tuner.ray_quiet  # noqa: F401  before ray

# isort: split
import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from trainers.settings import Mistake
from tuner.secrets import why, without_password
from tuner.sections import Resources
from tuner.slots import alive, fit, node_name
from tuner.storage import Storage

# What a training imports, and what it speaks to the driver with.
PACKAGES = (
    "ray",
    "torch",
    "torchvision",
    "numpy",
    "pydantic",
    "pillow",
    "scikit-image",
    "scikit-learn",
    "scipy",
    "pytorch-fid",
    "efficientnet-lite-pytorch",
    "fsspec",
    "filelock",
)
_FOLDER = "check"  # in the storage, while the nodes are asked
_ANSWER = 120.0  # seconds; a node may have to install nothing, but to start a process and unpack a few files


def look_at(resources: Resources, storage: Storage) -> int:
    """Ask every node that can hold a trial, and return how many there are.

    Raises:
        Mistake: one of them will not do; the sentence names it, what differs and what to do.
    """
    asked = [node for node in alive() if fit(node["Resources"], resources)]
    token = uuid4().hex
    storage.write(f"{_FOLDER}/{token}", token.encode())
    try:
        answers = {
            node["NodeID"]: _answer.options(
                scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            ).remote(storage.where, token, node["NodeID"])
            for node in asked
        }
        wrong = []
        deadline = time.monotonic() + _ANSWER
        for node in asked:
            found = _found(node, answers[node["NodeID"]], storage, token, deadline)
            wrong += [f"node {node_name(node)} {found}"] if found else []
    finally:
        storage.remove(_FOLDER)
    if wrong:
        others = f" (and {len(wrong) - 1} more of {len(asked)} nodes will not do)" if len(wrong) > 1 else ""
        raise Mistake(f"{wrong[0]}{others}")
    return len(asked)


@functools.cache
def versions(packages: tuple[str, ...] = PACKAGES) -> dict[str, str | None]:
    """Python's version, as 3.11, and those of packages, None where one is not installed.

    What follows a + names the build, as +cpu and +cu128, in which nodes may well differ, and is left out.
    """
    found: dict[str, str | None] = {"Python": ".".join(platform.python_version_tuple()[:2])}
    for package in packages:
        try:
            found[package] = metadata.version(package).partition("+")[0]
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def differences(here: Mapping[str, str | None], there: Mapping[str, str | None]) -> str:
    """In which versions a node differs from the driver, in words; empty where in none.

    >>> differences({"Python": "3.11.7", "torch": "2.14.1"}, {"Python": "3.11.7", "torch": "2.9.0"})
    'torch 2.9.0 and not 2.14.1'
    """
    return ", ".join(
        f"{name} {there.get(name)} and not {version}" if there.get(name) else f"no {name} {version}"
        for name, version in here.items()
        if version is not None and there.get(name) != version
    )


@ray.remote(num_cpus=0, max_retries=0)
def _answer(where: str, token: str, node: str) -> dict[str, Any]:
    """Run on a node: its versions, and what came of reading and writing the storage."""
    problem = ""
    try:
        storage = Storage(where)
        read = storage.read(f"{_FOLDER}/{token}")
        if read != token.encode():
            problem = "does not see there what the driver wrote"
        else:
            storage.write(f"{_FOLDER}/{token}-{node}", node.encode())
    except Exception as error:  # whatever the file system of that node raises
        problem = f"cannot use it ({type(error).__name__}: {why(error)})"
    return {"versions": versions(), "storage": problem, "host": socket.gethostname()}


def _found(node: Mapping[str, Any], answer: Any, storage: Storage, token: str, deadline: float) -> str:
    """What is wrong with a node, and the way out; empty where nothing is."""
    try:
        said = ray.get(answer, timeout=max(0.0, deadline - time.monotonic()))
    except (RayError, TimeoutError) as error:
        if node["NodeID"] not in {one["NodeID"] for one in alive()}:
            return ""  # it has left meanwhile
        return f"cannot run anything ({why(error)}): look into Ray's logs there, or take the node out"
    different = differences(versions(), said["versions"])
    if different:
        return f"has {different}, as the driver has: install the same there, or take it out of the cluster"
    problem = said["storage"]
    if not problem and storage.read(f"{_FOLDER}/{token}-{node['NodeID']}") != node["NodeID"].encode():
        problem = "writes there what the driver does not see"
    if problem:
        return (
            f"does not reach the storage {without_password(storage.where)!r}: it {problem}; name with "
            "`storage` a folder or an address that all nodes share"
        )
    return ""
