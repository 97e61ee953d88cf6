"""The pictures of a training: read once, and drawn with their classes."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from trainers.gan_options import GanOptions
from trainers.pictures import batch, load, load_anew


def save(path: Path, value: int) -> None:
    Image.fromarray(np.full((8, 8), value, np.uint8)).save(path)


def test_they_are_read_once_until_they_are_read_anew(tmp_path: Path) -> None:
    options = GanOptions(data=str(tmp_path), size=8)
    save(tmp_path / "a.png", 7)
    assert load(options).images.unique().tolist() == [7]
    save(tmp_path / "a.png", 9)
    assert load(options).images.unique().tolist() == [7]
    assert load_anew(options).images.unique().tolist() == [9]
    assert load(options).images.unique().tolist() == [9]


def test_a_batch_is_drawn_from_all_with_its_classes_in_the_range_of_networks() -> None:
    values = torch.arange(0, 256, 5)
    images = values.byte().view(-1, 1, 1, 1).expand(-1, 3, 8, 8)
    x, y = batch(images, values, 2000, torch.Generator().manual_seed(0))
    assert x.shape == (2000, 3, 8, 8)
    torch.testing.assert_close(x[:, 0, 0, 0], y / 127.5 - 1)
    assert (x == x[:, :1, :1, :1]).all()
    assert set(y.tolist()) == set(values.tolist())
    again, other = (batch(images, values, 9, torch.Generator().manual_seed(s))[1] for s in (0, 1))
    assert torch.equal(again, y[:9]) and not torch.equal(again, other)
