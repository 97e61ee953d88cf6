"""A study: what is read is complete, what is frozen stays so, and what differs is named."""

import doctest
import math
from pathlib import Path
from typing import Any

import own_tasks
import pytest
import yaml

from search_spaces.presets import preset_names
from trainers.settings import L0, L0Inf, Mistake
from trainers.tasks import find_task
from tuner import spec as module
from tuner.spec import StudySpec, differences, freeze, load_spec, to_yaml


def spec_of(task: str = "sites", **sections: Any) -> StudySpec:
    name = task if ":" in task or task == "dip" else f"own_tasks:{task.upper()}"
    return load_spec({"name": "mine", "task": name, **sections})


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_loads_and_freezes(name: str) -> None:
    frozen = freeze(load_spec(name))
    assert frozen.name == name
    assert not frozen.sparsity_space().is_static


def test_the_preset_of_make_search_has_two_rungs_and_the_four_sites_that_matter() -> None:
    spec = load_spec("dip-denoise")
    assert (spec.rungs(), spec.evaluate_at()) == ((67, 201), (67, 201, 600))
    assert (spec.metric(), spec.direction()) == ("psnr", "maximize")
    frozen = freeze(spec)
    assert frozen.space.sites == ("down1", "up0", "up1", "code")
    assert frozen.space.regularizers["l0inf"]["k"] == dict.fromkeys(frozen.space.sites, (1, 12))
    assert frozen.search.startup_trials == 10


def test_a_site_that_is_a_page_long_is_told_in_a_line() -> None:
    with pytest.raises(Mistake, match=r"^space.sites names 'aaa") as caught:
        freeze(spec_of(space={"sites": ["a" * 5000]}))
    assert len(str(caught.value)) < 300


def test_three_lines_are_a_study(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text("name: chelsea\nplan:\n  image: chelsea\n")
    frozen = freeze(load_spec(path))
    assert frozen.plan["image"] == "chelsea"
    assert frozen.plan["network"]["width"] == 128
    assert "code" in frozen.space.sites and "up0" in frozen.space.sites
    assert frozen.rungs() == (334, 1002)
    assert load_spec(str(path)) == load_spec(path)


def test_one_site_is_a_study_too_and_max_sites_is_cut_to_it() -> None:
    frozen = freeze(spec_of("one"))
    assert (frozen.space.sites, frozen.space.max_sites) == (("h0",), 1)
    thin = freeze(spec_of("thin"))
    assert set(thin.space.regularizers) == {"l1", "l0"}  # k has nothing to take from one channel


def test_arguments_win_over_overrides_and_these_over_the_source() -> None:
    source = {"name": "mine", "budget": {"trials": 4}, "time": "1h"}
    spec = load_spec(
        source, overrides=["budget.trials=5", "time=2h", "search.seed=3"], name="other", trials=6, time=7
    )
    assert (spec.name, spec.budget.trials, spec.time, spec.search.seed) == ("other", 6, 7, 3)
    assert source == {"name": "mine", "budget": {"trials": 4}, "time": "1h"}
    assert load_spec(spec, trials=9).budget.trials == 9


def test_a_section_without_keys_is_its_defaults() -> None:
    nothing = dict.fromkeys(("plan", "space", "budget", "search", "resources"))
    assert load_spec({"name": "mine", **nothing}) == load_spec({"name": "mine"})


def test_steps_alone_give_two_rungs_that_fit() -> None:
    assert spec_of(budget={"steps": 50}).rungs() == (6, 18)
    assert spec_of(budget={"steps": 1000, "reduction": 2}).rungs() == (250, 500)
    assert spec_of(budget={"steps": 2}).rungs() == (1,)


@pytest.mark.parametrize(
    ("budget", "rungs"),
    [
        ({"steps": 900, "grace": 100}, (100, 300)),  # not at the last step, where nothing is decided
        ({"steps": 901, "grace": 100}, (100, 300, 900)),
        ({"steps": 100, "grace": 10, "reduction": 2.5}, (10, 25, 62)),
        ({"steps": 8, "grace": 1, "reduction": 2}, (1, 2, 4)),
        ({"steps": 10, "grace": 9}, (9,)),
    ],
)
def test_rungs_are_the_grace_times_powers_of_the_reduction(
    budget: dict[str, Any], rungs: tuple[int, ...]
) -> None:
    spec = spec_of(budget=budget)
    assert spec.rungs() == rungs
    assert spec.evaluate_at() == (*rungs, budget["steps"])
    unscheduled = spec_of(budget=budget, search={"scheduler": "none"})
    assert unscheduled.evaluate_at() == spec.evaluate_at()


def test_further_steps_are_evaluated_and_decide_nothing() -> None:
    spec = spec_of(budget={"steps": 900, "grace": 100, "evaluate_at": [600, 50, 300]})
    assert spec.evaluate_at() == (50, 100, 300, 600, 900)
    assert spec.rungs() == (100, 300)


def test_the_plan_has_what_was_drawn() -> None:
    spec = spec_of(space={"extras": {"lr": [0.01, 1.0]}}, checkpoint_every="90s")
    plan = spec.plan_with({"code": L0(keep=0.5)}, {"lr": 0.2})
    assert (plan.settings, plan.value("lr"), plan.checkpoint_every) == ({"code": L0(keep=0.5)}, 0.2, 90.0)
    assert plan.evaluate_at == spec.evaluate_at()
    assert spec.plan_with({}, {}).settings == {}
    with pytest.raises(Mistake, match="'up9'"):
        spec.plan_with({"up9": L0Inf(k=1)}, {})


def test_lengths_of_time_are_read_in_seconds() -> None:
    spec = spec_of(time="2h")
    assert (spec.seconds("time"), spec.seconds("checkpoint_every")) == (7200.0, 300.0)
    assert spec_of().seconds("time") is None


def test_freezing_writes_in_every_default_and_nothing_twice() -> None:
    frozen = freeze(spec_of(space={"sites": ["code", "h0"], "regularizers": {"l0inf": {"k": [1, 12]}}}))
    assert frozen.plan == {"lr": 0.1, "depth": 3}
    assert frozen.space.sites == ("h0", "code")  # in order of execution, however they were written
    assert frozen.space.regularizers == {"l0inf": {"k": {"h0": (1, 12), "code": (1, 3)}}}
    assert freeze(frozen) == frozen
    assert frozen.sparsity_space().ranges == {"h0": {"l0inf": (1, 12)}, "code": {"l0inf": (1, 3)}}


def test_a_range_for_one_site_leaves_the_kind_to_that_site() -> None:
    ranges = {"l0": {"keep": [0.1, 0.5]}, "l0inf": {"k": {"code": [1, 2]}}}
    space = freeze(spec_of(space={"regularizers": ranges})).sparsity_space()
    assert {site: set(kinds) for site, kinds in space.ranges.items()} == {
        "h0": {"l0"},
        "thin": {"l0"},
        "code": {"l0", "l0inf"},
    }


@pytest.mark.parametrize(("trials", "startup"), [(1, 1), (2, 1), (24, 8), (29, 9), (30, 10), (400, 10)])
def test_startup_trials_are_a_third_of_a_short_study(trials: int, startup: int) -> None:
    assert freeze(spec_of(budget={"trials": trials})).search.startup_trials == startup


def test_startup_trials_stay_those_of_the_record_when_a_study_is_extended() -> None:
    short, long = spec_of(budget={"trials": 12}), spec_of(budget={"trials": 60})
    recorded = freeze(short)
    extended = freeze(long, startup_trials=recorded.search.startup_trials)
    assert extended.search.startup_trials == 4
    assert differences(recorded, extended) == []
    asked = spec_of(search={"startup_trials": 7})
    assert freeze(asked, startup_trials=4).search.startup_trials == 7


@pytest.mark.parametrize("sampler", ["gp", "qmc"])
def test_a_static_space_may_be_searched_by_any_sampler(sampler: str) -> None:
    space = {"sites": ["code"], "regularizers": {"l0": {"keep": [0.1, 0.5]}}}
    spec = spec_of(space={**space, "extras": {"lr": [0.01, 1]}}, search={"sampler": sampler})
    assert freeze(spec).search.sampler == sampler
    with pytest.raises(Mistake, match="this space is conditional"):
        freeze(spec_of(space={**space, "sites": ["h0", "code"]}, search={"sampler": sampler}))


def test_a_frozen_spec_of_before_an_option_existed_is_the_same_study_where_that_is_at_its_default() -> None:
    frozen = freeze(spec_of("dip", plan={"size": 32, "network": {"width": 4, "scales": 2}}))
    earlier = load_spec(frozen.model_copy(update={"plan": {**frozen.plan}}))
    del earlier.plan["image_is"]
    assert differences(earlier, frozen) == differences(frozen, earlier) == []
    other = {**frozen.plan, "image_is": "degraded", "objective": "held_out"}
    assert differences(earlier, frozen.model_copy(update={"plan": other})) == [
        "plan.image_is",
        "plan.objective",
    ]


def test_a_confirmations_plan_may_be_another() -> None:
    spec = freeze(
        spec_of("dip", plan={"size": 32, "network": {"width": 4, "scales": 2}, "unseen_images": ["coffee"]})
    )
    settings = {"up0": L0(keep=0.5)}
    plans = {role: spec.plan_with(settings, {}, role=role) for role in ("proposal", "confirmation")}
    assert [plan.options.image for plan in plans.values()] == ["astronaut", "coffee"]
    assert all(plan.settings == settings for plan in plans.values())


def test_the_objective_decides_what_is_better() -> None:
    spec = load_spec("dip-noisy-photo")
    assert (spec.metric(), spec.direction(), spec.companions()) == ("held_out", "minimize", {})
    spec = load_spec("dip-denoise", overrides=["plan.objective=sure"])
    assert (spec.metric(), spec.direction(), spec.companions()) == ("sure", "minimize", {"psnr": "maximize"})


def test_a_spec_that_is_not_frozen_has_no_space_yet() -> None:
    for space in ({}, {"sites": ["code"]}):
        with pytest.raises(RuntimeError, match="the spec of 'mine' is not frozen"):
            spec_of(space=space).sparsity_space()


def test_what_is_compared_and_what_is_not() -> None:
    first = freeze(spec_of())
    for same in (
        {"budget": {"trials": 99}, "search": {"startup_trials": first.search.startup_trials}},
        {"resources": {"cpu": 2}, "retries": 0, "time": "1h", "checkpoint_every": 9, "uuid": "u"},
        {"prepared": {"data": "0" * 64}},
        {"storage": "s3://x", "tracking": "sqlite:///x", "database": "postgresql://x/y"},
        {"plan": {"lr": 0.1}, "space": {"sites": ["code", "thin", "h0"]}},
    ):
        assert differences(first, freeze(spec_of(**same))) == []
    other = freeze(
        spec_of(
            plan={"lr": 0.2},
            space={
                "extras": {"lr": [0.1, 1]},
                "regularizers": {"l0": {"keep": [0.1, 0.5]}, "l1": {"weight": [1, 2]}},
            },
            budget={"steps": 1000, "reduction": 2},
            search={"seed": 1},
        )
    )
    assert differences(first, other) == [
        "plan.lr",
        "space.regularizers.l1.weight",
        "space.regularizers.l0.keep",
        "space.regularizers.l0inf.k.h0",
        "space.regularizers.l0inf.k.code",
        "space.extras",
        "budget.steps",
        "budget.grace",
        "budget.reduction",
        "search.seed",
        "space.extras.lr",
    ]
    assert differences(first, freeze(spec_of("one")))[:1] == ["task"]


def test_where_data_lie_is_no_difference_and_what_they_are_is() -> None:
    here, there, other = (
        freeze(load_spec({"name": "s", "task": "gan", "plan": plan}))
        for plan in ({"root": "here"}, {"root": "there", "download": True}, {"data": "mnist"})
    )
    assert differences(here, there) == []
    assert differences(here, other) == ["plan.data"]


def test_startup_trials_that_one_leaves_open_are_no_difference() -> None:
    first, second = spec_of(search={"startup_trials": 3}), spec_of()
    assert differences(first, second) == differences(second, first) == []
    assert differences(first, spec_of(search={"startup_trials": 4})) == ["search.startup_trials"]


@pytest.mark.parametrize(
    "spec",
    [
        spec_of("dip"),
        spec_of("dip", plan={"lr": 1e-5}, space={"extras": {"lr": [1e-6, 1e-2]}}, time="5m"),
        load_spec("dip-denoise-full"),
    ],
)
def test_a_spec_comes_back_from_its_yaml_and_from_its_json(spec: StudySpec, tmp_path: Path) -> None:
    for one in (spec, freeze(spec)):
        path = tmp_path / "spec.yaml"
        path.write_text(to_yaml(one), encoding="utf-8")
        assert load_spec(path) == one
        assert StudySpec.model_validate(one.model_dump(mode="json")) == one
        assert yaml.safe_load(to_yaml(one))["space"] == one.model_dump(mode="json")["space"]


def test_whole_numbers_stay_whole_in_what_is_drawn() -> None:
    frozen = StudySpec.model_validate(freeze(spec_of()).model_dump(mode="json"))
    low, high = frozen.sparsity_space().ranges["h0"]["l0inf"]
    assert (type(low), type(high), high) == (int, int, 63)


def test_the_number_that_a_rung_keeps_is_finite_for_every_reduction() -> None:
    assert all(
        math.isfinite(step) for r in (2, 2.5, 100) for step in spec_of(budget={"reduction": r}).evaluate_at()
    )


def test_a_task_of_the_users_own_is_found_by_its_module() -> None:
    spec = spec_of("one")
    assert find_task(spec.task) is own_tasks.ONE
    assert (spec.metric(), spec.direction()) == ("score", "maximize")


def test_the_example_of_the_docstring_runs() -> None:
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("key", "value", "sentence"),
    [
        ("budget.steps", "-1" + "0" * 400, r"budget.steps is -1000\d*\.\.\., but it must be greater"),
        ("time", "-1" + "0" * 400, r"time is -1000\d*\.\.\., but it must be a positive number"),
        ("plan.size", "1000000", "plan.size is 1000000, but it must be less than or equal to 4096"),
        ("plan.image", "x" * 5000, "image is 'x+', but there is no such file"),
        ("plan.image", "~nobody-has-this-name/x.png", "image is '~nobody.*', but there is no such file"),
        ("database", "x" * 5000, r"database is 'x+\.\.\.x+', but it must be an address"),
    ],
)
def test_a_value_that_no_machine_can_hold_is_one_sentence(key: str, value: str, sentence: str) -> None:
    with pytest.raises(Mistake, match=sentence) as told:
        freeze(load_spec("dip-denoise", overrides=[f"{key}={value}"]))
    assert "\n" not in str(told.value)


def test_a_key_that_is_no_word_is_quoted() -> None:
    with pytest.raises(Mistake, match=r"^'pl\\nan' is not a known key; did you mean plan") as told:
        load_spec({"name": "x", "pl\nan": {}})
    assert "\n" not in str(told.value)


def test_how_a_confirmation_on_unseen_pictures_is_measured_is_said_of_those() -> None:
    plan = {"size": 32, "more_images": ["coffee"], "unseen_images": ["chelsea"]}
    spec = load_spec({"name": "x", "plan": plan})
    assert spec.measured().endswith("; the mean over 2 pictures")
    assert "pictures" not in spec.measured("confirmation")
