"""Diffusion: how pictures become noise step by step, and how noise is turned into pictures again."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn

from trainers.networks.pair import Generator, PictureForm
from trainers.training import after_each

OFFSET = 0.008  # s of the schedule
MOST = 0.999  # of β, so that the last step leaves a little of the picture


def signal_left(steps: int) -> Tensor:
    """ᾱ_0 = 1, ᾱ_1, …, ᾱ_T of the cosine schedule (arXiv 2102.09672), float64.

    ᾱ_t is the product of 1 − β over the steps to t, β_t = min(1 − f(t) / f(t − 1), 0.999) and
    f(t) = cos²((t/T + 0.008) / 1.008 · π/2).

    >>> signal_left(1000)[[0, 500, 1000]].tolist()  # doctest: +ELLIPSIS
    [1.0, 0.493..., 2.4...e-09]
    """
    times = torch.arange(steps + 1, dtype=torch.float64) / steps
    f = ((times + OFFSET) / (1 + OFFSET) * (math.pi / 2)).cos().square()
    beta = (1 - f[1:] / f[:-1]).clamp(max=MOST)
    return torch.cat([torch.ones(1, dtype=torch.float64), (1 - beta).cumprod(0)])


class Noising(nn.Module):
    """What is left of a picture at times 0 … T: x_t ~ N(√ᾱ_t · x_0, (1 − ᾱ_t) · 1) (arXiv 2006.11239)."""

    signal: Tensor
    noise: Tensor

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps, left = steps, signal_left(steps)
        # Not saved: they follow from the plan.
        self.register_buffer("signal", left.sqrt().float(), persistent=False)
        self.register_buffer("noise", (1 - left).sqrt().float(), persistent=False)

    def forward(self, pictures: Tensor, noise: Tensor, times: Tensor) -> Tensor:
        """√ᾱ_t · pictures + √(1 − ᾱ_t) · noise: N×C×S×S both, times N int64 of 0 … T."""
        signal, part = (values[times].view(-1, 1, 1, 1) for values in (self.signal, self.noise))
        return signal * pictures + part * noise


class Sampler(Generator):
    """Noise → pictures by DDIM with η = 0 (arXiv 2010.02502), which draws nothing on the way.

    A latent vector is the first x, of C·S·S values. At the K times τ = 1 + ⌊i · T / K⌋, the last first, the
    network tells the noise ε in x: not at T, where nothing is left of a picture and it could only be guessed,
    which costs the more the fewer steps there are. The picture behind x is (x − √(1 − ᾱ_τ) · ε) / √ᾱ_τ, cut
    to [-1, 1], where pictures lie: x̂_0. What it leaves of x is ε̂ = (x − √ᾱ_τ · x̂_0) / √(1 − ᾱ_τ), and the x
    of the next time σ is √ᾱ_σ · x̂_0 + √(1 − ᾱ_σ) · ε̂. The last x̂_0 is the picture. Labels are not looked at.

    `bare` is the network that tells the noise: N×C×S×S and times N int64 → N×C×S×S. `sites` are its.
    """

    def __init__(
        self,
        network: nn.Module,
        sites: tuple[str, ...],
        form: PictureForm,
        *,
        noise_steps: int,
        sampling_steps: int,
    ) -> None:
        super().__init__()
        self.network, self.sites, self.noising = network, sites, Noising(noise_steps)
        self.shape = (form.channels, form.size, form.size)
        self.latent = math.prod(self.shape)
        self.times = tuple(1 + i * noise_steps // sampling_steps for i in reversed(range(sampling_steps)))

    @property
    def bare(self) -> nn.Module:
        return self.network

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        signal, noise = self.noising.signal, self.noising.noise
        x = latents.reshape(-1, *self.shape)
        for now, later in pairwise((*self.times, 0)):
            told = self.network(x, torch.full((len(x),), now, device=x.device))
            picture = ((x - noise[now] * told) / signal[now]).clamp(-1, 1)
            told = (x - signal[now] * picture) / noise[now]
            x = signal[later] * picture + noise[later] * told
            after_each.get()()  # it is alive, however many passes there are
        return x
