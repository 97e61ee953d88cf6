"""A generator as a user might bring it, and what tests do with one."""

from typing import Any

import torch
from torch import Tensor, nn


class Block(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.norm = nn.BatchNorm2d(outputs)
        self.act = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.convolution(x)))


class Generator(nn.Module):
    """Two blocks and a head; `middle` runs as often as asked."""

    def __init__(self, times: int = 1, seed: int = 0) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.first, self.middle, self.code = Block(3, 8), Block(8, 8), nn.Sequential(Block(8, 8))
            self.head = nn.Conv2d(8, 3, 1)
        self.times = times

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for _ in range(self.times):
            x = self.middle(x)
        return torch.tanh(self.head(self.code(x)))


class Watch:
    """What the modules of these names return, seen by hooks that stand before those that `attach` adds."""

    def __init__(self, network: nn.Module, *names: str) -> None:
        self.seen: dict[str, list[Tensor]] = {name: [] for name in names}
        for name in names:
            network.get_submodule(name).register_forward_hook(
                lambda module, inputs, output, name=name: self.seen[name].append(output.detach().clone())
            )


def pictures(seed: int = 0) -> Tensor:
    return torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(seed))


def steps(network: nn.Module, attached: Any = None, count: int = 3) -> list[Tensor]:
    """Outputs and final weights of a few steps of training."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    outputs = []
    for seed in range(count):
        output = network(pictures(seed))
        loss = (output - 0.5).square().mean()
        if attached is not None:
            loss = loss + attached.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        outputs.append(output.detach())
    return [*outputs, *(value.clone() for value in network.state_dict().values())]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
