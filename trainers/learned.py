"""Features learned from the data themselves: a small classifier's, and principal components; pure."""

import copy

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from trainers.networks.draws import DrawFrom

RECIPE = 1  # raise it with any change of what this file makes: what another recipe made is not used

WIDTH = 64  # features of the classifier
COMPONENTS = 32  # of the pixels
MOST_FITTED = 10_000  # pictures that principal components are estimated from,
MOST_VALUES = 2**25  # and their values: a quarter of a gigabyte

_BATCH, _RATE = 128, 4e-3
_EPOCHS, _MOST_STEPS = 20, 1500  # whichever ends first
_HELD_OUT, _MOST_HELD_OUT = 5, 10_000  # one picture in five


class SmallClassifier(nn.Module):
    """Convolutions that halve the picture down to 2×2, then 64 features (after their ReLU), then the classes.

    channels, size: of the pictures, at least 8×8. normalised: with batch normalisation, as it is trained;
    `plain()` computes the same without it, and faster.
    """

    def __init__(self, channels: int, size: int, classes: int, *, normalised: bool = False) -> None:
        super().__init__()
        inputs, outputs, stride = channels, 16, 1
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        while True:
            self.convolutions.append(nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=not normalised))
            self.norms.append(nn.BatchNorm2d(outputs) if normalised else nn.Identity())
            if size <= 2:
                break
            inputs, outputs, stride, size = outputs, min(2 * outputs, 64), 2, -(-size // 2)
        self.last = nn.Linear(outputs * size**2, WIDTH)
        self.head = nn.Linear(WIDTH, classes)

    def features(self, images: Tensor) -> Tensor:
        """N×C×S×S, uint8 → N×64, float32, at least 0."""
        # On a CPU, channels last take half the time.
        hidden = images.to(torch.float32, memory_format=torch.channels_last).mul_(1 / 255)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = norm(convolution(hidden)).relu_()
        return F.relu(self.last(hidden.flatten(1)))

    def forward(self, images: Tensor) -> Tensor:
        """N×C×S×S, uint8 → N×classes, logits."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def plain(self) -> "SmallClassifier":
        """The same function in evaluation, its normalisation folded into the convolutions."""
        plain = copy.deepcopy(self).requires_grad_(False).eval()
        for index, (convolution, norm) in enumerate(zip(plain.convolutions, plain.norms, strict=True)):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                plain.convolutions[index] = fuse_conv_bn_eval(convolution, norm)
                plain.norms[index] = nn.Identity()
        return plain.requires_grad_(False)


def train_classifier(
    images: Tensor, labels: Tensor, classes: int, *, seed: int = 0
) -> tuple[SmallClassifier, float]:
    """A classifier trained on four pictures of five, and the fraction of the others that it gets right.

    images: N×C×S×S, uint8, on the CPU; labels: N, int64, in [0, classes). At least 2 pictures. The same seed
    gives the same weights on the same kind of machine with as many threads.

    >>> pictures = torch.arange(20).remainder(2).mul(255).byte().view(20, 1, 1, 1).expand(20, 1, 8, 8)
    >>> network, accuracy = train_classifier(pictures, torch.arange(20) % 2, 2)
    >>> network.features(pictures).shape, accuracy
    (torch.Size([20, 64]), 1.0)
    """
    generator = torch.Generator().manual_seed(seed)
    with DrawFrom(generator):
        network = SmallClassifier(images.shape[1], images.shape[2], classes, normalised=True)
    order = torch.randperm(len(images), generator=generator)
    held_out = min(max(len(images) // _HELD_OUT, 1), _MOST_HELD_OUT)
    test, rest = order[:held_out], order[held_out:]
    batch = min(_BATCH, len(rest))
    steps = min(_MOST_STEPS, _EPOCHS * (len(rest) // batch))
    optimizer = torch.optim.Adam(network.parameters(), lr=_RATE, fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=steps)
    shuffled = rest
    for step in range(steps):
        place = step % (len(rest) // batch)
        if place == 0:
            shuffled = rest[torch.randperm(len(rest), generator=generator)]
        chosen = shuffled[place * batch : (place + 1) * batch]
        loss = F.cross_entropy(network(images[chosen]), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    plain = network.plain()
    with torch.no_grad():
        right = [(plain(images[part]).argmax(1) == labels[part]).sum() for part in test.split(1000)]
    return plain, float(sum(right)) / held_out


def principal_components(images: Tensor, *, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The mean picture (C·S·S) and the first K directions of most variance (K×C·S·S, orthonormal rows).

    images: N×C×S×S, uint8, on the CPU; read as [0, 1]. K is 32, or the rank of the data where that is lower.
    ValueError where all pictures are the same. Of more than 10,000 pictures so many are
    drawn, of large ones fewer: 32 million values in all, but 320 pictures at least.

    >>> black_and_white = torch.tensor([0, 255]).byte().view(2, 1, 1, 1).expand(2, 1, 8, 8)
    >>> mean, components = principal_components(black_and_white)
    >>> mean.shape, components.shape
    ((64,), (1, 64))
    """
    from sklearn.decomposition import PCA  # seconds to import, and needed where they are made alone

    most = max(min(MOST_FITTED, MOST_VALUES // images[0].numel()), 10 * COMPONENTS)
    chosen = np.sort(np.random.default_rng(seed).permutation(len(images))[:most])
    pixels = images.flatten(1).numpy()[chosen].astype(np.float64) / 255
    if (pixels == pixels[0]).all():
        raise ValueError(f"all {len(pixels)} pictures are the same, so they have no principal component")
    pca = PCA(min(COMPONENTS, *pixels.shape), random_state=seed).fit(pixels)
    kept = pca.explained_variance_ > 1e-10 * pca.explained_variance_[0]
    return pca.mean_.astype(np.float32), pca.components_[kept].astype(np.float32)
