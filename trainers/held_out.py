"""Which pictures a classifier is scored on and never trained on: the data say it, and no seed."""

import hashlib

import numpy as np
import torch

from trainers.datasets import Dataset
from trainers.picture_options import SOURCES
from trainers.settings import Mistake


def split(dataset: Dataset, held_out: float, unseen: float = 0.0) -> tuple[Dataset, Dataset, Dataset]:
    """The pictures to train on, in the data's order, and two parts of each class that are kept from it.

    Of the N_c pictures of class c max(1, round(held_out · N_c)) are held out, those whose pixels have the
    lowest SHA-256, which has nothing to do with what they show, and after them as many as `unseen` says; 0 is
    none. So all trainings on the same pictures are scored on the same ones, whatever their seed and in
    whatever order the pictures come. Both parts are sorted by it, so that the first of them are a sample of
    all. A Mistake where the data have no labels, or too few pictures for such parts.

    >>> from trainers.datasets import load
    >>> rest, held, unseen = split(load("digits", size=8), 0.2)
    >>> len(rest), len(held), len(unseen), held.labels.bincount().tolist()
    (1438, 359, 0, [36, 36, 35, 37, 36, 36, 36, 36, 35, 36])
    """
    if dataset.classes < 2:
        raise Mistake(
            f"the pictures of {dataset.name!r} have no labels, but a classifier is taught by labels: "
            "set plan.folders_are_classes to true if each of its folders is a class, or plan.data to a data "
            f"set by name ({', '.join(SOURCES)})"
        )
    there = len(dataset.labels.unique())
    for key, share in (("held_out", held_out), ("unseen", unseen)):
        if 0 < share * len(dataset) < there:
            raise Mistake(
                f"plan.{key} is {share:g}, but of {len(dataset):,} pictures of {there} classes that is not "
                f"one of each: take {there / len(dataset):.2g} or more"
            )
    pixels, labels = dataset.images.numpy(), dataset.labels.numpy()
    digests = [hashlib.sha256(np.ascontiguousarray(one).data).digest() for one in pixels]
    order = np.array(sorted(range(len(digests)), key=digests.__getitem__))
    part = np.zeros(len(order), int)  # 0: trained on
    for c in range(dataset.classes):
        mine = order[labels[order] == c]
        counts = [max(1, round(share * len(mine))) if share else 0 for share in (held_out, unseen)]
        if len(mine) and len(mine) <= sum(counts):
            there_are = "is 1 picture" if len(mine) == 1 else f"are {len(mine)} pictures"
            raise Mistake(
                f"of {dataset.class_text(c)} of {dataset.name!r} there {there_are}, and plan.held_out of "
                f"{held_out:g} and plan.unseen of {unseen:g} leave none to train on: add some, lower "
                "these, or leave that class out"
            )
        part[mine[: counts[0]]] = 1
        part[mine[counts[0] : sum(counts)]] = 2
    return (
        dataset.part(torch.from_numpy(np.flatnonzero(part == 0)), f"{dataset.name}, held-out pictures aside"),
        dataset.part(torch.from_numpy(order[part[order] == 1])),
        dataset.part(torch.from_numpy(order[part[order] == 2])),
    )
