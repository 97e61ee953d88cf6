"""How near a restored picture is to the clean one: PSNR and SSIM, on arrays; pure."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

PSNR = "psnr"  # of the averaged output, bias-corrected
PSNR_RAW = "psnr_raw"  # of the last step's own output
SSIM = "ssim"  # of the averaged output, bias-corrected
LOSS = "loss"  # what the last step minimised, penalties included
METRICS: dict[str, Literal["minimize", "maximize"]] = {
    PSNR: "maximize",
    PSNR_RAW: "maximize",
    SSIM: "maximize",
    LOSS: "minimize",
}

# Those that need the clean picture of the very picture that is tuned on: who has it needs no restoration.
# They are marked "oracle" wherever they are shown.
ORACLES = frozenset(METRICS) - {LOSS}

SMALLEST = 11  # pixels a side: SSIM's window


def psnr(restored: NDArray[np.float32], clean: NDArray[np.float32]) -> float:
    """Peak signal-to-noise ratio in dB with peak 1: -10 log10 mean (restored - clean)²; inf where equal.

    Both are H×W×C in [0, 1]. Values that are not finite give a value that is not finite.

    >>> round(psnr(np.zeros((8, 8, 1)), np.full((8, 8, 1), 0.1)), 6)
    20.0
    """
    _same_shape(restored, clean)
    error = float(np.mean(np.square(restored.astype(np.float64) - clean.astype(np.float64))))
    return float("inf") if error == 0 else float(-10 * np.log10(error))


def ssim(restored: NDArray[np.float32], clean: NDArray[np.float32]) -> float:
    """Structural similarity as Wang et al. (2004) define it: Gaussian window of sd 1.5, mean over channels.

    Both are H×W×C in [0, 1] with sides of at least 11 pixels. 1 where equal.

    >>> round(ssim(np.eye(16)[..., None], np.eye(16)[..., None]), 6)
    1.0
    """
    from skimage.metrics import structural_similarity  # the names above are read without it

    _same_shape(restored, clean)
    if min(clean.shape[:2]) < SMALLEST:
        raise ValueError(
            f"the pictures have the shape {clean.shape}, but SSIM needs sides of at least {SMALLEST} pixels"
        )
    return float(
        structural_similarity(
            clean.astype(np.float64),
            restored.astype(np.float64),
            channel_axis=2,
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def _same_shape(restored: NDArray[np.float32], clean: NDArray[np.float32]) -> None:
    if restored.shape != clean.shape or clean.ndim != 3:
        raise ValueError(
            f"the pictures have the shapes {restored.shape} and {clean.shape}, "
            "but both must be the same H×W×C"
        )
