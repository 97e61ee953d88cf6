"""What the two networks of a GAN minimise: the contract of every loss."""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from trainers.networks.pair import Discriminator


class Batch(NamedTuple):
    """Pictures and their classes: N×C×H×W floating in [-1, 1], and N int64 (zeros where there are none)."""

    images: Tensor
    labels: Tensor


class Loss(nn.Module, ABC):
    """What both networks minimise. It is a module since it may own some, a rotation head for example.

    Its parameters are trained with the discriminator's. `network` is that discriminator; at the start a head
    learns from its `feature_count` how many features it will read (from `map_channels` those at a position of
    its last map), and from its `form` how many classes there are (and keeps no reference to it). Neither
    method waits for the device; `draw`, on the device of the pictures, is all that they draw from.
    """

    def __init__(self, network: Discriminator) -> None:
        super().__init__()

    @abstractmethod
    def discriminator(
        self, network: Discriminator, real: Batch, fake: Batch, draw: torch.Generator
    ) -> Tensor:
        """A tensor without dimensions, minimised by the discriminator; the fakes carry no gradient."""

    @abstractmethod
    def generator(self, network: Discriminator, fake: Batch, draw: torch.Generator) -> Tensor:
        """A tensor without dimensions, minimised by the generator, whose gradient comes through the fakes."""

    def after_discriminator_step(self, network: Discriminator) -> None:
        """Called when the discriminator has stepped; weight clipping, say, would act here."""


def scores(network: Discriminator, real: Batch, fake: Batch) -> tuple[Tensor, Tensor]:
    """N scores of the real and N of the fake pictures, in one pass of the network over both.

    One pass is half as many kernels as two, and the same where no picture's score depends on its neighbours
    (with spectral norm both see one σ).
    """
    images = torch.cat([real.images, fake.images])
    judged = network(images, torch.cat([real.labels, fake.labels]))
    count = len(real.images)
    return judged[:count], judged[count:]
