"""How good a restored picture is: PSNR and SSIM with the clean one, two errors without it; on arrays."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

PSNR = "psnr"  # of the averaged output, bias-corrected
PSNR_RAW = "psnr_raw"  # of the last step's own output
SSIM = "ssim"  # of the averaged output, bias-corrected
HELD_OUT = "held_out"  # mean squared error of the averaged output at observed pixels that no loss has seen
SURE = "sure"  # an estimate of its mean squared error from the noise's standard deviation
LOSS = "loss"  # what the last step minimised, penalties included
STOPPED_AT = "stopped_at"  # with early stopping: the step whose picture is kept
METRICS: dict[str, Literal["minimize", "maximize"]] = {
    PSNR: "maximize",
    PSNR_RAW: "maximize",
    SSIM: "maximize",
    HELD_OUT: "minimize",
    SURE: "minimize",
    LOSS: "minimize",
}

# Those that need the clean picture of the very picture that is tuned on: who has it needs no restoration.
# They are marked "oracle" wherever they are shown.
ORACLES = frozenset((PSNR, PSNR_RAW, SSIM))
ORACLE = "oracle: it needs the clean picture"  # how such a metric is measured, as tables say it

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


def held_out_error(
    predicted: NDArray[np.float32], observed: NDArray[np.float32], held: NDArray[np.bool_]
) -> float:
    """mean (predicted - observed)² over the pixels of h×w×C that `held`, h×w, marks; all channels of each.

    Where their noise is independent of all other pixels', its mean is that of the error against the clean
    values plus the noise's variance (Noise2Self, arXiv 1901.11365), so it ranks as that error does.

    >>> held = np.array([[True, False], [False, False]])
    >>> held_out_error(np.zeros((2, 2, 1)), np.full((2, 2, 1), 0.5), held)
    0.25
    """
    _same_shape(predicted, observed)
    return float(np.mean(np.square(predicted[held].astype(np.float64) - observed[held].astype(np.float64))))


def sure(
    restored: NDArray[np.float32],
    nudged: NDArray[np.float32],
    noisy: NDArray[np.float32],
    *,
    direction: NDArray[np.float32],
    nudge: float,
    sd: float,
) -> float:
    """Stein's unbiased risk estimate of mean (restored - clean)², its divergence by Monte Carlo.

    For y = x + n with n ~ N(0, σ²) and f of y:  mean (y - f(y))² - σ² + 2σ² · bᵀ(f(y + εb) - f(y)) / (ε N)
    (Ramani, Blu and Unser, IEEE TIP 17, 2008). It may be negative.

    Args:
        restored, nudged: f(y) and f(y + εb), H×W×C as `noisy`, y, is.
        direction, nudge, sd: b of entries -1 and 1, ε > 0 and σ, in the range of the pictures.
    """
    _same_shape(restored, noisy)
    y, first, second, b = (one.astype(np.float64) for one in (noisy, restored, nudged, direction))
    divergence = float(np.mean(b * (second - first))) / nudge
    return float(np.mean(np.square(y - first))) - sd**2 + 2 * sd**2 * divergence


def _same_shape(restored: NDArray[np.float32], clean: NDArray[np.float32]) -> None:
    if restored.shape != clean.shape or clean.ndim != 3:
        raise ValueError(
            f"the pictures have the shapes {restored.shape} and {clean.shape}, "
            "but both must be the same H×W×C"
        )
