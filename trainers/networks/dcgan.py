"""The convolutional GAN (arXiv 1511.06434) in the form that is used for small pictures."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from trainers.networks import pair
from trainers.networks.spectral import spectral_norm_in
from trainers.pair_options import DcganNetwork

SLOPE = 0.2  # of every LeakyReLU
LAST = 3  # layers of the discriminator that are its last block: a convolution, a LeakyReLU, and flattening


class Generator(pair.Generator):
    """N×L floating → N×channels×size×size in [-1, 1]; labels are not looked at.

    A linear layer draws the first map, `h0`; each transposed convolution (4×4, stride 2) doubles its side and
    halves its channels: `h1`, … and at full size `code`, which a 3×3 convolution and tanh turn into the
    picture. BatchNorm and ReLU stand before each site, PyTorch's default initialisation everywhere. A size
    that so many doublings cannot reach raises `Mistake`.

    >>> form = pair.PictureForm(size=32, channels=3, classes=10)
    >>> Generator(DcganNetwork(width=8), form)(torch.randn(2, 128)).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, config: DcganNetwork, form: pair.PictureForm) -> None:
        super().__init__()
        maps = pair.maps(config, form)
        self.latent, self.sites = config.latent, tuple(maps)
        first = maps[self.sites[0]]
        self._add_site(
            self.sites[0],
            first[0],
            nn.Linear(self.latent, first[0] * first[1] * first[2]),
            nn.Unflatten(1, first),
        )
        for before, site in pairwise(self.sites):
            # No bias: BatchNorm would take it out again.
            double = nn.ConvTranspose2d(maps[before][0], maps[site][0], 4, 2, 1, bias=False)
            self._add_site(site, maps[site][0], double)
        self.to_picture = nn.Conv2d(config.width, form.channels, 3, padding=1)

    def _add_site(self, site: str, channels: int, *layers: nn.Module) -> None:
        self.add_module(f"to_{site}", nn.Sequential(*layers, nn.BatchNorm2d(channels)))
        self.add_module(site, nn.ReLU())

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        x = latents
        for site in self.sites:
            x = self.get_submodule(site)(self.get_submodule(f"to_{site}")(x))
        return torch.tanh(self.to_picture(x))


class Discriminator(pair.Discriminator):
    """N×channels×size×size in [-1, 1] → N scores; labels are not looked at.

    The generator's mirror: a 3×3 convolution to `width` channels, then one of 4×4 and stride 2 for each
    block, which halves the side and doubles the channels, and a linear layer. The LeakyReLU after each
    convolution is a site. There is no BatchNorm, so that a picture's score does not depend on its neighbours.
    With `spectral_norm` all weights have it. A size that cannot be halved so often raises `Mistake`.

    >>> form = pair.PictureForm(size=32, channels=3, classes=10)
    >>> Discriminator(DcganNetwork(width=8), form)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2])
    """

    def __init__(self, config: DcganNetwork, form: pair.PictureForm) -> None:
        super().__init__(form)
        (_, side, _), *_ = pair.maps(config, form).values()
        widths = [config.width << i for i in range(config.blocks + 1)]
        layers: list[nn.Module] = [nn.Conv2d(form.channels, config.width, 3, padding=1), nn.LeakyReLU(SLOPE)]
        for narrow, wide in pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 4, 2, 1), nn.LeakyReLU(SLOPE)]
        self.body = nn.Sequential(*layers, nn.Flatten())
        sites = config.discriminator_sites(form.size)
        self.names = {site: f"body.{2 * i + 1}" for i, site in enumerate(sites)}  # each LeakyReLU
        self.map_channels, self.feature_count = widths[-2], widths[-1] * side * side
        self.score = nn.Linear(self.feature_count, 1)
        if config.spectral_norm:
            spectral_norm_in(self)

    def last_map(self, images: Tensor) -> Tensor:
        last_map: Tensor = self.body[:-LAST](images)
        return last_map

    def features_of(self, last_map: Tensor) -> Tensor:
        features: Tensor = self.body[-LAST:](last_map)
        return features
