"""Pictures of every kind in, 8-bit pictures out, and a sentence for each file that is no picture."""

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from trainers.images import PHOTOGRAPHS, SMALLEST, as_bytes, fingerprint, load, save_pictures, side_by_side
from trainers.settings import Mistake
from trainers.training import Evaluation


def gradient(height: int = 20, width: int = 30) -> NDArray[np.uint8]:
    """H×W×3 with another value at every place, so that turned and swapped pictures are told apart."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 5, x * 5, (x + y) * 3], axis=2).astype(np.uint8)


def saved(path: Path, picture: Image.Image, **options: Any) -> str:
    picture.save(path, **options)
    return str(path)


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_every_photograph_comes_along(name: str) -> None:
    pixels = load(name)
    assert pixels.dtype == np.float32
    assert pixels.shape[2] in (1, 3)
    assert min(pixels.shape[:2]) >= 128
    assert 0 <= pixels.min() < pixels.max() <= 1
    assert pixels.std() > 0.02


def test_the_astronaut_is_in_colour_and_the_camera_grey() -> None:
    from skimage import data

    assert np.array_equal(load("astronaut"), data.astronaut().astype(np.float32) / np.float32(255))
    assert np.array_equal(load("camera")[..., 0], data.camera().astype(np.float32) / np.float32(255))
    assert load("camera").shape == (512, 512, 1)


def test_reading_a_photograph_imports_no_torch_and_leaves_nothing_at_home(tmp_path: Path) -> None:
    program = "import sys; from trainers.images import load; load('coffee'); sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, env={"HOME": str(tmp_path)})
    assert not list(tmp_path.iterdir())


# --- files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["png", "bmp", "tiff", "webp"])
def test_a_colour_file_is_read_as_it_is(suffix: str, tmp_path: Path) -> None:
    options = {"lossless": True} if suffix == "webp" else {}
    path = saved(tmp_path / f"a.{suffix}", Image.fromarray(gradient()), **options)
    assert np.array_equal(load(path) * 255, gradient())


def test_a_grey_file_has_one_channel_with_and_without_asking(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(gradient()[..., 0]))
    assert load(path).shape == (20, 30, 1)
    assert np.array_equal(load(path, grey=True), load(path))


def test_grey_is_the_luma_of_itu_r_601(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(gradient()))
    theirs = np.asarray(Image.fromarray(gradient()).convert("L"), np.float32) / 255
    assert np.abs(load(path, grey=True)[..., 0] - theirs).max() < 1 / 255


def test_transparency_lies_on_white(tmp_path: Path) -> None:
    alpha = np.full((20, 30), 255, np.uint8)
    alpha[:10] = 0
    alpha[15:] = 102
    path = saved(tmp_path / "a.png", Image.fromarray(np.dstack([gradient(), alpha])))
    pixels = load(path)
    assert pixels.shape == (20, 30, 3)
    assert np.all(pixels[:10] == 1)
    assert np.array_equal(pixels[10:15] * 255, gradient()[10:15])
    mixed = gradient()[15:] * 0.4 + 255 * 0.6
    assert np.abs(pixels[15:] * 255 - mixed).max() <= 1
    grey = saved(tmp_path / "b.png", Image.fromarray(np.dstack([gradient()[..., 0], alpha])))
    assert load(grey).shape == (20, 30, 1)
    assert np.all(load(grey)[:10] == 1)


def test_a_palette_is_looked_up_and_its_transparent_colour_is_white(tmp_path: Path) -> None:
    indices = np.repeat(np.arange(3, dtype=np.uint8), 10)[None].repeat(20, axis=0)
    picture = Image.fromarray(indices).convert("P")
    picture.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    assert np.array_equal(load(saved(tmp_path / "a.png", picture))[0, ::10], np.eye(3))
    assert np.array_equal(load(saved(tmp_path / "b.png", picture, transparency=0))[0, 0], [1, 1, 1])


def test_16_bits_keep_their_16_bits(tmp_path: Path) -> None:
    deep = np.linspace(0, 65535, 20 * 30).reshape(20, 30).astype(np.uint16)
    for suffix in ("png", "tiff"):
        path = saved(tmp_path / f"a.{suffix}", Image.fromarray(deep))
        assert np.abs(load(path)[..., 0] * 65535 - deep).max() < 0.01
    assert len(np.unique(load(path))) == 600  # 8 bits would keep 256


def test_black_and_white_cmyk_and_several_frames(tmp_path: Path) -> None:
    black = Image.fromarray(gradient()[..., 0] > 50)
    assert set(np.unique(load(saved(tmp_path / "a.png", black)))) == {0, 1}
    cmyk = Image.fromarray(gradient()).convert("CMYK")
    assert np.abs(load(saved(tmp_path / "a.tiff", cmyk)) * 255 - gradient()).max() <= 1
    frames = [Image.fromarray(gradient()), Image.fromarray(255 - gradient())]
    path = saved(tmp_path / "b.tiff", frames[0], save_all=True, append_images=frames[1:])
    assert np.array_equal(load(path) * 255, gradient())


@pytest.mark.parametrize(("orientation", "undone"), [
    (1, lambda p: p), (2, lambda p: p[:, ::-1]), (3, lambda p: p[::-1, ::-1]), (4, lambda p: p[::-1]),
    (6, lambda p: np.rot90(p, -1)), (8, lambda p: np.rot90(p)),
])  # fmt: skip
def test_a_camera_held_sideways_is_obeyed(orientation: int, undone: Any, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", Image.fromarray(gradient()), exif=exif)
    assert np.array_equal(load(path) * 255, undone(gradient()))


# --- size ------------------------------------------------------------------------------------------


def test_without_a_size_the_whole_picture_stays(tmp_path: Path) -> None:
    assert load(saved(tmp_path / "a.png", Image.fromarray(gradient(21, 47)))).shape == (21, 47, 3)


def test_a_size_takes_the_centre_square(tmp_path: Path) -> None:
    wide = saved(tmp_path / "wide.png", Image.fromarray(gradient(20, 31)))
    assert np.array_equal(load(wide, size=20) * 255, gradient(20, 31)[:, 5:25])
    tall = saved(tmp_path / "tall.png", Image.fromarray(gradient(30, 20)))
    assert np.array_equal(load(tall, size=20) * 255, gradient(30, 20)[5:25])


def test_resizing_is_that_of_torch_with_antialiasing() -> None:
    tensor = torch.from_numpy(load("astronaut")).permute(2, 0, 1)[None]
    theirs = F.interpolate(tensor, (96, 96), mode="bilinear", antialias=True)[0].permute(1, 2, 0).numpy()
    assert np.abs(load("astronaut", size=96) - theirs).max() < 1e-5


def test_resizing_does_not_alias(tmp_path: Path) -> None:
    stripes = np.zeros((256, 256), np.uint8)
    stripes[:, ::2] = 255
    small = load(saved(tmp_path / "a.png", Image.fromarray(stripes)), size=100)
    assert np.abs(small - 0.5).max() < 0.05


# --- what is no picture ----------------------------------------------------------------------------


def refused(image: str, told: str, **options: Any) -> None:
    with pytest.raises(Mistake, match=told):
        load(image, **options)


def test_an_unknown_name_lists_the_known_ones() -> None:
    refused("astronot", r"image is 'astronot', but there is no such file.*astronaut, brick, camera")


def test_files_that_are_no_pictures_are_refused(tmp_path: Path) -> None:
    refused(str(tmp_path), "is a folder: name one picture file in it")
    (tmp_path / "empty.png").touch()
    refused(str(tmp_path / "empty.png"), "that file is empty")
    (tmp_path / "text.png").write_text("no picture at all")
    refused(str(tmp_path / "text.png"), "no picture can be read from that file: name a PNG")


@pytest.mark.parametrize("suffix", ["png", "jpg", "tiff", "webp", "bmp"])
def test_a_truncated_picture_is_refused(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    saved(path, Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)))
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(share * len(whole))])
        refused(str(path), "is damaged|no picture can be read")


@pytest.mark.parametrize("shape", [(1, 1, 3), (SMALLEST - 1, 100, 3), (100, SMALLEST - 1, 3)])
def test_a_tiny_picture_is_refused(shape: tuple[int, ...], tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(np.zeros(shape, np.uint8)))
    refused(path, rf"has {shape[1]}×{shape[0]} pixels, but at least 16×16 are needed")
    refused(path, "pixels", size=96)


def test_a_tiny_size_is_refused() -> None:
    refused("astronaut", "size is 15, but a picture needs at least 16", size=15)


def test_a_picture_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "a.png", Image.fromarray(gradient()))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    refused(path, "too large or not readable")


def test_values_of_unknown_range_are_refused(tmp_path: Path) -> None:
    floats = Image.fromarray(np.linspace(-1, 7, 600, dtype=np.float32).reshape(20, 30))
    refused(saved(tmp_path / "a.tiff", floats), "floating-point values of unknown range")
    wide = Image.fromarray(np.full((20, 30), 10**6, np.int32))
    refused(saved(tmp_path / "b.tiff", wide), "values from 1000000 to 1000000, but grey pictures")


def test_a_damaged_file_may_raise_anything_in_the_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path / "a.tiff", Image.fromarray(gradient()))

    def broken(*_: Any) -> None:
        raise SyntaxError("not a TIFF after all")

    monkeypatch.setattr(TiffImagePlugin.TiffImageFile, "_setup", broken)
    refused(path, "damaged|no picture can be read")


# --- out -------------------------------------------------------------------------------------------


def test_bytes_round_clip_and_show_what_diverged_as_black() -> None:
    pixels = np.float32([-1, 0, 0.5, 0.999, 1, 2, math.nan, math.inf])
    assert as_bytes(pixels).tolist() == [0, 0, 128, 255, 255, 255, 0, 255]


def test_a_fingerprint_is_of_what_8_bits_show() -> None:
    picture = load("astronaut", size=32)
    assert fingerprint(picture) == fingerprint(picture + np.float32(1e-7))
    other = picture.copy()
    other[3, 4, 1] += 1 / 255 if other[3, 4, 1] < 0.5 else -1 / 255
    assert len({fingerprint(one) for one in (picture, other, picture.reshape(16, 64, 3))}) == 3


def test_pictures_lie_side_by_side() -> None:
    black, white = np.zeros((4, 5, 3), np.float32), np.ones((4, 5, 3), np.float32)
    strip = side_by_side((black, white, black))
    assert strip.shape == (4, 15, 3)
    assert strip[0, :, 0].tolist() == [0] * 5 + [255] * 5 + [0] * 5


@pytest.mark.parametrize("channels", [1, 3])
def test_an_evaluations_pictures_are_written_whole(channels: int, tmp_path: Path) -> None:
    pixels = gradient()[..., :channels]
    evaluation = Evaluation(300, {}, {"comparison": pixels, "other": 255 - pixels})
    for _ in range(2):  # again, as after a resumed trial
        paths = save_pictures(evaluation, tmp_path / "new" / "pictures")
        assert [path.name for path in paths] == ["300-comparison.png", "300-other.png"]
    assert np.array_equal(load(str(paths[0])) * 255, pixels)
    assert sorted(path.name for path in paths[0].parent.iterdir()) == ["300-comparison.png", "300-other.png"]
