"""The list of networks, and how any of them is made: drawn from a generator of its own."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from trainers.dip_options import SkipNetwork
from trainers.gan_options import DcganNetwork, SnganNetwork
from trainers.networks import dcgan, sngan
from trainers.networks.pair import Discriminator, Generator, PictureForm
from trainers.networks.skip import Skip

NETWORKS: dict[str, Callable[[SkipNetwork, int], Skip]] = {"skip": Skip}
# What generates from latent vectors comes with what judges it.
PAIRS: dict[
    str, tuple[Callable[[Any, PictureForm], Generator], Callable[[Any, PictureForm], Discriminator]]
] = {
    "dcgan": (dcgan.Generator, dcgan.Discriminator),
    "sngan": (sngan.Generator, sngan.Discriminator),
}

_DRAWS = {
    Tensor.uniform_, Tensor.normal_, Tensor.bernoulli_, Tensor.random_, Tensor.exponential_, Tensor.cauchy_,
    Tensor.log_normal_, Tensor.geometric_, torch.rand, torch.rand_like, torch.randn, torch.randn_like,
    torch.randint, torch.randint_like, torch.randperm, torch.normal, torch.bernoulli, torch.poisson,
    torch.multinomial,
}  # fmt: skip


def build(config: SkipNetwork, *, out_channels: int, generator: torch.Generator) -> Skip:
    """The network on the CPU in training mode, initialised from the generator (one of the CPU).

    It is the same, bit for bit, as one that PyTorch initialises after `torch.manual_seed` with that seed.
    """
    with DrawFrom(generator):
        return NETWORKS[config.kind](config, out_channels)


def build_pair(
    config: DcganNetwork | SnganNetwork, form: PictureForm, *, generator: torch.Generator
) -> tuple[Generator, Discriminator]:
    """Generator and discriminator on the CPU in training mode, initialised from `generator` (of the CPU).

    A form that the network cannot draw raises `Mistake`.

    >>> drawn = torch.Generator().manual_seed(0)
    >>> form = PictureForm(size=32, channels=1, classes=10)
    >>> generator, _ = build_pair(DcganNetwork(width=8), form, generator=drawn)
    >>> generator.latent, generator.sites
    (128, ('h0', 'h1', 'h2', 'code'))
    """
    make_generator, make_discriminator = PAIRS[config.kind]
    with DrawFrom(generator):
        return make_generator(config, form), make_discriminator(config, form)


class DrawFrom(TorchFunctionMode):
    """Within it, what draws without naming a generator draws from this one.

    Modules initialise themselves from PyTorch's global generator and offer no other. Seeding that one and
    putting it back would disturb whoever else draws from it meanwhile.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("generator") is None and (func in _DRAWS or "generator" in kwargs):
            kwargs = {**kwargs, "generator": self.generator}
        return func(*args, **kwargs)
