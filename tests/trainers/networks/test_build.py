"""Networks by name, and weights that come from one generator alone."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trainers.dip_options import SkipNetwork
from trainers.networks.build import NETWORKS, build
from trainers.networks.draws import DrawFrom
from trainers.networks.skip import Skip
from trainers.tasks import TASKS, networks_of

SMALL = SkipNetwork(width=6, scales=2)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_no_network_of_the_plan_is_left_out() -> None:
    assert NETWORKS.keys() == set(networks_of(TASKS["dip"]))


def test_weights_are_pytorchs_own_for_that_seed_and_the_global_state_stays() -> None:
    torch.manual_seed(5)
    theirs = Skip(SMALL, 3).state_dict()
    before = torch.get_rng_state()
    ours = build(SMALL, out_channels=3, generator=generator(5)).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(ours[name], weight) for name, weight in theirs.items())
    other = build(SMALL, out_channels=3, generator=generator(6)).state_dict()
    assert not torch.equal(other["to_picture.weight"], ours["to_picture.weight"])


@pytest.mark.parametrize("draw", [
    lambda: nn.Linear(3, 4).weight,
    lambda: nn.Embedding(3, 4).weight,
    lambda: nn.ConvTranspose2d(3, 4, 2).weight,
    lambda: nn.GRU(3, 4).weight_hh_l0,
    lambda: nn.MultiheadAttention(4, 2).in_proj_weight,
    lambda: nn.init.orthogonal_(torch.empty(4, 4)),
    lambda: nn.init.trunc_normal_(torch.empty(40)),
    lambda: nn.init.sparse_(torch.empty(8, 8), 0.5),
    lambda: torch.randn(3) + torch.rand(3),
    lambda: torch.randn_like(torch.empty(3)) + torch.rand_like(torch.empty(3)),
    lambda: torch.randperm(9),
    lambda: torch.randint(9, (4,)),
    lambda: torch.randint_like(torch.empty(4), 9),
    lambda: torch.normal(torch.zeros(3), 1.0),
    lambda: torch.bernoulli(torch.full((9,), 0.5)),
    lambda: torch.multinomial(torch.ones(9), 4),
    lambda: torch.poisson(torch.ones(9)),
    lambda: torch.empty(9).cauchy_() + torch.empty(9).log_normal_() + torch.empty(9).geometric_(0.5),
])  # fmt: skip
def test_whatever_a_network_draws_to_initialise_itself_comes_from_the_generator(
    draw: Callable[[], Tensor],
) -> None:
    torch.manual_seed(7)
    theirs = draw()
    before = torch.get_rng_state()
    with DrawFrom(generator(7)):
        ours = draw()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(ours, theirs)


def test_a_generator_that_is_named_is_left_alone() -> None:
    with DrawFrom(generator(1)):
        assert torch.equal(torch.rand(3, generator=generator(2)), torch.rand(3, generator=generator(2)))
