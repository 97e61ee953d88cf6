"""How any loss of the list is made: what it owns is drawn from a generator of its own."""

from importlib import import_module

import torch

from trainers.losses import names
from trainers.losses.loss import Loss
from trainers.networks.draws import DrawFrom
from trainers.networks.pair import Discriminator

LOSSES: dict[str, type[Loss]] = {
    name: getattr(import_module(f"trainers.losses.{name}"), made) for name, made in names.LOSSES.items()
}


def build_loss(kind: str, *, network: Discriminator, generator: torch.Generator) -> Loss:
    """The loss on the CPU, for this discriminator; modules of its own are initialised from the generator.

    A discriminator that the loss cannot train raises `Mistake`.
    """
    with DrawFrom(generator):
        return LOSSES[kind](network)
