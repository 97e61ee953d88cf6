"""What is drawn for an evaluation, a part at a time, and from which BatchNorm."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from trainers.drawing import Drawing, as_bytes, at_once, estimate_norms, grid


class Toy(nn.Module):
    """Latent vectors of 12 as pictures 3×2×2, through a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.parts: list[int] = []

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        self.parts.append(len(latents))
        drawn: Tensor = torch.tanh(self.norm(latents.reshape(-1, 3, 2, 2)))
        return drawn


def fixed(count: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(count, 12, generator=generator) * 3 + 1, torch.zeros(count, dtype=torch.int64)


def test_norms_are_the_mean_over_whole_parts() -> None:
    toy, (latents, labels) = Toy(), fixed(25)
    estimate_norms(toy, latents, labels, 10)
    parts = latents[:20].reshape(2, 10, 3, 2, 2)
    means = parts.mean((1, 3, 4)).mean(0)
    variances = torch.stack([part.transpose(0, 1).flatten(1).var(1) for part in parts]).mean(0)
    assert toy.parts == [10, 10]  # five are left over, and would weigh as much as ten
    torch.testing.assert_close(toy.norm.running_mean, means)
    torch.testing.assert_close(toy.norm.running_var, variances)


def test_norms_forget_what_was_estimated_before_and_take_at_most_four_parts() -> None:
    toy, values = Toy(), fixed(70)
    estimate_norms(toy, *values, 10)
    first = copy.deepcopy(toy.norm.state_dict())
    estimate_norms(toy, *values, 10)
    assert toy.parts == [10] * 8
    assert all(torch.equal(first[name], value) for name, value in toy.norm.state_dict().items())


def test_fewer_than_a_part_are_one_part() -> None:
    toy, values = Toy(), fixed(7)
    estimate_norms(toy, *values, 10)
    assert toy.parts == [7]


def test_parts_come_in_order_as_bytes_and_leave_the_generator_in_evaluation() -> None:
    toy, (latents, labels) = Toy(), fixed(75)
    drawing = Drawing(toy, latents, labels, 10)
    parts = list(drawing)
    assert [len(part) for part in parts] == [10] * 7 + [5]
    assert not toy.training
    assert torch.equal(torch.cat(parts), as_bytes(toy(latents)))
    assert drawing.finite
    assert (drawing.shown == grid(torch.cat(parts))).all()


def test_a_value_that_is_not_finite_is_noticed_in_any_part() -> None:
    latents, labels = fixed(75)
    latents[72, 3] = math.inf  # through tanh it is 1, and finite
    drawing = Drawing(Toy(), latents, labels, 10)
    list(drawing)
    assert drawing.finite
    latents[72, 3] = math.nan
    drawing = Drawing(Toy(), latents, labels, 10)
    list(drawing)
    assert not drawing.finite


def test_bytes_round_and_clip() -> None:
    pictures = torch.tensor([-2.0, -1.0, 0.0, 1.0, 3.0, math.nan])
    assert as_bytes(pictures).tolist() == [0, 0, 128, 255, 255, 0]
    whole = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(as_bytes(whole / 127.5 - 1), whole)


def test_the_grid_shows_the_first_pictures_in_reading_order() -> None:
    samples = torch.arange(70, dtype=torch.uint8)[:, None, None, None].expand(70, 3, 2, 2)
    shown = grid(samples)
    assert shown.shape == (23, 23, 3)
    for row, column in ((0, 0), (0, 1), (1, 0), (1, 1)):  # the four pixels of each picture
        assert shown[row::3, column::3, 0].tolist() == np.arange(64).reshape(8, 8).tolist()
    assert (shown[2::3] == 128).all() and (shown[:, 2::3] == 128).all()


@pytest.mark.parametrize(("shape", "count"), [((16, 8, 8), 500), ((256, 32, 32), 256), ((1024, 256, 256), 2)])
def test_the_largest_activation_says_how_many_are_drawn_at_once(
    shape: tuple[int, int, int], count: int
) -> None:
    assert at_once({"h0": (1, 1, 1), "code": shape}) == count
