"""Trainings over networks that know nothing of this project."""

import copy
import itertools
from pathlib import Path
from typing import Any

import own_networks
import pytest
import torch
from torch import nn
from trainings import bits, plain, small_dip, small_gan

from trainers import checkpoint
from trainers.dip import DipTraining, train_dip
from trainers.gan import GanTraining, train_gan
from trainers.networks.build import build, build_pair
from trainers.networks.pair import PictureForm
from trainers.plan import Plan
from trainers.settings import L0, L1, L0Inf, Mistake
from trainers.tasks import TASKS, make_plan, plan_from_json, prepared_of, sites_of

GREY = {"data": "digits", "size": 8}
SHARED = {"kind": "own_networks:Shared"}
CONDITIONAL = {
    "kind": "own_networks:Conditional",
    "output": "tanh",
    "names": {"h0": "to_map.2", "code": "to_code.2"},
    "discriminator": {"kind": "own_networks:Judge", "arguments": {"width": 3}},
}
HOURGLASS = {
    "kind": "own_networks:hourglass",
    "input_channels": 8,
    "multiple": 4,
    "output": "sigmoid",
}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def gan(network: Any, **changes: Any) -> Plan:
    return small_gan(options={"network": network}, **changes)


def dip(network: Any, **changes: Any) -> Plan:
    return small_dip(options={"network": network}, **changes)


def test_sites_come_from_a_forward_pass_under_the_modules_names_or_the_users() -> None:
    assert sites_of(TASKS["gan"], gan(SHARED)) == {"act": (8, 4, 4)}
    assert sites_of(TASKS["gan"], gan(CONDITIONAL)) == {"h0": (64, 1, 1), "code": (4, 8, 8)}
    assert sites_of(TASKS["dip"], dip(HOURGLASS)) == {"2": (6, 10, 10), "5": (6, 5, 5), "8": (6, 20, 20)}
    named = HOURGLASS | {"names": {"code": 8, "low": "4"}}  # as YAML reads them
    assert sites_of(TASKS["dip"], dip(named)) == {"low": (6, 5, 5), "code": (6, 20, 20)}


def test_the_name_alone_is_a_network_too() -> None:
    assert dip("own_networks:hourglass").options.network.kind == "own_networks:hourglass"
    assert gan("sngan").options.network.kind == "sngan"
    assert gan("sngan").options.loss == "hinge"


@pytest.mark.parametrize(("plan", "train", "penalized"), [
    (gan(SHARED, settings={"act": L1(0.1)}), train_gan, "act"),
    (gan(CONDITIONAL, settings={"code": L0Inf(1), "h0": L0(0.25)}), train_gan, "code"),
    (dip(HOURGLASS, settings={"5": L0(0.2)}), train_dip, "5"),
    (dip(HOURGLASS | {"names": {"code": "8"}}, settings={"code": L0Inf(2)}), train_dip, "code"),
])  # fmt: skip
def test_a_training_searches_over_it_goes_on_exactly_and_its_settings_act(
    plan: Plan, train: Any, penalized: str, tmp_path: Path
) -> None:
    whole = [plain(one) for one in train(plan, seed=3, folder=tmp_path / "whole")]
    list(itertools.islice(train(plan, seed=3, folder=tmp_path / "cut"), 1))
    torch.rand(7)  # what others drew meanwhile
    assert [plain(one) for one in train(plan, seed=3, folder=tmp_path / "cut")] == whole
    saved = [bits(checkpoint.load(tmp_path / name)) for name in ("whole", "cut")]
    assert saved[0] == saved[1]
    last = list(train(plan, seed=3))[-1]
    free = list(train(plan.model_copy(update={"settings": {}}), seed=3))[-1]
    for site in plan.settings:
        assert f"{site}.density" in last.metrics and f"{site}.density" in free.metrics
    assert last.metrics[f"{penalized}.mean_abs"] != free.metrics[f"{penalized}.mean_abs"]
    bound = {L0Inf: lambda one: one.k / 4, L0: lambda one: one.keep, L1: lambda one: 1.0}
    chosen = plan.settings[penalized]
    assert last.metrics[f"{penalized}.density"] <= bound[type(chosen)](chosen) + 1e-6


def test_weights_come_from_the_trainings_seed_and_are_exported_as_the_factorys_own() -> None:
    one, same, other = (GanTraining(gan(SHARED), seed=seed) for seed in (0, 0, 1))
    assert bits(one.exported) == bits(same.exported) != bits(other.exported)
    own_networks.Shared().load_state_dict(one.exported)
    restored = DipTraining(dip(HOURGLASS), seed=0).state_dict()["network"]
    own_networks.hourglass().load_state_dict(restored)


def test_looking_at_a_network_draws_from_nobodys_generator() -> None:
    before = torch.get_rng_state()
    plan = dip(HOURGLASS | {"arguments": {"width": 5}})
    sites_of(TASKS["dip"], plan)
    prepared_of(TASKS["dip"], plan)
    assert torch.equal(torch.get_rng_state(), before)


def test_labels_go_to_the_argument_of_that_name_and_the_picture_is_the_first_output() -> None:
    generator, judge = build_pair(
        gan(CONDITIONAL).options.network, PictureForm(8, 1, 10), generator=torch.Generator()
    )
    z, labels = torch.randn(3, 5), torch.tensor([0, 1, 2])
    assert generator.latent == 5
    drawn = generator(z, labels)
    assert torch.equal(drawn, generator.bare(z, labels)[0].tanh())
    assert not torch.equal(drawn, generator(z, labels.flip(0)))
    assert judge(drawn, labels).shape == (3,)
    assert torch.equal(judge(drawn), judge.network(drawn).view(3))


def test_a_discriminator_of_ours_judges_a_generator_of_theirs() -> None:
    config = gan(
        SHARED | {"latent": 6, "discriminator": {"kind": "sngan", "discriminator_width": 3, "blocks": 2}}
    )
    _, judge = build_pair(config.options.network, PictureForm(8, 1, 10), generator=torch.Generator())
    assert judge.feature_count == 3


@pytest.mark.parametrize(("plan", "told"), [
    (gan(SHARED | {"arguments": {"channels": 3}}), "Shared' gives 2×3×8×8, but two pictures have 2×1×8×8"),
    (gan(SHARED | {"latent": 9}), "a Shared fails .with 9: .* with 9×1×1: "),
    (gan(SHARED | {"discriminator": "own_networks:Features"}), "Features' gives 2×3 for 2 pictures"),
    (gan(SHARED | {"discriminator": "own_networks:nothing"}), "nothing' gives a NoneType"),
    (gan(SHARED | {"names": {"code": "act2"}}), "names has code: act2, but the modules of"),
    (gan(SHARED | {"names": {"a": "act", "b": "act"}}), "the sites 'a' and 'b' are one module"),
    (gan(SHARED | {"discriminator": "own_networks:over_the_batch"}), "gives 1 for 2 pictures, but a discr"),
    (gan("own_networks:from_a_picture"), "takes 3×64×64, but a generator of a GAN takes latent vectors"),
    (gan(CONDITIONAL | {"arguments": {"classes": 3}}), "Conditional' fails on 2×5 .IndexError"),
    (gan("own_networks:Tokens"), "the activation 'act' of 'own_networks:Tokens' is 4×6, but a site is C×H×W"),
    (dip(HOURGLASS | {"kind": "own_networks:Labelled"}), "fails on 1×8×20×20 .TypeError: .*labels"),
    (gan("own_networks:Sharde"), "^plan.network.kind is 'own_networks:Sharde', but it cannot be imported"),
    (gan("no_module_of_mine:Shared"), "cannot be imported .*No module named"),
    (gan("own_networks:MADE"), "MADE', which is one network, but every trial"),
    (dip(HOURGLASS | {"arguments": {"outputs": 1}}), "gives 1×1×20×20, but the picture, padded, has 1×3×20"),
    (small_dip(options={"network": HOURGLASS, "more_images": ["coffee", "camera"]}),
     "gives 1×3×20×20, but the picture, padded, has 1×1×20×20: change its arguments, or the plan"),
    (small_dip(options={"network": HOURGLASS, "unseen_images": ["camera"]}),
     "gives 1×3×20×20, but the picture, padded, has 1×1×20×20"),
    (dip(HOURGLASS | {"arguments": {"depth": 1}}), "cannot be called with {'depth': 1}"),
    (dip(HOURGLASS | {"input_channels": 5}), "a Sequential fails .with 5×20×20"),
    (dip({"kind": "own_networks:functional", "input_channels": 8, "multiple": 4}), "no activation"),
    (dip(HOURGLASS | {"multiple": 64}), "a side of 20 pixels, but plan.network.multiple is 64"),
])  # fmt: skip
def test_a_network_that_does_not_suit_is_refused_before_the_first_trial(plan: Plan, told: str) -> None:
    task = TASKS[plan.task]
    with pytest.raises(Mistake, match=told) as caught:
        sites_of(task, plan)
        prepared_of(task, plan)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("network", "told"), [
    ("hourglass", "kind is 'hourglass', but the networks of task dip are skip, or one of your own"),
    ({"kind": "a b:c"}, "plan.network.kind is 'a b:c', but it must name a factory"),
    (HOURGLASS | {"arguments": {"width": {1, 2}}}, "plan.network.arguments"),
    (HOURGLASS | {"names": {"a|b": "1"}}, "plan.network.names is .*, but 'a|b' cannot name a site"),
    (HOURGLASS | {"names": {"": "1"}}, "plan.network.names is .*, but '' cannot name a site"),
    (HOURGLASS | {"width": 3}, "plan.network.width is not a known key; .*arguments"),
    (3, "plan.network is 3, but it is a section"),
])  # fmt: skip
def test_a_plan_that_names_none_is_refused_in_one_sentence(network: Any, told: str) -> None:
    with pytest.raises(Mistake, match=told):
        dip(network)


def test_a_discriminator_of_ones_own_has_no_features_for_a_loss() -> None:
    _, judge = build_pair(
        gan(CONDITIONAL).options.network, PictureForm(8, 1, 10), generator=torch.Generator()
    )
    with pytest.raises(Mistake, match=r"plan\.loss reads features"):
        judge.features(torch.zeros(1, 1, 8, 8))


def test_a_file_never_causes_an_import() -> None:
    entry = dip("a_module_that_nobody_has:make").model_dump(mode="json")
    with pytest.raises(Mistake, match="a file never causes an import: give the study's file with --spec"):
        plan_from_json(entry, settings={"code": L0(0.5)})
    make_plan(TASKS["dip"], {"network": "a_module_that_nobody_has:make"}, evaluate_at=(1,))  # naming is none


def test_a_network_that_draws_while_it_runs_begins_at_the_seed() -> None:
    plan = dip({"kind": "own_networks:noisy", "input_channels": 8, "multiple": 4})
    first = [plain(one) for one in TASKS["dip"].evaluations(plan, seed=5)]
    nn.Linear(2, 2)
    assert [plain(one) for one in TASKS["dip"].evaluations(plan, seed=5)] == first


def test_a_weight_under_spectral_norm_by_hooks_survives_the_copy_that_is_scored() -> None:
    plan = gan("own_networks:normed")
    training = GanTraining(plan, seed=0)
    for _ in range(2):
        training.step()
    metrics, _ = training.evaluate()
    assert metrics["fd_pixels"] > 0
    own_networks.normed().load_state_dict(training.exported)  # after an evaluation, without our prefix


def test_a_factory_that_changes_its_arguments_changes_no_plan() -> None:
    plan = dip(HOURGLASS | {"kind": "own_networks:reversing", "arguments": {"widths": [3, 5]}})
    before = plan.identity()
    prepared_of(TASKS["dip"], plan)
    first = [plain(one) for one in train_dip(plan, seed=0)]
    assert plan.identity() == before
    assert [plain(one) for one in train_dip(plan, seed=0)] == first


@pytest.mark.parametrize("plan", [
    dip(HOURGLASS | {"kind": "own_networks:same"}),
    gan(SHARED | {"discriminator": "own_networks:same_judge"}),
])  # fmt: skip
def test_a_factory_that_gives_one_network_for_ever_is_refused(plan: Plan) -> None:
    with pytest.raises(Mistake, match="gives the same network each time, but every trial begins with a new"):
        prepared_of(TASKS[plan.task], plan)


@pytest.mark.parametrize(("plan", "changed"), [
    (dip(HOURGLASS), {"hourglass": lambda: own_networks.reversing([3, 4])}),
    (gan(SHARED), {"Shared": lambda: own_networks.normed()}),
])  # fmt: skip
def test_a_study_does_not_go_on_with_a_network_that_was_edited(
    plan: Plan, changed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = plan.model_copy(update={"prepared": prepared_of(TASKS[plan.task], plan)})
    begun.refuse_another(prepared_of(TASKS[plan.task], plan))
    real = {name: getattr(own_networks, name) for name in changed}
    for name, factory in changed.items():
        made = factory() if name == "hourglass" else torch.nn.Sequential(real[name]())
        monkeypatch.setattr(own_networks, name, lambda made=made: copy.deepcopy(made))
    with pytest.raises(Mistake, match=r"^network has the SHA-256 "):
        begun.refuse_another(prepared_of(TASKS[plan.task], plan))


@pytest.mark.parametrize(("plan", "output"), [(dip, "tanh"), (gan, "sigmoid")])
def test_an_end_that_leaves_the_range_of_the_pictures_is_refused(plan: Any, output: str) -> None:
    network = HOURGLASS if plan is dip else SHARED
    with pytest.raises(Mistake, match=f"plan.network.output is '{output}', but it must be"):
        plan(network | {"output": output})


def test_a_factory_that_is_defined_anew_is_looked_at_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = dip(HOURGLASS)
    assert list(sites_of(TASKS["dip"], plan)) == ["2", "5", "8"]
    real = own_networks.hourglass
    monkeypatch.setattr(own_networks, "hourglass", lambda: nn.Sequential(nn.Identity(), real()))
    assert list(sites_of(TASKS["dip"], plan)) == ["1.2", "1.5", "1.8"]


def test_a_factory_that_gives_a_network_in_evaluation_trains_it_all_the_same() -> None:
    assert (
        DipTraining(dip(HOURGLASS | {"kind": "own_networks:evaluating"}), seed=0)
        .restorations[0]
        .fit.network.bare.training
    )


@pytest.mark.parametrize("given", [3, {"kind": "foo"}, "own_networks:MADE"])
def test_what_is_wrong_with_a_discriminator_is_said_of_its_key(given: Any) -> None:
    with pytest.raises(Mistake, match=r"^plan\.network\.discriminator"):
        prepared_of(TASKS["gan"], gan(SHARED | {"discriminator": given}))


def test_build_gives_theirs_and_ours_alike() -> None:
    theirs = build(dip(HOURGLASS).options.network, out_channels=3, generator=torch.Generator())
    assert theirs.training and theirs(torch.rand(1, 8, 20, 20)).shape == (1, 3, 20, 20)
    assert theirs(torch.rand(1, 8, 20, 20)).detach().min() > 0
