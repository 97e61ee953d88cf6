"""Several pictures in a training, and those that only a confirmation restores."""

from typing import Any

import numpy as np
import pytest
from trainings import bits, plain, small_dip

from trainers.dip import DipTraining, train_dip
from trainers.images import fingerprint, load
from trainers.settings import L0, Mistake
from trainers.tasks import confirmation_of, find_task, make_plan, measured_of, prepared_of, scope_of
from trainers.training import Evaluation

DIP = find_task("dip")


def test_the_first_of_several_is_what_it_is_alone_and_the_score_is_the_mean() -> None:
    settings = {"up0": L0(0.25)}
    alone = DipTraining(small_dip(settings=settings), seed=3)
    several = DipTraining(small_dip(settings=settings, options={"more_images": ["camera", "coffee"]}), seed=3)
    for one in (alone, several):
        for _ in range(3):
            one.step()
    first, *others = (one.evaluate() for one in several.restorations)
    assert plain(Evaluation(3, *first)) == plain(Evaluation(3, *alone.evaluate()))
    metrics, pictures = several.evaluate()
    for name in ("psnr", "loss", "up0.density"):
        assert metrics[name] == pytest.approx(np.mean([of[name] for of, _ in (first, *others)]), rel=1e-12)
    assert list(pictures) == ["comparison", "comparison-2", "comparison-3"]
    assert [pictures[name].shape[2] for name in pictures] == [3, 1, 3]


def test_each_picture_has_noise_and_a_network_of_its_own() -> None:
    one = DipTraining(small_dip(options={"more_images": ["coffee"]}), seed=0)
    first, second = one.restorations
    noise = [of.subject.observed.values - of.subject.clean for of in (first, second)]  # type: ignore[operator]
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.2
    assert bits(first.fit.network.state_dict()) != bits(second.fit.network.state_dict())


def test_a_state_of_several_goes_on_bit_by_bit(tmp_path: Any) -> None:
    plan = small_dip(options={"more_images": ["coffee"], "objective": "sure"})
    whole = [plain(one) for one in train_dip(plan, seed=0)]
    next(train_dip(plan, seed=0, folder=tmp_path))
    assert [plain(one) for one in train_dip(plan, seed=0, folder=tmp_path)] == whole


def test_a_confirmation_restores_the_unseen_pictures_alone() -> None:
    options = {"more_images": ["camera"], "unseen_images": ["coffee", "chelsea"]}
    bare = small_dip(options=options)
    prepared = prepared_of(DIP, bare)
    assert list(prepared) == ["picture", "picture-2", "unseen-1", "unseen-2"]
    plan = small_dip(options=options, prepared=prepared, settings={"up0": L0(0.25)})
    searched, confirmed = DipTraining(plan, seed=0), confirmation_of(DIP, plan)
    assert len(searched.restorations) == 2
    assert confirmed.settings == plan.settings
    assert confirmed.prepared == {
        "picture": fingerprint(load("coffee", size=20)), "picture-2": fingerprint(load("chelsea", size=20)),
    }  # fmt: skip
    shown = [one.subject.clean for one in DipTraining(confirmed, seed=0).restorations]
    assert all(np.array_equal(a, load(b, size=20)) for a, b in zip(shown, ("coffee", "chelsea"), strict=True))  # type: ignore[arg-type]
    assert confirmation_of(DIP, small_dip()) == small_dip()


@pytest.mark.parametrize(("given", "where"), [
    ({}, "on this picture"),
    ({"more_images": ["camera"]}, "on these 2 pictures"),
    ({"unseen_images": ["coffee"]}, "on a picture that the search never saw"),
    ({"more_images": ["camera"], "unseen_images": ["coffee", "a.png"]},
     "on 2 pictures that the search never saw"),
    ({"image_is": "degraded"}, "on this picture, with the noise that it has"),
    ({"image_is": "degraded", "more_images": ["camera"]},
     "on these 2 pictures, with the noise that they have"),
    ({"image_is": "degraded", "unseen_images": ["coffee"]},
     "on a picture that the search never saw, with the noise that it has"),
])  # fmt: skip
def test_a_confirmation_says_where_it_holds(given: dict[str, Any], where: str) -> None:
    plan = small_dip(options=given)
    assert scope_of(DIP, plan) == where
    assert ("mean over 2 pictures" in measured_of(DIP, plan)) == ("more_images" in given)


@pytest.mark.parametrize(("given", "told"), [
    ({"more_images": ["camera"]}, "plan.size is null, but there are 2 pictures, which must be equally large"),
    ({"size": 32, "more_images": ["camera", "astronaut"]}, "name 'astronaut' more than once"),
    ({"size": 32, "more_images": ["camera"], "unseen_images": ["camera"]}, "name 'camera' more than once"),
])  # fmt: skip
def test_lists_that_do_not_suit_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(Mistake, match=told):
        make_plan(DIP, given, evaluate_at=(1,))
