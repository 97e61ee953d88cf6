"""What the two networks of a GAN offer to whoever trains them, whatever family they are of."""

from abc import ABC, abstractmethod

from torch import Tensor, nn

from trainers.gan_options import DcganNetwork, Sites, SnganNetwork
from trainers.settings import Mistake


class Generator(nn.Module, ABC):
    """Latent vectors → pictures. `sites` are named in order of execution; each is the submodule of that name.

    `latent` is the length L of a latent vector.
    """

    latent: int
    sites: tuple[str, ...]

    @abstractmethod
    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """N×L floating → N×C×S×S in [-1, 1]. `labels` are N int64, for networks that are conditioned."""


class Discriminator(nn.Module, ABC):
    """Pictures → scores, high for real ones: `score`, a linear layer, of `feature_count` features."""

    feature_count: int
    score: nn.Linear

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """N×C×S×S in [-1, 1] → N×F: what `score` reads, and a head that a loss brings."""

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """N×C×S×S in [-1, 1] → N scores. `labels` are N int64, for networks that are conditioned."""
        scores: Tensor = self.score(self.features(images)).squeeze(1)
        return scores


def maps(config: DcganNetwork | SnganNetwork, size: int, channels: int) -> Sites:
    """The generator's sites with their shapes; a size or a number of channels that cannot be is a Mistake."""
    if size < 4:
        raise Mistake(
            f"size is {size}, but the networks draw pictures of at least 4 pixels: take a larger one"
        )
    if channels < 1:
        raise Mistake(f"channels is {channels}, but a picture has at least 1: take 1 for grey, 3 for colour")
    return config.sites(size)
