"""What the two networks of a GAN offer to whoever trains them, whatever family they are of."""

from abc import ABC, abstractmethod
from typing import NamedTuple

from torch import Tensor, nn

from trainers.networks.sited import Sited
from trainers.pair_options import PairNetwork, Sites
from trainers.settings import Mistake


class PictureForm(NamedTuple):
    """What a pair is made for: pictures channels×size×size, and how many classes there are of them.

    Labels are 0 to classes - 1; where the data have none, classes is 1 and all are 0.
    """

    size: int
    channels: int
    classes: int


class Generator(Sited, ABC):
    """Latent vectors → pictures. `sites` are named in order of execution.

    `latent` is the length L of a latent vector.
    """

    latent: int
    sites: tuple[str, ...]

    @abstractmethod
    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        """N×L floating → N×C×S×S in [-1, 1]. `labels`: N int64, for networks that read them."""


class Discriminator(Sited, ABC):
    """Pictures → scores, high for real ones: `score`, a linear layer, of `feature_count` features.

    The features are what a last block makes of a map with `map_channels` channels. Its sites are those that
    its configuration names.

    `form` says what it judges, for whoever builds on it: the head of a loss that tells classes apart, say.
    """

    map_channels: int
    feature_count: int
    score: nn.Linear

    def __init__(self, form: PictureForm) -> None:
        super().__init__()
        self.form = form

    @abstractmethod
    def last_map(self, images: Tensor) -> Tensor:
        """N×C×S×S in [-1, 1] → N×M×H×W: what the last block reads."""

    @abstractmethod
    def features_of(self, last_map: Tensor) -> Tensor:
        """N×M×H×W → N×F: what `score` reads, and a head that a loss brings."""

    def features(self, images: Tensor) -> Tensor:
        """N×C×S×S in [-1, 1] → N×F."""
        return self.features_of(self.last_map(images))

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """N×C×S×S in [-1, 1] → N scores. `labels`: N int64, for networks that read them."""
        scores: Tensor = self.score(self.features(images)).squeeze(1)
        return scores


def maps(config: PairNetwork, form: PictureForm) -> Sites:
    """The generator's sites with their shapes; a form that cannot be is a Mistake."""
    size, channels, classes = form
    if size < 4:
        raise Mistake(
            f"size is {size}, but the networks draw pictures of at least 4 pixels: take a larger one"
        )
    if channels < 1:
        raise Mistake(f"channels is {channels}, but a picture has at least 1: take 1 for grey, 3 for colour")
    if classes < 1:
        raise Mistake(f"classes is {classes}, but every picture is of one: take 1 where there are no labels")
    if config.LABELS and classes == 1:
        raise Mistake(
            f"plan.network.kind is {config.kind!r}, which draws pictures of classes, but these pictures have "
            "no labels: take data with labels (plan.folders_are_classes, if each folder is a class), or "
            "another network"
        )
    return config.sites(size)
