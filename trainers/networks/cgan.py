"""The GAN of classes with a projection discriminator (cGAN-PD, arXiv 1802.05637) at 32×32."""

from torch import Tensor, nn

from trainers.networks import pair, sngan
from trainers.networks.spectral import spectral_norm
from trainers.pair_options import CganNetwork
from trainers.settings import Mistake


class ConditionalNorm(nn.Module):
    """BatchNorm whose gain and shift are those of each picture's class (arXiv 1610.07629).

    N×C×H×W and N labels → γ_y · norm(x) + β_y. γ begins at N(1, 0.02²), β at 0. What is normalised by is all
    classes' together, and is estimated anew as that of any BatchNorm.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.gain, self.shift = nn.Embedding(classes, channels), nn.Embedding(classes, channels)
        nn.init.normal_(self.gain.weight, 1.0, 0.02)
        nn.init.zeros_(self.shift.weight)

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        gain, shift = (of(labels)[:, :, None, None] for of in (self.gain, self.shift))
        y: Tensor = gain * self.norm(x) + shift
        return y


class Generator(sngan.Generator):
    """SNGAN's, N×L and N labels → N×channels×size×size, with a `ConditionalNorm` in its blocks.

    The BatchNorm before `code` is an ordinary one, as in the field's reference. Without labels a forward pass
    raises `Mistake`.

    >>> import torch
    >>> form = pair.PictureForm(size=32, channels=3, classes=10)
    >>> Generator(CganNetwork(width=8), form)(torch.randn(2, 128), torch.tensor([0, 9])).shape
    torch.Size([2, 3, 32, 32])
    """

    def __init__(self, config: CganNetwork, form: pair.PictureForm) -> None:
        super().__init__(config, form)
        for site in self.sites[:-1]:
            self.set_submodule(f"enter_{site}.0", ConditionalNorm(config.width, form.classes))
            self.set_submodule(f"to_{site}.1", ConditionalNorm(config.width, form.classes))

    def _run(self, name: str, x: Tensor, labels: Tensor | None) -> Tensor:
        for layer in self.get_submodule(name).children():
            x = layer(x, _given(labels)) if isinstance(layer, ConditionalNorm) else layer(x)
        return x


class Discriminator(sngan.Discriminator):
    """SNGAN's, N pictures and N labels → N scores: to each is added ⟨v_y, features⟩, with a vector v a class.

    With `spectral_norm` the matrix of these vectors has it too. Without labels a forward pass raises
    `Mistake`; `features` reads none.

    >>> import torch
    >>> form = pair.PictureForm(size=32, channels=3, classes=10)
    >>> discriminator = Discriminator(CganNetwork(discriminator_width=8), form)
    >>> discriminator(torch.rand(2, 3, 32, 32), torch.tensor([0, 9])).shape
    torch.Size([2])
    """

    def __init__(self, config: CganNetwork, form: pair.PictureForm) -> None:
        super().__init__(config, form)
        self.of_class = nn.Embedding(form.classes, self.feature_count)
        nn.init.xavier_uniform_(self.of_class.weight)
        if config.spectral_norm:
            spectral_norm(self.of_class)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        features = self.features(images)
        scores: Tensor = self.score(features).squeeze(1)
        scores = scores + (self.of_class(_given(labels)) * features).sum(1)
        return scores


def _given(labels: Tensor | None) -> Tensor:
    if labels is None:
        raise Mistake("labels are None, but a cgan draws and judges pictures of classes: pass N int64")
    return labels
