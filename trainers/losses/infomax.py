"""InfoMax-GAN's loss (arXiv 2007.04589): hinge, and telling which picture a part is of."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.losses.hinge import HingeAndHead
from trainers.networks.pair import Discriminator
from trainers.networks.spectral import spectral_norm

DIMENSIONS = 1024  # of the space in which parts and pictures are compared, the paper's R


class Projection(nn.Module):
    """…×F → …×1024: a two-layer perceptron plus a linear layer, all under spectral norm."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.first, self.second, self.straight = (
            _linear(*sizes) for sizes in ((features, hidden), (hidden, DIMENSIONS), (features, DIMENSIONS))
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.second(F.relu(self.first(x))) + self.straight(x)
        return y


class Infomax(HingeAndHead):
    """The hinge loss, plus a bound on how much a picture's features tell of its parts (InfoNCE).

    A part is a position p of the discriminator's last map. Part and features are projected, to l_p and g,
    and each part is to be told from those of the other pictures in the batch:

        mean over i, p of -log( exp(g_i·l_ip) / (exp(g_i·l_ip) + Σ over j ≠ i and all q of exp(g_i·l_jq)) ).

    D adds 0.2 times this of the real pictures, G 0.2 times that of the fakes; either pass over them is one
    more of the discriminator's body. Both projections are trained with the discriminator. Picture i's own
    other parts are left out; the authors' code gives them a logit of -10. What is compared has N·P·1024
    values: 64 pictures of 32×32 take 17 MB, of 128×128 268 MB. A discriminator without features raises
    `Mistake`.
    """

    BY_DISCRIMINATOR, BY_GENERATOR = 0.2, 0.2  # the paper's β and α

    def __init__(self, network: Discriminator) -> None:
        super().__init__(network)
        hidden = network.map_channels
        self.of_part, self.of_picture = (
            Projection(count, hidden) for count in (hidden, network.feature_count)
        )

    def told(self, network: Discriminator, images: Tensor) -> Tensor:
        last_map = network.last_map(images)
        parts = self.of_part(last_map.flatten(2).transpose(1, 2))
        return contrast(parts, self.of_picture(network.features_of(last_map)))


def contrast(parts: Tensor, pictures: Tensor) -> Tensor:
    """The mean of `Infomax`'s formula, a tensor without dimensions; 0 of one picture alone.

    parts: N×P×R, l; pictures: N×R, g.
    """
    likeness = torch.einsum("ir,jpr->ijp", pictures, parts)
    own = likeness.diagonal().T  # N×P
    same = torch.eye(len(pictures), dtype=torch.bool, device=pictures.device)[:, :, None]
    others = likeness.masked_fill(same, torch.finfo(likeness.dtype).min).flatten(1).logsumexp(1)
    return F.softplus(others[:, None] - own).mean()


def _linear(inputs: int, outputs: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs)
    nn.init.xavier_uniform_(layer.weight)
    return spectral_norm(layer)
