"""The residual networks' operations in the reference's order, for tests to compare with."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from gans import normalised
from torch import Tensor, nn

from trainers.networks.sngan import Discriminator, Generator


def doubled(h: Tensor) -> Tensor:
    return h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def halved(h: Tensor) -> Tensor:
    return (h[..., ::2, ::2] + h[..., 1::2, ::2] + h[..., ::2, 1::2] + h[..., 1::2, 1::2]) / 4


def conv(layer: nn.Module, h: Tensor) -> Tensor:
    return F.conv2d(h, layer.weight, layer.bias, padding=layer.weight.shape[2] // 2)


def generated(network: Generator, z: Tensor, norm: Callable[[Any, Tensor], Tensor]) -> Tensor:
    """norm: what stands within the blocks, of (module, activation); before `code` it is BatchNorm."""
    modules = dict(network.named_modules())
    linear = modules["to_map.0"]
    h = (z @ linear.weight.T + linear.bias).view(len(z), 4, 2, 2)
    for site in ("h0", "h1"):
        inner = doubled(norm(modules[f"enter_{site}.0"], h).clamp(min=0))
        inner = norm(modules[f"to_{site}.1"], conv(modules[f"to_{site}.0"], inner)).clamp(min=0)
        h = conv(modules[f"from_{site}"], inner) + conv(modules[f"shortcut_{site}"], doubled(h))
    return torch.tanh(conv(network.to_picture, normalised(network.to_code, h).clamp(min=0)))


def judged(network: Discriminator, x: Tensor) -> Tensor:
    first, second, third, fourth, _ = network.body
    h = halved(conv(first.second, conv(first.first, x).clamp(min=0))) + conv(first.shortcut, halved(x))
    inner = conv(second.second, conv(second.first, h.clamp(min=0)).clamp(min=0))
    h = halved(inner) + halved(conv(second.shortcut, h))
    for block in (third, fourth):
        h = h + conv(block.second, conv(block.first, h.clamp(min=0)).clamp(min=0))
    return h.clamp(min=0).sum((2, 3)) @ network.score.weight[0] + network.score.bias
