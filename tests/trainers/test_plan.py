"""The plan: frozen, written and read back, and each of a user's mistakes in one sentence."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from kinds import EXAMPLES
from PIL import Image
from pydantic import BaseModel, Field, ValidationError

from trainers.degradations.gaussian import Gaussian
from trainers.dip_options import DipOptions, SkipNetwork
from trainers.plan import Frozen, Plan, one_sentence
from trainers.settings import L0, L1, L0Inf, Mistake


def plan(**changes: Any) -> Plan:
    return Plan(**{"task": "dip", "options": DipOptions(), "evaluate_at": (100, 900), **changes})


def told(model: type[BaseModel], given: Any, prefix: str = "") -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(given)
    return str(one_sentence(caught.value, model, prefix))


def test_describing_a_plan_imports_no_torch() -> None:
    program = "import sys, trainers.plan, trainers.tasks; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_plan_is_frozen_and_refuses_unknown_keys() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        plan().task = "gan"
    with pytest.raises(ValidationError, match="frozen"):
        plan().options.size = 3
    with pytest.raises(ValidationError, match="Extra inputs"):
        plan(steps=900)


def test_defaults_are_those_of_the_reference() -> None:
    options = DipOptions()
    assert (options.network.width, options.network.scales, options.network.skip) == (128, 5, 4)
    assert (options.lr, options.input_noise, options.average) == (0.01, 1 / 30, 0.99)
    assert (options.degradation.sigma, options.network.input_channels) == (25, 32)


def test_an_extra_comes_before_the_option() -> None:
    varied = plan(extras={"lr": 0.5})
    assert (varied.value("lr"), varied.value("average"), varied.steps) == (0.5, 0.99, 900)
    with pytest.raises(AttributeError):
        varied.value("momentum")


SETTINGS = {"up0": L0(keep=0.2), "code": L0Inf(k=3), "down1": L1(weight=0.01)}


def test_a_plan_is_written_as_json_and_read_back() -> None:
    settings = SETTINGS | {f"of every kind {kind}": one for kind, one in EXAMPLES.items()}
    written = plan(settings=settings, extras={"lr": 0.02}).model_dump(mode="json")
    assert json.loads(json.dumps(written)) == written
    assert written["settings"]["up0"] == {"kind": "l0", "keep": 0.2}
    assert written["options"]["network"] == {
        "kind": "skip", "width": 128, "scales": 5, "skip": 4, "upsample": "bilinear", "input_channels": 32,
    }  # fmt: skip
    read = Plan(**{**written, "options": DipOptions(**written["options"])})
    assert read == plan(settings=settings, extras={"lr": 0.02})


def test_its_identity_is_all_that_changes_what_is_computed() -> None:
    same = plan(settings=dict(reversed(SETTINGS.items())), checkpoint_every=7)
    assert same.identity() == plan(settings=SETTINGS).identity()
    others = [
        plan(),
        plan(settings=SETTINGS | {"up0": L0(keep=0.3)}),
        plan(settings=SETTINGS, extras={"lr": 0.01}),
        plan(settings=SETTINGS, evaluate_at=(900,)),
        plan(settings=SETTINGS, options=DipOptions(size=96)),
        plan(settings=SETTINGS, task="other"),
        plan(settings=SETTINGS, prepared={"picture": "0" * 64}),
    ]
    assert len({one.identity() for one in [*others, same]}) == 8


def test_what_was_prepared_is_compared_with_what_a_training_finds() -> None:
    first, second = "1" * 64, "2" * 64
    plan().refuse_another({"picture": first})  # outside a study nothing was prepared
    begun = plan(prepared={"picture": first, "made.npz": second})
    begun.refuse_another({"picture": first})
    with pytest.raises(
        Mistake, match=r"^picture has the SHA-256 2{12}… here, but .* one of SHA-256 1{12}…: "
    ):
        begun.refuse_another({"made.npz": second, "picture": second})
    with pytest.raises(Mistake, match=r"^other.npz has the SHA-256 2{12}… here, but .* none of that name: "):
        begun.refuse_another({"other.npz": second})


@pytest.mark.parametrize("steps", [(), (0, 5), (-1,), (5, 5), (9, 3)])
def test_evaluations_ascend_from_1(steps: tuple[int, ...]) -> None:
    given = plan().model_dump() | {"options": DipOptions(), "evaluate_at": steps}
    assert told(Plan, given) == (
        f"evaluate_at is {steps}, but it needs at least one step, all positive and in ascending order"
    )


def test_a_file_is_meant_from_where_the_user_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (20, 20)).save(tmp_path / "mine.png")
    monkeypatch.chdir(tmp_path)
    assert DipOptions(image="mine.png").image == str(tmp_path / "mine.png")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert DipOptions(image="~/mine.png").image == str(tmp_path / "mine.png")
    assert DipOptions(image="astronaut").image == "astronaut"
    os.mkdir("camera")  # a folder of that name is no picture
    assert DipOptions(image="camera").image == "camera"


@pytest.mark.parametrize(("given", "sentence"), [
    ({"size": 3}, "plan.size is 3, but it must be greater than or equal to 16"),
    ({"size": "big"}, "plan.size is 'big', but it must be a valid integer"),
    ({"image": ""}, "plan.image is '', but string should have at least 1 character"),
    ({"lr": 0}, "plan.lr is 0, but it must be greater than 0: the default is 0.01"),
    ({"lr": math.nan}, "plan.lr is nan, but it must be a finite number"),
    ({"lr": math.inf}, "plan.lr is inf, but it must be a finite number"),
    ({"average": 1}, "plan.average is 1, but it must be less than 1"),
    ({"early_stopping": {"window": 1}}, "plan.early_stopping.window is 1, but it must be greater than"),
    ({"input_noise": -1}, "plan.input_noise is -1, but it must be greater than or equal to 0"),
    ({"objective": "fid"}, "plan.objective is 'fid', but it must be 'psnr', 'ssim', 'held_out' or 'sure'"),
    ({"degradation": {"sigma": 0}}, "plan.degradation.sigma is 0, but it must be greater than 0"),
    ({"network": {"width": 0}}, "plan.network.width is 0, but it must be greater than or equal to 1"),
    ({"network": {"scales": 9}}, "plan.network.scales is 9, but it must be less than or equal to 8"),
    ({"network": {"upsample": "cubic"}}, "is 'cubic', but it must be 'bilinear' or 'nearest'"),
    ({"image": ["x" * 500]}, r"plan.image is ['" + "x" * 75 + r"..., but"),
    ({"more_images": [""]}, "plan.more_images.0 is '', but string should have at least 1 character"),
    ({"sise": 9}, "plan.sise is not a known key; did you mean size, or another of image, more_images, "),
    ({"zzz": 9}, "plan.zzz is not a known key; the known keys there are image, more_images, "),
    ({"network": {"wide": 9}}, "plan.network.wide is not a known key; did you mean width, or another of"),
    (7, "plan is 7, but it is a section: write for example {image: astronaut}"),
    ({"more_images": "coffee"}, "plan.more_images is 'coffee', but it is a list: write [coffee]"),
    ({"more_images": True}, "is True, but it is a list: write it in brackets, as [one, other]"),
    ({"unseen_images": "x" * 500}, "..., but it is a list: write it in brackets, as [one, other]"),
    ({"early_stopping": True},
     "plan.early_stopping is True, but it is a section: write for example {window: 100}"),
    ({"network": {"kind": "a:b", "arguments": "width"}},
     "plan.network.arguments is 'width', but it is a section: write its keys below it"),
])  # fmt: skip
def test_each_mistake_is_one_sentence_with_key_value_and_rule(given: Any, sentence: str) -> None:
    said = told(DipOptions, given, "plan")
    assert sentence in said
    assert "\n" not in said
    assert not said.endswith(".")


@pytest.mark.parametrize(("network", "sentence"), [
    ({"kind": "unet"}, "plan.network.kind is 'unet', but the networks of task dip are skip, or one of"),
    ("x" * 500, r"plan.network.kind is 'x{12}\.\.\.x{13}', but the networks"),
    (["skip"], r"plan.network is \['skip'\], but it is a section: write for example {kind: skip}"),
])  # fmt: skip
def test_another_network_is_refused_in_one_sentence(network: Any, sentence: str) -> None:
    with pytest.raises(Mistake, match=sentence):
        DipOptions.model_validate({"network": network})


class Outer(Frozen):
    """What a study's file looks like to the translator: nested, optional, listed."""

    inner: DipOptions | None = None
    many: dict[str, SkipNetwork] = Field(default={})
    listed: tuple[Gaussian, ...] = ()
    needed: int


@pytest.mark.parametrize(("given", "sentence"), [
    ({}, "needed is missing, and it has no default: give it a value"),
    ({"needed": 1, "inner": {"foo": 1}}, "inner.foo is not a known key; the known keys there are image"),
    ({"needed": 1, "many": {"a": {"foo": 1}}}, "many.a.foo is not a known key; the known keys there are"),
    ({"needed": 1, "listed": [{"foo": 1}]}, "listed.0.foo is not a known key; the known keys there are kind"),
    ({"needed": 1, "listed": 7}, "listed is 7, but it is a list: write [7]"),
    ({"needed": 1, "listed": [7]}, "listed.0 is 7, but it is a section: write for example {kind: gaussian}"),
    ({"needed": 1, "many": [7]}, "many is [7], but it is a section: write its keys below it"),
    ({"neded": 1}, "neded is not a known key; did you mean needed, or another of inner, many, listed"),
])  # fmt: skip
def test_the_known_keys_are_those_of_the_place(given: Any, sentence: str) -> None:
    assert sentence in told(Outer, given)


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"up0": {"kind": "l2", "weight": 1}}, "settings.up0.*l2.*l1, l0,? (and|or)? ?l0inf"),
    ({"up0": {"kind": "l0", "keep": 2}}, "settings.up0.*keep.*2"),
    ({"up0": 0.2}, "settings.up0 is 0.2, but it has to be like"),
    ([1], r"settings is \[1\], but it maps a site to a regularizer"),
])  # fmt: skip
def test_settings_are_checked_where_they_are_read(settings: Any, sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        plan(settings=settings)
    said = one_sentence(caught.value, Plan)
    assert isinstance(said, Mistake)
    with pytest.raises(Mistake, match=sentence):
        raise said
