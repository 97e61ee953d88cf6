"""The U-Net of denoising diffusion (arXiv 2006.11239), in a small form, with rectified activations."""

import math

import torch
from torch import Tensor, nn

from trainers.ddpm_options import DdpmNetwork
from trainers.networks.pair import PictureForm

WAVES = 64  # a time is told by the sine and the cosine of each
LONGEST = 10_000.0  # in radians per 2π


class UNet(nn.Module):
    """Noised pictures N×C×S×S and their times N → the noise in them, N×C×S×S.

    Scale i has a residual block, `down{i}`, and is then halved by a convolution; `mid` is the block between;
    on the way back the deeper map is doubled (nearest neighbour), joined to what that scale's block gave, and
    goes through a block, `up0` (the innermost), `up1`, …; a norm and a ReLU make `code`, which a 3×3
    convolution turns into the noise. A block with the time's vector v is

        shortcut(x) + conv3×3(ReLU((1 + scale(v)) · GN(conv3×3(ReLU(GN(x)))) + shift(v)))

    as in arXiv 2102.09672; its inner ReLU is the site. Those papers have SiLU, which is nowhere 0: here it
    is ReLU, so that a code has zeros before it is made sparse, as the codes of our other generators have. The
    last convolution of each block and that of all begin at 0, as the papers' do.

    >>> network = UNet(DdpmNetwork(width=8, blocks=2), PictureForm(size=8, channels=1, classes=10))
    >>> network(torch.randn(2, 1, 8, 8), torch.tensor([1, 900])).shape
    torch.Size([2, 1, 8, 8])
    """

    waves: Tensor

    def __init__(self, config: DdpmNetwork, form: PictureForm) -> None:
        super().__init__()
        self.sites, widths = tuple(config.sites(form.size)), config.widths()
        self.blocks, self.told = config.blocks, 4 * config.width
        waves = LONGEST ** -(torch.arange(WAVES) / (WAVES - 1))
        self.register_buffer("waves", waves, persistent=False)
        self.tell = nn.Sequential(
            nn.Linear(2 * WAVES, self.told), nn.ReLU(), nn.Linear(self.told, self.told), nn.ReLU()
        )
        self.from_picture = nn.Conv2d(form.channels, config.width, 3, padding=1)
        inside = config.width
        for i in range(self.blocks):
            self._add_block(f"down{i}", inside, widths[i])
            inside = widths[i]
            self.add_module(f"halve{i}", nn.Conv2d(inside, inside, 3, 2, 1))
        self._add_block("mid", inside, widths[-1])
        self.upsample = nn.Upsample(scale_factor=2, mode="nearest")
        inside = widths[-1]
        for i, joined in enumerate(reversed(widths[:-1])):
            self._add_block(f"up{i}", inside + joined, joined)
            inside = joined
        self.to_code = _norm(inside)
        self.code = nn.ReLU()
        self.to_noise = _zero(nn.Conv2d(inside, form.channels, 3, padding=1))

    def _add_block(self, site: str, channels: int, width: int) -> None:
        enter = (_norm(channels), nn.ReLU(), nn.Conv2d(channels, width, 3, padding=1))
        self.add_module(f"enter_{site}", nn.Sequential(*enter))
        self.add_module(f"norm_{site}", _norm(width, affine=False))  # the time scales and shifts it
        self.add_module(f"time_{site}", nn.Linear(self.told, 2 * width))
        self.add_module(site, nn.ReLU())
        self.add_module(f"from_{site}", _zero(nn.Conv2d(width, width, 3, padding=1)))
        self.add_module(
            f"shortcut_{site}", nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)
        )

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        angles = times.unsqueeze(1) * self.waves
        told = self.tell(torch.cat([angles.sin(), angles.cos()], dim=1))
        x = self.from_picture(x)
        carried = []
        for i in range(self.blocks):
            x = self._block(f"down{i}", x, told)
            carried.append(x)
            x = self.get_submodule(f"halve{i}")(x)
        x = self._block("mid", x, told)
        for i in range(self.blocks):
            x = self._block(f"up{i}", torch.cat([self.upsample(x), carried.pop()], dim=1), told)
        noise: Tensor = self.to_noise(self.code(self.to_code(x)))
        return noise

    def _block(self, site: str, x: Tensor, told: Tensor) -> Tensor:
        h = self.get_submodule(f"norm_{site}")(self.get_submodule(f"enter_{site}")(x))
        scale, shift = self.get_submodule(f"time_{site}")(told)[:, :, None, None].chunk(2, dim=1)
        h = self.get_submodule(site)((1 + scale) * h + shift)
        y: Tensor = self.get_submodule(f"shortcut_{site}")(x) + self.get_submodule(f"from_{site}")(h)
        return y


def _norm(channels: int, affine: bool = True) -> nn.GroupNorm:
    """At most 32 groups, as in the papers, of at least four channels where that divides them; else one.

    A group of one channel would normalise away what that channel says of a whole picture.
    """
    return nn.GroupNorm(math.gcd(128, channels) // 4 or 1, channels, affine=affine)


def _zero(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv
