"""Which pictures are held out: a part of each class, by what the pictures are and nothing else."""

import pytest
import torch

from trainers.datasets import Dataset, load
from trainers.held_out import split
from trainers.settings import Mistake


def pictures(dataset: Dataset) -> list[tuple[bytes, int]]:
    """Each with its class, sorted."""
    pairs = zip(dataset.images.numpy(), dataset.labels.tolist(), strict=True)
    return sorted((picture.tobytes(), label) for picture, label in pairs)


def noise(labels: list[int], classes: int) -> Dataset:
    images = torch.randint(256, (len(labels), 1, 8, 8), generator=torch.Generator().manual_seed(0)).byte()
    return Dataset(images, torch.tensor(labels, dtype=torch.int64), classes, "noise")


@pytest.mark.parametrize(("fraction", "further"), [(0.05, 0.0), (0.2, 0.3), (0.9, 0.05)])
def test_two_parts_of_each_class_and_the_rest_are_all(fraction: float, further: float) -> None:
    digits = load("digits", size=8)
    rest, held, unseen = split(digits, fraction, further)
    assert pictures(digits) == sorted(pictures(rest) + pictures(held) + pictures(unseen))
    for c, count in enumerate(digits.labels.bincount().tolist()):
        assert int((held.labels == c).sum()) == round(fraction * count)
        assert int((unseen.labels == c).sum()) == round(further * count)
    assert {rest.classes, held.classes, unseen.classes} == {10}
    assert pictures(split(digits, fraction)[1]) == pictures(held)  # the same, whatever is kept beside them


def test_it_is_the_same_in_whatever_order_the_pictures_come() -> None:
    digits = load("digits", size=8)
    order = torch.randperm(len(digits), generator=torch.Generator().manual_seed(3))
    mixed = Dataset(digits.images[order], digits.labels[order], 10, "mixed")
    assert pictures(split(digits, 0.2)[1]) == pictures(split(mixed, 0.2)[1])


def test_those_to_train_on_keep_their_order_and_any_part_of_the_others_is_a_sample() -> None:
    images, labels = torch.arange(400).view(-1, 1, 1, 1).expand(-1, 1, 8, 8), torch.arange(400) // 200
    whole = Dataset((images % 256).byte(), labels, 2, "sorted")
    rest, held, _ = split(whole, 0.5)
    assert rest.labels.tolist() == sorted(rest.labels.tolist())
    assert 30 < int(held.labels[:100].sum()) < 70  # not the one class first


def test_of_a_small_class_one_at_least_is_held_out_and_one_is_trained_on() -> None:
    parts = split(noise([0] * 10 + [1] * 3 + [3] * 4, 5), 0.2, 0.2)  # of 2 and 4 there are none
    counts = [part.labels.bincount(minlength=5).tolist() for part in parts]
    assert counts == [[6, 1, 0, 2, 0], [2, 1, 0, 1, 0], [2, 1, 0, 1, 0]]


@pytest.mark.parametrize(("labels", "classes", "fraction", "told"), [
    ([0] * 9, 1, 0.2, "the pictures of 'noise' have no labels, but a classifier is taught by labels: set"),
    ([0] * 9 + [1] * 4, 2, 0.1, r"held_out is 0.1, but of 13 pictures of 2 classes .*: take 0.15 or more"),
    ([0] * 9 + [1], 2, 0.2, "of class 1 of 'noise' there is 1 picture, and plan.held_out of 0.2 and plan"),
    ([0] * 9 + [1] * 4, 2, 0.95, "of class 0 of 'noise' there are 9 pictures, and .* leave none to train on"),
])  # fmt: skip
def test_data_that_cannot_be_split_are_refused(
    labels: list[int], classes: int, fraction: float, told: str
) -> None:
    with pytest.raises(Mistake, match=told) as caught:
        split(noise(labels, classes), fraction)
    assert "\n" not in str(caught.value)
