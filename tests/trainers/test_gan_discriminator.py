"""Sites in a GAN's discriminator, with settings of their own beside the generator's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from trainings import bits, small_gan

from trainers.gan import GanTraining
from trainers.losses.build import LOSSES
from trainers.losses.loss import Batch
from trainers.networks.build import build_pair
from trainers.networks.pair import PictureForm
from trainers.pair_options import PAIRS
from trainers.plan import Plan
from trainers.settings import L0, L1, L0Inf, Mistake, discriminators, generators
from trainers.sparsity import attach
from trainers.tasks import find_task, sites_of
from tuner.spec import freeze, load_spec

SMALL = {"width": 4, "discriminator_width": 4, "blocks": 2, "latent": 8}


def judged(options: dict[str, Any] | None = None, **changes: Any) -> Plan:
    return small_gan(options={"discriminator_sites": True, "average": 0.0} | (options or {}), **changes)


def trained(plan: Plan, steps: int = 2) -> GanTraining:
    training = GanTraining(plan, seed=0)
    for _ in range(steps):
        training.step()
    return training


@pytest.mark.parametrize("kind", PAIRS)
def test_its_sites_run_in_order_with_the_shapes_that_the_plan_knows(kind: str) -> None:
    sizes = {key: value for key, value in SMALL.items() if key in PAIRS[kind].model_fields}
    config = PAIRS[kind](**sizes)
    _, discriminator = build_pair(config, PictureForm(8, 1, 10), generator=torch.Generator())
    seen: dict[str, Tensor] = {}
    for site, name in discriminator.names.items():
        discriminator.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, site=site: seen.update({site: output})
        )
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(4)
    free = discriminator.eval()(images, labels)
    assert list(config.discriminator_sites(8).items()) == [(s, tuple(h.shape[1:])) for s, h in seen.items()]
    for site in seen:
        attached = attach(discriminator, {site: L0(keep=0.1)}, names=discriminator.names)
        assert not torch.equal(discriminator(images, labels), free)
        attached.detach()


def test_to_look_at_them_changes_nothing_that_is_computed() -> None:
    without, looked = trained(small_gan()), trained(small_gan(options={"discriminator_sites": True}))
    plain, more = without.evaluate()[0], looked.evaluate()[0]
    looked.step(), without.step()
    assert bits(without.state_dict()) == bits(looked.state_dict())
    assert {name: more[name] for name in plain} == plain
    sites = {name.removeprefix("discriminator.").partition(".")[0] for name in more.keys() - plain.keys()}
    assert sites == {"h0", "h1", "code"}


def test_each_network_has_its_own_settings() -> None:
    training = trained(judged(settings={"h0": L0Inf(k=2), "discriminator.h0": L0(keep=0.1)}))
    metrics, _ = training.evaluate()
    assert metrics["h0.density"] <= 2 / 16 < metrics["h1.density"]
    assert metrics["discriminator.h0.density"] <= 0.11 < metrics["discriminator.h1.density"]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_penalty_is_minimised_by_the_discriminator_alone_whatever_its_loss(loss: str) -> None:
    options = {"loss": loss, "network": {"width": 4, "blocks": 2, "latent": 8}}
    ends: list[GanTraining] = []
    for settings in ({}, {"discriminator.h1": L1(weight=10.0)}):
        training = GanTraining(judged(options, settings=settings), seed=0)
        training._discriminator_step()
        ends.append(training)
    free, held = ends
    changed = [
        name
        for name, weight in held.discriminator.named_parameters()
        if not torch.equal(weight, free.discriminator.get_parameter(name))
    ]
    assert "body.2.weight" in changed
    assert bits(free.generator.state_dict()) == bits(held.generator.state_dict())


def test_the_generators_loss_has_no_part_of_the_discriminators_penalty() -> None:
    free, held = (
        GanTraining(judged(settings=settings), seed=0)
        for settings in ({}, {"discriminator.h1": L1(weight=10.0)})
    )
    free._generator_step(), held._generator_step()
    assert bits(free.state_dict()) == bits(held.state_dict())


def test_the_penalty_is_that_of_the_pass_over_real_and_fake_pictures() -> None:
    training = GanTraining(judged(settings={"discriminator.h1": L1(weight=0.3)}), seed=0)
    seen: list[Tensor] = []
    training.discriminator.get_submodule(training.discriminator.names["h1"]).register_forward_hook(
        lambda module, inputs, output: seen.append(output)
    )
    draw = torch.Generator(training.device)
    draw.set_state(training.draw.get_state())
    training._discriminator_step()
    (h,) = seen
    assert h.shape[0] == 2 * training.options.batch
    alone = GanTraining(judged(), seed=0)
    alone.draw.set_state(draw.get_state())
    alone._discriminator_step()
    expected = float(alone.losses[1]) + 0.3 * float(h.detach().abs().mean())
    assert float(training.losses[1]) == pytest.approx(expected, rel=1e-5)


def test_a_gradient_penalty_has_a_pass_of_its_own_and_the_mean_is_taken() -> None:
    options = {"loss": "wasserstein_gp", "network": {"width": 4, "blocks": 2, "latent": 8}}
    training = GanTraining(judged(options, settings={"discriminator.h1": L1(weight=0.3)}), seed=0)
    with training._penalties() as penalties:
        real = Batch(*training.drawn_pictures())
        training.loss.discriminator(training.discriminator, real, real, training.draw)
    assert len(penalties) == 2


def test_it_goes_on_where_it_stopped() -> None:
    plan = judged(settings={"discriminator.code": L1(weight=0.1), "discriminator.h0": L0Inf(k=2)})
    whole, begun, goes_on = trained(plan, 4), trained(plan, 2), GanTraining(plan, seed=0)
    goes_on.load_state_dict(begun.state_dict())
    goes_on.step(), goes_on.step()
    assert bits(goes_on.state_dict()) == bits(whole.state_dict())


def test_settings_for_it_need_its_sites() -> None:
    with pytest.raises(
        Mistake,
        match=r"name the site 'discriminator.h0', but the sites of dcgan are h0, h1, code: set p",
    ):
        small_gan(settings={"discriminator.h0": L1(weight=0.1)})


def test_a_study_that_asks_for_its_sites_and_searches_none_is_refused() -> None:
    study = {"name": "s", "task": "gan", "plan": {"data": "digits", "size": 8, "network": {"blocks": 2}}}
    asked = {**study, "plan": {**study["plan"], "discriminator_sites": True}}
    with pytest.raises(
        Mistake, match=r"space.sites names none of them: add those .* as discriminator.h0, or wri"
    ):
        freeze(load_spec({**asked, "space": {"sites": ["h0"]}}))
    both = freeze(load_spec(asked))
    assert [site for site in both.space.sites if site.startswith("discriminator.")] == [
        "discriminator.h0", "discriminator.h1", "discriminator.code",
    ]  # fmt: skip
    with pytest.raises(
        Mistake, match=r"of this network are h0, h1, code: set plan.discriminator_sites to true"
    ):
        freeze(load_spec({**study, "space": {"sites": ["discriminator.h0"]}}))


def test_a_discriminator_of_ones_own_has_sites_too() -> None:
    network = {
        "kind": "own_networks:Shared",
        "discriminator": {"kind": "own_networks:Judge", "names": {"first": "body.1"}},
    }
    plan = judged({"network": network}, settings={"discriminator.first": L0(keep=0.1)})
    assert "discriminator.first" in sites_of(find_task("gan"), plan)
    assert trained(plan).evaluate()[0]["discriminator.first.density"] <= 0.11


def test_names_for_its_sites_are_refused_where_it_has_none() -> None:
    judge = {"kind": "own_networks:Judge", "names": {"first": "body.1"}}
    with pytest.raises(Mistake, match=r"names names sites, but plan.discriminator_sites is false: set i"):
        small_gan(options={"network": {"kind": "own_networks:Shared", "discriminator": judge}})


@pytest.mark.parametrize("kind", PAIRS)
def test_a_users_pair_is_known_by_the_print_that_it_had_before_there_were_such_sites(kind: str) -> None:
    sizes = {key: value for key, value in SMALL.items() if key in PAIRS[kind].model_fields}
    _, discriminator = build_pair(PAIRS[kind](**sizes), PictureForm(8, 1, 10), generator=torch.Generator())
    assert "inner" not in str(discriminator)


def test_a_file_for_both_is_taken_apart(tmp_path: Path) -> None:
    from trainers.settings import SettingsFile, load, write

    sites = {"h0": L1(weight=0.1), "discriminator.h1": L0Inf(k=3)}
    write(tmp_path / "s.json", SettingsFile(sites=sites, of={"discriminator.h1": 8}))
    read = load(tmp_path / "s.json")
    assert dict(generators(read)) == {"h0": L1(weight=0.1)}
    ours = discriminators(read)
    assert dict(ours) == {"h1": L0Inf(k=3)}
    assert isinstance(ours, SettingsFile) and ours.of == {"h1": 8}
    config = PAIRS["dcgan"](width=4, blocks=2, latent=8)
    generator, discriminator = build_pair(config, PictureForm(8, 1, 1), generator=torch.Generator())
    with pytest.raises(Mistake, match=r"its modules to_h0.*take generators\(…\) or d"):
        attach(generator, tmp_path / "s.json")
    attach(generator, generators(read))
    attach(discriminator, ours, names=discriminator.names)
