"""Whatever is wrong in a section of a study is refused by its dotted key, in one sentence."""

from typing import Any

import pytest

from trainers.settings import Mistake
from tuner.sections import Space
from tuner.spec import freeze, load_spec


def refused(sentence: str, content: dict[str, Any], *overrides: str) -> None:
    with pytest.raises(Mistake, match=sentence) as error:
        freeze(load_spec({"name": "mine", "task": "own_tasks:SITES", **content}, overrides=overrides))
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        (
            "bugdet.trials=8",
            r"bugdet is not a known key; did you mean budget, .*name, task, plan, space, budget",
        ),
        (
            "budget.trails=8",
            "budget.trails is not a known key; did you mean trials, .* steps, grace, reduction",
        ),
        ("space.site=all", "space.site is not a known key; .*sites, max_sites, regularizers, extras"),
        ("search.sampl=tpe", "search.sampl is not a known key; .*sampler, scheduler, seed, startup_trials"),
        ("resources.cpus=1", "resources.cpus is not a known key; .*cpu, gpu, concurrent"),
        ("plan.lrr=1", "plan.lrr is not a known key; .*lr, depth"),
        ("plan=3", "plan is 3, but it is a section: write its keys below it"),
        ("space=[a]", r"space is \['a'\], but it is a section"),
        ("budget=all", "budget is 'all', but it is a section"),
        ("name=a/b", "name is 'a/b', but it must be a name, not a path"),
        ("name=..", "name is '..', but it must be a name, not a path"),
        ("name=''", "name is '', but it must be a name, not a path"),
        ("name=7", "name is 7, but it must be a name"),
        ('name="a\\n"', "but it must be a name, not a path"),
        ("name=null", "name is None, but it must be a name"),
        ("name=" + "x" * 101, "at most 100"),
        ("task=dop", "task is 'dop', but the known tasks are dip"),
        ("task=own_tasks:NOWHERE", "task is 'own_tasks:NOWHERE', but it cannot be imported"),
        (
            "task=own_tasks:NONE_LEFT",
            "task is 'own_tasks:NONE_LEFT', but its network has no site, so nothing is left",
        ),
        ("plan.lr=fast", "plan.lr is 'fast', but"),
        (
            "space.sites=code",
            r"space.sites is 'code', but it must be a list of sites such as \[up0, code, .2.1.\], or",
        ),
        ("space.sites=[]", r"space.sites is \[\], but no site is left"),
        ("space.sites=null", "space.sites is None, but it must be a list of sites"),
        ("space.sites=[0.1]", "must be a list of sites"),
        ("space.sites=[code, code]", "each site must be named once, and 'code' is not"),
        ("space.sites=[cod]", "space.sites names 'cod', but the sites of this network are h0, thin, code"),
        ("space.max_sites=0", "space.max_sites is 0, but it must be greater than or equal to 1"),
        ("space.max_sites=true", "space.max_sites is True, but it must be"),
        ("space.max_sites=1.5", "space.max_sites is 1.5, but it must be"),
        ("space.regularizers={}", "space.regularizers: {} names no regularizer to search"),
        ("space.regularizers=null", "space.regularizers: None names no regularizer to search"),
        ("space.regularizers.l9={}", "space.regularizers.l9: 'l9' is not a regularizer; .* l1, l0, l0inf"),
        ("space.regularizers.l0.kep=[0.1, 1]", r"space.regularizers.l0: .*; write {keep: \[low, high\]}"),
        ("space.regularizers.l0.keep=[0.5, 0.1]", "space.regularizers.l0.keep: .* is upside down; write"),
        ("space.regularizers.l0.keep=[0.5, 1.5]", "space.regularizers.l0.keep: keep is 1.5, but"),
        ("space.regularizers.l0.keep=[0, 1]", "space.regularizers.l0.keep: .* must start above 0"),
        ("space.regularizers.l0inf.k=[0, 4]", "space.regularizers.l0inf.k: .* must start above 0"),
        ("space.regularizers.l0inf.k=[1.5, 4]", "space.regularizers.l0inf.k: 1.5 is not a whole number"),
        ("space.regularizers.l1.weight=[-1, 1]", "space.regularizers.l1.weight: .* must start above 0"),
        (
            "space.regularizers.l1.weight=[1, .inf]",
            "space.regularizers.l1.weight: inf is not a finite number",
        ),
        (
            "space.regularizers.l1.weight=[.nan, 1]",
            "space.regularizers.l1.weight: nan is not a finite number",
        ),
        (
            "space.regularizers.l1.weight=[true, 1]",
            "space.regularizers.l1.weight: True is not a finite number",
        ),
        ("space.regularizers.l0inf.k=[4, 12]", "space.regularizers.l0inf.k.code: .* lies wholly above 3"),
        (
            "space.regularizers.l0inf.k={up9: [1, 2]}",
            "space.regularizers.l0inf.k: 'up9' is not among the sites",
        ),
        (
            "space.regularizers={l0: {keep: {h0: [0.1, 1]}}}",
            "space.sites names 'thin', but no regularizer of .*",
        ),
        ("space.regularizers={l0inf: {k: [1, 2]}}", "space.sites names 'thin', but no regularizer of"),
        ("space.extras=[lr]", "space.extras is .*, but it must map options to ranges"),
        ("space.extras.lr=0.1", r"space.extras.lr: 0.1 is not a range"),
        ("space.extras.lr=[1, 0.1]", r"space.extras.lr: \[1, 0.1\] is upside down"),
        ("space.extras.lrr=[0.1, 1]", "extras.lrr is not an option of task sites that extras can vary"),
        ("budget.trials=0", "budget.trials is 0, but it must be greater than or equal to 1"),
        ("budget.trials=true", "budget.trials is True, but it must be"),
        ("budget.trials='8'", "budget.trials is '8', but it must be"),
        ("budget.trials=.nan", "budget.trials is nan, but it must be"),
        ("budget.steps=1", "budget.steps is 1, but it must be greater than or equal to 2"),
        ("budget.steps=1e3", "budget.steps is 1000.0, but it must be"),
        (
            "budget={steps: 50, grace: 100}",
            "budget.grace is 100, but the first rung must lie below the 50 steps",
        ),
        ("budget={steps: 100, grace: 100}", "budget.grace is 100, but the first rung must lie below the 100"),
        (
            "budget.grace=0",
            "budget.grace is 0, but it must be greater than or equal to 1$",
        ),
        ("budget.trials=-3", "budget.trials is -3, .* or equal to 1: the default is 40$"),
        ("budget.reduction=1", r"budget.reduction is 1, but it must be a number in 2..100"),
        ("budget.reduction=1e300", r"budget.reduction is 1e\+300, but it must be a number in 2..100"),
        ("budget.reduction=true", r"budget.reduction is True, but it must be a number in 2..100"),
        ("budget.reduction=.nan", r"budget.reduction is nan, but it must be a number in 2..100"),
        ("budget.baseline_seeds=0", "budget.baseline_seeds is 0, but it must be greater than or equal to 1"),
        ("budget.evaluate_at=[0]", "budget.evaluate_at names step 0, but it must be in 1..3000"),
        ("budget.evaluate_at=[3001]", "budget.evaluate_at names step 3001, but it must be in 1..3000"),
        ("budget.evaluate_at=[true]", "budget.evaluate_at.0 is True, but"),
        (
            "search.sampler=tep",
            "search.sampler is 'tep', but the samplers are tpe, random, gp, qmc; did you mean",
        ),
        ("search.sampler=gp", "search.sampler is 'gp', but this space is conditional .* tpe or random"),
        ("search.sampler=qmc", "search.sampler is 'qmc', but this space is conditional .* tpe or random"),
        ("search.scheduler=hyperband", "search.scheduler is 'hyperband', but it must be 'asha' or 'none'"),
        ("search.seed=-1", "search.seed is -1, but it must be greater than or equal to 0"),
        ("search.seed=4294967296", "search.seed is 4294967296, but it must be less than"),
        (
            "search.startup_trials=-1",
            "search.startup_trials is -1, but it must be greater than or equal to 0",
        ),
        ("resources.cpu=0", "resources.cpu is 0, but it must be greater than or equal to 1"),
        (
            "resources.gpu=2",
            r"resources.gpu is 2, but it must be a number in 0..1, as a trial uses at most one",
        ),
        ("resources.gpu=-0.5", "resources.gpu is -0.5, but it must be a number in 0..1"),
        ("resources.gpu=true", "resources.gpu is True, but it must be a number in 0..1"),
        ("resources.concurrent=0", "resources.concurrent is 0, but it must be greater than or equal to 1"),
        ("retries=-1", "retries is -1, but it must be greater than or equal to 0"),
        ("time=soon", "time is 'soon', but it must be a positive number of seconds, or as 90s, 30m, 2h"),
        ("time=0", "time is 0, but it must be a positive number of seconds"),
        ("time=true", "time is True, but it must be a positive number of seconds"),
        ("checkpoint_every=5x", "checkpoint_every is '5x', but it must be a positive number of seconds"),
        ("checkpoint_every=null", "checkpoint_every is None, but a training must be saved"),
        ("database=study.db", "database is 'study.db', but it must be an address such as postgresql:"),
        ("storage=''", "storage is '', but"),
        ("tracking=5", "tracking is 5, but"),
    ],
)
def test_a_wrong_key_or_value_is_refused_in_one_sentence(override: str, sentence: str) -> None:
    refused(sentence, {}, override)


def test_a_study_needs_its_name() -> None:
    with pytest.raises(Mistake, match="name is missing"):
        load_spec({"task": "dip"})


def test_a_mapping_that_no_file_could_hold_is_refused() -> None:
    content: dict[Any, Any] = {"plan": {}}
    content["plan"]["self"] = content
    refused("is nested deeper than", content)
    refused("1 is no key: a key is text", {1: 2})  # type: ignore[dict-item]


def test_a_site_that_is_a_number_need_not_be_quoted() -> None:
    assert Space.model_validate({"sites": [1, "2.0", "code"]}).sites == ("1", "2.0", "code")
