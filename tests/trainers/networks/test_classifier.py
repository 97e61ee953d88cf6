"""The residual classifier against a plain rewriting of its definition, and its sites against arithmetic."""

import copy
import io
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from gans import CLASSES, drawn, equal, images, normalised, ruffled, state
from torch import Tensor, nn

from trainers.classifier_options import ClassifierNetwork
from trainers.networks.build import build_classifier
from trainers.networks.classifier import Classifier
from trainers.networks.pair import PictureForm
from trainers.settings import L0, L1, L0Inf, Mistake
from trainers.sparsity import attach

CONFIGS = [
    ClassifierNetwork(width=4, stages=stages, blocks=blocks) for stages, blocks in [(1, 1), (2, 2), (3, 1)]
]
CONFIG = pytest.mark.parametrize("config", CONFIGS, ids=str)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def small(
    config: ClassifierNetwork = CONFIGS[1], *, size: int = 8, channels: int = 3, seed: int = 0
) -> Classifier:
    network = build_classifier(config, PictureForm(size, channels, CLASSES), generator=drawn(seed))
    assert isinstance(network, Classifier)
    return network


def by_hand(network: Classifier, config: ClassifierNetwork, x: Tensor) -> Tensor:
    """The definition, block by block, on the network's own weights."""
    modules = dict(network.named_modules())
    x = F.conv2d(x, network.from_picture.weight, padding=1)
    for i in range(config.stages * config.blocks):
        halved = i > 0 and i % config.blocks == 0
        entered = normalised(modules[f"enter_h{i}.0"], x).clamp(min=0)
        h = F.conv2d(entered, modules[f"to_h{i}.0"].weight, stride=2 if halved else 1, padding=1)
        h = normalised(modules[f"to_h{i}.1"], h).clamp(min=0)
        if halved:  # a 1×1 convolution of every other position
            x = torch.einsum(
                "nchw,dc->ndhw", entered[..., ::2, ::2], modules[f"shortcut_h{i}"].weight[..., 0, 0]
            )
        x = x + F.conv2d(h, modules[f"from_h{i}"].weight, padding=1)
    code = normalised(network.to_code, x).clamp(min=0)
    return code.flatten(2).mean(2) @ network.to_logits.weight.T + network.to_logits.bias


@CONFIG
@pytest.mark.parametrize("size", [8, 11])
def test_it_computes_its_definition(config: ClassifierNetwork, size: int) -> None:
    network = small(config, size=size)
    ruffled(network)
    x = images(size=size).double()
    torch.testing.assert_close(network(x), by_hand(network, config, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("size", "channels"), list(product([8, 12, 28, 33], [1, 3])))
@CONFIG
def test_sites_are_submodules_that_run_in_order_with_the_shapes_that_the_plan_knows(
    config: ClassifierNetwork, size: int, channels: int
) -> None:
    network = small(config, size=size, channels=channels)
    seen: dict[str, Tensor] = {}
    for site in config.sites(size):
        network.get_submodule(site).register_forward_hook(
            lambda module, inputs, output, site=site: seen.update({site: output})
        )
    entered: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda module, inputs: entered.append(inputs[0]))
    logits = network(images(size=size, channels=channels))
    assert logits.shape == (4, CLASSES)
    assert list(config.sites(size).items()) == [(s, tuple(h.shape[1:])) for s, h in seen.items()]
    assert all(h.min() == 0 < h.max() for h in seen.values())  # after a ReLU
    assert all(any(one is h for one in entered) for s, h in seen.items() if s != "code")
    torch.testing.assert_close(network.to_logits(seen["code"].mean((2, 3))), logits)


def test_the_default_is_the_fields_smallest_residual_network() -> None:
    """19 convolutions of 3×3 and a linear layer; the paper says 0.27 million weights."""
    network = small(ClassifierNetwork(), size=32)
    weights = [module.weight for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert sum(weight.shape[-1] == 3 for weight in weights if weight.dim() == 4) == 19
    assert sum(p.numel() for p in network.parameters()) == pytest.approx(0.27e6, rel=0.02)
    assert list(ClassifierNetwork().sites(32).items())[-2:] == [("h8", (64, 8, 8)), ("code", (64, 8, 8))]


def test_regularizers_act_at_every_site() -> None:
    network = small()
    free = network(images()).detach()
    attached = attach(network, {"h0": L0(0.1), "h3": L0Inf(1), "code": L1(0.1)})
    assert not torch.equal(network(images()), free)
    measured = attached.sparsity()
    assert measured["h0"]["density"] <= 0.11
    assert measured["h3"]["density"] <= 1 / 8
    assert attached.penalty().item() == pytest.approx(0.1 * measured["code"]["mean_abs"])


@CONFIG
def test_one_step_changes_every_parameter(config: ClassifierNetwork) -> None:
    network = small(config)
    F.cross_entropy(network(images(count=10)), torch.arange(10) % CLASSES).backward()
    before = state(network)
    torch.optim.SGD(network.parameters(), lr=1.0).step()
    sizes = {name: float(p.grad.abs().max()) for name, p in network.named_parameters() if p.grad is not None}
    assert [name for name in sizes if torch.equal(before[name], network.get_parameter(name))] == []
    assert len(sizes) == len(list(network.parameters()))
    # and by more than the round-off that a parameter without influence would show
    assert min(sizes.values()) > 1e-5 * max(sizes.values()), sizes


def test_weights_follow_the_generator_alone() -> None:
    torch.manual_seed(8)
    before = torch.get_rng_state()
    first, same, other = (small(seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    assert equal(state(first), state(same)) and not equal(state(first), state(other))


def test_a_state_that_is_saved_and_loaded_goes_on_with_the_same_bits() -> None:
    network, other = small(seed=0), small(seed=1)
    network(images())  # moves running statistics on
    file = io.BytesIO()
    torch.save(network.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    for _ in range(2):
        assert torch.equal(network(images()), other(images()))
    assert equal(state(network), state(other))


def test_a_copy_lives_by_itself_and_in_evaluation_a_picture_follows_from_itself_alone() -> None:
    network = small()
    network(images())
    twin = copy.deepcopy(network).eval()
    before = state(network)
    together = twin(images())
    torch.testing.assert_close(torch.cat([twin(one[None]) for one in images()]), together)
    assert equal(state(network), before) and equal(state(twin), before)
    assert not any(getattr(module, "inplace", False) for module in network.modules())


def test_a_picture_that_cannot_be_halved_so_often_is_refused() -> None:
    told = "plan.size is 8, but a network of 5 stages halves its map 4 times: take fewer stages, or larger"
    with pytest.raises(Mistake, match=told):
        small(ClassifierNetwork(stages=5))
    assert ClassifierNetwork(width=1, stages=4, blocks=1).sites(8)["code"] == (8, 1, 1)
