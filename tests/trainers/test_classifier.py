"""The classifier's training against the loop that one would write by hand, and its scores against counts."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss
from torch import nn
from trainings import bits, plain, small_classifier

from trainers import checkpoint
from trainers.augment import augmented
from trainers.classifier import ClassifierTraining, confusion, prepare, scored, train_classifier
from trainers.held_out import split
from trainers.networks.build import build_classifier
from trainers.networks.pair import PictureForm
from trainers.pictures import load
from trainers.plan import Frozen, Plan
from trainers.settings import L0, L1, L0Inf, Mistake
from trainers.tasks import TASKS, confirmation_of, prepared_of, sites_of

OWN = "own_networks:classifier"


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def new(seed: int = 0, settings: Any = None, evaluate_at: Any = (4,), **options: Any) -> ClassifierTraining:
    plan = small_classifier(options=options, settings=settings or {}, evaluate_at=evaluate_at)
    return ClassifierTraining(plan, seed=seed)


# --- the loop --------------------------------------------------------------------------------------


def by_hand(plan: Plan, seed: int) -> nn.Module:
    """No attach, no Training: the definition of so many steps on four digits of five."""
    options: Any = plan.options
    _, training, _ = np.random.SeedSequence(seed).spawn(3)
    first, steps = (int(word) >> 1 for word in training.generate_state(2, np.uint64))
    data, *_ = split(load(options), options.held_out)
    draw = torch.Generator().manual_seed(steps)
    network = build_classifier(
        options.network, PictureForm(8, 1, 10), generator=torch.Generator().manual_seed(first)
    )
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=torch.tensor(options.lr),
        momentum=0.9,
        weight_decay=options.weight_decay,
        nesterov=True,
        fused=True,
    )
    for t in range(plan.steps):
        if options.decay == "cosine":
            part = (1 + torch.cos(math.pi * torch.tensor(float(t)) / plan.steps)) / 2
            optimizer.param_groups[0]["lr"] = torch.tensor(options.lr) * part
        chosen = torch.randint(len(data), (options.batch,), generator=draw)
        x = augmented(data.images[chosen].float() / 127.5 - 1, options.augment, draw)
        optimizer.zero_grad()
        F.cross_entropy(network(x), data.labels[chosen]).backward()
        optimizer.step()
    return network


@pytest.mark.parametrize("options", [
    {"decay": "none", "weight_decay": 0.0},
    {"decay": "cosine", "weight_decay": 0.1, "augment": ["translation", "flip"]},
])  # fmt: skip
def test_empty_settings_give_the_bits_of_the_loop_by_hand(options: dict[str, Any]) -> None:
    plan = small_classifier(options=options, evaluate_at=(4,))
    training = ClassifierTraining(plan, seed=1)
    for _ in range(4):
        training.step()
    assert bits(training.network.state_dict()) == bits(by_hand(plan, 1).state_dict())


def test_the_rate_falls_along_a_cosine_to_zero_after_the_last_step() -> None:
    training, rates = new(lr=1.0), []
    for _ in range(4):
        training.step()
        rates.append(float(training.optimizer.param_groups[0]["lr"]))
    assert rates == pytest.approx([(1 + math.cos(math.pi * t / 4)) / 2 for t in range(4)])


def test_extras_come_before_options() -> None:
    extras = {"lr": 0.5, "momentum": 0.25, "weight_decay": 0.125}
    (group,) = ClassifierTraining(small_classifier(extras=extras), seed=0).optimizer.param_groups
    assert (float(group["lr"]), group["momentum"], group["weight_decay"]) == (0.5, 0.25, 0.125)


def test_one_step_changes_every_parameter() -> None:
    training = new()
    before = {name: value.clone() for name, value in training.network.named_parameters()}
    training.step()
    after = dict(training.network.named_parameters())
    assert [name for name in before if torch.equal(before[name], after[name])] == []


def test_it_learns_to_tell_digits() -> None:
    training = new(network={"width": 8, "blocks": 1}, batch=64, lr=0.1, evaluate_at=(60,))
    assert training.evaluate()[0]["accuracy"] < 0.3
    for _ in range(60):
        training.step()
    metrics, _ = training.evaluate()
    assert metrics["accuracy"] > 0.85 and metrics["cross_entropy"] < 0.6  # a guess: 0.1 and ln 10 = 2.3


# --- what it is scored on --------------------------------------------------------------------------


def test_every_seed_and_every_limit_is_scored_on_the_same_pictures_and_trains_on_none_of_them() -> None:
    trainings = [new(), new(seed=1), new(limit=0.1), new(limit=50, seed=2), new(settings={"h0": L0(0.5)})]
    held = trainings[0].scored_on
    assert len(held[0]) == 359
    scored_on = {one.numpy().tobytes() for one in held[0]}
    for training in trainings:
        assert all(torch.equal(mine, theirs) for mine, theirs in zip(training.scored_on, held, strict=True))
        seen = {one.numpy().tobytes() for one in training.images}
        assert not seen & scored_on
    assert [len(one.images) for one in trainings] == [1438, 1438, 144, 50, 1438]
    assert not torch.equal(new(limit=50).images, trainings[3].images)  # drawn by the seed


def test_a_search_may_not_score_what_is_kept_for_its_confirmation() -> None:
    with pytest.raises(
        Mistake, match=r"plan.score is unseen, but a search may not see .* leave plan.score out"
    ):
        prepare(small_classifier(options={"unseen": 0.2, "score": "unseen"}))


def test_a_confirmation_is_scored_on_pictures_that_no_search_sees_and_trains_as_the_search_does() -> None:
    plan = small_classifier(options={"unseen": 0.3})
    searched, confirmed = (
        ClassifierTraining(one, seed=0) for one in (plan, confirmation_of(TASKS["classifier"], plan))
    )
    assert [len(one.scored_on[0]) for one in (searched, confirmed)] == [359, 539]
    known = {one.numpy().tobytes() for one in torch.cat([searched.images, searched.scored_on[0]])}
    assert not known & {one.numpy().tobytes() for one in confirmed.scored_on[0]}
    for training in (searched, confirmed):
        training.step()
    assert bits(searched.network.state_dict()) == bits(confirmed.network.state_dict())
    assert searched.evaluate()[0]["accuracy"] != confirmed.evaluate()[0]["accuracy"]
    without = small_classifier()
    assert confirmation_of(TASKS["classifier"], without) is without


def test_accuracy_and_cross_entropy_are_what_is_counted_one_picture_at_a_time() -> None:
    training = new(evaluate_at=(30,))
    for _ in range(30):
        training.step()
    metrics, pictures = training.evaluate()
    training.network.eval()
    right, cost, told = 0, 0.0, np.zeros((10, 10), int)
    with torch.no_grad():
        for picture, label in zip(*training.scored_on, strict=True):
            logits = training.network(picture[None].float() / 127.5 - 1)[0].double()
            guess = int(logits.argmax())
            right += guess == int(label)
            cost -= math.log(math.exp(logits[label]) / float(logits.exp().sum()))
            told[int(label), guess] += 1
    assert metrics["accuracy"] == right / 359
    assert metrics["cross_entropy"] == pytest.approx(cost / 359, rel=1e-5)
    assert (np.rint(255 * told / told.sum(1, keepdims=True)) == pictures["confusion"][::16, ::16, 0]).all()


def test_the_scores_are_scikit_learns() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 6, generator=generator) * 3
    labels = torch.randint(5, (200,), generator=generator)  # of the last class there is none
    found = scored(logits, labels)
    assert found["accuracy"] == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    chances = logits.double().softmax(1).numpy()
    assert found["cross_entropy"] == pytest.approx(log_loss(labels, chances, labels=list(range(6))))
    shown = confusion(logits.argmax(1), labels, 6)
    with np.errstate(invalid="ignore"):
        theirs = confusion_matrix(labels, logits.argmax(1), labels=list(range(6)), normalize="true")
    assert shown.shape == (96, 96, 1) and shown.dtype == np.uint8
    assert (np.kron(np.rint(255 * theirs), np.ones((16, 16))) == shown[..., 0]).all()


def test_a_training_that_diverges_says_so_by_its_scores() -> None:
    training = new()
    training.step()
    with torch.no_grad():
        next(training.network.parameters()).fill_(math.nan)
    metrics, _ = training.evaluate()
    assert math.isnan(metrics["accuracy"]) and math.isnan(metrics["cross_entropy"])


def test_the_whole_is_scored_in_parts_as_it_is_at_once() -> None:
    whole, parts = new(), new()
    parts.part = 50
    for training in (whole, parts):
        training.step()
    one, other = whole.evaluate()[0], parts.evaluate()[0]
    assert one["accuracy"] == other["accuracy"]
    assert one["cross_entropy"] == pytest.approx(other["cross_entropy"])


def test_projections_act_in_what_is_scored_and_every_site_is_measured() -> None:
    training = new(settings={"h0": L0Inf(k=1), "h1": L0(keep=0.1)})
    training.step()
    metrics, _ = training.evaluate()
    assert metrics["h0.density"] <= 1 / 4 and metrics["h1.density"] <= 0.11
    assert {name.partition(".")[0] for name in metrics if "." in name} == {"h0", "h1", "code"}
    free = new()
    free.network.load_state_dict(training.network.state_dict())
    assert free.evaluate()[0]["cross_entropy"] != metrics["cross_entropy"]


def test_a_penalty_shrinks_what_it_is_put_on() -> None:
    ends = []
    for settings in ({}, {"code": L1(weight=3.0)}):
        training = new(settings=settings, evaluate_at=(20,))
        for _ in range(20):
            training.step()
        ends.append(training.evaluate()[0]["code.mean_abs"])
    assert ends[1] < 0.7 * ends[0]


# --- a network of one's own ------------------------------------------------------------------------


@pytest.mark.parametrize("network", [OWN, {"kind": OWN, "names": {"code": "4"}}])
def test_a_network_of_ones_own_is_searched_over_and_goes_on_exactly(network: Any, tmp_path: Path) -> None:
    names = ["2", "4"] if isinstance(network, str) else ["code"]
    plan = small_classifier(options={"network": network}, settings={names[-1]: L0(0.2)})
    task = TASKS["classifier"]
    assert list(sites_of(task, plan)) == names
    prepared = prepared_of(task, plan)
    assert prepared.keys() == {"data", "network"}
    plan = plan.model_copy(update={"prepared": prepared})
    whole = [plain(one) for one in train_classifier(plan, seed=3, folder=tmp_path / "whole")]
    list(itertools.islice(train_classifier(plan, seed=3, folder=tmp_path / "cut"), 1))
    assert [plain(one) for one in train_classifier(plan, seed=3, folder=tmp_path / "cut")] == whole
    assert bits(checkpoint.load(tmp_path / "whole")) == bits(checkpoint.load(tmp_path / "cut"))
    last = list(train_classifier(plan, seed=3))[-1].metrics
    assert last[f"{names[-1]}.density"] <= 0.21


@pytest.mark.parametrize(("arguments", "told"), [
    ({"classes": 7}, "gives 2×7, but the logits of two pictures are 2×10: change its arguments"),
    ({"channels": 3}, "fails on 2×1×8×8 .RuntimeError: .*change its arguments, or the plan"),
    ({"channels": 2}, "a Sequential fails .with 3×8×8: .*with 1×8×8: "),
])  # fmt: skip
def test_one_that_does_not_suit_is_refused_before_the_first_trial(
    arguments: dict[str, Any], told: str
) -> None:
    with pytest.raises(Mistake, match=told) as caught:
        prepare(small_classifier(options={"network": {"kind": OWN, "arguments": arguments}}))
    assert "\n" not in str(caught.value)


# --- what is refused -------------------------------------------------------------------------------


def test_a_plan_of_another_task_is_refused() -> None:
    plan = Plan(task="dip", options=Frozen(), evaluate_at=(1,))
    with pytest.raises(Mistake, match="the plan's task is 'dip', but a classifier trains plans of 'classif"):
        train_classifier(plan, seed=0)


def test_pictures_without_labels_are_refused_before_the_first_trial(tmp_path: Path) -> None:
    for i in range(20):
        Image.fromarray(np.full((8, 8), i, np.uint8)).save(tmp_path / f"{i}.png")
    told = rf"the pictures of '{tmp_path.name}' have no labels, but a classifier is taught by labels"
    with pytest.raises(Mistake, match=told):
        prepare(small_classifier(options={"data": str(tmp_path)}))


def test_a_folder_of_classes_is_told_apart(tmp_path: Path) -> None:
    """Pictures that are bright on the left, and others on the right: a short training tells all."""
    noise = np.random.default_rng(0)
    for i in range(60):
        pixels = noise.integers(0, 100, (8, 8)).astype(np.uint8)
        pixels[:, slice(0, 4) if i % 2 else slice(4, 8)] += 150
        folder = tmp_path / ("right", "left")[i % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / f"{i}.png")
    plan = small_classifier(options={"data": str(tmp_path), "folders_are_classes": True}, evaluate_at=(1, 40))
    prepare(plan)
    *_, last = train_classifier(plan, seed=0)
    assert last.metrics["accuracy"] == 1


@pytest.mark.parametrize(("options", "told"), [
    ({"data": "digits", "folders_are_classes": True}, "plan.data is 'digits', which has labels of its own"),
    ({"limit": 1500}, "limit is 1500, but 'digits, held-out pictures aside' has 1438 pictures: lower it"),
    ({"held_out": 0.99, "limit": 0.5}, "limit is 0.5, which leaves 10 of the pictures of 'digits, held-out"),
    ({"held_out": 0.999}, "of class 0 of 'digits' there are 178 pictures, and plan.held_out of 0.999 and"),
])  # fmt: skip
def test_too_few_pictures_to_train_on_are_refused_before_the_first_trial(
    options: dict[str, Any], told: str
) -> None:
    with pytest.raises(Mistake, match=told):
        prepare(small_classifier(options=options))


def test_a_study_keeps_its_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = small_classifier(options={"limit": 50})
    found = prepare(plan)
    assert found == {"data": load(plan.options).fingerprint()}
    ClassifierTraining(plan.model_copy(update={"prepared": found}), seed=0)
    with pytest.raises(Mistake, match=r"data has the SHA-256 .* but the study was begun with"):
        ClassifierTraining(plan.model_copy(update={"prepared": {"data": "0" * 64}}), seed=0)


def test_a_state_of_other_pictures_or_of_another_kind_of_device_is_refused() -> None:
    training = new()
    with pytest.raises(Mistake, match="the pictures that are trained on have changed"):
        training.load_state_dict(training.state_dict() | {"data": "other"})
    with pytest.raises(Mistake, match="written on cuda, and the device here is cpu"):
        training.load_state_dict(training.state_dict() | {"device": "cuda"})
