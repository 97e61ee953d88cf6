"""What tests of feature extractors share: small data sets, weights for Inception, the contract of all."""

import hashlib
from pathlib import Path

import numpy as np
import torch
from pytorch_fid import inception as fid
from torch import Tensor
from torchvision.models import inception_v3

from trainers import datasets
from trainers.datasets import Dataset
from trainers.features import Extractor
from trainers.picture_options import FEATURES

LEARNED, PRETRAINED = ("classifier", "pixels"), ("inception", "efficientnet_lite0")


def small_digits(count: int = 400) -> Dataset:
    """The first digits of scikit-learn's."""
    whole = datasets.load("digits", size=8)
    return Dataset(whole.images[:count], whole.labels[:count], whole.classes, whole.name)


def noise(count: int, *shape: int, seed: int = 0) -> Tensor:
    """count×shape of uniform uint8."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, *shape), dtype=torch.uint8, generator=generator)


def check_contract(extractor: Extractor, name: str, images: Tensor) -> None:
    """What an extractor promises, on at least 3 pictures that it takes."""
    before = torch.get_rng_state(), np.random.get_state()[1].tobytes()  # type: ignore[index, union-attr]
    given = images.clone()
    features = extractor(images)
    assert torch.equal(images, given), "the pictures themselves were changed"
    assert (extractor.name, name in FEATURES) == (name, True)
    assert features.shape == (len(images), extractor.dim)
    assert features.dtype == torch.float32
    assert features.isfinite().all()
    assert features.std(dim=0).max() > 0
    assert not features.requires_grad
    assert len(extractor.digest) == 64 and int(extractor.digest, 16) >= 0

    scale = features.abs().max()
    alone = torch.cat([extractor(images[i : i + 1]) for i in range(len(images))])
    assert (alone - features).abs().max() <= 1e-5 * scale, "a picture's features depend on its neighbours"
    extractor.at_once = 2
    assert (extractor(images) - features).abs().max() <= 1e-5 * scale
    assert extractor(images[:0]).shape == (0, extractor.dim)
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1] == np.random.get_state()[1].tobytes()  # type: ignore[index, union-attr]


def write_fid_weights(folder: Path) -> str:
    """Write random weights for FID's network below folder, a TORCH_HOME, and return their address.

    The file has the form, the keys and a name of the kind that the genuine one has. Older files know nothing
    of `num_batches_tracked`, so half of these are left out.
    """
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        network = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
        for block, channels, width in (("5b", 192, 32), ("5c", 256, 64), ("5d", 288, 64)):
            setattr(network, f"Mixed_{block}", fid.FIDInceptionA(channels, pool_features=width))
        for block, width in (("6b", 128), ("6c", 160), ("6d", 160), ("6e", 192)):
            setattr(network, f"Mixed_{block}", fid.FIDInceptionC(768, channels_7x7=width))
        network.Mixed_7b, network.Mixed_7c = fid.FIDInceptionE_1(1280), fid.FIDInceptionE_2(2048)
    weights = {}
    for key, empty in network.state_dict().items():
        drawn = torch.randn(empty.shape, generator=generator)
        if key.endswith("conv.weight"):
            drawn *= (2 / empty[0].numel()) ** 0.5  # so that the signal lives through 94 layers
        elif key.endswith(("running_var", "bn.weight")):
            drawn = 1 + 0.1 * drawn.abs()
        elif key.endswith("num_batches_tracked"):
            drawn = torch.zeros(())
        if not (key.startswith("Mixed_5") and key.endswith("num_batches_tracked")):
            weights[key] = drawn.to(empty.dtype)
    checkpoints = folder / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    torch.save(weights, checkpoints / "new")
    digest = hashlib.sha256((checkpoints / "new").read_bytes()).hexdigest()
    name = f"pt_inception-2015-12-05-{digest[:8]}.pth"
    (checkpoints / "new").rename(checkpoints / name)
    return f"http://localhost:9/{name}"
