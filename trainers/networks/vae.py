"""The two networks of a convolutional variational autoencoder (arXiv 1312.6114)."""

from itertools import pairwise

from torch import Tensor, nn

from trainers.networks import dcgan, pair
from trainers.vae_options import VaeNetwork


class Decoder(dcgan.Generator):
    """N×L floating → N×channels×size×size in [-1, 1], the means of the pixels: `dcgan.Generator`.

    >>> import torch
    >>> form = pair.PictureForm(size=32, channels=3, classes=1)
    >>> Decoder(VaeNetwork(width=8), form)(torch.randn(2, 128)).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, config: VaeNetwork, form: pair.PictureForm) -> None:
        super().__init__(config.decoder, form)


class Encoder(nn.Module):
    """N×channels×size×size in [-1, 1] → mean and log variance of the latents, N×L each.

    The decoder's mirror: a 3×3 convolution to `width` channels, then one of 4×4 and stride 2 for each block,
    which halves the side and doubles the channels, BatchNorm and ReLU after each, and a linear layer. A size
    that cannot be halved so often raises `Mistake`.

    >>> import torch
    >>> form = pair.PictureForm(size=32, channels=3, classes=1)
    >>> mean, log_variance = Encoder(VaeNetwork(width=8), form)(torch.rand(2, 3, 32, 32))
    >>> mean.shape, log_variance.shape
    (torch.Size([2, 128]), torch.Size([2, 128]))
    """

    def __init__(self, config: VaeNetwork, form: pair.PictureForm) -> None:
        super().__init__()
        (_, side, _), *_ = pair.maps(config.decoder, form).values()
        widths = [config.width << i for i in range(config.blocks + 1)]
        # No bias: BatchNorm would take it out again.
        layers: list[nn.Module] = [nn.Conv2d(form.channels, config.width, 3, padding=1, bias=False)]
        for narrow, wide in pairwise(widths):
            halve = nn.Conv2d(narrow, wide, 4, 2, 1, bias=False)
            layers += [nn.BatchNorm2d(narrow), nn.ReLU(), halve]
        layers += [nn.BatchNorm2d(widths[-1]), nn.ReLU(), nn.Flatten()]
        self.body = nn.Sequential(*layers)
        self.to_latents = nn.Linear(widths[-1] * side * side, 2 * config.latent)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        mean, log_variance = self.to_latents(self.body(images)).chunk(2, dim=1)
        return mean, log_variance
