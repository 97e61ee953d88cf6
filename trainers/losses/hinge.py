"""The hinge loss for GANs (arXiv 1705.02894; with spectral norm 1802.05957)."""

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
