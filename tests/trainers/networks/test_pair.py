"""The contract that every pair of generator and discriminator keeps."""

import copy
import io
from itertools import product
from typing import Any

import pytest
import torch
from fixed_program import RefuseCopies, RefuseTheHost
from gans import CLASSES, SIZE, SMALL, drawn, equal, images, labels, latents, opened, small, state
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn.utils import parametrize
from trainings import small_gan

from trainers import pair_options
from trainers.gan import GanTraining
from trainers.networks import dcgan
from trainers.networks.build import PAIRS, build_pair
from trainers.networks.pair import PictureForm
from trainers.pair_options import DcganNetwork
from trainers.settings import L0, L1, L0Inf, Mistake
from trainers.sparsity import attach
from trainers.tasks import TASKS, networks_of

KIND = pytest.mark.parametrize("kind", PAIRS)
OF_CLASSES = [kind for kind, config in SMALL.items() if config.LABELS]
NORM = pytest.mark.parametrize("spectral_norm", [False, True])


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_no_network_is_left_out() -> None:
    assert set(networks_of(TASKS["gan"])) == PAIRS.keys() == SMALL.keys() == pair_options.PAIRS.keys()


@KIND
@pytest.mark.parametrize(("size", "channels"), list(product([8, 12, 28], [1, 3])))
def test_shapes_and_ranges(kind: str, size: int, channels: int) -> None:
    generator, discriminator = small(kind, size=size, channels=channels)
    assert generator.latent == 6
    drawn_ones = generator(latents(), labels())
    assert drawn_ones.shape == (4, channels, size, size)
    assert drawn_ones.abs().max() <= 1
    features = discriminator.eval().features(drawn_ones)
    assert features.shape == (4, discriminator.feature_count)
    scores = discriminator(drawn_ones, labels())
    assert scores.shape == (4,)
    if kind not in OF_CLASSES:
        assert torch.equal(scores, discriminator.score(features)[:, 0])


@KIND
def test_pictures_of_64_pixels_are_drawn_judged_and_learnt_from(kind: str) -> None:
    config = SMALL[kind].model_copy(update={"blocks": 4})
    pair = build_pair(config, PictureForm(64, 3, CLASSES), generator=drawn(0))
    generator, discriminator = (opened(network) for network in pair)
    every = torch.arange(CLASSES)
    drawn_ones = generator(latents(CLASSES), every)
    assert drawn_ones.shape == (CLASSES, 3, 64, 64)
    discriminator(drawn_ones, every).square().mean().backward()
    for network in (generator, discriminator):
        assert all(p.grad is not None and p.grad.abs().max() > 0 for p in network.parameters())


@KIND
@pytest.mark.parametrize(("size", "blocks"), [(8, 1), (8, 3), (20, 2), (64, 4)])
def test_sites_are_submodules_that_run_in_order_with_the_shapes_that_the_plan_knows(
    kind: str, size: int, blocks: int
) -> None:
    config = SMALL[kind].model_copy(update={"blocks": blocks})
    generator, _ = build_pair(config, PictureForm(size, 1, CLASSES), generator=drawn(0))
    seen: dict[str, Tensor] = {}
    for site in generator.sites:
        generator.get_submodule(site).register_forward_hook(
            lambda module, inputs, output, site=site: seen.update({site: output})
        )
    entered: list[Tensor] = []
    convolutions = [module for module in generator.modules() if isinstance(module, nn.Conv2d)]
    for convolution in convolutions:
        convolution.register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0]))
    generator(latents(), labels())
    assert list(config.sites(size).items()) == [(s, tuple(h.shape[1:])) for s, h in seen.items()]
    assert tuple(seen) == generator.sites
    assert all(h.min() == 0 < h.max() for h in seen.values())  # after a ReLU
    assert entered[-1] is seen["code"]  # the paper's split: a convolution turns the code into the picture


@KIND
def test_regularizers_act_at_every_site(kind: str) -> None:
    generator, _ = small(kind)
    free = generator(latents(), labels()).detach()
    settings = {"h0": L0(0.1), "h1": L0Inf(1), "code": L1(0.1)}
    attached = attach(generator, settings)
    assert not torch.equal(generator(latents(), labels()), free)
    measured = attached.sparsity()
    assert measured["h0"]["density"] <= 0.11
    assert measured["h1"]["density"] <= 1 / SMALL[kind].sites(SIZE)["h1"][0]
    assert attached.penalty().item() == pytest.approx(0.1 * measured["code"]["mean_abs"])


@KIND
@NORM
def test_a_state_that_is_saved_and_loaded_goes_on_with_the_same_bits(kind: str, spectral_norm: bool) -> None:
    pairs = [small(kind, seed=seed, spectral_norm=spectral_norm) for seed in (0, 1)]
    inputs = (latents(), images())
    for network, other, x in zip(*pairs, inputs, strict=True):
        network(x, labels())  # moves running statistics and u on
        file = io.BytesIO()
        torch.save(network.state_dict(), file)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True))
        for _ in range(2):
            assert torch.equal(network(x, labels()), other(x, labels()))
        assert equal(state(network), state(other))
        assert torch.equal(network.eval()(x, labels()), other.eval()(x, labels()))


@KIND
@NORM
def test_weights_follow_the_generator_alone(kind: str, spectral_norm: bool) -> None:
    torch.manual_seed(8)
    before = torch.get_rng_state()
    first, same, other = (small(kind, seed=seed, spectral_norm=spectral_norm) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    for i in (0, 1):
        assert equal(state(first[i]), state(same[i]))
        assert not equal(state(first[i]), state(other[i]))


@KIND
@NORM
def test_one_step_changes_every_parameter(kind: str, spectral_norm: bool) -> None:
    generator, discriminator = small(kind, spectral_norm=spectral_norm)
    every = torch.arange(CLASSES)  # or the others' vectors would stay
    discriminator(generator(latents(CLASSES), every), every).square().mean().backward()
    for network in (generator, discriminator):
        before = state(network)
        torch.optim.SGD(network.parameters(), lr=1.0).step()
        names = [name for name, _ in network.named_parameters()]
        assert [name for name in names if torch.equal(before[name], network.get_parameter(name))] == []
        # and by more than the round-off that a parameter without influence would show
        sizes = {
            name: float(p.grad.abs().max()) for name, p in network.named_parameters() if p.grad is not None
        }
        assert min(sizes.values()) > 1e-5 * max(sizes.values()), sizes


@KIND
@NORM
@pytest.mark.parametrize("device", ["cpu", "cuda"])  # a fake GPU needs none
def test_a_pass_and_its_gradients_wait_for_nothing_on_the_device(
    kind: str, spectral_norm: bool, device: str
) -> None:
    config = SMALL[kind].model_copy(update={"spectral_norm": spectral_norm})
    with FakeTensorMode():
        with torch.device(device):
            generator, discriminator = (make(config, PictureForm(SIZE, 3, CLASSES)) for make in PAIRS[kind])
            z, y = torch.randn(4, 6), torch.zeros(4).long()
        with RefuseTheHost(), RefuseCopies():
            scores = discriminator(generator(z, y), y)
            if device == "cpu":  # autograd's engine wants a real GPU
                scores.mean().backward()
        assert scores.device.type == device


@KIND
@NORM
def test_many_are_mapped_as_they_run_alone(kind: str, spectral_norm: bool) -> None:
    """Outputs, gradients and buffers, by vmap over stacked states, as trainings that share a GPU need it."""
    pairs = [small(kind, seed=seed, spectral_norm=spectral_norm) for seed in range(3)]
    for i, inputs in enumerate((latents, images)):
        networks = [pair[i].double() for pair in pairs]
        xs = torch.stack([inputs(seed=seed) for seed in range(3)]).double()
        parameters, buffers = stack_module_state(networks)
        shell = copy.deepcopy(networks[0]).to("meta")

        def loss(p: Any, b: Any, x: Tensor, shell: nn.Module = shell) -> Tensor:
            return functional_call(shell, (p, b), (x, labels())).square().mean()

        mapped = vmap(grad(loss))(parameters, buffers, xs)
        for seed, (network, x) in enumerate(zip(networks, xs, strict=True)):
            network(x, labels()).square().mean().backward()
            for name, parameter in network.named_parameters():
                torch.testing.assert_close(mapped[name][seed], parameter.grad, rtol=1e-8, atol=1e-10)
            for name, buffer in network.named_buffers():
                torch.testing.assert_close(buffers[name][seed], buffer, rtol=1e-8, atol=1e-10)


@KIND
@NORM
def test_a_copy_computes_the_same_and_lives_by_itself(kind: str, spectral_norm: bool) -> None:
    generator, discriminator = small(kind, spectral_norm=spectral_norm)
    attach(generator, {"code": L0(0.2)})  # an averaged generator is such a copy
    for network, x in ((generator, latents()), (discriminator, images())):
        network(x, labels())
        twin = copy.deepcopy(network)
        before = state(network)
        assert equal(state(twin), before)
        output = twin(x, labels())
        output.mean().backward()
        torch.optim.SGD(twin.parameters(), lr=1.0).step()
        assert equal(state(network), before)
        assert all(parameter.grad is None for parameter in network.parameters())
        assert torch.equal(network(x, labels()), output)


@KIND
@NORM
def test_a_gradient_penalty_can_be_trained(kind: str, spectral_norm: bool) -> None:
    _, discriminator = small(kind, spectral_norm=spectral_norm)
    x = images().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(x, labels()).sum(), x, create_graph=True)
    slope.square().sum().backward()
    assert discriminator.score.bias.grad is None  # it has no part in a slope
    assert all(
        p.grad is not None and p.grad.abs().max() > 0
        for name, p in discriminator.named_parameters()
        if "bias" not in name
    )


@KIND
@NORM
def test_a_pictures_score_does_not_depend_on_its_neighbours(kind: str, spectral_norm: bool) -> None:
    _, discriminator = small(kind, spectral_norm=spectral_norm)
    real, fake = images(seed=0), images(seed=1)
    discriminator.eval()
    together = discriminator(torch.cat([real, fake]), torch.cat([labels(), labels()]))
    apart = [discriminator(one, labels()) for one in (real, fake)]
    torch.testing.assert_close(together, torch.cat(apart))


@pytest.mark.parametrize("kind", [kind for kind in PAIRS if kind not in OF_CLASSES])
def test_labels_are_taken_and_not_looked_at(kind: str) -> None:
    for network, x in zip(small(kind), (latents(), images()), strict=True):
        assert torch.equal(network.eval()(x, labels()), network(x))


@pytest.mark.parametrize("kind", OF_CLASSES)
def test_each_picture_and_score_is_of_its_class_alone_and_needs_one(kind: str) -> None:
    for network, x in zip(small(kind), (latents(), images()), strict=True):
        before = network.eval()(x, labels())
        changed = labels()
        changed[1] = (changed[1] + 1) % CLASSES
        same = (
            (network(x, changed) == before).flatten(1).all(1)
            if before.dim() > 1
            else network(x, changed) == before
        )
        assert same.tolist() == [True, False, True, True]
        with pytest.raises(Mistake, match=r"labels are None, but .* pass N int64"):
            network(x)


@pytest.mark.parametrize("kind", OF_CLASSES)
def test_pictures_without_labels_are_refused_by_both(kind: str) -> None:
    for make in PAIRS[kind]:
        with pytest.raises(
            Mistake, match=rf"kind is '{kind}'.*have no labels: take data with labels .*, or anoth"
        ):
            make(SMALL[kind], PictureForm(SIZE, 3, classes=1))


@KIND
def test_a_discriminator_says_what_it_judges(kind: str) -> None:
    _, discriminator = small(kind, channels=1)
    assert discriminator.form == PictureForm(SIZE, channels=1, classes=CLASSES)


class PerClass(dcgan.Generator):
    """A picture of a class is drawn from a latent vector to which that class adds its own."""

    def __init__(self, config: DcganNetwork, form: PictureForm) -> None:
        super().__init__(config, form)
        self.of_class = nn.Embedding(form.classes, config.latent)

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        return super().forward(latents if labels is None else latents + self.of_class(labels))


class Projection(dcgan.Discriminator):
    """arXiv 1802.05637: a picture's features, projected on a vector of its class, add to its score."""

    def __init__(self, config: DcganNetwork, form: PictureForm) -> None:
        super().__init__(config, form)
        self.of_class = nn.Embedding(form.classes, self.feature_count)

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        features = self.features(images)
        scores: Tensor = self.score(features).squeeze(1)
        return scores if labels is None else scores + (self.of_class(labels) * features).sum(1)


def test_a_pair_that_is_conditioned_on_labels_is_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is built, and its vectors of each class are trained, by what builds and trains the others."""
    monkeypatch.setitem(PAIRS, "dcgan", (PerClass, Projection))
    training = GanTraining(small_gan(options={"batch": 64}), seed=0)
    before = [state(training.generator), state(training.discriminator)]
    training.step()
    for network, old in zip((training.generator, training.discriminator), before, strict=True):
        assert old["of_class.weight"].shape[0] == 10
        changed = (network.of_class.weight != old["of_class.weight"]).any(1)
        assert changed.all()  # 64 pictures leave out no class, for this seed
    shown = training.evaluate()[1]["samples"]
    latents, labels = training.fixed
    training.fixed = latents, (labels + 1) % 10
    assert (training.evaluate()[1]["samples"] != shown).any()


@KIND
def test_spectral_norm_is_on_every_weight_of_the_discriminator_or_on_none(kind: str) -> None:
    for asked in (False, True):
        generator, discriminator = small(kind, spectral_norm=asked)
        layers = [m for m in discriminator.modules() if isinstance(m, nn.Conv2d | nn.Linear | nn.Embedding)]
        assert len(layers) >= 4
        assert {parametrize.is_parametrized(layer, "weight") for layer in layers} == {asked}
        layers = [m for m in generator.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
        assert {parametrize.is_parametrized(m, "weight") for m in layers} == {asked and kind == "sagan"}


@KIND
def test_nothing_works_in_place(kind: str) -> None:
    for network in small(kind):
        assert not any(getattr(module, "inplace", False) for module in network.modules())


@KIND
@pytest.mark.parametrize(("form", "told"), [
    ((30, 3, 10), "size is 30, but a network of 2 blocks doubles a map 2 times: take a multiple of 4"),
    ((0, 3, 10), "size is 0, but the networks draw pictures of at least 4 pixels"),
    ((-8, 3, 10), "size is -8"),
    ((8, 0, 10), "channels is 0, but a picture has at least 1"),
    ((8, 3, 0), "classes is 0, but every picture is of one: take 1 where there are no labels"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused_by_both(kind: str, form: tuple[int, int, int], told: str) -> None:
    for make in PAIRS[kind]:
        with pytest.raises(Mistake, match=told):
            make(SMALL[kind], PictureForm(*form))
