"""Every family through the whole door, a small study each: `python -m benchmarks.families [NAME…]`.

A line for each family: does it train (the baseline's metric at the first and the last rung), was it searched
(trials that ended, and the leader's value), exported (the sites of the file), and re-applied: `train` with
that file and the trial's seed gives the leader's value again, bit for bit, or how far it is off.
"""

import argparse
import contextlib
import io
import os
import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
import yaml

from trainers import checkpoint
from trainers.losses.names import LOSSES
from trainers.pair_options import PAIRS
from trainers.settings import load
from tuner.cli import main as command_line
from tuner.record import Record
from tuner.screen import settings_text
from tuner.states import COMPLETE, PRUNED

DIGITS = {"data": "digits", "size": 8, "batch": 64, "samples": 1000, "objective": "fd_pixels"}
RATES = {"generator_lr": 4e-3, "discriminator_lr": 4e-3, "decay": "none", "discriminator_steps": 1}
PICTURE = {"size": 48, "network": {"width": 16, "scales": 3}}
MASK = "mask.png"  # made where the study runs


def gan(**plan: Any) -> dict[str, Any]:
    return {"task": "gan", "plan": DIGITS | RATES | plan}


def pair(kind: str) -> dict[str, Any]:
    sizes = {"width": 16, "discriminator_width": 16, "latent": 16, "blocks": 1}
    return {"kind": kind} | {key: size for key, size in sizes.items() if key in PAIRS[kind].model_fields}


def dip(kind: str, **degradation: Any) -> dict[str, Any]:
    return {"task": "dip", "plan": PICTURE | {"degradation": {"kind": kind} | degradation}}


OTHERS = [loss for loss in LOSSES if loss not in {made.LOSS for made in PAIRS.values()}]
FAMILIES: dict[str, dict[str, Any]] = {
    **{f"gan {kind}": gan(network=pair(kind)) for kind in PAIRS},
    **{f"gan dcgan, {loss}": gan(network=pair("dcgan"), loss=loss) for loss in OTHERS},
    "gan dcgan, both networks": gan(network=pair("dcgan"), discriminator_sites=True),
    "gan dcgan, low data": gan(network=pair("dcgan"), limit=0.1, augment=["translation"]),
    "vae": {"task": "vae", "plan": DIGITS | {"lr": 4e-3, "network": {"width": 16, "blocks": 1}}},
    "ddpm": {
        "task": "ddpm",
        "plan": DIGITS | {"network": {"width": 8, "blocks": 1}, "lr": 4e-3, "sampling_steps": 10},
    },
    "classifier": {
        "task": "classifier",
        "plan": {
            "data": "digits",
            "size": 8,
            "limit": 100,
            "batch": 64,
            "network": {"width": 8, "stages": 2, "blocks": 1},
        },
    },
    "dip gaussian": dip("gaussian", sigma=25),
    "dip poisson": dip("poisson", peak=30),
    "dip super_resolution": dip("super_resolution", factor=2),
    "dip inpainting": dip("inpainting", mask=MASK),
    "dip missing_pixels": dip("missing_pixels", missing=0.5),
    "dip blur": dip("blur", width=1.5),
}


def studied(family: Mapping[str, Any], folder: Path, trials: int, steps: int) -> str:
    """Search, export and train again; the cells of its line."""
    budget = {"trials": trials, "steps": steps, "grace": steps // 9, "reduction": 3, "baseline_seeds": 1}
    spec = {"name": "small", **family, "budget": budget, "resources": {"concurrent": 1}}
    (folder / "small.yaml").write_text(yaml.safe_dump(spec))
    _write_mask(folder / MASK)
    file = "studies/small/settings.json"
    for words in (
        ("search", "small.yaml"),
        ("export", "small"),
        ("train", "--settings", file, "-o", "again"),
    ):
        said = io.StringIO()
        with contextlib.chdir(folder), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            status = command_line(words)
        if status != 0:
            return f"{words[0]} ended with {status}: {said.getvalue().strip()[-300:]}"
    rows = Record(f"sqlite:///{folder}/studies/small/study.db", "small").rows()
    content = load(folder / file)
    metric = content.metric
    (baseline,) = (row for row in rows if row.role == "baseline")
    curve = [one.metrics[metric] for one in baseline.evaluations]
    ended = sum(row.role == "proposal" and row.state in (COMPLETE, PRUNED) for row in rows)
    kept = checkpoint.load(folder / "again") or {}
    value = kept["evaluation"]["metrics"][metric]
    same = "the same value" if value == content.value else f"{value} for {content.value}"
    return (
        f"{metric} {curve[0]:.4g} → {curve[-1]:.4g} | {ended} of {trials}, leader {content.value:.4g} | "
        f"{settings_text(content.sites)} | {same}"
    )


def _write_mask(path: Path) -> None:
    """White but for a square hole, as large as the pictures."""
    from PIL import Image

    picture = Image.new("L", (PICTURE["size"],) * 2, 255)
    picture.paste(0, (18, 18, 30, 30))
    picture.save(path)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(FAMILIES)}; none: all")
    parser.add_argument("--trials", type=int, default=3)
    parser.add_argument("--steps", type=int, default=180)
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the workers; and as many here: sums round as their threads do
    torch.set_num_threads(1)
    import ray  # once for all studies: to start and stop it takes longer than one of them

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    say = partial(print, flush=True)
    say("| family | trains | searched | exported | re-applied |")
    say("| --- | --- | --- | --- | --- |")
    for name in asked.names or FAMILIES:
        with tempfile.TemporaryDirectory(prefix="family-") as folder:
            say(f"| {name} | {studied(FAMILIES[name], Path(folder), asked.trials, asked.steps)} |")


if __name__ == "__main__":
    main()
