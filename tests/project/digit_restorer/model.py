"""The project's own work: an autoencoder that takes noise off handwritten digits, and its data."""

import torch
from sklearn.datasets import load_digits
from torch import nn


def autoencoder(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, width, 3, 2, 1), nn.LeakyReLU(0.2),
        nn.Conv2d(width, 2 * width, 3, 2, 1), nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(2 * width, width, 4, 2, 1), nn.LeakyReLU(0.2),
        nn.ConvTranspose2d(width, 1, 4, 2, 1),
    )  # fmt: skip


def noisy(pictures: torch.Tensor, draw: torch.Generator) -> torch.Tensor:
    return pictures + 0.5 * torch.randn(pictures.shape, generator=draw)


digits = torch.from_numpy(load_digits().images / 16).float()[:, None]
training, held_out = digits[:1500], digits[1500:]
