"""The hinge loss for GANs (arXiv 1705.02894; with spectral norm 1802.05957)."""

from abc import abstractmethod
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.losses.loss import Batch, Loss, scores
from trainers.networks.pair import Discriminator


class Hinge(Loss):
    """D minimises mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z))), G minimises -mean D(G(z))."""

    def discriminator(
        self, network: Discriminator, real: Batch, fake: Batch, draw: torch.Generator
    ) -> Tensor:
        on_real, on_fake = scores(network, real, fake)
        return F.relu(1 - on_real).mean() + F.relu(1 + on_fake).mean()

    def generator(self, network: Discriminator, fake: Batch, draw: torch.Generator) -> Tensor:
        judged: Tensor = network(fake.images, fake.labels)
        return -judged.mean()


class HingeAndHead(Hinge):
    """The hinge loss, plus what a head says of pictures: of real ones D's share of it, of fakes G's.

    BY_DISCRIMINATOR and BY_GENERATOR are these shares.
    """

    BY_DISCRIMINATOR: ClassVar[float]
    BY_GENERATOR: ClassVar[float]

    @abstractmethod
    def told(self, network: Discriminator, images: Tensor) -> Tensor:
        """The head's own loss on N×C×S×S in [-1, 1], a tensor without dimensions."""

    def discriminator(
        self, network: Discriminator, real: Batch, fake: Batch, draw: torch.Generator
    ) -> Tensor:
        plain = super().discriminator(network, real, fake, draw)
        return plain + self.BY_DISCRIMINATOR * self.told(network, real.images)

    def generator(self, network: Discriminator, fake: Batch, draw: torch.Generator) -> Tensor:
        plain = super().generator(network, fake, draw)
        return plain + self.BY_GENERATOR * self.told(network, fake.images)
