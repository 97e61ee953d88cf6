"""The smallest GANs of every kind, and what tests do with them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from trainers.gan_options import DcganNetwork, SnganNetwork
from trainers.losses.loss import Batch
from trainers.networks.build import build_pair
from trainers.networks.pair import Discriminator, Generator, PictureForm

# Every pair that a plan can name; a new one joins here.
SMALL: dict[str, DcganNetwork | SnganNetwork] = {
    "dcgan": DcganNetwork(width=4, blocks=2, latent=6),
    "sngan": SnganNetwork(width=4, discriminator_width=5, blocks=2, latent=6),
}
SIZE = 8
CLASSES = 10


def small(
    kind: str, *, seed: int = 0, size: int = SIZE, channels: int = 3, spectral_norm: bool | None = None
) -> tuple[Generator, Discriminator]:
    """A small pair of this kind; `spectral_norm` is the kind's default where it is None."""
    config = SMALL[kind]
    if spectral_norm is not None:
        config = config.model_copy(update={"spectral_norm": spectral_norm})
    return build_pair(config, PictureForm(size, channels, CLASSES), generator=drawn(seed))


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents(count: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, 6, generator=drawn(seed))


def images(count: int = 4, seed: int = 0, size: int = SIZE, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, size, size, generator=drawn(seed)) * 2 - 1


def state(network: nn.Module) -> dict[str, Tensor]:
    """A copy of all that the network keeps."""
    return {name: value.clone() for name, value in network.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def ruffled(network: nn.Module) -> nn.Module:
    """Defaults (gains 1, shifts 0) would hide a missing normalisation."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=drawn(1))
                module.bias.normal_(generator=drawn(2))
    return network.double()


def normalised(norm: nn.BatchNorm2d, h: Tensor) -> Tensor:
    """BatchNorm in training, by its definition."""
    mean, var = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), unbiased=False, keepdim=True)
    gain, shift = norm.weight.view(1, -1, 1, 1), norm.bias.view(1, -1, 1, 1)
    return (h - mean) / (var + 1e-5).sqrt() * gain + shift


class PixelJudge(Discriminator):
    """The score of a picture of one pixel is that pixel; what it was called with is kept."""

    feature_count = 1

    def __init__(self) -> None:
        super().__init__(PictureForm(size=1, channels=1, classes=CLASSES))
        self.score = nn.Linear(1, 1)
        nn.init.ones_(self.score.weight), nn.init.zeros_(self.score.bias)
        self.labels: list[Tensor | None] = []

    def features(self, images: Tensor) -> Tensor:
        return images.flatten(1)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        self.labels.append(labels)
        return super().forward(images, labels)


def pixels(*values: float, label: int = 0) -> Batch:
    """A batch of pictures of one pixel each, on which gradients are kept."""
    tensor = torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1).requires_grad_()
    return Batch(tensor, torch.full((len(values),), label))


def computes_its_definition(
    config: DcganNetwork | SnganNetwork,
    generated: Callable[[Any, Tensor], Tensor],
    judged: Callable[[Any, Tensor], Tensor],
) -> None:
    """Both networks of that pair equal plain rewritings, of (network, input), of their definitions."""
    generator, discriminator = build_pair(config, PictureForm(SIZE, 3, CLASSES), generator=drawn(0))
    ruffled(generator)
    z, x = latents().double(), images().double()
    torch.testing.assert_close(generator(z), generated(generator, z), rtol=1e-9, atol=1e-9)
    discriminator.double().eval()
    torch.testing.assert_close(discriminator(x), judged(discriminator, x), rtol=1e-9, atol=1e-9)
