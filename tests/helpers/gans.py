"""The smallest GANs of every kind, and what tests do with them."""

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from trainers.losses.loss import Batch
from trainers.networks.build import build_pair
from trainers.networks.pair import Discriminator, Generator, PictureForm
from trainers.pair_options import PAIRS, PairNetwork

# Every pair that a plan can name, with as many of these keys as it has.
_KEYS = {"width": 4, "discriminator_width": 5, "blocks": 2, "latent": 6}
SMALL: dict[str, PairNetwork] = {
    kind: made(**{key: value for key, value in _KEYS.items() if key in made.model_fields})
    for kind, made in PAIRS.items()
}
Network = TypeVar("Network", bound=nn.Module)
SIZE = 8
CLASSES = 10


def small(
    kind: str, *, seed: int = 0, size: int = SIZE, channels: int = 3, spectral_norm: bool | None = None
) -> tuple[Generator, Discriminator]:
    """A small pair of this kind; `spectral_norm` is the kind's default where it is None."""
    config = SMALL[kind]
    if spectral_norm is not None:
        config = config.model_copy(update={"spectral_norm": spectral_norm})
    pair = build_pair(config, PictureForm(size, channels, CLASSES), generator=drawn(seed))
    return opened(pair[0]), opened(pair[1])


def opened(network: Network) -> Network:
    """A gate that begins closed hides what is behind it."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if name.rpartition(".")[2] == "gate":
                parameter.fill_(0.5)
    return network


def drawn(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def latents(count: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, 6, generator=drawn(seed))


def images(count: int = 4, seed: int = 0, size: int = SIZE, channels: int = 3) -> Tensor:
    return torch.rand(count, channels, size, size, generator=drawn(seed)) * 2 - 1


def labels(count: int = 4) -> Tensor:
    """Different classes, the last one too."""
    return CLASSES - 1 - torch.arange(count) % CLASSES


def state(network: nn.Module) -> dict[str, Tensor]:
    """A copy of all that the network keeps."""
    return {name: value.clone() for name, value in network.state_dict().items()}


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def ruffled(network: nn.Module) -> nn.Module:
    """Defaults (gains 1, shifts 0) would hide a missing normalisation."""
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d) and module.affine:
                module.weight.uniform_(0.5, 1.5, generator=drawn(1))
                module.bias.normal_(generator=drawn(2))
    return network.double()


def normalised(norm: nn.BatchNorm2d, h: Tensor) -> Tensor:
    """BatchNorm in training, by its definition."""
    mean, var = h.mean((0, 2, 3), keepdim=True), h.var((0, 2, 3), unbiased=False, keepdim=True)
    h = (h - mean) / (var + 1e-5).sqrt()
    return h * norm.weight.view(1, -1, 1, 1) + norm.bias.view(1, -1, 1, 1) if norm.affine else h


class PixelJudge(Discriminator):
    """The score of a picture of one pixel is that pixel; what it was called with is kept."""

    map_channels = feature_count = 1

    def __init__(self) -> None:
        super().__init__(PictureForm(size=1, channels=1, classes=CLASSES))
        self.score = nn.Linear(1, 1)
        nn.init.ones_(self.score.weight), nn.init.zeros_(self.score.bias)
        self.labels: list[Tensor | None] = []

    def last_map(self, images: Tensor) -> Tensor:
        return images

    def features_of(self, last_map: Tensor) -> Tensor:
        return last_map.flatten(1)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        self.labels.append(labels)
        return super().forward(images, labels)


def pixels(*values: float, label: int = 0) -> Batch:
    """A batch of pictures of one pixel each, on which gradients are kept."""
    tensor = torch.tensor(values, dtype=torch.float64).view(-1, 1, 1, 1).requires_grad_()
    return Batch(tensor, torch.full((len(values),), label))


def computes_its_definition(
    config: PairNetwork,
    generated: Callable[[Any, Tensor], Tensor],
    judged: Callable[[Any, Tensor], Tensor],
) -> None:
    """Both networks of that pair equal plain rewritings, of (network, input), of their definitions.

    Those of classes get `labels()` as well.
    """
    pair = build_pair(config, PictureForm(SIZE, 3, CLASSES), generator=drawn(0))
    generator, discriminator = opened(ruffled(pair[0])), opened(pair[1].double())
    z, x = latents().double(), images().double()
    generator.eval()  # so that spectral norm stands still
    for norm in [module for module in generator.modules() if isinstance(module, nn.BatchNorm2d)]:
        norm.train()
    torch.testing.assert_close(generator(z, labels()), generated(generator, z), rtol=1e-9, atol=1e-9)
    discriminator.eval()
    torch.testing.assert_close(discriminator(x, labels()), judged(discriminator, x), rtol=1e-9, atol=1e-9)
