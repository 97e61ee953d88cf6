"""DistributedDataParallel: two processes with half of a batch each are one process with the whole batch."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from trainers.settings import L0, L1, L0Inf, Regularizer
from trainers.sparsity import attach

SETTINGS: dict[str, Regularizer] = {"0": L1(0.5), "2": L0(0.3), "act": L1(2), "code": L0Inf(2)}


class Plain(nn.Sequential):
    """Without BatchNorm, whose statistics are those of a process; `act` is used twice."""

    def __init__(self) -> None:
        torch.manual_seed(0)  # in a process of its own, or under fork_rng
        act = nn.ReLU()
        super().__init__(nn.Conv2d(3, 8, 3), act, nn.Conv2d(8, 8, 3), act, nn.Conv2d(8, 8, 1), nn.Tanh())
        self.add_module("code", self[4])
        self.add_module("act", act)
        self.order = (self[0], act, self[2], act, self.code, nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        for module in self.order:
            x = module(x)
        return x


def batch() -> Tensor:
    return torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))


def train(network: nn.Module, x: Tensor, outer: bool) -> list[Tensor]:
    """Two steps with penalty and projections, by hand: the gradients of both and the weights after them."""
    trained = network
    if outer:
        trained = DistributedDataParallel(network)
        attached = attach(trained, SETTINGS, names={name: f"module.{name}" for name in SETTINGS})
    else:
        attached = attach(network, SETTINGS)
        if distributed.is_initialized():
            trained = DistributedDataParallel(network)
    found = []
    for _ in range(2):
        network.zero_grad()
        loss = trained(x).square().mean() + attached.penalty()
        loss.backward()
        for parameter in network.parameters():
            assert parameter.grad is not None
            found.append(parameter.grad.clone())
            with torch.no_grad():
                parameter -= 0.1 * parameter.grad
        assert attached.metrics()["code.density"] == 2 / 8
    return [*found, *(parameter.detach() for parameter in network.parameters())]


def process(rank: int, folder: Path) -> list[list[Tensor]]:
    meet = f"file://{folder}/meet"
    distributed.init_process_group("gloo", meet, timedelta(minutes=5), rank=rank, world_size=2)
    try:
        return [train(Plain(), batch().chunk(2)[rank], outer) for outer in (False, True)]
    finally:
        distributed.destroy_process_group()


@pytest.mark.skipif(not distributed.is_gloo_available(), reason="this PyTorch was built without gloo")
def test_two_processes_have_the_gradients_of_one_on_the_whole_batch(tmp_path: Path) -> None:
    command = [sys.executable, __file__, str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as other:
        with torch.random.fork_rng(devices=[]):
            expected = train(Plain(), batch(), outer=False)
            mine = process(0, tmp_path)
        _, told = other.communicate(timeout=300)
    assert other.returncode == 0, told
    for found in (*mine, *torch.load(tmp_path / "1.pt")):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.save(process(1, Path(sys.argv[1])), Path(sys.argv[1]) / "1.pt")
