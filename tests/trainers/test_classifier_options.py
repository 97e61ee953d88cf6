"""The keys of task `classifier`: defaults, what a user may write, and the sentence for what they may not."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest

from trainers.augment import KINDS
from trainers.classifier_options import (
    IN_WORDS,
    METRICS,
    ClassifierNetwork,
    ClassifierOptions,
    companions,
    measured,
)
from trainers.plan import Plan
from trainers.settings import Mistake
from trainers.tasks import (
    companions_of,
    confirmation_of,
    direction_of,
    extras_of,
    find_task,
    make_plan,
    metric_of,
    networks_of,
    scope_of,
    sites_of,
)

CLASSIFIER = find_task("classifier")


def plan(**options: Any) -> Plan:
    return make_plan(CLASSIFIER, options, evaluate_at=(5,))


def written(**options: Any) -> ClassifierOptions:
    """The options that a user's file means, through the door that it takes."""
    read = plan(**options).options
    assert isinstance(read, ClassifierOptions)
    return read


def test_the_defaults_are_the_fields_reference_on_cifar10(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    assert written().model_dump() == {
        "data": "cifar10", "root": str(tmp_path / "data"), "download": False, "limit": None, "size": 32,
        "channels": None, "network": {"kind": "classifier", "width": 16, "stages": 3, "blocks": 3},
        "objective": "accuracy", "held_out": 0.2, "unseen": 0.0, "score": "held_out", "batch": 128,
        "augment": (), "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "decay": "cosine", "ramp": 0.0,
        "folders_are_classes": False,
    }  # fmt: skip


def test_what_is_dumped_is_read_back(tmp_path: Path) -> None:
    for network in ({"width": 8}, "classifier", "some.module:factory"):
        options = written(network=network, limit=0.5, augment=["flip"], root=str(tmp_path), channels=1)
        assert ClassifierOptions.model_validate_json(options.model_dump_json()) == options


def test_every_list_names_what_there_is() -> None:
    fields = ClassifierOptions.model_fields
    assert get_args(fields["objective"].annotation) == tuple(METRICS) == tuple(IN_WORDS)
    (augmentation, _) = get_args(fields["augment"].annotation)
    assert set(get_args(augmentation)) == KINDS.keys()
    assert all(kind in (fields["augment"].description or "") for kind in KINDS)
    assert networks_of(CLASSIFIER) == ["classifier"]


def test_each_measure_has_its_direction_and_stands_beside_the_other() -> None:
    for metric, other, direction in (
        ("accuracy", "cross_entropy", "maximize"),
        ("cross_entropy", "accuracy", "minimize"),
    ):
        one = plan(objective=metric)
        assert metric_of(CLASSIFIER, one) == metric
        assert direction_of(CLASSIFIER, metric) == direction
        assert companions_of(CLASSIFIER, one) == companions(one) == (other,)


def test_on_what_it_is_scored_is_said_in_words(tmp_path: Path) -> None:
    assert measured(plan()) == (
        "accuracy on the 20% of each class of cifar10 at 32×32 that are never trained on"
    )
    told = measured(plan(objective="cross_entropy", held_out=0.125, limit=1000, data="digits", size=8))
    assert told == (
        "mean cross-entropy on the 12.5% of each class of digits at 8×8 that are never trained on; "
        "trained on 1,000 of the others"
    )
    assert measured(plan(limit=0.1)).endswith("; trained on 10% of the others")
    assert scope_of(CLASSIFIER, plan()) == "on pictures that the search was scored on, too"
    kept = plan(unseen=0.3)
    assert measured(kept) == measured(plan())
    assert measured(confirmation_of(CLASSIFIER, kept)) == (
        "accuracy on the 30% of each class of cifar10 at 32×32 that no search sees"
    )
    assert scope_of(CLASSIFIER, kept) == "on pictures that the search never saw"


def test_sites_are_those_of_the_network_at_the_size() -> None:
    small = plan(size=9, network={"width": 2, "stages": 2, "blocks": 2})
    assert sites_of(CLASSIFIER, small) == {
        "h0": (2, 9, 9), "h1": (2, 9, 9), "h2": (4, 5, 5), "h3": (4, 5, 5), "code": (4, 5, 5),
    }  # fmt: skip
    assert isinstance(small.options.network, ClassifierNetwork)


def test_extras_vary_how_it_trains_and_never_what_it_is_scored_on() -> None:
    assert extras_of(written()) == ["ramp", "lr", "momentum", "weight_decay"]
    with pytest.raises(
        Mistake, match=r"extras\.held_out is not an option .* that extras can vary; those are"
    ):
        make_plan(CLASSIFIER, {}, extras={"held_out": 0.3}, evaluate_at=(5,))


@pytest.mark.parametrize(("options", "told"), [
    ({"held_out": 0}, r"plan\.held_out is 0, but it must be greater than 0"),
    ({"held_out": 1}, r"plan\.held_out is 1, but it must be less than 1"),
    ({"held_out": 200}, r"plan\.held_out is 200"),
    ({"unseen": -0.1}, r"plan\.unseen is -0\.1"),
    ({"held_out": 0.5, "unseen": 0.5}, r"plan\.held_out is 0\.5 and plan\.unseen 0\.5, but they must leave"),
    ({"score": "unseen"}, r"plan\.score is unseen, but plan\.unseen is 0, so there are no such pict"),
    ({"objective": "fid"}, r"plan\.objective is 'fid', but it must be 'accuracy' or 'cross_entropy'"),
    ({"size": 8, "network": {"stages": 5}}, r"plan\.size is 8, but a network of 5 stages halves its map 4"),
    ({"network": {"kind": "dcgan"}}, r"kind is 'dcgan', but the networks of task classifier are classif"),
    ({"network": {"widht": 8}}, r"plan\.network\.widht is not a known key; did you mean width"),
    ({"network": {"width": 0}}, r"plan\.network\.width is 0"),
    ({"network": {"blocks": 0}}, r"plan\.network\.blocks is 0"),
    ({"network": 3}, r"plan\.network is 3, but it is a section: write for example \{kind: classifier\}"),
    ({"augment": ["flip", "flip"]}, r"plan\.augment is \['flip', 'flip'\], but each is done once"),
    ({"augment": ["mirror"]}, r"plan\.augment.*'mirror'"),
    ({"lr": 0}, r"plan\.lr is 0"),
    ({"momentum": 0}, r"plan\.momentum is 0"),
    ({"weight_decay": -1}, r"plan\.weight_decay is -1"),
    ({"decay": "linear"}, r"plan\.decay is 'linear', but it must be 'cosine' or 'none'"),
    ({"limit": 100}, r"plan\.limit is 100, but a batch has 128 pictures: raise the limit, or lower"),
    ({"labels": True}, r"plan\.labels is not a known key"),
    ({"loss": "hinge"}, r"plan\.loss is not a known key"),
])  # fmt: skip
def test_a_mistake_is_one_sentence_that_names_key_and_value(options: dict[str, Any], told: str) -> None:
    with pytest.raises(Mistake, match=told) as caught:
        plan(**options)
    assert "\n" not in str(caught.value)


def test_no_torch_is_needed_to_read_them() -> None:
    program = (
        "import sys; from trainers.tasks import find_task, make_plan; "
        "make_plan(find_task('classifier'), {'size': 16}, evaluate_at=(5,)); print('torch' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["False"]
