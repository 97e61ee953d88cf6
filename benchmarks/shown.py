"""The studies that the docs show, each from nothing: `python -m benchmarks.shown [NAME…] [-o FOLDER]`.

Each is a search and a confirmation over five fresh pairs, called as a user calls them; what they print at
their end is printed here, and a picture of what was restored or drawn is written to FOLDER/shown-NAME.png.
"""

import argparse
import contextlib
import io
import json
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from trainers import images
from trainers.psnr import psnr
from tuner.cli import main as command_line

Pixels = NDArray[np.uint8]

CLEAN, NOISY, HOLES = "clean.png", "noisy.png", "holes.png"  # made where the study runs
SIDE = 96
SHOWN = ("comparison", "samples", "confusion")
SUPER_RESOLUTION = "plan.degradation={kind: super_resolution, factor: 4}"
STUDIES: dict[str, tuple[str, ...]] = {
    "super-resolution": ("dip-denoise", "plan.image=coffee", SUPER_RESOLUTION),
    "inpainting": (
        "dip-denoise",
        "plan.image=coffee",
        f"plan.degradation={{kind: inpainting, mask: {HOLES}}}",
    ),
    "noisy-photo": ("dip-noisy-photo", f"plan.image={NOISY}"),
    "low-data": ("gan-digits-low-data",),
    "vae": ("vae-digits",),
    "ddpm": ("ddpm-digits",),
    "classifier": ("classifier-digits",),
    "discriminator": (
        "gan-digits",
        "plan.discriminator_sites=true",
        "space.sites=[discriminator.h0, discriminator.h1, discriminator.code]",
        "space.regularizers={l1: {weight: [1e-3, 1]}, l0: {keep: [0.05, 0.5]}, l0inf: {k: [2, 32]}}",
    ),
}


def make_inputs(folder: Path) -> None:
    """A clean and a noisy photograph of 96×96, as files of 8 bits, and a mask with words in black."""
    clean = images.load("chelsea", size=SIDE)
    noise = np.random.default_rng(0).normal(0, 25 / 255, clean.shape)
    for name, pixels in ((CLEAN, clean), (NOISY, (clean + noise).astype(np.float32))):
        Image.fromarray(images.as_bytes(pixels)).save(folder / name)
    mask = Image.new("L", (SIDE, SIDE), 255)
    draw = ImageDraw.Draw(mask)
    for line in range(6):
        draw.text((2, 2 + 16 * line), "which layers sparse?"[line:], fill=0, font_size=14)
    mask.point(lambda value: 255 * (value > 127)).save(folder / HOLES)


def said_by(folder: Path, *words: str) -> str:
    """What a command prints, called as a user calls it; its end where it fails."""
    out = io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out):
        status = command_line(words)
    if status != 0:
        raise SystemExit(f"{words[0]} ended with {status}: {out.getvalue()[-500:]}")
    return out.getvalue().strip()


def picture(name: str, folder: Path) -> tuple[Image.Image, str]:
    """Of the same seed what the baseline and the leader made, between what was observed and the clean one.

    And, of a noisy photograph, whose clean one the study never had, the PSNR of all of them.
    """
    (row,) = json.loads(said_by(folder, "best", name, "-n", "1", "--format", "json"))
    baseline, leader = (
        _last(folder / "studies" / name / "trials" / one) for one in ("baseline:0", row["trial"])
    )
    if baseline.shape[1] % SIDE:  # grids of samples
        return _enlarged([baseline, leader], 4), ""
    observed, _, *clean = np.split(leader, leader.shape[1] // SIDE, axis=1)
    restored = [np.split(one, one.shape[1] // SIDE, axis=1)[1] for one in (baseline, leader)]
    if clean:
        return _enlarged([observed, *restored, *clean], 2), ""
    truth = images.load(str(folder / CLEAN))
    found = [psnr(one.astype(np.float32) / 255, truth) for one in (observed, *restored)]
    told = "PSNR of the noisy photograph {:.2f}, restored by the baseline {:.2f}, by the leader {:.2f}"
    return _enlarged([observed, *restored, images.as_bytes(truth)], 2), told.format(*found)


def _last(trial: Path) -> Pixels:
    """What a trial showed at its last step: an output's comparison, samples, or what is taken for what."""
    shown = [file for name in SHOWN for file in trial.glob(f"pictures/*-{name}.png")]
    with Image.open(max(shown, key=lambda file: int(file.name.split("-")[0]))) as file:
        return np.asarray(file.convert("RGB"))


def _enlarged(pictures: Sequence[Pixels], times: int) -> Image.Image:
    """Side by side, with white between them, each pixel as a square of so many."""
    white = np.full((len(pictures[0]), 2, 3), 255, np.uint8)
    parts = [part for one in pictures for part in (white, one)][1:]
    joined = Image.fromarray(np.concatenate(parts, axis=1))
    return joined.resize((joined.width * times, joined.height * times), Image.Resampling.NEAREST)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(STUDIES)}; none: all")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs"), metavar="FOLDER")
    asked = parser.parse_args()
    unknown = [name for name in asked.names if name not in STUDIES]
    if unknown or not asked.output.is_dir():
        what = f"NAME is {unknown[0]!r}" if unknown else f"FOLDER is {str(asked.output)!r}"
        parser.error(
            f"{what}, but there is no such: NAME is of {', '.join(STUDIES)}, and FOLDER is made first"
        )
    for name in asked.names or STUDIES:
        preset, *changes = STUDIES[name]
        changed = [word for change in changes for word in ("--set", change)]
        with tempfile.TemporaryDirectory(prefix="shown-") as place:
            folder = Path(place)
            make_inputs(folder)
            for words in (["search", preset, "--name", name, *changed], ["confirm", name]):
                print(f"$ sparsity-tuner {shlex.join(words)}\n{said_by(folder, *words)}\n", flush=True)
            made, told = picture(name, folder)
            made.save(asked.output / f"shown-{name}.png")
            print(told, flush=True)


if __name__ == "__main__":
    main()
