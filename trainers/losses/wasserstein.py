"""The Wasserstein GAN's loss (arXiv 1701.07875): a critic whose slope is bounded by clipping its weights."""

import torch
from torch import Tensor

from trainers.losses.loss import Batch, Loss, scores
from trainers.networks.pair import Discriminator
from trainers.networks.spectral import normalised_layers
from trainers.settings import Mistake

CLIP = 0.01  # the paper's c


class Wasserstein(Loss):
    """D minimises mean D(G(z)) - mean D(x), G minimises -mean D(G(z)).

    After each of its steps all the discriminator's weights are clipped to [-0.01, 0.01]. The paper trains
    five steps of D for one of G, by RMSProp at 5e-5. A discriminator under spectral norm raises `Mistake`:
    there a weight's size means nothing, and clipping bounds nothing.
    """

    def __init__(self, network: Discriminator) -> None:
        super().__init__(network)
        normalised = normalised_layers(network)
        if normalised:
            raise Mistake(
                "plan.loss is wasserstein, which bounds the discriminator's slope by clipping its weights, "
                f"but its {normalised[0]} has spectral norm, under which their size means nothing: take it "
                "away (spectral_norm: false), or another loss, for example wasserstein_gp"
            )

    def discriminator(
        self, network: Discriminator, real: Batch, fake: Batch, draw: torch.Generator
    ) -> Tensor:
        on_real, on_fake = scores(network, real, fake)
        return on_fake.mean() - on_real.mean()

    def generator(self, network: Discriminator, fake: Batch, draw: torch.Generator) -> Tensor:
        judged: Tensor = network(fake.images, fake.labels)
        return -judged.mean()

    @torch.no_grad()
    def after_discriminator_step(self, network: Discriminator) -> None:
        for weight in network.parameters():
            weight.clamp_(-CLIP, CLIP)
