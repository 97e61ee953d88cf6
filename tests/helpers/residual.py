"""The residual networks' operations in the reference's order, for tests to compare with."""

import torch.nn.functional as F
from torch import Tensor, nn

from trainers.networks.sngan import Discriminator


def doubled(h: Tensor) -> Tensor:
    return h.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)


def halved(h: Tensor) -> Tensor:
    return (h[..., ::2, ::2] + h[..., 1::2, ::2] + h[..., ::2, 1::2] + h[..., 1::2, 1::2]) / 4


def conv(layer: nn.Module, h: Tensor) -> Tensor:
    return F.conv2d(h, layer.weight, layer.bias, padding=layer.weight.shape[2] // 2)


def judged(network: Discriminator, x: Tensor) -> Tensor:
    first, second, third, fourth, _ = network.body
    h = halved(conv(first.second, conv(first.first, x).clamp(min=0))) + conv(first.shortcut, halved(x))
    inner = conv(second.second, conv(second.first, h.clamp(min=0)).clamp(min=0))
    h = halved(inner) + halved(conv(second.shortcut, h))
    for block in (third, fourth):
        h = h + conv(block.second, conv(block.first, h.clamp(min=0)).clamp(min=0))
    return h.clamp(min=0).sum((2, 3)) @ network.score.weight[0] + network.score.bias
