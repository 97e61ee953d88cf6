"""The self-supervised GAN's loss (arXiv 1811.11212): hinge, and telling how far a picture is turned."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainers.losses.hinge import HingeAndHead
from trainers.networks.pair import Discriminator


class Rotation(HingeAndHead):
    """The hinge loss, plus the cross-entropy of a head that tells 0, 90, 180 and 270 degrees apart.

    The head is a linear layer of the discriminator's features, trained with it. D adds 1.0 times what the
    head says of turned real pictures, G 0.2 times what it says of turned fakes; as in the paper, a quarter
    of the batch is turned, in all four directions. A discriminator without features raises `Mistake`.
    """

    BY_DISCRIMINATOR, BY_GENERATOR = 1.0, 0.2  # the paper's β and α

    def __init__(self, network: Discriminator) -> None:
        super().__init__(network)
        self.head = nn.Linear(network.feature_count, 4)

    def told(self, network: Discriminator, images: Tensor) -> Tensor:
        quarter = images[: max(1, len(images) // 4)]
        turned = torch.cat([quarter.rot90(i, (2, 3)) for i in range(4)])
        right = torch.arange(4, device=images.device).repeat_interleave(len(quarter))
        return F.cross_entropy(self.head(network.features(turned)), right)
