"""The self-attention GAN (arXiv 1805.08318) at 32×32: SNGAN's blocks, attention, spectral norm in both.

The paper's is conditioned on classes, which is another idea and the file `cgan`; this one reads no labels.
"""

import torch
from torch import Tensor, nn

from trainers.networks import pair, sngan
from trainers.networks.spectral import spectral_norm_in
from trainers.pair_options import SaganNetwork


class Attention(nn.Module):
    """N×C×H×W → the same, x + γ · o: each position adds what it attends to; γ begins at 0.

    With 1×1 convolutions f, g (to C/8 channels), h (C/2) and v (back to C), without biases as f's would
    cancel: position j takes o_j = v(Σᵢ softmaxᵢ(f(xᵢ)·g(xⱼ)) h(xᵢ)). As in the paper's code, i runs over
    maxima of f and h over 2×2 positions, which is a quarter of the work; a map with an odd side, or of one
    pixel, is not pooled.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner, value = max(1, channels // 8), max(1, channels // 2)
        self.f, self.g = _conv(channels, inner), _conv(channels, inner)
        self.h, self.v = _conv(channels, value), _conv(value, channels)
        self.gate = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        keys, values = (_pooled(conv(x)).flatten(2) for conv in (self.f, self.h))
        likeness = self.g(x).flatten(2).transpose(1, 2) @ keys  # N × positions × pooled positions
        taken = values @ likeness.softmax(dim=2).transpose(1, 2)
        y: Tensor = x + self.gate * self.v(taken.unflatten(2, x.shape[2:]))
        return y


class Generator(sngan.Generator):
    """SNGAN's, with attention before its last block, where the map has half the picture's side: 16 of 32.

    With `spectral_norm` all its weights have it.

    >>> form = pair.PictureForm(size=32, channels=3, classes=1)
    >>> Generator(SaganNetwork(width=8), form)(torch.randn(2, 128)).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, config: SaganNetwork, form: pair.PictureForm) -> None:
        super().__init__(config, form)
        self.attention = Attention(config.width)
        if config.spectral_norm:
            spectral_norm_in(self)

    def _block(self, site: str, x: Tensor, labels: Tensor | None) -> Tensor:
        return super()._block(site, self.attention(x) if site == self.sites[-2] else x, labels)


class Discriminator(sngan.Discriminator):
    """SNGAN's, with attention after its first block, where the map has half the picture's side.

    >>> form = pair.PictureForm(size=32, channels=3, classes=1)
    >>> Discriminator(SaganNetwork(discriminator_width=8), form)(torch.rand(2, 3, 32, 32)).shape
    torch.Size([2])
    """

    def __init__(self, config: SaganNetwork, form: pair.PictureForm) -> None:
        super().__init__(config, form)
        self.body.insert(1, Attention(config.discriminator_width))
        self.name_sites()
        if config.spectral_norm:
            spectral_norm_in(self)


def _pooled(x: Tensor) -> Tensor:
    """Maxima over 2×2. By `amax`, since PyTorch says of its pooling's gradient that it may vary on a GPU."""
    height, width = x.shape[2:]
    if height % 2 or width % 2:
        return x
    squares = x.unflatten(3, (width // 2, 2)).unflatten(2, (height // 2, 2))
    most: Tensor = squares.amax(dim=(3, 5))
    return most


def _conv(channels: int, width: int) -> nn.Conv2d:
    conv = nn.Conv2d(channels, width, 1, bias=False)
    nn.init.xavier_uniform_(conv.weight)
    return conv
