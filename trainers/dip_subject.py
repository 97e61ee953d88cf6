"""One picture that Deep Image Prior restores: what was observed of it, and how a restoration is scored."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainers.degradations.degradation import Degradation, Observation, Seen
from trainers.dip_options import HELD_OUT_SHARE, DipOptions, restored_sides
from trainers.images import Picture, side_by_side
from trainers.psnr import HELD_OUT, PSNR, PSNR_RAW, SSIM, SURE, held_out_error, psnr, ssim, sure
from trainers.settings import Mistake

LEAST_SIGMA = 0.01  # in grey levels: an estimate below it is round-off
# ε of SURE's Monte Carlo divergence, in standard deviations of the noise. A training amplifies round-off,
# so far smaller ones measure its chaos; at 1 the nudged picture is noisier by half, and is fitted otherwise.
NUDGE = 0.5


@dataclass(frozen=True)
class Nudge:
    """A second observation y + εb beside y: what a restoration makes of it tells its divergence.

    direction: b, -1 or 1 with even chances at each entry. by: ε. sd: the noise's, in the range of [0, 1].
    """

    direction: Picture
    by: float
    sd: float

    def of(self, values: Picture) -> Picture:
        """y + εb, not clipped."""
        return values + np.float32(self.by) * self.direction


@dataclass(frozen=True)
class Subject:
    """clean: H×W×C, None where none exists. observed: what is known of it. sides: H, W.

    seen: the pixels, h×w, that the loss sees, None: all. held: those, h×w, that were observed and are
    kept from it, where their error is asked for. nudge: where SURE is.
    """

    degradation: Degradation
    clean: Picture | None
    observed: Observation
    sides: tuple[int, int]
    seen: Seen | None
    held: Seen | None = None
    nudge: Nudge | None = None

    def metrics(
        self, restored: Picture, raw: Picture, *, predicted: Picture | None, nudged: Picture | None
    ) -> dict[str, float]:
        """How good a restoration is, by all that the subject has to compare it with.

        Args:
            restored, raw: the averaged output and the last one, H×W×C.
            predicted: A of the averaged output, h×w×C, where pixels are held out.
            nudged: the averaged output of the training on the nudged observation, where there is one.
        """
        found: dict[str, float] = {}
        if self.clean is not None:
            found |= {PSNR: psnr(restored, self.clean), PSNR_RAW: psnr(raw, self.clean)}
            found |= {SSIM: ssim(restored, self.clean)}
        if self.held is not None and predicted is not None:
            found |= {HELD_OUT: held_out_error(predicted, self.observed.values, self.held)}
        if self.nudge is not None and nudged is not None:
            nudge, values = self.nudge, self.observed.values
            risk = sure(restored, nudged, values, direction=nudge.direction, nudge=nudge.by, sd=nudge.sd)
            found |= {SURE: risk}
        return found

    def comparison(self, restored: Picture) -> NDArray[np.uint8]:
        """What was observed (missing pixels black, small pictures as large as the other), restored, clean."""
        shown = self.observed.values
        if self.observed.seen is not None:
            shown = shown * self.observed.seen[..., None]
        for axis, side in enumerate(self.sides):
            shown = shown.repeat(side // shown.shape[axis], axis)
        return side_by_side((shown, restored) if self.clean is None else (shown, restored, self.clean))

    def fingerprint(self) -> str:
        """The SHA-256 of all that the loss sees."""
        seen = b"" if self.seen is None else self.seen.tobytes()
        return hashlib.sha256(self.observed.values.tobytes() + seen).hexdigest()


def subject(
    options: DipOptions,
    picture: Picture,
    *,
    data: np.random.SeedSequence,
    evaluation: np.random.SeedSequence,
) -> Subject:
    """What the plan makes of the picture that was read, H×W×C.

    Drawn from the data stream: first what the degradation draws, then which pixels are held out. From the
    evaluation stream: the direction b of SURE.
    """
    degradation, generator = options.degradation, np.random.default_rng(data)
    sides = restored_sides(options, *picture.shape[:2])
    clean = picture if options.image_is == "clean" else None
    observed = degradation.observed(picture) if clean is None else degradation.degrade(picture, generator)
    seen, held, nudge = observed.seen, None, None
    if options.objective == HELD_OUT:
        held = _held(observed, generator)
        seen = ~held if seen is None else seen & ~held
    if options.objective == SURE:
        sd = degradation.sd(observed.values)
        if sd * 255 < LEAST_SIGMA:
            raise Mistake(
                f"plan.degradation.sigma is estimated as {sd * 255:.1g} in this picture, but plan.objective "
                "is sure, which needs noise: give sigma as a number, or take held_out"
            )
        signs = np.random.default_rng(evaluation).integers(0, 2, picture.shape).astype(np.float32)
        nudge = Nudge(2 * signs - 1, NUDGE * sd, sd)
    return Subject(degradation, clean, observed, sides, seen, held, nudge)


def _held(observed: Observation, generator: np.random.Generator) -> Seen:
    """So many of the observed pixels, every choice equally likely; h×w."""
    shape = observed.values.shape[:2]
    there = np.arange(shape[0] * shape[1]) if observed.seen is None else np.flatnonzero(observed.seen)
    count = max(1, round(HELD_OUT_SHARE * there.size))
    if count >= there.size:
        raise Mistake(
            f"plan.objective is held_out, but only {there.size} pixels were observed: take a larger picture, "
            "or let fewer be missing"
        )
    held = np.zeros(shape[0] * shape[1], np.bool_)
    held[generator.choice(there, count, replace=False)] = True
    return held.reshape(shape)
