"""An autoencoder's networks; the decoder is dcgan's generator, whose contract test_pair.py holds."""

import copy
import io
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from gans import CLASSES, SIZE, drawn, equal, images, latents, normalised, ruffled, state
from torch import Tensor, nn
from torch.func import functional_call, grad, stack_module_state, vmap

from trainers.networks import dcgan
from trainers.networks.pair import PictureForm
from trainers.networks.vae import Decoder, Encoder
from trainers.settings import Mistake
from trainers.vae import build_vae
from trainers.vae_options import VaeNetwork

SMALL = VaeNetwork(width=4, blocks=2, latent=6)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def small(seed: int = 0, size: int = SIZE, channels: int = 3) -> tuple[Encoder, Decoder]:
    return build_vae(SMALL, PictureForm(size, channels, CLASSES), generator=drawn(seed))


@pytest.mark.parametrize(("size", "channels"), list(product([8, 12, 28], [1, 3])))
def test_shapes_and_ranges(size: int, channels: int) -> None:
    encoder, decoder = small(size=size, channels=channels)
    mean, log_variance = encoder(images(size=size, channels=channels))
    assert mean.shape == log_variance.shape == (4, 6)
    pictures = decoder(mean)
    assert pictures.shape == (4, channels, size, size)
    assert pictures.abs().max() <= 1


def test_the_decoder_is_dcgans_generator_and_its_sites_are_those_of_the_plan() -> None:
    _, decoder = small()
    generator = dcgan.Generator(SMALL.decoder, PictureForm(SIZE, 3, CLASSES))
    assert type(decoder).forward is dcgan.Generator.forward
    assert str(decoder) == str(generator).replace("Generator", "Decoder")
    assert (decoder.latent, decoder.sites) == (6, tuple(SMALL.sites(SIZE)))


def encoded(network: Encoder, x: Tensor) -> Tensor:
    """Its definition, rewritten: N×2L."""
    modules = list(network.body)
    convolutions = [module for module in modules if isinstance(module, nn.Conv2d)]
    norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
    for i, (convolution, norm) in enumerate(zip(convolutions, norms, strict=True)):
        x = F.conv2d(x, convolution.weight, stride=2 if i else 1, padding=1)
        x = normalised(norm, x).clamp(min=0)
    return x.reshape(len(x), -1) @ network.to_latents.weight.T + network.to_latents.bias


def test_the_encoder_computes_its_definition() -> None:
    encoder = ruffled(small()[0])
    x = images().double()
    assert isinstance(encoder, Encoder)
    torch.testing.assert_close(torch.cat(encoder(x), 1), encoded(encoder, x), rtol=1e-9, atol=1e-9)


def test_a_default_network_has_the_sizes_of_its_configuration() -> None:
    encoder, decoder = build_vae(VaeNetwork(), PictureForm(32, 3, 1), generator=drawn(0))
    widths = [module.out_channels for module in encoder.modules() if isinstance(module, nn.Conv2d)]
    assert widths == [64, 128, 256, 512]
    assert encoder.to_latents.in_features == 512 * 4 * 4
    assert (encoder.to_latents.out_features, decoder.latent) == (256, 128)


def test_weights_follow_the_generator_alone() -> None:
    torch.manual_seed(8)
    before = torch.get_rng_state()
    first, same, other = (small(seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.get_rng_state(), before)
    for i in (0, 1):
        assert equal(state(first[i]), state(same[i]))
        assert not equal(state(first[i]), state(other[i]))


def test_a_state_that_is_saved_and_loaded_goes_on_with_the_same_bits() -> None:
    for network, other, x in zip(small(0), small(1), (images(), latents()), strict=True):
        network(x)  # moves running statistics on
        file = io.BytesIO()
        torch.save(network.state_dict(), file)
        file.seek(0)
        other.load_state_dict(torch.load(file, weights_only=True))
        for mode in (True, False):
            given, expected = other.train(mode)(x), network.train(mode)(x)
            assert all(map(torch.equal, given, expected))
        assert equal(state(network), state(other))


def test_one_step_changes_every_parameter() -> None:
    encoder, decoder = small()
    mean, log_variance = encoder(images())
    pictures = decoder(mean + (log_variance / 2).exp() * latents())
    ((pictures - images()).square().mean() + log_variance.square().mean()).backward()
    for network in (encoder, decoder):
        before = state(network)
        torch.optim.SGD(network.parameters(), lr=1.0).step()
        names = [name for name, _ in network.named_parameters()]
        assert [name for name in names if torch.equal(before[name], network.get_parameter(name))] == []
        sizes = {n: float(p.grad.abs().max()) for n, p in network.named_parameters() if p.grad is not None}
        assert min(sizes.values()) > 1e-5 * max(sizes.values()), sizes  # more than round-off


def test_many_encoders_are_mapped_as_they_run_alone() -> None:
    """By vmap over stacked states, as trainings that share a GPU need it."""
    networks = [small(seed)[0].double() for seed in range(3)]
    xs = torch.stack([images(seed=seed) for seed in range(3)]).double()
    parameters, buffers = stack_module_state(networks)
    shell = copy.deepcopy(networks[0]).to("meta")

    def loss(p: dict[str, Tensor], b: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.cat(functional_call(shell, (p, b), (x,))).square().mean()

    mapped = vmap(grad(loss))(parameters, buffers, xs)
    for seed, (network, x) in enumerate(zip(networks, xs, strict=True)):
        torch.cat(network(x)).square().mean().backward()
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(mapped[name][seed], parameter.grad, rtol=1e-8, atol=1e-10)
        for name, buffer in network.named_buffers():
            torch.testing.assert_close(buffers[name][seed], buffer, rtol=1e-8, atol=1e-10)


def test_nothing_works_in_place() -> None:
    for network in small():
        assert not any(getattr(module, "inplace", False) for module in network.modules())


@pytest.mark.parametrize(("form", "told"), [
    ((30, 3, 10), "size is 30, but a network of 2 blocks doubles a map 2 times: take a multiple of 4"),
    ((0, 3, 10), "size is 0, but the networks draw pictures of at least 4 pixels"),
    ((8, 0, 10), "channels is 0, but a picture has at least 1"),
])  # fmt: skip
def test_what_cannot_be_drawn_is_refused_by_both(form: tuple[int, int, int], told: str) -> None:
    for make in (Encoder, Decoder):
        with pytest.raises(Mistake, match=told):
            make(SMALL, PictureForm(*form))
