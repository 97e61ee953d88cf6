"""The schedule and the sampler against closed forms: Gaussian data, for which the best network is known."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from trainers.diffusion import Noising, Sampler, signal_left
from trainers.networks.pair import PictureForm
from trainers.training import after_each

FORM = PictureForm(size=2, channels=3, classes=1)
MEAN, SD = 0.1, 0.2  # of data that is not cut at [-1, 1]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# --- the schedule ----------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [2, 100, 1000])
def test_what_is_left_is_the_cosine_until_the_last_step(steps: int) -> None:
    left = signal_left(steps).tolist()
    f = [math.cos((t / steps + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(steps)]
    assert left[:-1] == pytest.approx([one / f[0] for one in f], rel=1e-9)
    assert left[-1] == pytest.approx(0.001 * left[-2])  # where the cosine is 0
    assert all(after < before for before, after in pairwise(left))


def test_noising_at_once_is_noising_step_by_step() -> None:
    """x_t = √(1 − β_t) · x_{t−1} + √β_t · ε, by the moments of its product: mean · x_0 and variance."""
    noising, left = Noising(50), signal_left(50).tolist()
    mean, variance = 1.0, 0.0
    for t in range(1, 51):
        beta = 1 - left[t] / left[t - 1]
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        assert float(noising.signal[t]) == pytest.approx(mean, rel=1e-6)
        assert float(noising.noise[t]) ** 2 == pytest.approx(variance, rel=1e-5)


def test_noised_pictures_have_the_moments_of_their_time() -> None:
    noising, left = Noising(1000), signal_left(1000)
    times = torch.tensor([0, 10, 400, 1000]).repeat_interleave(2000)
    picture = torch.linspace(-1, 1, 4).view(1, 1, 2, 2)
    noise = torch.randn(len(times), 1, 2, 2, generator=torch.Generator().manual_seed(0))
    noised = noising(picture.expand_as(noise), noise, times).view(4, 2000, 4)
    for got, t in zip(noised, (0, 10, 400, 1000), strict=True):
        expected = left[t].sqrt().float() * picture.flatten()
        torch.testing.assert_close(got.mean(0), expected, rtol=0, atol=4 / math.sqrt(2000))
        torch.testing.assert_close(got.var(0), (1 - left[t]).float().expand(4), rtol=0.15, atol=1e-9)


def test_a_state_holds_no_schedule() -> None:
    assert Noising(10).state_dict() == {}


# --- the sampler -----------------------------------------------------------------------------------


class BestForGaussians(nn.Module):
    """E[ε | x_t] where all pixels of the data are N(MEAN, SD²): x_t is N(√ᾱ · MEAN, ᾱ · SD² + 1 − ᾱ)."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left, self.asked = signal_left(steps), list[int]()

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        self.asked.append(int(times[0]))
        assert times.shape == x.shape[:1] and (times == times[0]).all()
        left = self.left[times].view(-1, 1, 1, 1)
        told: Tensor = (1 - left).sqrt() * (x - left.sqrt() * MEAN) / (left * SD**2 + 1 - left)
        return told


def sampler(sampling_steps: int, noise_steps: int = 1000, network: nn.Module | None = None) -> Sampler:
    network = BestForGaussians(noise_steps) if network is None else network
    return Sampler(network, (), FORM, noise_steps=noise_steps, sampling_steps=sampling_steps).double()


def latents(count: int = 50) -> Tensor:
    return torch.randn(count, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def test_with_the_best_network_noise_becomes_the_data_as_steps_grow() -> None:
    """The flow that DDIM follows maps the quantile z of the noise to the same quantile, MEAN + SD · z."""
    z = latents()
    exact = (MEAN + SD * z).view(-1, 3, 2, 2)
    assert exact.abs().max() < 1
    errors = [float((sampler(steps)(z) - exact).abs().max()) for steps in (4, 16, 64, 256, 1000)]
    assert all(after < 0.5 * before for before, after in pairwise(errors)), errors
    assert errors[-1] < 3e-3


def test_a_step_is_that_of_the_papers_other_form() -> None:
    """x / √ᾱ moves along ε by the change of √((1 − ᾱ) / ᾱ) (arXiv 2010.02502, eq. 13), if nothing is cut."""
    z, one = latents(), sampler(7)
    signal, noise, network = one.noising.signal, one.noising.noise, BestForGaussians(1000)
    x = z.view(-1, 3, 2, 2)
    for now, later in zip(one.times, (*one.times[1:], 0), strict=True):
        told = network(x, torch.full((len(x),), now))
        slid = x / signal[now] + (noise[later] / signal[later] - noise[now] / signal[now]) * told
        x = signal[later] * slid
    torch.testing.assert_close(one(z), x, rtol=1e-6, atol=1e-6)


def test_pictures_stay_where_pictures_lie() -> None:
    class Silent(nn.Module):
        def forward(self, x: Tensor, times: Tensor) -> Tensor:
            return torch.zeros_like(x)

    drawn = sampler(5, network=Silent())(100 * latents())
    assert drawn.shape == (50, 3, 2, 2)
    assert drawn.abs().max() == 1


@pytest.mark.parametrize(("sampling", "noise", "times"), [
    (2, 1000, [501, 1]),
    (4, 10, [8, 6, 3, 1]),
    (6, 6, [6, 5, 4, 3, 2, 1]),
])  # fmt: skip
def test_times_lie_evenly_and_end_at_the_first(sampling: int, noise: int, times: list[int]) -> None:
    network = BestForGaussians(noise)
    sampler(sampling, noise, network)(latents(2))
    assert network.asked == times


@pytest.mark.parametrize("steps", [50, 99, 100])
def test_no_time_comes_twice(steps: int) -> None:
    assert len(set(sampler(steps, 100).times)) == steps


def test_a_study_hears_of_every_pass_of_a_long_drawing() -> None:
    heard: list[int] = []
    listening = after_each.set(lambda: bool(heard.append(1)))
    try:
        sampler(9)(latents(2))
    finally:
        after_each.reset(listening)
    assert len(heard) == 9


def test_a_latent_vector_is_the_noise_and_each_makes_its_own_picture() -> None:
    one, z = sampler(3), latents(4)
    assert one.latent == 12
    torch.testing.assert_close(torch.cat([one(z[i : i + 1]) for i in range(4)]), one(z))
    assert torch.equal(one(z, torch.arange(4)), one(z))
