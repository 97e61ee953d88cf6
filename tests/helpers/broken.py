"""A task whose training breaks as its plan names; with real errors where a CPU can raise them."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from trainers import checkpoint
from trainers.plan import Plan
from trainers.settings import Mistake
from trainers.tasks import Task
from trainers.training import Evaluation


def train(plan: Plan, *, seed: int, device: str = "cpu", folder: Path | None = None) -> Iterator[Evaluation]:
    """Break at the second evaluation; write each try's process into the folder first."""
    how, once = plan.options.how, plan.options.once
    if folder is not None:
        with (folder / "processes.txt").open("a") as file:
            file.write(f"{os.getpid()}\n")
    for step in plan.evaluate_at:
        metrics: dict[str, Any] = {"score": float(seed), "threads": torch.get_num_threads()}
        yielded: Any = step
        second = step == plan.evaluate_at[min(1, len(plan.evaluate_at) - 1)]
        if second and not (once and folder is not None and (folder / "broken").exists()):
            if once and folder is not None:
                (folder / "broken").touch()
            if how in ERRORS:
                raise ERRORS[how]
            if how == "torch memory":
                torch.empty(2**60, dtype=torch.uint8)
            if how == "memory":
                bytearray(2**62)
            if how == "disk":
                (Path(os.devnull) / "a").write_text("")
            if how == "save" and folder is not None:
                checkpoint.save(folder, {"state": torch.zeros(2**15)})
            if how == "behind":
                raise Mistake("torch cannot use the device") from torch.OutOfMemoryError("full")
            metrics |= {"score": METRICS[how]} if how in METRICS else {}
            yielded = STEPS.get(how, step)
        yield Evaluation(yielded, metrics)


ERRORS: dict[str, Exception] = {
    "cuda": RuntimeError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA"),
    "cuda memory": RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
    "mistake": Mistake("lr is 0, but it must be above 0: raise it"),
    "shape": RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    "key": KeyError("psnr"),
    "assertion": AssertionError(),
    "bytes": ValueError("no picture caf\udce9.png"),  # as Python reads a name that is no text
    "bytes on disk": OSError("no picture caf\udce9.png"),
}
METRICS: dict[str, Any] = {
    "torch": torch.tensor(0.5),
    "none": None,
    "text": "27.1",
    "many": np.zeros(2),
    "numpy": np.float32(0.5),
    "numpy integer": np.int64(3),
}
STEPS: dict[str, Any] = {"text step": "90", "no step": None, "half step": 30.5, "numpy step": np.int64(90)}
TASK = Task(
    name="broken",
    metric="score",
    direction="maximize",
    train=train,
    sites={"up0": (8, 8, 8), "code": (16, 16, 16)},
    options={"how": "", "once": False},
)
