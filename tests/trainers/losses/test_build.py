"""The contract that every loss keeps, with every network."""

from itertools import product
from pathlib import Path
from typing import get_args

import pytest
import torch
from fixed_program import RefuseCopies, RefuseTheHost, sloped
from gans import (
    CLASSES,
    SIZE,
    SMALL,
    PixelJudge,
    drawn,
    equal,
    images,
    labels,
    latents,
    pixels,
    small,
    state,
)
from torch._subclasses.fake_tensor import FakeTensorMode

from trainers.gan_options import GanOptions
from trainers.losses import names
from trainers.losses.build import LOSSES, build_loss
from trainers.losses.loss import Batch
from trainers.networks.build import PAIRS
from trainers.networks.pair import PictureForm

ANY = pytest.mark.parametrize(("loss_kind", "network"), list(product(LOSSES, PAIRS)))
LOSS = pytest.mark.parametrize("loss_kind", LOSSES)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def real(seed: int = 1) -> Batch:
    return Batch(images(seed=seed), torch.arange(4))


def suiting(loss_kind: str) -> bool | None:
    """Whether weights are under spectral norm; None: as the network is by default."""
    return False if loss_kind == "wasserstein" else None  # which refuses it


def fake(generator: torch.nn.Module) -> Batch:
    return Batch(generator(latents(), labels()), labels())


def test_no_loss_is_left_out() -> None:
    """A file with a loss in it is a loss that a plan can name."""
    assert tuple(LOSSES) == get_args(GanOptions.model_fields["loss"].annotation)
    files = Path(names.__file__).parent.glob("*.py")
    assert set(LOSSES) == {file.stem for file in files} - {"__init__", "build", "loss", "names"}


@ANY
def test_gradients_reach_whom_they_are_for(loss_kind: str, network: str) -> None:
    generator, discriminator = small(network, spectral_norm=suiting(loss_kind))
    loss = build_loss(loss_kind, network=discriminator, generator=drawn(0))
    judged = loss.discriminator(
        discriminator, real(), Batch(fake(generator).images.detach(), labels()), drawn(0)
    )
    assert judged.shape == ()
    judged.backward()
    for name, parameter in discriminator.named_parameters():
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
        # the last bias shifts both scores alike, which neither a hinge within its margin feels nor a critic
        assert parameter.grad.abs().max() > 0 or name == "score.bias"
    assert all(parameter.grad is None for parameter in generator.parameters())
    loss.generator(discriminator, fake(generator), drawn(0)).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in generator.parameters())


@ANY
def test_each_side_lowers_its_loss(loss_kind: str, network: str) -> None:
    generator, discriminator = small(network, spectral_norm=suiting(loss_kind))
    loss = build_loss(loss_kind, network=discriminator, generator=drawn(0))
    still = Batch(fake(generator).images.detach(), labels())
    clips = loss_kind == "wasserstein"  # to weights that are no larger than a step of the others
    rate, least = (1e-3, 0.0) if clips else (1e-2, 0.01)
    adams = [torch.optim.Adam(one.parameters(), lr=rate) for one in (discriminator, generator)]
    judged, generated = [], []
    for _ in range(8):
        judged.append(loss.discriminator(discriminator, real(), still, drawn(0)))
        adams[0].zero_grad()
        judged[-1].backward()
        adams[0].step()
        loss.after_discriminator_step(discriminator)
    for _ in range(8):
        generated.append(loss.generator(discriminator, fake(generator), drawn(0)))
        adams[1].zero_grad()
        generated[-1].backward()
        adams[1].step()
    for values in (judged[clips:], generated):  # the first is of weights that were not clipped yet
        assert float(values[-1].detach()) < float(values[0].detach()) - least


@LOSS
@pytest.mark.parametrize("device", ["cpu", "cuda"])  # a fake GPU needs none
def test_it_waits_for_nothing_on_the_device(
    loss_kind: str, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if device == "cuda":  # autograd's engine wants a real GPU
        monkeypatch.setattr(torch.autograd, "grad", sloped)
    form = PictureForm(SIZE, 3, CLASSES)
    with FakeTensorMode():
        with torch.device(device):
            generator, discriminator = (make(SMALL["dcgan"], form) for make in PAIRS["dcgan"])
            loss = LOSSES[loss_kind](discriminator)
            z, pictures, classes = torch.randn(4, 6), torch.randn(4, 3, SIZE, SIZE), torch.zeros(4).long()
        draw = torch.Generator()
        with RefuseTheHost(), RefuseCopies():
            drawings = Batch(generator(z), classes)
            values = [
                loss.discriminator(discriminator, Batch(pictures, classes), drawings, draw),
                loss.generator(discriminator, drawings, draw),
            ]
            if device == "cpu":
                sum(values).backward()
            loss.after_discriminator_step(discriminator)
        assert [value.device.type for value in values] == [device] * 2


@ANY
def test_the_same_draws_give_the_same_and_nothing_else_is_drawn_from(loss_kind: str, network: str) -> None:
    torch.manual_seed(4)
    before, values = torch.get_rng_state(), []
    for _ in range(2):
        generator, discriminator = small(network, spectral_norm=suiting(loss_kind))
        loss, draw = build_loss(loss_kind, network=discriminator, generator=drawn(3)), drawn(5)
        values.append(loss.discriminator(discriminator, real(), fake(generator), draw))
        values.append(loss.generator(discriminator, fake(generator), draw))
    assert torch.equal(values[0], values[2])
    assert torch.equal(values[1], values[3])
    assert torch.equal(torch.get_rng_state(), before)


@ANY
def test_it_keeps_no_hold_of_the_network(loss_kind: str, network: str) -> None:
    _, discriminator = small(network, spectral_norm=suiting(loss_kind))
    loss = build_loss(loss_kind, network=discriminator, generator=drawn(0))
    theirs = {id(one) for one in (*discriminator.modules(), *discriminator.parameters())}
    assert theirs.isdisjoint(id(one) for one in (*loss.modules(), *loss.parameters()))


@LOSS
def test_the_discriminator_sees_the_labels_of_both(loss_kind: str) -> None:
    judge = PixelJudge().double()
    loss = build_loss(loss_kind, network=judge, generator=drawn(0)).double()
    loss.discriminator(judge, pixels(0.5, 1.0, label=3), pixels(0.0, 0.0, label=7), drawn(0))
    assert torch.cat(judge.labels).tolist()[:4] == [3, 3, 7, 7]
    judge.labels.clear()
    loss.generator(judge, pixels(0.0, 0.0, label=7), drawn(0))
    assert torch.cat(judge.labels).tolist() == [7, 7]


@LOSS
def test_better_scores_are_better(loss_kind: str) -> None:
    judge = PixelJudge().double()
    loss = build_loss(loss_kind, network=judge, generator=drawn(0)).double()
    told = loss.discriminator(judge, pixels(0.9), pixels(-0.9), drawn(0))
    mistaken = loss.discriminator(judge, pixels(-0.9), pixels(0.9), drawn(0))
    assert told < mistaken
    assert loss.generator(judge, pixels(0.9), drawn(0)) < loss.generator(judge, pixels(-0.9), drawn(0))


@LOSS
def test_its_state_is_saved_and_loaded(loss_kind: str) -> None:
    judge = PixelJudge()
    first, other = (build_loss(loss_kind, network=judge, generator=drawn(seed)) for seed in (0, 1))
    other.load_state_dict(first.state_dict())
    assert equal(state(first), state(other))
