"""Networks as users bring them, in the manners of the field: none of them knows this project."""

import torch
from torch import Tensor, nn


class Shared(nn.Module):
    """One ReLU for all layers, as many write it: N×L×1×1 → N×channels×8×8 in [-1, 1]."""

    def __init__(self, latent: int = 6, channels: int = 1, width: int = 4) -> None:
        super().__init__()
        self.first = nn.ConvTranspose2d(latent, 2 * width, 4)
        self.second = nn.ConvTranspose2d(2 * width, width, 4, 2, 1)
        self.last = nn.Conv2d(width, channels, 3, padding=1)
        self.act = nn.ReLU()

    def forward(self, z: Tensor) -> Tensor:
        return torch.tanh(self.last(self.act(self.second(self.act(self.first(z))))))


class Conditional(nn.Module):
    """Reads classes, ends in no tanh and gives its code beside the picture: N×L → (N×1×8×8, N×4×8×8)."""

    def __init__(self, z_dim: int = 5, classes: int = 10) -> None:
        super().__init__()
        self.z_dim = z_dim
        self.embed = nn.Embedding(classes, z_dim)
        self.to_map = nn.Sequential(nn.Linear(z_dim, 64), nn.BatchNorm1d(64), nn.LeakyReLU(0.2))
        self.to_code = nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(4, 4, 3, padding=1), nn.SiLU())
        self.to_picture = nn.Conv2d(4, 1, 1)

    def forward(self, z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        h = self.to_map(z * self.embed(labels)).view(-1, 4, 4, 4)
        code = self.to_code(h)
        return self.to_picture(code), code


class Judge(nn.Module):
    """N×1×8×8 → N×1×1×1."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(width, 1, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


def classifier(channels: int = 1, classes: int = 10, width: int = 4) -> nn.Sequential:
    """N×channels×H×W → N×classes."""
    return nn.Sequential(
        nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, 2, 1), nn.GELU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(width, classes),
    )  # fmt: skip


class Features(nn.Module):
    """No discriminator: N×1×8×8 → N×3."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3]


def hourglass(inputs: int = 8, outputs: int = 3, width: int = 6) -> nn.Sequential:
    """N×inputs×H×W → N×outputs×H×W without bounds, for sides that can be halved twice."""
    return nn.Sequential(
        nn.Conv2d(inputs, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.Conv2d(width, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(inplace=True),
        nn.Upsample(scale_factor=4), nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True),
        nn.Conv2d(width, outputs, 1),
    )  # fmt: skip


def noisy(inputs: int = 8, outputs: int = 3) -> nn.Sequential:
    """Draws while it runs."""
    return nn.Sequential(
        nn.Conv2d(inputs, 4, 3, padding=1), nn.ReLU(), nn.Dropout(), nn.Conv2d(4, outputs, 1)
    )


class Labelled(nn.Module):
    """Needs classes, which no picture of Deep Image Prior has."""

    def __init__(self) -> None:
        super().__init__()
        self.body = hourglass()

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        return self.body(x + labels.view(-1, 1, 1, 1))


class Tokens(nn.Module):
    """Its one activation is N×4×6, tokens and not a map."""

    def __init__(self, latent: int = 6) -> None:
        super().__init__()
        self.act, self.last = nn.ReLU(), nn.Linear(6, 16)

    def forward(self, z: Tensor) -> Tensor:
        return self.last(self.act(z[:, None].expand(-1, 4, -1))).view(-1, 1, 8, 8)


def normed(latent: int = 6) -> nn.Module:
    """Shared's weights under PyTorch's older spectral and weight norm, which keep what they compute."""
    network = Shared(latent)
    nn.utils.spectral_norm(network.second)
    nn.utils.weight_norm(network.last)
    return network


def normed_judge() -> nn.Module:
    """Whose scores depend on the neighbours of a picture, as DCGAN's first did."""
    return nn.Sequential(nn.Conv2d(1, 4, 4, 2, 1), nn.BatchNorm2d(4), nn.LeakyReLU(0.2), nn.Conv2d(4, 1, 4))


def over_the_batch() -> nn.Module:
    """One score for a whole batch."""
    return nn.Sequential(Judge(), Mean())


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0).view(1)


def from_a_picture() -> nn.Module:
    """Takes pictures, not vectors."""
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 1, 1))


def reversing(widths: list[int]) -> nn.Module:
    """Changes its argument, as some do."""
    widths.reverse()
    return hourglass(width=widths[0])


def evaluating() -> nn.Module:
    return hourglass().eval()


def nothing() -> None:
    """A factory that forgets to return."""


def functional() -> nn.Module:
    """Has no activation module."""
    return nn.Sequential(nn.Conv2d(8, 4, 1), nn.Conv2d(4, 3, 1))


MADE = hourglass()
JUDGE = Judge()


def same() -> nn.Module:
    """The same for every trial."""
    return MADE


def same_judge() -> nn.Module:
    return JUDGE
