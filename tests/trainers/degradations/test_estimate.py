"""The estimator of noise on known noise, and against what scikit-image computes with PyWavelets."""

import numpy as np
import pytest

from trainers.degradations.estimate import estimated_sd
from trainers.degradations.gaussian import Gaussian
from trainers.images import load


@pytest.mark.parametrize("sd", [0.02, 0.1, 0.3])
@pytest.mark.parametrize("shape", [(128, 128, 1), (101, 140, 3)])
def test_noise_alone_has_its_sd(sd: float, shape: tuple[int, int, int]) -> None:
    noise = np.random.default_rng(0).normal(0, sd, shape).astype(np.float32)
    assert estimated_sd(noise) == pytest.approx(sd, rel=0.04)


@pytest.mark.parametrize(("name", "size", "clean", "noisy"), [
    ("astronaut", 101, 0.008771103773674948, 0.08576844774124547),
    ("camera", 128, 0.0033142180402224363, 0.09592488925490872),
    ("coffee", 64, 0.0089351707318836, 0.0875361265942514),
])  # fmt: skip
def test_it_is_scikit_images(name: str, size: int, clean: float, noisy: float) -> None:
    """The numbers are those of `skimage.restoration.estimate_sigma` 0.26 with PyWavelets 1.8.

    The noise is of 25/255 = 0.098: what is clipped at black and white is not there to be found.
    """
    picture = load(name, size=size)
    noise = Gaussian(sigma=25).degrade(picture, np.random.default_rng(0)).values
    assert estimated_sd(picture) == pytest.approx(clean, rel=1e-4)
    assert estimated_sd(noise) == pytest.approx(noisy, rel=1e-4)


def test_what_is_flat_has_none() -> None:
    assert estimated_sd(np.full((20, 20, 3), 0.3, np.float32)) == pytest.approx(0, abs=1e-6)
