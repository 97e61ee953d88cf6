"""Networks that a user brings, made by their factory and dressed as ours."""

import json
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn

from trainers.dip_options import OwnPrior
from trainers.gan_options import OwnPair, Sites
from trainers.layers import Shape, built, candidates, guessed_inputs, imported, label_argument, run
from trainers.networks import pair
from trainers.networks.draws import DrawFrom
from trainers.networks.sited import Sited
from trainers.own_options import OwnModule, OwnNetwork
from trainers.settings import Mistake

ENDS = {"none": nn.Identity, "sigmoid": nn.Sigmoid, "tanh": nn.Tanh}


def made(config: OwnModule) -> nn.Module:
    """A new network by the factory, in training mode; a Mistake where there is none, or it fails."""
    factory = imported(config.kind)
    if isinstance(factory, nn.Module):
        raise Mistake(
            f"plan.network.kind is {config.kind!r}, which is one network, but every trial begins with a new "
            "one: name a function that makes it, or its class"
        )
    return built(config.kind, factory, config.arguments).train()


def sites(config: OwnNetwork, inputs: tuple[Shape, ...] | None) -> Sites:
    """The sites of a user's generator with their (C, H, W), for the first of the inputs that it takes.

    inputs: shapes without the batch; None: as the network says itself. Vectors N×C are sites of C×1×1; what
    has other dimensions is none.
    """
    names = json.dumps(config.names)
    return dict(_looked_at(config.kind, json.dumps(config.arguments), names, inputs)[1])


@lru_cache(maxsize=16)  # a search asks once a proposal
def _looked_at(
    kind: str, arguments: str, names: str, inputs: tuple[Shape, ...] | None
) -> tuple[Shape, Sites]:
    with DrawFrom(torch.Generator()):
        network = made(OwnModule(kind=kind, arguments=json.loads(arguments)))
        guessed = inputs or guessed_inputs(network, imported(kind), json.loads(arguments))
        shape, found = candidates(network, guessed, json.loads(names))
    maps = {name: (*uses[0], 1, 1)[:3] for name, uses in found.items() if len(uses[0]) in (1, 3)}
    if not maps:
        raise Mistake(f"{kind!r} has activations, but none of C×H×W: a site is such a one, or a vector")
    return shape, maps  # type: ignore[return-value]  # three numbers each


def _picture(output: Any) -> Tensor:
    """What a generator draws, where it gives more than that."""
    first: Tensor = output[0] if isinstance(output, list | tuple) else output
    return first


def _check(kind: str, output: Any, shape: Shape, what: str) -> None:
    output = _picture(output)
    if not isinstance(output, Tensor) or tuple(output.shape[1:]) != shape:
        told = "×".join(map(str, output.shape[1:])) if isinstance(output, Tensor) else type(output).__name__
        raise Mistake(
            f"{kind!r} gives {told}, but {what} {'×'.join(map(str, shape))}: "
            "change plan.network.arguments, or the plan"
        )


class OwnRestorer(Sited):
    """A user's network that draws a picture from noise: N×input_channels×H×W → N×out_channels×H×W."""

    def __init__(self, config: OwnPrior, out_channels: int) -> None:
        super().__init__()
        self.config, self.out_channels, self.names = config, out_channels, config.names
        self.network, self.end = made(config), ENDS[config.output]()

    @property
    def bare(self) -> nn.Module:
        return self.network

    def check(self, height: int, width: int) -> None:
        """Refuse, by one forward pass, a network that does not draw pictures of these sides."""
        given = run(self.network, (self.config.input_channels, height, width))
        _check(self.config.kind, given, (self.out_channels, height, width), "the picture, padded, has")

    def forward(self, x: Tensor) -> Tensor:
        drawn: Tensor = self.end(_picture(self.network(x)))
        return drawn


class OwnGenerator(pair.Generator):
    """A user's generator; the labels go to an argument of it that is called so, as do `label` and `y`.

    Raises:
        Mistake: it does not draw pictures of this form.
    """

    def __init__(self, config: OwnPair, form: pair.PictureForm) -> None:
        super().__init__()
        vector = None if config.latent is None else ((config.latent,), (config.latent, 1, 1))
        self.shape, found = _looked_at(
            config.kind, json.dumps(config.arguments), json.dumps(config.names), vector
        )
        self.latent, self.sites, self.names = self.shape[0], tuple(found), config.names
        self.network, self.end = made(config), ENDS[config.output]()
        self.labels = label_argument(self.network)
        drawn = run(self.network, self.shape)
        _check(config.kind, drawn, (form.channels, form.size, form.size), "the pictures have")

    @property
    def bare(self) -> nn.Module:
        return self.network

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> Tensor:
        more = {} if self.labels is None else {self.labels: labels}
        drawn: Tensor = self.end(_picture(self.network(latents.reshape(-1, *self.shape), **more)))
        return drawn


class OwnDiscriminator(pair.Discriminator):
    """A user's discriminator, whose scores come as N, N×1 or N×1×1×1.

    Raises:
        Mistake: it does not judge pictures of this form, or gives more than a score for each.
    """

    def __init__(self, config: OwnModule, form: pair.PictureForm) -> None:
        super().__init__(form)
        self.network = made(config)
        self.labels = label_argument(self.network)
        judged = run(self.network, (form.channels, form.size, form.size))
        if not isinstance(judged, Tensor) or judged.numel() != 1:
            told = "×".join(map(str, judged.shape)) if isinstance(judged, Tensor) else type(judged).__name__
            raise Mistake(
                f"{config.kind!r} gives {told} for one picture, but a discriminator gives one score: "
                "name one that does"
            )

    def features(self, images: Tensor) -> Tensor:
        raise Mistake(
            "plan.loss reads features of the discriminator, and one of your own gives scores alone: "
            "take another loss, or a discriminator of ours"
        )

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        more = {} if self.labels is None else {self.labels: labels}
        scores: Tensor = self.network(images, **more).reshape(-1)
        return scores
