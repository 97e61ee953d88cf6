"""The candidate sites of a network that a user brings."""

from pathlib import Path

import pytest
import torch
from small_generator import Generator
from torch import nn

from trainers.layers import built, candidates, guessed_inputs, imported
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
    assert found == {"first.act": (8, 6, 5), "middle.act": (8, 6, 5), "code.0.act": (8, 6, 5)}
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


def test_the_input_is_guessed_from_attributes() -> None:
    network = Latent()
    taken, found = candidates(network, guessed_inputs(network))
    assert (taken, found) == ((5, 1, 1), {"2": (8, 4, 4)})
    with pytest.raises(Mistake, match="--input"):
        guessed_inputs(Generator())
    picture = Generator()
    picture.input_channels = 3
    assert guessed_inputs(picture) == [(3, 64, 64)]


def test_a_vector_has_sites_too() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 2), nn.Softmax(1), nn.Linear(2, 1))
    assert candidates(network, [(4,)]) == ((4,), {"1": (6,)})


def test_what_cannot_be_looked_at_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "fails_at_import.py").write_text("1 / 0\n")
    with pytest.raises(Mistake, match="ZeroDivisionError"):
        imported("fails_at_import:X")
    with pytest.raises(Mistake, match="cannot be imported"):
        imported("small_generator:Nothing")
    with pytest.raises(Mistake, match="without arguments"):
        built("x:needs", lambda width: nn.Linear(width, 1))
    with pytest.raises(Mistake, match="gives a int"):
        built("x:int", int)
    with pytest.raises(Mistake, match=r"with 4×6×6: .*--input"):
        candidates(Generator(), [(4, 6, 6)])
    with pytest.raises(Mistake, match="no activation module"):
        candidates(nn.Sequential(nn.Conv2d(3, 3, 1), nn.Tanh()), [(3, 6, 6)])
