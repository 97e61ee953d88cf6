"""The least-squares GAN's loss (arXiv 1611.04076)."""

import torch
from torch import Tensor

from trainers.losses.loss import Batch, Loss, scores
from trainers.networks.pair import Discriminator


class LeastSquares(Loss):
    """D minimises ½ mean (D(x) - 1)² + ½ mean D(G(z))², G minimises ½ mean (D(G(z)) - 1)².

    So a score of 1 means real and one of 0 fake: a = 0 and b = c = 1 of the paper's equation 9.
    """

    def discriminator(
        self, network: Discriminator, real: Batch, fake: Batch, draw: torch.Generator
    ) -> Tensor:
        on_real, on_fake = scores(network, real, fake)
        return ((on_real - 1).square().mean() + on_fake.square().mean()) / 2

    def generator(self, network: Discriminator, fake: Batch, draw: torch.Generator) -> Tensor:
        judged: Tensor = network(fake.images, fake.labels)
        return (judged - 1).square().mean() / 2
