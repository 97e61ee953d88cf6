"""Spectral normalisation (arXiv 1802.05957) that can be captured, mapped and traced."""

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm
from torch.nn.utils.spectral_norm import SpectralNorm

from trainers.settings import Mistake

Layer = TypeVar("Layer", bound=nn.Conv2d | nn.Linear | nn.Embedding)

_WARM_UP = 15  # iterations on the initial weight, as PyTorch's own has: training begins normalised


def spectral_norm(layer: Layer) -> Layer:
    """Gives the layer the weight W / σ(W), and returns it; initialise the weight before.

    σ(W) = ‖Wᵀu‖ is the largest singular value of W as a matrix of output channels (or an embedding's entries)
    × all else, where u follows the left singular vector by one power iteration, u ← W Wᵀ u / ‖W Wᵀ u‖, at
    each use in training and none in evaluation. Gradients flow through W and σ with u held constant. u is a
    buffer, hence part of the state dict, first drawn from PyTorch's generator (or `build_pair`'s).

    For a weight that stands still the values are those of `torch.nn.utils.parametrizations.spectral_norm`,
    which writes its vectors with `out=` and so fails under `torch.func.vmap`. A layer of another kind raises
    `Mistake`. As with any parametrization, the layer can be copied but not pickled: save its state dict.

    >>> layer = nn.Linear(2, 2)
    >>> layer.weight.data = torch.tensor([[4.0, 0.0], [0.0, 1.0]])
    >>> spectral_norm(layer).weight.tolist()
    [[1.0, 0.0], [0.0, 0.25]]
    """
    if not isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding):
        raise Mistake(
            f"the layer is a {type(layer).__name__}, but spectral norm is for nn.Conv2d, nn.Linear and "
            "nn.Embedding: another layer's weight means another matrix"
        )
    parametrize.register_parametrization(layer, "weight", _Spectral(layer.weight))
    return layer


def spectral_norm_in(network: nn.Module) -> None:
    """Gives `spectral_norm` to every convolution, linear layer and embedding of the network that lacks it."""
    for layer in list(network.modules()):
        if isinstance(layer, nn.Conv2d | nn.Linear | nn.Embedding) and not parametrize.is_parametrized(layer):
            spectral_norm(layer)


def normalised_layers(network: nn.Module) -> list[str]:
    """The names of the network's layers under `spectral_norm`, or under one of PyTorch's two.

    >>> normalised_layers(nn.Sequential(spectral_norm(nn.Linear(2, 2)), nn.Linear(2, 2)))
    ['0']
    """
    found = []
    for name, module in network.named_modules():
        if isinstance(module, _Spectral | _SpectralNorm):
            found.append(name.partition(".parametrizations.")[0])
        elif any(isinstance(hook, SpectralNorm) for hook in module._forward_pre_hooks.values()):
            found.append(name)
    return found


class _Spectral(nn.Module):
    """W → W / σ(W); see `spectral_norm`."""

    u: Tensor

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        u = torch.randn(weight.shape[0], dtype=weight.dtype, device=weight.device)
        for _ in range(_WARM_UP):
            u = _iterated(u, weight.detach().flatten(1))
        self.register_buffer("u", u)

    def forward(self, weight: Tensor) -> Tensor:
        matrix = weight.flatten(1)
        # The graph gets a tensor of its own: the next use writes over the buffer, maybe before backward.
        if self.training:
            u = _iterated(self.u, matrix.detach())
            self.u.copy_(u)
        else:
            u = self.u.clone()
        normalised: Tensor = weight / torch.linalg.vector_norm(matrix.T @ u)
        return normalised


def _iterated(u: Tensor, matrix: Tensor) -> Tensor:
    return F.normalize(matrix @ (matrix.T @ u), dim=0)
