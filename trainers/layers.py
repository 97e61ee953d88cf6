"""Where regularizers may sit in a network that a user brings: the activations that a later layer reads."""

import importlib
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import activation
from torch.nn.modules.conv import _ConvNd

from trainers.settings import Mistake

Shape = tuple[int, ...]

_OTHERS = ("MultiheadAttention", "Softmax", "Softmax2d", "LogSoftmax", "Softmin")  # no code to make sparse
ACTIVATIONS = tuple(getattr(activation, name) for name in activation.__all__ if name not in _OTHERS)
_READERS = (_ConvNd, nn.Linear)  # what a sparse code enters
_VECTORS = ("latent_dim", "latent", "z_dim", "nz")  # attributes by which generators name their input
_PICTURES = ("input_channels", "in_channels")
_SIDE = 64
_WAY = "give its input with --input C,H,W, or --input L for a vector"


def imported(name: str) -> Any:
    """What "module:attribute" names; whatever goes wrong while its module is imported is a Mistake."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise Mistake(
            f"{name!r} cannot be imported ({_told(error)}): it must be module:attribute and name a Task, "
            "an nn.Module, or a factory of one, in a module on the Python path"
        ) from error


def built(name: str, thing: Any) -> nn.Module:
    """The network that an instance, a class or a factory stands for."""
    if not isinstance(thing, nn.Module) and callable(thing):
        try:
            thing = thing()
        except Exception as error:
            raise Mistake(
                f"{name!r} cannot be called without arguments ({_told(error)}): "
                "name a factory that takes none and returns an nn.Module"
            ) from error
    if not isinstance(thing, nn.Module):
        raise Mistake(f"{name!r} gives a {type(thing).__name__}, but it must give a torch.nn.Module")
    return thing


def guessed_inputs(network: nn.Module) -> list[Shape]:
    """Shapes that the network may take, without the batch, by its attributes; the likeliest first."""
    for name in (*_VECTORS, *_PICTURES):
        size = getattr(network, name, None)
        if isinstance(size, int) and size > 0:
            return [(size,), (size, 1, 1)] if name in _VECTORS else [(size, _SIDE, _SIDE)]
    raise Mistake(f"a {type(network).__name__} does not say what it takes: {_WAY}")


def candidates(network: nn.Module, inputs: Sequence[Shape]) -> tuple[Shape, dict[str, Shape]]:
    """The first of `inputs` that the network takes, and {dotted name: C × …} of its candidate sites.

    Those are the activation modules that run before the last convolution or linear layer, in order of
    execution, found by one forward pass of zeros in evaluation mode; attach's `names` takes these names.

    >>> candidates(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 1), nn.Tanh()), [(3, 8, 8)])
    ((3, 8, 8), {'1': (8, 6, 6)})
    """
    errors = []
    for shape in inputs:
        try:
            return shape, _pass(network, shape)
        except Mistake:
            raise
        except Exception as error:
            errors.append(f"with {'×'.join(map(str, shape))}: {_told(error)}")
    raise Mistake(f"a {type(network).__name__} fails ({'; '.join(errors)}): {_WAY}")


def _pass(network: nn.Module, shape: Shape) -> dict[str, Shape]:
    waiting: dict[str, Shape] = {}
    found: dict[str, Shape] = {}

    def activated(name: str, module: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor) and output.dim() > 1:
            waiting.setdefault(name, tuple(output.shape[1:]))

    def read(module: nn.Module, given: Any) -> None:
        found.update((name, size) for name, size in waiting.items() if name not in found)

    hooks = []
    for name, module in network.named_modules():
        if isinstance(module, ACTIVATIONS):
            hooks.append(module.register_forward_hook(partial(activated, name)))
        elif isinstance(module, _READERS):
            hooks.append(module.register_forward_pre_hook(read))
    modes = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(1, *shape))
    finally:
        for module, mode in modes.items():
            module.training = mode
        for hook in hooks:
            hook.remove()
    if not found:
        raise Mistake(
            f"a {type(network).__name__} has no activation module before a convolution or linear layer: "
            "a site is a module, so write nn.ReLU() in place of a function"
        )
    return found


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]
