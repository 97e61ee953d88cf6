"""The original GAN's loss, with the generator's objective that does not saturate (arXiv 1406.2661)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from trainers.losses.loss import Batch, Loss, scores
from trainers.networks.pair import Discriminator


class NonSaturating(Loss):
    """D minimises mean ς(-D(x)) + mean ς(D(G(z))), G minimises mean ς(-D(G(z))), with ς(t) = log(1 + eᵗ).

    ς(-t) is -log of the probability 1 / (1 + e⁻ᵗ) that a score t means: the cross-entropy, in a form that
    does not overflow.
    """

    def discriminator(
        self, network: Discriminator, real: Batch, fake: Batch, draw: torch.Generator
    ) -> Tensor:
        on_real, on_fake = scores(network, real, fake)
        return F.softplus(-on_real).mean() + F.softplus(on_fake).mean()

    def generator(self, network: Discriminator, fake: Batch, draw: torch.Generator) -> Tensor:
        judged: Tensor = network(fake.images, fake.labels)
        return F.softplus(-judged).mean()
