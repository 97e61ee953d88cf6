"""The encoder-decoder with skip connections of Deep Image Prior (arXiv 1711.10925)."""

import torch
from torch import Tensor, nn

from trainers.dip_options import SkipNetwork
from trainers.networks.sited import Sited

SLOPE = 0.2  # of every LeakyReLU


class Skip(Sited):
    """N×input_channels×H×W → N×out_channels×H×W in (0, 1); H and W are as `config.padded` says.

    Scale i: the encoder halves the picture (`encode{i}`, ending in the site `down{i}`), a 1×1 branch carries
    its input across (`skip{i}`), and on the way back the deeper result, upsampled, is joined to that branch
    and decoded. Decoders count from the innermost, in order of execution: sites `up0`, `up1`, …; the
    outermost is `code`, which a 1×1 convolution turns into the picture.

    >>> Skip(SkipNetwork(width=16, scales=4), out_channels=3)(torch.rand(1, 32, 96, 96)).shape
    torch.Size([1, 3, 96, 96])
    """

    def __init__(self, config: SkipNetwork, out_channels: int) -> None:
        super().__init__()
        self.scales, self.skip, width = config.scales, config.skip, config.width
        channels = config.input_channels
        for i in range(self.scales):
            if self.skip:
                self.add_module(f"skip{i}", nn.Sequential(*_conv(channels, config.skip, 1), _act()))
            self.add_module(
                f"encode{i}",
                nn.Sequential(*_conv(channels, width, 3, stride=2), _act(), *_conv(width, width, 3)),
            )
            self.add_module(f"down{i}", _act())
            channels = width
        self.upsample = nn.Upsample(scale_factor=2, mode=config.upsample)
        for site in self.decoders:
            self.add_module(
                f"decode_{site}",
                nn.Sequential(
                    _norm(width + config.skip),
                    *_conv(width + config.skip, width, 3),
                    _act(),
                    *_conv(width, width, 1),
                ),
            )
            self.add_module(site, _act())
        self.to_picture = nn.Conv2d(width, out_channels, 1)

    @property
    def decoders(self) -> tuple[str, ...]:
        """The decoders' sites, from the innermost."""
        return (*(f"up{j}" for j in range(self.scales - 1)), "code")

    @property
    def sites(self) -> tuple[str, ...]:
        """All sites in order of execution; each is the submodule of that name."""
        return (*(f"down{i}" for i in range(self.scales)), *self.decoders)

    def forward(self, x: Tensor) -> Tensor:
        carried = []
        for i in range(self.scales):
            if self.skip:
                carried.append(self.get_submodule(f"skip{i}")(x))
            x = self._run(f"encode{i}", f"down{i}", x)
        for site in self.decoders:
            x = self.upsample(x)
            if self.skip:
                x = torch.cat([carried.pop(), x], dim=1)
            x = self._run(f"decode_{site}", site, x)
        return torch.sigmoid(self.to_picture(x))

    def _run(self, block: str, site: str, x: Tensor) -> Tensor:
        y: Tensor = self.get_submodule(site)(self.get_submodule(block)(x))
        return y


def _conv(channels: int, out_channels: int, kernel: int, stride: int = 1) -> tuple[nn.Module, nn.Module]:
    """A convolution that pads by reflection, and its BatchNorm."""
    return (
        nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, padding_mode="reflect"),
        _norm(out_channels),
    )


def _norm(channels: int) -> nn.Module:
    """Without running statistics, which nothing would use: one picture is normalised by its own."""
    return nn.BatchNorm2d(channels, track_running_stats=False)


def _act() -> nn.Module:
    return nn.LeakyReLU(SLOPE)
