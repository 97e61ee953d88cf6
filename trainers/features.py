"""Pictures as feature vectors: what a distance between two sets of pictures is measured on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trainers.learned import RECIPE, SmallClassifier, principal_components, train_classifier
from trainers.prepared import Arrays, made_once, versions
from trainers.settings import Mistake

if TYPE_CHECKING:
    from trainers.datasets import Dataset


class Extractor(ABC):
    """Turns pictures into feature vectors, each by itself.

    name: a key of `trainers.picture_options.FEATURES`. dim: length of a vector. digest: SHA-256 of the
    weights and of how pictures are brought to them. device: where it computes. shape: the C×S×S that it
    takes; None: any C of 1 or 3, and any size. files: the prepared files that it rests on, with their
    SHA-256. at_once: pictures computed together.
    """

    name: str
    dim: int
    digest: str
    device: torch.device
    shape: tuple[int, ...] | None = None
    files: Mapping[str, str] = {}
    at_once: int = 64

    def __call__(self, images: Tensor) -> Tensor:
        """N×C×S×S, uint8, on its device → N×dim, float32, there too. Other pictures: ValueError.

        A GPU computes in whole float32 here, as a CPU does, whatever is allowed elsewhere.
        """
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
            raise ValueError(
                f"the pictures are {images.dtype} of shape {tuple(images.shape)}, "
                "but features are taken of N×1×S×S or N×3×S×S in uint8"
            )
        if self.shape is not None and images.shape[1:] != self.shape:
            raise ValueError(
                f"the pictures have the shape {tuple(images.shape[1:])}, but the features {self.name!r} "
                f"were made for {self.shape}"
            )
        with torch.no_grad(), _whole_floats():
            parts = [self.features(part) for part in images.split(self.at_once)]
        return torch.cat(parts) if parts else torch.empty(0, self.dim, device=images.device)

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """n×C×S×S, uint8 → n×dim, float32, without gradients."""


@contextmanager
def _whole_floats() -> Iterator[None]:
    """Within it, no TF32, to whose 10 bits cuDNN's convolutions round by default: distances would show it."""
    cudnn: Any = torch.backends.cudnn  # whose `conv` torch does not declare
    places = cudnn.conv, torch.backends.cuda.matmul
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision


def extractor(name: str, *, dataset: "Dataset | None", device: torch.device | str) -> Extractor:
    """The extractor of that name on that device; what it has to be made from is the data set's pictures.

    "inception" and "efficientnet_lite0" bring their weights. "classifier" is trained on the data set,
    "pixels" are its principal components: both are made once and kept. A Mistake says what is missing:
    weights that are not here, labels, a data set.

    >>> extractor("efficientnet_lite0", dataset=None, device="cpu").dim
    1280
    """
    if name not in EXTRACTORS:
        raise Mistake(f"the features are {name!r}, but the known ones are {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name](dataset, torch.device(device))


# torchvision and pytorch-fid take seconds to import, and the features learned from the data do without.
def _inception(dataset: "Dataset | None", device: torch.device) -> Extractor:
    from trainers.pretrained import Inception

    return Inception(device)


def _efficientnet_lite0(dataset: "Dataset | None", device: torch.device) -> Extractor:
    from trainers.pretrained import EfficientNetLite0

    return EfficientNetLite0(device)


def _given(dataset: "Dataset | None", name: str) -> "Dataset":
    if dataset is None:
        raise Mistake(
            f"the features {name!r} are made from a data set, but there is none: give it, or take others"
        )
    return dataset


def _made_from(dataset: "Dataset", *packages: str) -> dict[str, str | int]:
    return {"recipe": RECIPE, "data": dataset.fingerprint(), **versions(*packages)}


class Classifier(Extractor):
    """64 features of a classifier trained on the data set; `accuracy` is that on pictures held out."""

    name = "classifier"

    def __init__(self, dataset: "Dataset", device: torch.device) -> None:
        if dataset.classes < 2:
            raise Mistake(
                f"fd_classifier needs labels, but {dataset.name} has none: take fd_efficientnet_lite0 or "
                "fd_pixels as the objective, or set plan.folders_are_classes to true if each "
                "of its folders is a class"
            )
        key = _made_from(dataset, "torch", "numpy")
        arrays, file, self.digest = made_once("classifier", key, lambda: self._made(dataset))
        self.files, self.device = {file: self.digest}, device
        self.accuracy = float(arrays.pop("accuracy"))
        self.shape = tuple(dataset.images.shape[1:])
        self.at_once = max(2**16 // self.shape[1] ** 2, 1)  # activations that fit into a CPU's cache
        with torch.device("meta"):  # without weights: initialising them would draw from the global generator
            network = SmallClassifier(self.shape[0], self.shape[1], dataset.classes)
        weights = {name: torch.from_numpy(array) for name, array in arrays.items()}
        network.load_state_dict(weights, assign=True)
        self.network = network.requires_grad_(False).eval().to(device)
        self.dim = network.last.out_features

    @staticmethod
    def _made(dataset: "Dataset") -> Arrays:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # it is small, so others barely help; and their number would change its bits
        try:
            network, accuracy = train_classifier(dataset.images, dataset.labels, dataset.classes)
        finally:
            torch.set_num_threads(threads)
        weights: Arrays = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
        return weights | {"accuracy": np.array(accuracy)}

    def features(self, images: Tensor) -> Tensor:
        return self.network.features(images)


class Pixels(Extractor):
    """The first 32 principal components of the data set's pixels in [0, 1], or as many as the data have."""

    name = "pixels"
    at_once = 1024

    def __init__(self, dataset: "Dataset", device: torch.device) -> None:
        key = _made_from(dataset, "torch", "numpy", "scikit-learn")
        arrays, file, self.digest = made_once("pixels", key, lambda: self._made(dataset))
        self.files, self.device = {file: self.digest}, device
        self.shape = tuple(dataset.images.shape[1:])
        self.mean = torch.from_numpy(arrays["mean"]).to(device)
        self.components = torch.from_numpy(arrays["components"]).to(device)
        self.dim = len(self.components)

    @staticmethod
    def _made(dataset: "Dataset") -> Arrays:
        try:
            mean, components = principal_components(dataset.images)
        except ValueError as error:
            raise Mistake(f"fd_pixels cannot be measured on {dataset.name}: {error}") from error
        return {"mean": mean, "components": components}

    def features(self, images: Tensor) -> Tensor:
        pixels = images.flatten(1).to(torch.float32).mul_(1 / 255)
        return (pixels - self.mean) @ self.components.T


# Its keys are those of `trainers.picture_options.FEATURES`, which names the distances on them.
EXTRACTORS: dict[str, Callable[["Dataset | None", torch.device], Extractor]] = {
    "inception": _inception,
    "efficientnet_lite0": _efficientnet_lite0,
    "classifier": lambda dataset, device: Classifier(_given(dataset, "classifier"), device),
    "pixels": lambda dataset, device: Pixels(_given(dataset, "pixels"), device),
}
