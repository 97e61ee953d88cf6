"""The list of networks, and how any of them is made: initialised from a generator of its own."""

import math
from collections.abc import Callable

import torch
from torch import nn

from trainers.networks.skip import Skip
from trainers.plan import SkipNetwork

NETWORKS: dict[str, Callable[[SkipNetwork, int], Skip]] = {"skip": Skip}


def build(config: SkipNetwork, *, out_channels: int, generator: torch.Generator) -> Skip:
    """The network on the CPU in training mode, initialised from the generator; no global state is touched."""
    with torch.device("meta"):  # no memory, and above all no draws from the global generator
        network = NETWORKS[config.kind](config, out_channels)
    network.to_empty(device="cpu")
    initialise(network, generator)
    return network


def initialise(network: nn.Module, generator: torch.Generator) -> None:
    """PyTorch's own initialisation, in order of construction, but drawn from the generator."""
    for name, module in network.named_modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
        elif next(module.parameters(recurse=False), None) is not None:
            raise TypeError(f"{name} is a {type(module).__name__}, but only Conv2d and BatchNorm2d are "
                            "initialised here: add its rule to trainers/networks/build.py")
