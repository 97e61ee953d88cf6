"""The residual GAN with spectral norm (arXiv 1802.05957), as in its experiments at 32×32."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.networks import pair
from trainers.networks.spectral import Layer, spectral_norm_in
from trainers.pair_options import ResidualNetwork

LAST = 2  # layers of the discriminator's body that are its last block: a residual block and a ReLU


class Generator(pair.Generator):
    """N×L floating → N×channels×size×size in [-1, 1]; labels are not looked at.

    A linear layer draws the first map; block i doubles it (nearest neighbour) and adds
    conv3×3(ReLU(BN(conv3×3(upsampled ReLU(BN(x)))))) to a 1×1 convolution of x, upsampled too. The inner
    ReLU is the site `h{i}`. After the last block BatchNorm and ReLU make `code`, which a 3×3 convolution and
    tanh turn into the picture. A size that so many doublings cannot reach raises `Mistake`.

    The reference's convolutions have a bias, and a BatchNorm takes it out again, directly or behind a sum:
    here they have none.

    >>> from trainers.pair_options import SnganNetwork
    >>> form = pair.PictureForm(size=32, channels=3, classes=10)
    >>> Generator(SnganNetwork(width=8), form)(torch.randn(2, 128)).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, config: ResidualNetwork, form: pair.PictureForm) -> None:
        super().__init__()
        maps = pair.maps(config, form)
        self.latent, self.sites, width = config.latent, tuple(maps), config.width
        first = maps["h0"][1] // 2
        linear = _xavier(nn.Linear(self.latent, width * first * first))
        self.to_map = nn.Sequential(linear, nn.Unflatten(1, (width, first, first)))
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        for site in self.sites[:-1]:
            self.add_module(f"enter_{site}", nn.Sequential(nn.BatchNorm2d(width), nn.ReLU()))
            self.add_module(f"to_{site}", nn.Sequential(_conv(width, width), nn.BatchNorm2d(width)))
            self.add_module(site, nn.ReLU())
            self.add_module(f"from_{site}", _conv(width, width))
            self.add_module(f"shortcut_{site}", _xavier(nn.Conv2d(width, width, 1, bias=False)))
        self.to_code = nn.BatchNorm2d(width)
        self.code = nn.ReLU()
        self.to_picture = _xavier(nn.Conv2d(width, form.channels, 3, padding=1))

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        x = self.to_map(latents)
        for site in self.sites[:-1]:
            x = self._block(site, x, labels)
        return torch.tanh(self.to_picture(self.code(self.to_code(x))))

    def _block(self, site: str, x: Tensor, labels: Tensor | None) -> Tensor:
        entered = self.upsample(self._run(f"enter_{site}", x, labels))
        h = self.get_submodule(site)(self._run(f"to_{site}", entered, labels))
        # Upsampled after the 1×1 convolution, which gives the same for a quarter of the work.
        shortcut = self.upsample(self.get_submodule(f"shortcut_{site}")(x))
        y: Tensor = self.get_submodule(f"from_{site}")(h) + shortcut
        return y

    def _run(self, name: str, x: Tensor, labels: Tensor | None) -> Tensor:
        """The submodule of that name, one with a BatchNorm; a family whose norms read labels says how."""
        y: Tensor = self.get_submodule(name)(x)
        return y


class Discriminator(pair.Discriminator):
    """N×channels×size×size in [-1, 1] → N scores; labels are not looked at.

    Four residual blocks of `discriminator_width` channels, of which the first two halve the picture by
    averaging; then ReLU, the sum over positions, and a linear layer. Sites are the ReLU within each block,
    `h0` to `h3`, and the last, `code`. They are the reference's, whatever `blocks` says of the generator.
    With `spectral_norm` all weights have it. A size that the generator cannot draw raises `Mistake`.

    >>> from trainers.pair_options import SnganNetwork
    >>> form = pair.PictureForm(size=32, channels=3, classes=10)
    >>> discriminator = Discriminator(SnganNetwork(discriminator_width=8), form)
    >>> discriminator(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2])
    """

    def __init__(self, config: ResidualNetwork, form: pair.PictureForm) -> None:
        super().__init__(form)
        pair.maps(config, form)
        width = config.discriminator_width
        self.body = nn.Sequential(
            _Block(form.channels, width, activated=False, halved=True),
            _Block(width, width, activated=True, halved=True),
            _Block(width, width, activated=True, halved=False),
            _Block(width, width, activated=True, halved=False),
            nn.ReLU(),
        )
        self.name_sites()
        self.map_channels = self.feature_count = width
        self.score = _xavier(nn.Linear(width, 1))
        if config.spectral_norm:
            spectral_norm_in(self)

    def name_sites(self) -> None:
        """`h0`, …: the ReLU within each block of the body; `code`: the last."""
        blocks = [i for i, layer in enumerate(self.body) if isinstance(layer, _Block)]
        inner = {f"h{n}": f"body.{i}.inner" for n, i in enumerate(blocks)}
        self.names = inner | {"code": f"body.{len(self.body) - 1}"}

    def last_map(self, images: Tensor) -> Tensor:
        last_map: Tensor = self.body[:-LAST](images)
        return last_map

    def features_of(self, last_map: Tensor) -> Tensor:
        features: Tensor = self.body[-LAST:](last_map).sum(dim=(2, 3))
        return features


class _Block(nn.Module):
    """conv3×3(ReLU(conv3×3(ReLU(x)))) + shortcut(x), and the mean over 2×2 of both where it halves.

    The picture itself is not passed through a ReLU (`activated`), and the shortcut is a 1×1 convolution in
    blocks that halve, the identity in others.
    """

    def __init__(self, channels: int, width: int, *, activated: bool, halved: bool) -> None:
        super().__init__()
        self.activated, self.halved = activated, halved
        self.first = _conv(channels, width, bias=True)
        self.inner = nn.ReLU()
        self.second = _conv(width, width, bias=True)
        self.shortcut = _xavier(nn.Conv2d(channels, width, 1)) if halved else nn.Identity()

    def __repr__(self) -> str:
        """Without the ReLU, which was a function once: a study knows a user's pair by how it prints."""
        return "\n".join(line for line in super().__repr__().splitlines() if "(inner): ReLU()" not in line)

    def forward(self, x: Tensor) -> Tensor:
        h: Tensor = self.second(self.inner(self.first(F.relu(x) if self.activated else x)))
        if not self.halved:
            return x + h
        # Averaging and a 1×1 convolution commute: averaged first, the convolution is a quarter of the work.
        y: Tensor = F.avg_pool2d(h, 2) + self.shortcut(F.avg_pool2d(x, 2))
        return y


def _conv(channels: int, width: int, bias: bool = False) -> nn.Conv2d:
    conv = nn.Conv2d(channels, width, 3, padding=1, bias=bias)
    nn.init.xavier_uniform_(conv.weight, math.sqrt(2))
    return conv


def _xavier(layer: Layer) -> Layer:
    nn.init.xavier_uniform_(layer.weight)
    return layer
