"""Where regularizers may sit in a network that a user brings: the activations that a later layer reads."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import activation
from torch.nn.modules.conv import _ConvNd

from trainers.own_options import told
from trainers.settings import Mistake

Shape = tuple[int, ...]

_OTHERS = ("MultiheadAttention", "Softmax", "Softmax2d", "LogSoftmax", "Softmin")  # no code to make sparse
ACTIVATIONS = tuple(getattr(activation, name) for name in activation.__all__ if name not in _OTHERS)
_READERS = (_ConvNd, nn.Linear)  # what a sparse code enters
# Attributes of a generator, and arguments of its factory, by which people name its input.
_VECTORS = ("latent_dim", "latent", "latent_size", "z_dim", "nz", "encoding_dims")
_PICTURES = ("input_channels", "in_channels")
_SHAPES = ("input_shape", "shape")
_LABELS = ("labels", "label", "y")  # arguments of a forward pass that take classes
_SIDE = 64
_WAY = "say what it takes, to `layers` by --input C,H,W (L: a vector), in a study by plan.network"


def built(name: str, thing: Any, arguments: Mapping[str, Any] | None = None) -> nn.Module:
    """The network that an instance, a class or a factory stands for; these are called with the arguments."""
    if isinstance(thing, nn.Module) and arguments:
        raise Mistake(f"{name!r} is a network and takes no arguments: name its class, or what makes it")
    if not isinstance(thing, nn.Module) and callable(thing):
        try:
            thing = thing(**(arguments or {}))
        except Exception as error:
            called = f"with {dict(arguments)}" if arguments else "without arguments"
            raise Mistake(
                f"{name!r} cannot be called {called} ({_told(error)}): name a factory that returns an "
                "nn.Module, and in a study's file give what it needs as plan.network.arguments"
            ) from error
    if not isinstance(thing, nn.Module):
        raise Mistake(f"{name!r} gives a {type(thing).__name__}, but it must give a torch.nn.Module")
    return thing


def guessed_inputs(
    network: nn.Module, factory: Any = None, arguments: Mapping[str, Any] | None = None
) -> list[Shape]:
    """Shapes that the network may take, without the batch, the likeliest first.

    Guessed from attributes of the network (`latent`, `in_channels`, `input_shape`, …), else from what its
    factory is called with by these names, else from its first layer; a Mistake where there is no such.
    """
    attributes = {name: getattr(network, name, None) for name in (*_SHAPES, *_VECTORS, *_PICTURES)}
    for known in (attributes, _defaults(factory) | dict(arguments or {})):
        for name in attributes:
            value = known.get(name)
            sizes: tuple[Any, ...] = tuple(value) if isinstance(value, list | tuple) else (value,)
            if not sizes or not all(isinstance(size, int) and size > 0 for size in sizes):
                continue
            if name in _SHAPES and len(sizes) > 1:
                return [sizes]
            if len(sizes) == 1:
                return [(*sizes, _SIDE, _SIDE)] if name in _PICTURES else [sizes, (*sizes, 1, 1)]
    first = next((module for module in network.modules() if isinstance(module, _READERS)), None)
    if isinstance(first, nn.Linear):
        return [(first.in_features,)]
    if isinstance(first, nn.ConvTranspose2d):
        return [(first.in_channels, 1, 1)]
    if isinstance(first, nn.Conv2d):
        return [(first.in_channels, _SIDE, _SIDE)]
    raise Mistake(f"a {type(network).__name__} does not say what it takes: {_WAY}")


def _defaults(factory: Any) -> dict[str, Any]:
    try:
        parameters = inspect.signature(factory).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {one.name: one.default for one in parameters if one.default is not one.empty}


def candidates(
    network: nn.Module, inputs: Sequence[Shape], names: Mapping[str, str] | None = None
) -> tuple[Shape, dict[str, list[Shape]]]:
    """The first of `inputs` that the network takes, and {name: [C × …, …]} of its candidate sites.

    A module that runs several times is one site, with the shape of each use. Candidates are the
    activation modules that run before the last convolution or linear layer, in order of execution and by
    their dotted names, found by one forward pass of zeros in evaluation mode; attach's `names` takes these
    names. With `names`, {site: module}, they are these modules instead.

    >>> candidates(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 3, 1), nn.Tanh()), [(3, 8, 8)])
    ((3, 8, 8), {'1': [(8, 6, 6)]})
    """
    errors = []
    for shape in inputs:
        try:
            return shape, _named(network, shape, names) if names else _found(network, shape)
        except Mistake:
            raise
        except Exception as error:
            errors.append(f"with {'×'.join(map(str, shape))}: {_told(error)}")
    raise Mistake(f"a {type(network).__name__} fails ({'; '.join(errors)}): {_WAY}")


@contextmanager
def looking(network: nn.Module) -> Iterator[None]:
    """Within it, the network is in evaluation mode and takes no gradients; it is left as it was."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _run(network: nn.Module, shape: Shape) -> None:
    label = label_argument(network)
    classes = {} if label is None else {label: torch.zeros(1, dtype=torch.int64)}
    with looking(network):
        network(torch.zeros(1, *shape), **classes)


def first_tensor(output: Any) -> Any:
    """The picture, or the activation, where a module gives more than that."""
    return output[0] if isinstance(output, list | tuple) and output else output


def label_argument(network: nn.Module) -> str | None:
    """The argument of the network that takes the classes of a batch; None where it takes none."""
    _, *others = [*inspect.signature(network.forward).parameters] or [""]  # the first is the input itself
    return next((name for name in others if name in _LABELS), None)


def _found(network: nn.Module, shape: Shape) -> dict[str, list[Shape]]:
    seen: dict[str, list[Shape]] = {}
    entering: set[str] = set()

    def read(module: nn.Module, given: Any) -> None:
        entering.update(seen)

    activated = {name: one for name, one in network.named_modules() if isinstance(one, ACTIVATIONS)}
    readers = [module for module in network.modules() if isinstance(module, _READERS)]
    with _watched(activated, seen):
        hooks = [module.register_forward_pre_hook(read) for module in readers]
        try:
            _run(network, shape)
        finally:
            for hook in hooks:
                hook.remove()
    if not entering:
        raise Mistake(
            f"a {type(network).__name__} has no activation module before a convolution or linear layer: "
            "a site is a module, so write nn.ReLU() in place of a function"
        )
    return {name: uses for name, uses in seen.items() if name in entering}


def _named(network: nn.Module, shape: Shape, names: Mapping[str, str]) -> dict[str, list[Shape]]:
    modules = dict(network.named_modules(remove_duplicate=False))
    for site, name in names.items():
        if name not in modules:
            raise Mistake(
                f"names has {site}: {name}, but the modules of a {type(network).__name__} are "
                f"{', '.join(one for one in modules if one) or 'none'}"
            )
    seen: dict[str, list[Shape]] = {}
    with _watched({site: modules[name] for site, name in names.items()}, seen):
        _run(network, shape)
    idle = [site for site in names if site not in seen]
    if idle:
        raise Mistake(
            f"names has {idle[0]}: {names[idle[0]]}, but that module gives no tensor in a forward pass: "
            "name one that makes an activation"
        )
    return seen


@contextmanager
def _watched(modules: Mapping[str, nn.Module], seen: dict[str, list[Shape]]) -> Iterator[None]:
    """Within it, the shapes of what each of the modules gives go to `seen`, in order of execution."""

    def watch(name: str, module: nn.Module, given: Any, output: Any) -> None:
        first = first_tensor(output)
        if isinstance(first, Tensor) and first.dim() > 1:
            seen.setdefault(name, []).append(tuple(first.shape[1:]))

    hooks = [module.register_forward_hook(partial(watch, name)) for name, module in modules.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _told(error: Exception) -> str:
    return told(error)[:200]
