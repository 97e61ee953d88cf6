"""Pictures in and out: photographs by name, any picture file, and what an evaluation shows."""

import hashlib
import os
from collections.abc import Iterable
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from trainers.settings import Mistake
from trainers.whole import written_whole

if TYPE_CHECKING:
    from trainers.training import Evaluation

Picture = NDArray[np.float32]  # H×W×C in [0, 1]
SMALLEST = 16  # pixels a side; below, there is nothing to restore
LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # of red, green and blue, by ITU-R 601

# The photographs inside scikit-image's wheel, by the names of skimage.data. They are read as files: its own
# functions make a cache folder in the user's home, and those for other names download.
PHOTOGRAPHS: dict[str, str] = {
    "astronaut": "astronaut.png",
    "brick": "brick.png",
    "camera": "camera.png",
    "chelsea": "chelsea.png",
    "clock": "clock_motion.png",
    "coffee": "coffee.png",
    "coins": "coins.png",
    "grass": "grass.png",
    "gravel": "gravel.png",
    "hubble_deep_field": "hubble_deep_field.jpg",
    "immunohistochemistry": "ihc.png",
    "moon": "moon.png",
    "motorcycle": "motorcycle_left.png",
    "page": "page.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
}


def load(
    image: str, *, size: int | None = None, grey: bool = False, resized: bool = True
) -> NDArray[np.float32]:
    """A photograph by name or a picture file, as H×W×C in [0, 1]; C is 1 for a grey picture, else 3.

    size: the centre square, resized to size×size with antialiasing; None: the whole picture. resized: False
    takes the centre's size×size pixels as they are, since resizing averages noise away. grey: turn a colour
    picture grey (ITU-R 601 luma). Orientation tags are obeyed, transparency lies on white, of several
    frames the first is taken. A Mistake says what is wrong with a picture that is not one.

    >>> load("astronaut", size=96).shape
    (96, 96, 3)
    """
    if size is not None and size < SMALLEST:
        raise Mistake(f"size is {size}, but a picture needs at least {SMALLEST} pixels a side")
    pixels = _read(image)
    if min(pixels.shape[:2]) < SMALLEST:
        raise Mistake(
            f"image {image!r} has {pixels.shape[1]}×{pixels.shape[0]} pixels, but at least "
            f"{SMALLEST}×{SMALLEST} are needed: take a larger picture"
        )
    if grey:
        pixels = greyed(pixels)
    if size is None:
        return pixels
    if resized:
        return square(pixels, size)
    height, width = pixels.shape[:2]
    if size > min(height, width):
        raise Mistake(
            f"size is {size}, but image {image!r} has {width}×{height} pixels, and a degraded picture is not "
            "resized: take a smaller size, or none for the whole picture"
        )
    return _centre(pixels, size)


def absolute(image: str) -> str:
    """A file is meant relative to where the user stands; workers and a later `resume` stand elsewhere."""
    path = os.path.abspath(os.path.expanduser(image))
    return path if os.path.isfile(path) else image


def _read(image: str) -> NDArray[np.float32]:
    if image in PHOTOGRAPHS:
        with resources.as_file(resources.files("skimage") / "data" / PHOTOGRAPHS[image]) as path:
            return decode(image, path)
    path = Path(os.path.expanduser(image))
    if not os.path.exists(path):  # False too where no file can be called so
        raise Mistake(
            f"image is {image!r}, but there is no such file: name a picture file, or a photograph that comes "
            f"along ({', '.join(PHOTOGRAPHS)})"
        )
    if not path.is_file():
        raise Mistake(f"image is {image!r}, but that is a folder: name one picture file in it")
    if path.stat().st_size == 0:
        raise Mistake(f"image is {image!r}, but that file is empty: name a picture file")
    return decode(image, path)


def decode(image: str, path: Path) -> NDArray[np.float32]:
    """A picture file, as H×W×C in [0, 1]; `image` is what a `Mistake` over a file that is none calls it."""
    try:
        with Image.open(path) as opened:
            return _as_floats(image, ImageOps.exif_transpose(opened))
    except UnidentifiedImageError as error:
        raise Mistake(
            f"image is {image!r}, but no picture can be read from that file: "
            "name a PNG, JPEG, TIFF, WebP or the like"
        ) from error
    except Mistake:
        raise
    # Pillow's decoders raise almost anything over a damaged file, SyntaxError and struct.error included.
    except Exception as error:
        raise Mistake(
            f"image is {image!r}, but that picture is damaged, too large or not readable "
            f"({error}): save it again or name another"
        ) from error


def _as_floats(image: str, picture: Image.Image) -> NDArray[np.float32]:
    """H×W×C in [0, 1] from any of Pillow's modes."""
    if picture.mode.startswith("I"):  # 16-bit grey; Pillow calls it I;16 or, from some formats, I
        deep = np.asarray(picture).astype(np.int64)
        if deep.min() < 0 or deep.max() > 65535:
            raise Mistake(
                f"image {image!r} has values from {deep.min()} to {deep.max()}, but grey pictures "
                "are read with 8 or 16 bits: save it with one of these"
            )
        return np.asarray(deep[..., None] / 65535, np.float32)
    if picture.mode == "F":
        raise Mistake(
            f"image {image!r} holds floating-point values of unknown range: save it with 8 or 16 bits"
        )
    if picture.has_transparency_data:
        layered = picture.convert("RGBA")
        white = Image.new("RGBA", layered.size, "white")
        flat = Image.alpha_composite(white, layered).convert("RGB")
        picture = flat.convert("L") if picture.mode in ("L", "LA", "1") else flat
    kept = picture.convert("L" if picture.mode in ("1", "L", "LA", "La") else "RGB")
    pixels = np.asarray(kept, np.float32) / np.float32(255)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def greyed(pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    """H×W×1 of H×W×C: the luma of a colour picture, and a grey picture as it is."""
    return pixels @ LUMA[:, None] if pixels.shape[2] == 3 else pixels


def square(pixels: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    """The centre square of H×W×C, resized to size×size: bilinear, antialiased where it shrinks.

    The filter is a triangle as wide as the factor asks; in floats, since 8 bits would round.
    """
    side = min(pixels.shape[:2])
    pixels = _centre(pixels, side)
    if side == size:
        return pixels
    channels = (Image.fromarray(np.ascontiguousarray(channel)) for channel in np.moveaxis(pixels, 2, 0))
    small = [channel.resize((size, size), Image.Resampling.BILINEAR) for channel in channels]
    return np.stack([np.asarray(channel, np.float32) for channel in small], axis=2)


def _centre(pixels: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    top, left = (pixels.shape[0] - side) // 2, (pixels.shape[1] - side) // 2
    return pixels[top : top + side, left : left + side]


def as_bytes(pixels: NDArray[np.float32]) -> NDArray[np.uint8]:
    """H×W×C in [0, 1] as 8-bit; values outside are clipped, NaN is black."""
    return (np.clip(np.nan_to_num(pixels, nan=0.0), 0, 1) * 255 + 0.5).astype(np.uint8)


def fingerprint(pixels: NDArray[np.float32]) -> str:
    """The SHA-256 of a picture H×W×C in [0, 1] as 8 bits show it: a resize's last bits differ by machine."""
    shown = as_bytes(pixels)
    return hashlib.sha256(f"{shown.shape}".encode() + shown.tobytes()).hexdigest()


def side_by_side(pictures: Iterable[NDArray[np.float32]]) -> NDArray[np.uint8]:
    """Pictures of one shape H×W×C in [0, 1], left to right, as 8-bit."""
    return as_bytes(np.concatenate(list(pictures), axis=1))


def save_pictures(evaluation: "Evaluation", folder: str | os.PathLike[str]) -> list[Path]:
    """Write every picture of the evaluation to folder/STEP-NAME.png, each whole or not at all."""
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, pixels in evaluation.pictures.items():
        path = target / f"{evaluation.step}-{name}.png"
        with written_whole(path) as stream:
            Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(stream, format="PNG")
        paths.append(path)
    return paths
