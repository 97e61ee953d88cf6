"""DiffAugment against each picture changed by hand, its draws, and what a training does with it."""

from collections import Counter
from typing import Any, get_args

import numpy as np
import pytest
import torch
from gans import drawn, images
from scipy import ndimage
from trainings import bits, small_gan

from trainers.augment import KINDS, augmented
from trainers.gan import GanTraining
from trainers.networks.pair import Discriminator
from trainers.picture_options import Augmentation

KIND = pytest.mark.parametrize("kind", KINDS)


def test_no_kind_is_left_out() -> None:
    assert get_args(Augmentation) == tuple(KINDS)


def test_colour_is_three_lines_between_a_value_and_a_mean() -> None:
    x, draw = images(count=5).double(), drawn(3)
    found = augmented(x, ["color"], drawn(3))
    drawings = [torch.rand(5, 1, 1, 1, generator=draw, dtype=torch.float64) for _ in range(3)]
    b, s, c = (one.flatten().tolist() for one in drawings)
    for i in range(5):
        picture = x[i].numpy() + b[i] - 0.5
        grey = picture.mean(0, keepdims=True)
        picture = picture * 2 * s[i] + grey * (1 - 2 * s[i])
        picture = picture * (c[i] + 0.5) + picture.mean() * (0.5 - c[i])
        np.testing.assert_allclose(found[i].numpy(), picture, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("size", [8, 12, 32])
def test_a_shift_is_scipys_and_any_up_to_an_eighth_of_the_side_is_as_likely(size: int) -> None:
    x = images(count=600, size=size, channels=1).double()
    found = augmented(x, ["translation"], drawn(0))
    most = int(size / 8 + 0.5)
    moves = [(a, b) for a in range(-most, most + 1) for b in range(-most, most + 1)]
    counts: Counter[tuple[int, int]] = Counter()
    for before, after in zip(x[:, 0].numpy(), found[:, 0].numpy(), strict=True):
        mine = [move for move in moves if np.array_equal(ndimage.shift(before, move, order=0), after)]
        assert len(mine) == 1
        counts[mine[0]] += 1
    if size <= 12:
        assert len(counts) == len(moves)
    rows = Counter(a for a, _ in counts.elements())
    assert max(rows.values()) < 1.6 * min(rows.values())


@pytest.mark.parametrize("size", [8, 10, 12])
def test_a_hole_is_half_as_wide_as_the_picture_and_centred_on_any_pixel(size: int) -> None:
    found = augmented(torch.ones(4000, 1, size, size), ["cutout"], drawn(0))[:, 0]
    wide = int(size / 2 + 0.5)
    expected = set()
    for centre in range(size + 1 - wide % 2):
        first = centre - wide // 2
        expected.add(tuple(first <= i < first + wide for i in range(size)))
    seen = set()
    for one in found:
        hole = one == 0
        rows, columns = hole.any(1), hole.any(0)
        assert torch.equal(hole, rows[:, None] & columns[None, :])
        assert set(one.unique().tolist()) <= {0.0, 1.0}
        seen.add((tuple(rows.tolist()), tuple(columns.tolist())))
    assert seen == {(rows, columns) for rows in expected for columns in expected}


def test_half_of_the_pictures_are_mirrored() -> None:
    x = images(count=400)
    mirrored = 0
    for before, after in zip(x.numpy(), augmented(x, ["flip"], drawn(0)).numpy(), strict=True):
        same = np.array_equal(before, after)
        assert same or np.array_equal(before[:, :, ::-1], after)
        mirrored += not same
    assert 160 < mirrored < 240


@KIND
def test_pictures_are_changed_one_by_one_with_gradients_and_the_draws_that_are_given(kind: str) -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    x = images(count=6).double().requires_grad_()
    first, same, other = (augmented(x, [kind], drawn(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
    (slope,) = torch.autograd.grad(first[2].square().sum(), x)
    assert slope[2].abs().sum() > 0
    assert slope[[0, 1, 3, 4, 5]].abs().sum() == 0
    assert torch.autograd.gradcheck(lambda one: augmented(one, [kind], drawn(1)), (x[:2, :, :4, :4],))
    assert not torch.equal(first[0] - x[0], first[1] - x[1])


def test_kinds_follow_each_other_and_none_changes_nothing() -> None:
    x, draw = images(count=6), drawn(1)
    step = KINDS["cutout"](KINDS["color"](x, draw), draw)
    assert torch.equal(augmented(x, ["color", "cutout"], drawn(1)), step)
    draw = drawn(1)
    assert augmented(x, (), draw) is x
    assert torch.equal(draw.get_state(), drawn(1).get_state())


def test_grey_pictures_have_brightness_and_contrast() -> None:
    x = images(count=6, channels=1)
    found = augmented(x, ["color"], drawn(1))
    assert torch.isfinite(found).all() and not torch.equal(found, x)


# --- in a training ---------------------------------------------------------------------------------


def test_the_discriminator_sees_no_picture_as_it_is_and_evaluations_see_nothing_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Real and drawn ones alike, in both players' steps: each has a hole."""
    training = GanTraining(small_gan(options={"augment": ["cutout"]}), seed=0)
    seen: list[torch.Tensor] = []
    plain: Any = type(training.discriminator).forward

    def watching(self: Discriminator, x: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        seen.append(x.detach())
        return plain(self, x, labels)

    monkeypatch.setattr(type(training.discriminator), "forward", watching)
    training.step()
    assert [len(x) for x in seen] == [32, 16]
    for x in seen:
        holes = (x == 0).all(1).flatten(1).sum(1)
        assert holes.min() >= 4  # a corner of the hole at least
    shown = training.evaluate()[1]["samples"]
    assert shown.std() > 0 and len(seen) == 2


def test_without_it_a_training_has_the_bits_that_it_had() -> None:
    trainings = [GanTraining(small_gan(options=options), seed=0) for options in ({}, {"augment": []})]
    for training in trainings:
        training.step()
    assert bits(trainings[0].state_dict()) == bits(trainings[1].state_dict())
