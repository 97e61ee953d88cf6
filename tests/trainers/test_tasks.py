"""Tasks by name, plans checked against their task, sites and metrics of a plan; a user's own task too."""

import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import BaseModel
from torch import nn

from trainers import psnr
from trainers.gan_options import GanOptions
from trainers.pair_options import PAIRS
from trainers.plan import Plan
from trainers.psnr import METRICS
from trainers.settings import L0, L1, L0Inf, Mistake
from trainers.tasks import (
    ORACLES,
    TASKS,
    Task,
    companions_of,
    direction_of,
    extras_of,
    find_task,
    make_plan,
    measured_of,
    metric_of,
    network_of,
    networks_of,
    options_model,
    plan_from_json,
    prepared_of,
    sites_of,
)
from trainers.training import Evaluation

DIP = TASKS["dip"]
SMALL = {"size": 48, "network": {"width": 8, "scales": 3}}


def own(**changes: Any) -> Task:
    parts: dict[str, Any] = {
        "name": "mine", "metric": "fid", "direction": "minimize", "train": lambda plan, **_: iter(()),
        "sites": {"h0": (64, 2, 2), "code": (4, 8, 8)}, "options": {"lr": 0.1, "depth": 3, "network": "tiny"},
    }  # fmt: skip
    return Task(**(parts | changes))


# --- finding ---------------------------------------------------------------------------------------


def test_ours_are_found_by_their_own_names() -> None:
    assert all(find_task(name) is task and task.name == name for name, task in TASKS.items())


def test_an_unknown_name_lists_the_known_ones() -> None:
    known = ", ".join(TASKS)
    with pytest.raises(Mistake, match=f"task is 'gna', but the known tasks are {known}; one of your own"):
        find_task("gna")


def test_a_users_own_is_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "someones_tasks.py").write_text(
        "from trainers.tasks import Task\n"
        "MINE = Task('mine', 'fid', 'minimize', lambda plan, **_: iter(()), sites={'h0': (1, 2, 3)})\n"
        "OTHER = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert find_task("someones_tasks:MINE").name == "mine"
    for name, told in {
        "someones_tasks:YOURS": "cannot be imported .*YOURS",
        "someones_task:MINE": "cannot be imported .*No module named 'someones_task'",
        "someones_tasks:OTHER": "that is a int: it must be a trainers.tasks.Task",
        "someones_tasks:": "the known tasks are",
        ":MINE": "the known tasks are",
    }.items():
        with pytest.raises(Mistake, match=told):
            find_task(name)


@pytest.mark.parametrize(("text", "told"), [
    ("def broken(:\n", r"SyntaxError: invalid syntax"),
    ("TASK = Tsk()\n", "NameError: name 'Tsk' is not defined"),
    ("raise RuntimeError('no\\nGPU')\n", "RuntimeError: no GPU"),
])  # fmt: skip
def test_a_users_module_that_fails_is_a_mistake_in_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, told: str
) -> None:
    (tmp_path / "failing_tasks.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        Mistake, match=rf"task is 'failing_tasks:TASK', but it cannot be imported .*{told}"
    ) as caught:
        find_task("failing_tasks:TASK")
    assert "\n" not in str(caught.value)


def test_a_users_own_mistake_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mistaken_tasks.py").write_text(
        "from trainers.tasks import Task\nTASK = Task('', 'fid', 'minimize', print, sites={})\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Mistake, match=r"^name of a Task is ''"):
        find_task("mistaken_tasks:TASK")


@pytest.mark.parametrize(("changes", "told"), [
    ({"name": ""}, "name of a Task is ''"),
    ({"metric": 3}, "metric of a Task is 3"),
    ({"direction": "up"}, "direction of task mine is 'up', but it must be 'minimize' or 'maximize'"),
    ({"directions": {"psnr": "up"}}, r"directions\['psnr'\] of task mine is 'up', but it must be 'min"),
    ({"train": "train"}, "train of task mine is 'train', but it must be a function"),
])  # fmt: skip
def test_a_task_checks_its_parts(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(Mistake, match=told):
        own(**changes)


# --- training ---------------------------------------------------------------------------------------


class Draws:
    """Draws from the global generators, and is saved."""

    def __init__(self, plan: Plan, *, seed: int, device: str = "cpu") -> None:
        self.network = nn.Linear(2, 2)
        self.total = 0.0

    def step(self) -> None:
        self.total += torch.rand(()).item() + np.random.rand() + random.random()

    def evaluate(self) -> dict[str, float]:
        return {"fid": self.total + self.network.weight.sum().item()}

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "total": self.total}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.total = state["total"]


def evaluations(task: Task, seed: int = 0, **more: Any) -> list[Evaluation]:
    return list(task.evaluations(make_plan(task, {}, evaluate_at=(2, 4)), seed=seed, **more))


def test_a_class_of_four_methods_is_a_training_that_is_saved_and_goes_on(tmp_path: Path) -> None:
    whole = evaluations(own(train=Draws))
    assert [one.step for one in whole] == [2, 4]
    assert evaluations(own(train=Draws), folder=tmp_path) == whole
    assert evaluations(own(train=Draws), folder=tmp_path) == whole[1:]  # from its checkpoint


def test_what_draws_from_a_global_generator_begins_at_the_seed() -> None:
    first = evaluations(own(train=Draws), seed=2**40)
    assert evaluations(own(train=Draws), seed=2**40) == first != evaluations(own(train=Draws), seed=1)


def test_a_class_that_lacks_a_method_is_refused_with_its_name() -> None:
    with pytest.raises(Mistake, match="train of task mine is the class Path, which lacks step, evaluate"):
        own(train=Path)


@pytest.mark.parametrize(("given", "told"), [
    (None, "train of task mine gives None"),
    ([{"fid": 1.0}], "gives {'fid': 1.0}, but it must give one trainers.training.Evaluation"),
])  # fmt: skip
def test_a_function_that_gives_no_evaluations_is_refused(given: Any, told: str) -> None:
    with pytest.raises(Mistake, match=told):
        evaluations(own(train=lambda plan, **_: given))


def test_a_plan_puts_its_settings_into_a_network_and_measures_what_is_named() -> None:
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.ReLU(), nn.Conv2d(4, 1, 1))
    plan = make_plan(own(), {}, settings={"code": L0Inf(k=1)}, evaluate_at=(1,))
    attached = plan.attach(network, names={"h0": "1", "code": "3"})
    network(torch.rand(2, 1, 8, 8))
    assert attached.metrics()["code.density"] <= 0.25
    assert "h0.density" in attached.metrics()


# --- options and extras ----------------------------------------------------------------------------


def test_options_are_typed_by_their_defaults() -> None:
    plan = make_plan(own(), {"lr": "1e-3", "depth": 5}, evaluate_at=(1,))  # YAML reads 1e-3 as a text
    assert plan.options.model_dump() == {"lr": 0.001, "depth": 5, "network": "tiny"}
    for options, told in {
        ("lr", "fast"): "plan.lr is 'fast', but it must be a valid number",
        ("depth", 2.5): "plan.depth is 2.5, but it must be a valid integer",
        ("lr", float("nan")): "plan.lr is nan, but it must be a finite number",
        ("dept", 3): "plan.dept is not a known key; did you mean depth",
    }.items():
        with pytest.raises(Mistake, match=told):
            make_plan(own(), dict([options]), evaluate_at=(1,))


def test_names_that_pydantic_uses_itself_are_fine_and_others_are_refused(recwarn: Any) -> None:
    model = options_model(own(options={"copy": 3, "json": "x", "model_name": "y", "none": None}))
    assert model(copy=4, none=[1]).model_dump() == {"copy": 4, "json": "x", "model_name": "y", "none": [1]}
    assert not recwarn.list
    for name in ("_private", "two words", "", 3):
        with pytest.raises(Mistake, match="a key must be a word"):
            options_model(own(options={name: 1}))


def test_options_may_be_a_model() -> None:
    class Options(BaseModel):
        lr: float = 0.5

    assert make_plan(own(options=Options), {}, evaluate_at=(1,)).options == Options()


def test_extras_are_the_options_with_a_fraction_and_keep_their_ranges() -> None:
    assert extras_of(make_plan(DIP, SMALL, evaluate_at=(1,)).options) == [
        "lr", "input_noise", "average", "ramp",
    ]  # fmt: skip
    assert make_plan(own(), {}, extras={"lr": 0.3}, evaluate_at=(1,)).value("lr") == 0.3
    for task, extras, told in [
        (DIP, {"size": 96.0}, "extras.size is not an option of task dip .* lr, input_noise, average"),
        (DIP, {"lr": -1.0}, "plan.lr is -1.0, but it must be greater than 0"),
        (own(options={"depth": 3}), {"depth": 3.0}, "those are none"),
    ]:
        with pytest.raises(Mistake, match=told):
            make_plan(task, {}, extras=extras, evaluate_at=(1,))


# --- settings and sites ----------------------------------------------------------------------------


def test_sites_of_deep_image_prior_follow_the_picture_and_the_network(tmp_path: Path) -> None:
    plan = make_plan(DIP, SMALL, evaluate_at=(1,))
    assert sites_of(DIP, plan) == {
        "down0": (8, 24, 24), "down1": (8, 12, 12), "down2": (8, 6, 6),
        "up0": (8, 12, 12), "up1": (8, 24, 24), "code": (8, 48, 48),
    }  # fmt: skip
    Image.new("L", (40, 30)).save(tmp_path / "a.png")
    options = SMALL | {"size": None, "image": str(tmp_path / "a.png")}
    assert sites_of(DIP, make_plan(DIP, options, evaluate_at=(1,)))["code"] == (8, 32, 40)


def test_asking_for_sites_needs_no_torch() -> None:
    program = (
        "import sys; from trainers.tasks import *; from trainers.settings import L0\n"
        "make_plan(TASKS['dip'], {'size': 48}, settings={'up0': L0(0.5)}, evaluate_at=(1,))\n"
        "sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_an_unknown_site_is_refused_with_the_known_ones() -> None:
    told = "settings name the site 'up9', but the sites of skip are down0, down1, down2, up0, up1, code"
    with pytest.raises(Mistake, match=told):
        make_plan(DIP, SMALL, settings={"up0": L0(0.5), "up9": L1(0.1)}, evaluate_at=(1,))
    with pytest.raises(Mistake, match="the sites of tiny are h0, code"):
        make_plan(own(), {}, settings={"h1": L0Inf(2)}, evaluate_at=(1,))


def test_a_picture_that_is_none_is_found_when_its_sites_are_asked_for() -> None:
    plan = make_plan(DIP, {"image": "astronot"}, evaluate_at=(1,))
    with pytest.raises(Mistake, match="image is 'astronot'"):
        sites_of(DIP, plan)


def test_sites_may_be_a_function_of_the_plan_and_are_checked() -> None:
    task = own(sites=lambda plan: {"h0": (plan.options.depth, 2, 2)})
    assert sites_of(task, make_plan(task, {"depth": 7}, evaluate_at=(1,))) == {"h0": (7, 2, 2)}
    for shape in [(1, 2), (0, 2, 2), (1.5, 2, 2), 7]:
        bad = own(sites={"h0": shape})
        with pytest.raises(Mistake, match=r"site 'h0' of task mine has the shape .* three positive integers"):
            sites_of(bad, make_plan(bad, {}, evaluate_at=(1,)))


def test_the_metric_is_the_plans_objective_where_the_task_has_one() -> None:
    assert metric_of(DIP, make_plan(DIP, SMALL, evaluate_at=(1,))) == "psnr"
    assert metric_of(DIP, make_plan(DIP, SMALL | {"objective": "ssim"}, evaluate_at=(1,))) == "ssim"
    assert metric_of(own(), make_plan(own(), {}, evaluate_at=(1,))) == "fid"


def test_an_objective_has_its_own_direction_where_the_task_says_one() -> None:
    ways = {name: direction_of(DIP, name) for name in ("psnr", "ssim", "held_out", "sure", "loss")}
    assert ways == {
        "psnr": "maximize", "ssim": "maximize",
        "held_out": "minimize", "sure": "minimize", "loss": "minimize",
    }  # fmt: skip
    task = own(directions={"accuracy": "maximize"})
    assert (direction_of(task, "fid"), direction_of(task, "accuracy")) == ("minimize", "maximize")
    for given in ("maximize", ["accuracy"], None):
        with pytest.raises(Mistake, match=r"^directions of task mine is .*, but it must map metrics"):
            own(directions=given)


def test_oracles_are_the_metrics_that_need_the_clean_picture() -> None:
    assert {"psnr", "psnr_raw", "ssim"} == ORACLES
    assert METRICS.keys() - ORACLES == {"held_out", "sure", "loss"}
    assert ORACLES is psnr.ORACLES


def test_the_network_has_the_plans_name_for_it_or_the_tasks() -> None:
    assert network_of(make_plan(DIP, SMALL, evaluate_at=(1,))) == "skip"
    assert network_of(make_plan(own(), {}, evaluate_at=(1,))) == "tiny"
    assert network_of(make_plan(own(options={}), {}, evaluate_at=(1,))) == "mine"


# --- what trainings share, and how the metric is measured ------------------------------------------

SHA256 = "0123456789abcdef" * 4


def test_a_task_that_says_nothing_more_shares_and_shows_nothing_more() -> None:
    plan = make_plan(own(), {}, evaluate_at=(1,))
    assert (prepared_of(own(), plan), measured_of(own(), plan), companions_of(own(), plan)) == ({}, "", ())


def test_what_a_task_says_of_its_plan_is_asked_with_the_plan() -> None:
    task = own(
        prepare=lambda plan: {"made.npz": SHA256, "depth": f"{plan.options.depth:064d}"},
        measured=lambda plan: f"over {plan.options.depth} layers",
        companions=lambda plan: ["other"] * plan.options.depth,
    )
    plan = make_plan(task, {"depth": 2}, evaluate_at=(1,))
    assert prepared_of(task, plan) == {"made.npz": SHA256, "depth": f"{2:064d}"}
    assert measured_of(task, plan) == "over 2 layers"
    assert companions_of(task, plan) == ("other", "other")


@pytest.mark.parametrize("key", ["prepare", "measured", "companions", "confirmation"])
def test_what_is_no_function_is_refused(key: str) -> None:
    with pytest.raises(Mistake, match=f"{key} of task mine is 3, but it must be a function"):
        own(**{key: 3})


@pytest.mark.parametrize(
    "given", [{"../x": SHA256}, {"x/y.npz": SHA256}, {"x": "abc"}, {"": SHA256}, {3: SHA256}]
)
def test_what_is_shared_has_plain_names_and_fingerprints(given: Any) -> None:
    with pytest.raises(Mistake, match=r"prepared names .* plain names to SHA-256"):
        prepared_of(own(prepare=lambda plan: given), make_plan(own(), {}, evaluate_at=(1,)))
    if all(isinstance(name, str) for name in given):
        with pytest.raises(Mistake, match=r"prepared names .* plain names to SHA-256"):
            make_plan(own(), {}, evaluate_at=(1,), prepared=given)


def test_an_oracle_is_explained_whichever_task_measures_it() -> None:
    said = "oracle: it needs the clean picture"
    assert measured_of(DIP, make_plan(DIP, SMALL, evaluate_at=(1,))) == said
    assert measured_of(own(metric="psnr"), make_plan(own(), {}, evaluate_at=(1,))) == said


def test_the_picture_is_what_trainings_of_dip_share(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    Image.new("RGB", (48, 48), "red").save(file)
    plan = make_plan(DIP, SMALL | {"image": str(file)}, evaluate_at=(1,))
    before = prepared_of(DIP, plan)
    assert list(before) == ["picture"] and prepared_of(DIP, plan) == before
    Image.new("RGB", (48, 48), "blue").save(file)
    assert prepared_of(DIP, plan) != before


def test_the_networks_of_a_task_are_those_that_its_plan_can_name() -> None:
    gan = own(options=GanOptions)
    assert (networks_of(DIP), networks_of(gan), networks_of(own())) == (["skip"], [*PAIRS], [])


# --- read back -------------------------------------------------------------------------------------


def test_a_dumped_plan_is_read_back_with_other_settings() -> None:
    plan = make_plan(
        DIP,
        SMALL,
        settings={"up0": L0(0.5)},
        extras={"lr": 0.02},
        evaluate_at=(2, 4),
        prepared={"picture": SHA256},
    )
    entry = plan.model_dump(mode="json")
    assert plan_from_json(entry, settings=plan.settings) == plan
    assert plan_from_json(entry).settings == {}
    bare = {key: entry[key] for key in ("task", "options", "evaluate_at")}
    assert plan_from_json(bare) == make_plan(DIP, SMALL, evaluate_at=(2, 4))


@pytest.mark.parametrize(("changes", "told"), [
    ({"task": "os:path"}, "plan.task is 'os:path', but a file can name only dip, gan, .*: give the spec"),
    ({"task": ["dip"]}, "plan.task is"),
    ({"steps": 4}, "plan.steps is not a known key; the known keys are task, options"),
    ({"options": [1]}, r"plan.options is \[1\], but it must be a mapping"),
    ({"extras": 3}, "plan.extras is 3, but it must be a mapping"),
    ({"prepared": 3}, "plan.prepared is 3, but it must be a mapping"),
    ({"prepared": {"a/b": "0" * 64}}, "prepared names 'a/b' with .*, but it must map plain names to SHA-256"),
    ({"evaluate_at": 3}, r"evaluate_at is 3, but it is a list: write \[3\]"),
    ({"evaluate_at": [4, 2]}, "ascending order"),
    ({"options": {"foo": 3}}, "plan.foo is not a known key"),
    ({"checkpoint_every": "often"}, "checkpoint_every is 'often', but it must be a valid number"),
])  # fmt: skip
def test_a_damaged_entry_is_a_mistake_and_imports_nothing(changes: dict[str, Any], told: str) -> None:
    entry = make_plan(DIP, SMALL, evaluate_at=(2, 4)).model_dump(mode="json") | changes
    with pytest.raises(Mistake, match=told):
        plan_from_json(entry)
