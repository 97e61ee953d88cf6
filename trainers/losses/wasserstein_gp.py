"""The Wasserstein GAN's loss with a gradient penalty (arXiv 1704.00028) in place of clipped weights."""

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from trainers.losses.loss import Batch, Loss, scores
from trainers.networks.pair import Discriminator
from trainers.settings import Mistake

PENALTY = 10.0  # the paper's λ


class WassersteinGp(Loss):
    """D minimises mean D(G(z)) - mean D(x) + 10 · mean (‖∇D(x̂)‖₂ - 1)², G minimises -mean D(G(z)).

    x̂ = ε x + (1 - ε) G(z) with one ε from U(0, 1) for each picture; it is of the class of x. Gradients flow
    through ∇D (a double backward). A discriminator with BatchNorm raises `Mistake`: there the slope at one
    picture depends on the others.
    """

    def __init__(self, network: Discriminator) -> None:
        super().__init__(network)
        norms = [name for name, module in network.named_modules() if isinstance(module, _BatchNorm)]
        if norms:
            raise Mistake(
                "plan.loss is wasserstein_gp, whose penalty is on the slope at each picture by itself, but "
                f"the discriminator's {norms[0]} is a BatchNorm, which mixes pictures: take LayerNorm, or "
                "another loss"
            )

    def discriminator(
        self, network: Discriminator, real: Batch, fake: Batch, draw: torch.Generator
    ) -> Tensor:
        on_real, on_fake = scores(network, real, fake)
        return on_fake.mean() - on_real.mean() + PENALTY * penalty(network, real, fake, draw)

    def generator(self, network: Discriminator, fake: Batch, draw: torch.Generator) -> Tensor:
        judged: Tensor = network(fake.images, fake.labels)
        return -judged.mean()


def penalty(network: Discriminator, real: Batch, fake: Batch, draw: torch.Generator) -> Tensor:
    """mean (‖∇D(x̂)‖₂ - 1)², a tensor without dimensions that can be differentiated."""
    shape = (len(real.images), 1, 1, 1)
    share = torch.rand(shape, generator=draw, dtype=real.images.dtype, device=real.images.device)
    between = torch.lerp(fake.images.detach(), real.images.detach(), share).requires_grad_()
    # Of the sum: each score depends on its own picture alone.
    (slope,) = torch.autograd.grad(network(between, real.labels).sum(), between, create_graph=True)
    value: Tensor = (torch.linalg.vector_norm(slope.flatten(1), dim=1) - 1).square().mean()
    return value
