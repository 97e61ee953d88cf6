"""What this machine can do: Python, devices, memory, disk, Ray, MLflow, photographs, data sets, weights."""

import itertools
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from trainers.settings import Mistake

ROOM = 2  # GB of memory and of disk; a study of the reference size writes about one
RAY_SECONDS = 120  # starting takes about 5; a machine where it hangs is what this is looked at for

# Really starts a Ray, runs a task in it and stops it; in a process of its own, so that a Ray which hangs, or
# one that this process has joined, spoils nothing.
_START_RAY = """
import ray
ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level="ERROR")
ray.get(ray.remote(num_cpus=0)(lambda: 0).remote())
resources = ray.cluster_resources()
print(f"{resources.get('CPU', 0):g} CPUs, {resources.get('GPU', 0):g} GPUs")
ray.shutdown()
"""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at; not `fine` means that studies do not run here as they should."""

    name: str
    fine: bool
    text: str

    def __str__(self) -> str:
        return f"{'ok ' if self.fine else 'BAD'}  {self.name:<12}{self.text}"


def examine(root: Path, tracking: str | None = None) -> Iterator[Check]:
    """Look at one thing after another; none of them stops the others, and nothing is written under `root`.

    Args:
        root: where studies would live.
        tracking: the MLflow address that was given; None: the environment's, else the default under `root`.
    """
    checks: list[tuple[str, Callable[[], tuple[bool, str]]]] = [
        ("Python", python),
        ("torch", devices),
        ("CPUs", cpus),
        ("memory", memory),
        ("disk", lambda: disk(root)),
        ("Ray", start_ray),
        ("MLflow", lambda: store(root, tracking)),
        ("photographs", photographs),
        ("data sets", data_sets),
        ("features", features),
        ("Inception", inception),
    ]
    for name, look in checks:
        try:
            yield Check(name, *look())
        except Exception as error:  # whatever is broken here is the finding
            yield Check(name, False, f"{type(error).__name__}: {' '.join(str(error).split())}")


def python() -> tuple[bool, str]:
    """The interpreter."""
    return True, f"{platform.python_version()} at {sys.executable}, {platform.system()} {platform.machine()}"


def devices() -> tuple[bool, str]:
    """Torch and what it trains on."""
    import torch

    if not torch.cuda.is_available():
        return True, f"{torch.__version__}; no GPU is usable, so trials train on the CPU"
    found = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    names = ", ".join(f"{one.name} ({one.total_memory / 2**30:.0f} GB)" for one in found)
    return True, f"{torch.__version__}; {names}"


def cpus() -> tuple[bool, str]:
    """The cores that this process may use: so many trials of one thread fit."""
    usable, there = len(os.sched_getaffinity(0)), os.cpu_count()
    return True, f"{usable} of {there} usable"


def memory() -> tuple[bool, str]:
    """What a process could still get of the memory; a worker that imports torch takes half a gigabyte."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    kilobytes = {key: int(value.split()[0]) for key, _, value in (line.partition(":") for line in lines)}
    free, total = kilobytes["MemAvailable"] / 2**20, kilobytes["MemTotal"] / 2**20
    short = "" if free >= ROOM else f"; below {ROOM} GB, lower resources.concurrent"
    return free >= ROOM, f"{free:.1f} of {total:.1f} GB available{short}"


def disk(root: Path) -> tuple[bool, str]:
    """The room where studies would live: at `root`, or the nearest folder above it that exists."""
    place = next(path for path in (root.resolve(), *root.resolve().parents) if path.is_dir())
    free = shutil.disk_usage(place).free / 2**30
    if not os.access(place, os.W_OK):
        return False, f"{place} cannot be written: name another place with --root"
    short = "" if free >= ROOM else f"; below {ROOM} GB, a study may not fit: name another place with --root"
    return free >= ROOM, f"{free:.1f} GB free at {place}{short}"


def start_ray() -> tuple[bool, str]:
    """Whether a Ray of its own starts, runs something and stops."""
    quiet = {"RAY_USAGE_STATS_ENABLED": "0", **os.environ}
    try:
        done = subprocess.run(
            [sys.executable, "-c", _START_RAY], capture_output=True, text=True, timeout=RAY_SECONDS, env=quiet
        )
    except subprocess.TimeoutExpired:
        return False, f"did not start within {RAY_SECONDS} s: look into /tmp/ray/session_latest/logs"
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        return False, f"did not start: {lines[-1]}"
    return True, f"starts and stops; {done.stdout.strip().splitlines()[-1]}"


def store(root: Path, tracking: str | None) -> tuple[bool, str]:
    """Whether the MLflow store answers; one that is not there yet is not made for that."""
    from tuner.tracking import check, resolve_tracking

    address = resolve_tracking(tracking, None, root)
    file = Path(address.removeprefix("sqlite:///"))
    if address.startswith("sqlite:///") and not file.exists():
        return True, f"{address} will be made by the first study"
    check(address)
    return True, f"{address} answers"


def photographs() -> tuple[bool, str]:
    """The photographs of scikit-image that the presets restore."""
    from importlib import resources

    from trainers.images import PHOTOGRAPHS

    folder = resources.files("skimage") / "data"
    missing = [name for name, file in PHOTOGRAPHS.items() if not (folder / file).is_file()]
    if missing:
        return False, f"{', '.join(missing)} missing in {folder}: install scikit-image again"
    return True, f"{len(PHOTOGRAPHS)} in {folder}"


def data_sets() -> tuple[bool, str]:
    """The data sets by name, each read where a preset or the default looks for it; none is fetched."""
    from search_spaces.presets import preset_names
    from trainers.gan_options import GanOptions
    from trainers.picture_options import SOURCES, PictureOptions
    from trainers.sources import READERS
    from tuner.spec import load_spec

    plans = [load_spec(name).plan_with({}, {}).options for name in preset_names()]
    roots = sorted({plan.root for plan in (GanOptions(), *plans) if isinstance(plan, PictureOptions)})
    found: dict[str, str] = {}
    damaged = []
    for name, root in itertools.product(SOURCES, roots):
        try:
            pictures, _ = READERS[name](Path(root), False)
            found.setdefault(name, f"{len(pictures)} {name}" + ("" if name == "digits" else f" in {root}"))
        except Mistake as mistake:
            damaged += [str(mistake)] if _is_there(name, Path(root)) else []
    missing = ", ".join(name for name in SOURCES if name not in found)
    lacking = [f"not here: {missing} (looked for in {', '.join(roots)})"] if missing else []
    return not damaged, "; ".join([*found.values(), *lacking, *damaged])


def _is_there(name: str, root: Path) -> bool:
    """Whether something of that data set lies in root, be it whole or not."""
    if name == "cifar10":
        return (root / "cifar-10-batches-py").is_dir()
    folder = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}[name]
    return any(any(place.glob("train-*-ubyte*")) for place in (root, root / folder / "raw"))


def features() -> tuple[bool, str]:
    """The feature networks that need no download."""
    import torch

    from trainers.pretrained import EfficientNetLite0

    network = EfficientNetLite0(torch.device("cpu"))
    return True, f"{network.name} loads; classifier and pixels are made from the data"


def inception() -> tuple[bool, str]:
    """The weights of the original FID network; only the objective fid needs them."""
    from trainers.pretrained import inception_file

    file = inception_file()
    if file.is_file():
        return True, f"{file}"
    return True, f"not here; looked for at {file} (only the objective fid needs them)"
