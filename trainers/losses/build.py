"""The list of losses, and how any of them is made: what it owns is drawn from a generator of its own."""

import torch

from trainers.losses.hinge import Hinge
from trainers.losses.loss import Loss
from trainers.losses.non_saturating import NonSaturating
from trainers.networks.draws import DrawFrom
from trainers.networks.pair import Discriminator

LOSSES: dict[str, type[Loss]] = {"non_saturating": NonSaturating, "hinge": Hinge}


def build_loss(kind: str, *, network: Discriminator, generator: torch.Generator) -> Loss:
    """The loss on the CPU, for this discriminator; modules of its own are initialised from the generator."""
    with DrawFrom(generator):
        return LOSSES[kind](network)
