"""The candidate sites of a network that a user brings."""

from pathlib import Path
from typing import Any

import pytest
import torch
from own_networks import Conditional, Shared
from small_generator import Generator
from torch import nn

from trainers.layers import built, candidates, guessed_inputs, label_argument
from trainers.own_options import imported
from trainers.settings import L0, Mistake
from trainers.sparsity import attach


class Latent(nn.Sequential):
    """A generator of DCGAN's form."""

    latent_dim = 5

    def __init__(self) -> None:
        super().__init__(
            nn.ConvTranspose2d(5, 8, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 3, 1), nn.Tanh()
        )


def test_activations_before_the_last_layer_are_sites_and_attach_takes_their_names() -> None:
    network = built("x:Generator", Generator)
    taken, found = candidates(network, [(3, 6, 5)])
    assert taken == (3, 6, 5)
    assert found == {"first.act": [(8, 6, 5)], "middle.act": [(8, 6, 5)], "code.0.act": [(8, 6, 5)]}
    attached = attach(network, dict.fromkeys(found, L0(0.5)))
    network(torch.rand(1, 3, 6, 5))
    assert set(attached.sparsity()) == set(found)


def test_looking_changes_nothing() -> None:
    network = Generator()
    network.middle.eval()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    candidates(network, [(3, 6, 6)])
    assert network.training and not network.middle.training
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())


def test_a_module_that_runs_several_times_is_one_site_with_all_its_shapes() -> None:
    assert candidates(Shared(), [(6,), (6, 1, 1)]) == ((6, 1, 1), {"act": [(8, 4, 4), (4, 8, 8)]})


def test_named_modules_take_the_place_of_candidates() -> None:
    assert candidates(Shared(), [(6, 1, 1)], {"h0": "first", "code": "second"})[1] == {
        "h0": [(8, 4, 4)],
        "code": [(4, 8, 8)],
    }
    with pytest.raises(Mistake, match="names has code: third, but the modules of a Shared are first, second"):
        candidates(Shared(), [(6, 1, 1)], {"code": "third"})
    network = Shared()
    network.alias = network.second
    assert candidates(network, [(6, 1, 1)], {"code": "alias"})[1] == {"code": [(4, 8, 8)]}
    with pytest.raises(Mistake, match="names has code: spare, but that module gives no tensor"):
        candidates(idle(), [(6, 1, 1)], {"code": "spare"})


def idle() -> nn.Module:
    network = Shared()
    network.spare = nn.ReLU()
    return network


@pytest.mark.parametrize("name", ["labels", "label", "y"])
def test_classes_go_to_an_argument_of_one_of_three_names_but_never_to_the_first(name: str) -> None:
    assert label_argument(taking("z", name)) == name
    assert label_argument(taking("z", "x", name)) == name
    assert label_argument(taking(name)) is None
    assert label_argument(taking("z", "c")) is None


def taking(*arguments: str) -> nn.Module:
    """A network whose forward pass takes these."""
    scope: dict[str, Any] = {"nn": nn}
    exec(f"class Taking(nn.Module):\n    def forward(self, {', '.join(arguments)}): ...", scope)
    network: nn.Module = scope["Taking"]()
    return network


def test_classes_are_given_to_a_network_that_asks_for_them() -> None:
    taken, found = candidates(Conditional(), guessed_inputs(Conditional()))
    assert (taken, found) == ((5,), {"to_map.2": [(64,)], "to_code.2": [(4, 8, 8)]})


@pytest.mark.parametrize(("network", "factory", "arguments", "guess"), [
    (Latent(), None, {}, [(5,), (5, 1, 1)]),  # an attribute of its class
    (Conditional(), Conditional, {}, [(5,), (5, 1, 1)]),  # of itself
    (nn.Identity(), lambda latent=7: None, {}, [(7,), (7, 1, 1)]),  # the default of an argument
    (nn.Identity(), lambda latent=7: None, {"latent": 9}, [(9,), (9, 1, 1)]),  # or what it is called with
    (nn.Identity(), lambda in_channels=2: None, {}, [(2, 64, 64)]),
    (nn.Identity(), lambda input_shape=(2, 9, 8): None, {}, [(2, 9, 8)]),
    (nn.Identity(), lambda input_shape=12: None, {}, [(12,), (12, 1, 1)]),
    (Generator(), Generator, {}, [(3, 64, 64)]),  # the first layer
    (nn.Sequential(nn.Linear(4, 2)), None, {}, [(4,)]),
    (nn.Sequential(nn.ConvTranspose2d(4, 2, 3)), None, {}, [(4, 1, 1)]),
])  # fmt: skip
def test_the_input_is_guessed(
    network: nn.Module, factory: Any, arguments: dict[str, Any], guess: list[tuple[int, ...]]
) -> None:
    assert guessed_inputs(network, factory, arguments) == guess


def test_an_input_that_nothing_tells_is_asked_for() -> None:
    for silent in (nn.Identity(), nn.Sequential(nn.Conv3d(1, 2, 3))):
        with pytest.raises(Mistake, match=r"does not say what it takes: .*--input"):
            guessed_inputs(silent)


def test_a_vector_has_sites_too() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 2), nn.Softmax(1), nn.Linear(2, 1))
    assert candidates(network, [(4,)]) == ((4,), {"1": [(6,)]})


def test_what_cannot_be_looked_at_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fails_at_import.py").write_text("1 / 0\n")
    with pytest.raises(Mistake, match=r"network is 'fails_at_import:X', but .*ZeroDivisionError"):
        imported("fails_at_import:X", "network")
    with pytest.raises(Mistake, match=r"cannot be imported .*Nothing"):
        imported("small_generator:Nothing", "network")
    assert imported("small_generator:Generator.forward", "network") is Generator.forward
    with pytest.raises(Mistake, match="'x:made' is a network and takes no arguments"):
        built("x:made", nn.Identity(), {"width": 3})
    with pytest.raises(Mistake, match="without arguments"):
        built("x:needs", lambda width: nn.Linear(width, 1))
    with pytest.raises(Mistake, match=r"called with {'depth': 3} .TypeError.*plan.network.arguments"):
        built("x:needs", lambda width: nn.Linear(width, 1), {"depth": 3})
    with pytest.raises(Mistake, match="gives a int"):
        built("x:int", int)
    with pytest.raises(Mistake, match=r"with 4×6×6: .*--input"):
        candidates(Generator(), [(4, 6, 6)])
    with pytest.raises(Mistake, match="no activation module"):
        candidates(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Tanh()), [(3, 6, 6)])
