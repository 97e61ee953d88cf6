"""Networks that a user brings, made by their factory and dressed as ours."""

import copy
import hashlib
import json
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from trainers import classifier_options
from trainers.dip_options import OwnPrior
from trainers.gan_options import OwnJudge, OwnPair
from trainers.layers import Shape, built, candidates, first_tensor, guessed_inputs, label_argument, looking
from trainers.networks import pair
from trainers.networks.draws import DrawFrom
from trainers.networks.sited import Sited
from trainers.own_options import OwnModule, OwnNetwork, imported, told
from trainers.pair_options import Sites
from trainers.settings import Mistake

ENDS = {"none": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def made(config: OwnModule) -> nn.Module:
    """A new network by the factory, in training mode; a Mistake where there is none, or it fails."""
    factory = imported(config.kind, f"{config.KEY}.kind")
    if isinstance(factory, nn.Module):
        raise Mistake(
            f"{config.KEY}.kind is {config.kind!r}, which is one network, but every trial begins with a new "
            "one: name a function that makes it, or its class"
        )
    return built(config.kind, factory, copy.deepcopy(config.arguments)).train()  # it may change what it gets


def sites(config: OwnNetwork, inputs: tuple[Shape, ...] | None) -> Sites:
    """The sites of a user's generator with their (C, H, W), for the first of the inputs that it takes.

    inputs: shapes without the batch; None: as the network says itself. Vectors N×C are sites of C×1×1; what
    has other dimensions is none. A module that runs several times has the shape of its first use.
    """
    return dict(_input_and_sites(config, inputs)[1])


def _input_and_sites(config: OwnNetwork, inputs: tuple[Shape, ...] | None) -> tuple[Shape, Sites]:
    text = config.model_dump_json(include={"kind", "arguments", "names"})
    return _looked_at(text, imported(config.kind, f"{config.KEY}.kind"), inputs)


@lru_cache(maxsize=16)  # a search asks once a proposal; by the factory too, for a notebook may define it anew
def _looked_at(config: str, factory: Any, inputs: tuple[Shape, ...] | None) -> tuple[Shape, Sites]:
    network_of = OwnNetwork.model_validate_json(config)
    with DrawFrom(torch.Generator()):
        network = made(network_of)
        guessed = inputs or guessed_inputs(network, factory, json.loads(config)["arguments"])
        shape, found = candidates(network, guessed, network_of.names)
    maps = {name: (*uses[0], 1, 1)[:3] for name, uses in found.items() if len(uses[0]) in (1, 3)}
    others = [name for name in found if name not in maps]
    if others and (network_of.names or not maps):
        shown = "×".join(map(str, found[others[0]][0]))
        raise Mistake(
            f"the activation {others[0]!r} of {network_of.kind!r} is {shown}, but a site is C×H×W or a "
            "vector: name one that is"
        )
    return shape, maps  # type: ignore[return-value]  # three numbers each


def tried(kind: str, network: nn.Module, *inputs: Tensor) -> Tensor:
    """What a dressed network gives, in evaluation mode; whatever it raises is a Mistake."""
    try:
        with looking(network):
            given: Tensor = network(*inputs)
            return given
    except Mistake:
        raise
    except Exception as error:
        raise Mistake(
            f"{kind!r} fails on {_shape(inputs[0])} ({told(error)}): change its arguments, or the plan"
        ) from error


def refuse_shape(kind: str, given: object, shape: tuple[int, ...], what: str) -> None:
    """A Mistake where a network gives another shape than `what` it should give."""
    if not isinstance(given, Tensor) or tuple(given.shape) != shape:
        raise Mistake(
            f"{kind!r} gives {_shape(given)}, but {what} {'×'.join(map(str, shape))}: change its arguments, "
            "or the plan"
        )


def _shape(given: object) -> str:
    """A tensor's shape in words, or what else it is."""
    return "×".join(map(str, given.shape)) if isinstance(given, Tensor) else type(given).__name__


def refuse_the_same(config: OwnModule, network: nn.Module) -> None:
    """A Mistake where another call of the factory gives a network that shares weights with this one."""
    with DrawFrom(torch.Generator()):
        other = made(config)
    if {id(value) for value in network.parameters()} & {id(value) for value in other.parameters()}:
        raise Mistake(
            f"{config.kind!r} gives the same network each time, but every trial begins with a new one: make "
            "it within the function"
        )


def fingerprint(network: nn.Module, sites: Sites) -> str:
    """SHA-256 of what a network is made of: its modules as they print, its parameters' shapes, its sites."""
    shapes = [(name, list(value.shape)) for name, value in network.state_dict().items()]
    return hashlib.sha256(f"{network}\n{shapes}\n{sites}".encode()).hexdigest()


class OwnRestorer(Sited):
    """A user's network that draws a picture from noise: N×input_channels×H×W → N×C×H×W."""

    def __init__(self, config: OwnPrior) -> None:
        super().__init__()
        self.names = config.names
        self.network, self.end = made(config), ENDS[config.output]()

    @property
    def bare(self) -> nn.Module:
        return self.network

    def forward(self, x: Tensor) -> Tensor:
        drawn: Tensor = self.end(first_tensor(self.network(x)))
        return drawn


class OwnClassifier(Sited):
    """A user's network that tells classes: N×C×S×S in [-1, 1] → N×classes, logits."""

    def __init__(self, config: classifier_options.OwnClassifier) -> None:
        super().__init__()
        self.names, self.network = config.names, made(config)

    @property
    def bare(self) -> nn.Module:
        return self.network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = first_tensor(self.network(images))
        return logits


class OwnGenerator(pair.Generator):
    """A user's generator; classes go to an argument `labels`, `label` or `y` of it, if it has one."""

    def __init__(self, config: OwnPair) -> None:
        super().__init__()
        self.shape, found = _input_and_sites(config, config.inputs())
        if set(self.shape[1:]) - {1}:
            raise Mistake(
                f"{config.kind!r} takes {'×'.join(map(str, self.shape))}, but a generator of a GAN takes "
                "latent vectors: give plan.network.latent, or another network"
            )
        self.latent, self.sites, self.names = self.shape[0], tuple(found), config.names
        self.network, self.end = made(config), ENDS[config.output]()
        self.labels = label_argument(self.network)

    @property
    def bare(self) -> nn.Module:
        return self.network

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        more = {} if self.labels is None else {self.labels: labels}
        drawn: Tensor = self.end(first_tensor(self.network(latents.reshape(-1, *self.shape), **more)))
        return drawn


class OwnDiscriminator(pair.Discriminator):
    """A user's discriminator, whose scores come as N, N×1 or N×1×1×1; classes as in `OwnGenerator`."""

    def __init__(self, config: OwnJudge, form: pair.PictureForm) -> None:
        super().__init__(form)
        self.kind, self.names, self.network = config.kind, config.names, made(config)
        self.labels = label_argument(self.network)

    @property
    def bare(self) -> nn.Module:
        return self.network

    @property
    def map_channels(self) -> int:  # type: ignore[override]
        raise self._without_features()

    @property
    def feature_count(self) -> int:  # type: ignore[override]
        raise self._without_features()

    def last_map(self, images: Tensor) -> Tensor:
        raise self._without_features()

    def features_of(self, last_map: Tensor) -> Tensor:
        raise self._without_features()

    def _without_features(self) -> Mistake:
        return Mistake(
            f"plan.loss reads features of the discriminator, and {self.kind!r}, one of your own, gives "
            "scores alone: take another loss, or a discriminator of ours"
        )

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        more = {} if self.labels is None else {self.labels: labels}
        scores = self.network(images, **more)
        if not isinstance(scores, Tensor) or scores.shape[:1] != images.shape[:1] or scores[0].numel() != 1:
            raise Mistake(
                f"{self.kind!r} gives {_shape(scores)} for {len(images)} pictures, but a discriminator gives "
                "one score for each: name one that does"
            )
        return scores.reshape(-1)
