"""The operator on the device against the same map in NumPy."""

import numpy as np
import pytest
import torch

from trainers.degradations.operators import Separable
from trainers.degradations.separable import applied, gaussian_blur, lanczos2

MAPS = {
    "lanczos2": (lanczos2(24, 4), lanczos2(16, 4)),
    "blur": (gaussian_blur(24, 1.6), gaussian_blur(16, 1.6)),
}


@pytest.mark.parametrize("name", MAPS)
def test_torch_computes_what_numpy_does(name: str) -> None:
    pixels = np.random.default_rng(0).random((2, 24, 16, 3)).astype(np.float32)
    drawn = Separable(*MAPS[name])(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert drawn.dtype == torch.float32
    for one, expected in zip(drawn, pixels, strict=True):
        assert np.abs(one.permute(1, 2, 0).numpy() - applied(*MAPS[name], expected)).max() < 1e-6


def test_it_has_nothing_to_learn() -> None:
    assert not list(Separable(*MAPS["blur"]).parameters())
