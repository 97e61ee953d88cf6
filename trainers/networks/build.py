"""The list of networks, and how any of them is made: drawn from a generator of its own."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import nn

from trainers import classifier_options, pair_options
from trainers.classifier_options import ClassifierNetwork
from trainers.dip_options import OwnPrior, SkipNetwork
from trainers.gan_options import OwnJudge, OwnPair
from trainers.networks.classifier import Classifier
from trainers.networks.draws import DrawFrom
from trainers.networks.own import (
    OwnClassifier,
    OwnDiscriminator,
    OwnGenerator,
    OwnRestorer,
    fingerprint,
    refuse_shape,
    refuse_the_same,
    tried,
)
from trainers.networks.pair import Discriminator, Generator, PictureForm
from trainers.networks.skip import Skip
from trainers.pair_options import PairNetwork
from trainers.sparsity import attach

_MakesGenerator = Callable[[Any, PictureForm], Generator]
_MakesDiscriminator = Callable[[Any, PictureForm], Discriminator]
NETWORKS: dict[str, Callable[[SkipNetwork, int], Skip]] = {"skip": Skip}


def _made_of(kind: str) -> tuple[_MakesGenerator, _MakesDiscriminator]:
    """The classes of both networks of that kind, from the file of its name."""
    file = import_module(f"trainers.networks.{kind}")
    return file.Generator, file.Discriminator


# What generates from latent vectors comes with what judges it.
PAIRS = {kind: _made_of(kind) for kind in pair_options.PAIRS}


def build(
    config: SkipNetwork | OwnPrior, *, out_channels: int, generator: torch.Generator
) -> Skip | OwnRestorer:
    """The network on the CPU in training mode, initialised from the generator (one of the CPU).

    It is the same, bit for bit, as one that PyTorch initialises after `torch.manual_seed` with that seed.
    """
    with DrawFrom(generator):
        if isinstance(config, OwnPrior):
            return OwnRestorer(config)
        return NETWORKS[config.kind](config, out_channels)


def build_pair(
    config: PairNetwork | OwnPair, form: PictureForm, *, generator: torch.Generator
) -> tuple[Generator, Discriminator]:
    """Generator and discriminator on the CPU in training mode, initialised from `generator` (of the CPU).

    A form that the network cannot draw raises `Mistake`.

    >>> from trainers.pair_options import DcganNetwork
    >>> drawn = torch.Generator().manual_seed(0)
    >>> form = PictureForm(size=32, channels=1, classes=10)
    >>> generator, _ = build_pair(DcganNetwork(width=8), form, generator=drawn)
    >>> generator.latent, generator.sites
    (128, ('h0', 'h1', 'h2', 'code'))
    """
    judge = config.discriminator if isinstance(config, OwnPair) else config
    with DrawFrom(generator):
        drawing = OwnGenerator(config) if isinstance(config, OwnPair) else PAIRS[config.kind][0](config, form)
        judging = (
            OwnDiscriminator(judge, form)
            if isinstance(judge, OwnJudge)
            else PAIRS[judge.kind][1](judge, form)
        )
    return drawing, judging


def build_classifier(
    config: ClassifierNetwork | classifier_options.OwnClassifier,
    form: PictureForm,
    *,
    generator: torch.Generator,
) -> Classifier | OwnClassifier:
    """What classifies such pictures: on the CPU in training mode, initialised from `generator`, a CPU's."""
    with DrawFrom(generator):
        if isinstance(config, classifier_options.OwnClassifier):
            return OwnClassifier(config)
        return Classifier(config, form)


def check_restorer(config: OwnPrior, picture: tuple[int, int, int]) -> str:
    """Refuse a user's network that does not draw pictures of C×H×W, or whose sites do not fire.

    Returns its fingerprint: a study does not go on with another.
    """
    network = build(config, out_channels=picture[0], generator=torch.Generator())
    seen = attach(network.bare, {}, names=network.names, observe=config.sites(*picture[1:]))
    drawn = tried(config.kind, network, torch.zeros(1, config.input_channels, *picture[1:]))
    refuse_shape(config.kind, drawn, (1, *picture), "the picture, padded, has")
    seen.sparsity()
    refuse_the_same(config, network.bare)
    return fingerprint(network.bare, config.sites(*picture[1:]))


def check_classifier(config: classifier_options.OwnClassifier, form: PictureForm) -> str:
    """Refuse a user's network that does not tell the classes of such pictures, or whose sites do not fire.

    Returns its fingerprint: a study does not go on with another.
    """
    network = build_classifier(config, form, generator=torch.Generator())
    sites = config.sites(form.size)
    seen = attach(network.bare, {}, names=network.names, observe=sites)
    logits = tried(config.kind, network, torch.zeros(2, form.channels, form.size, form.size))
    refuse_shape(config.kind, logits, (2, form.classes), "the logits of two pictures are")
    seen.sparsity()
    refuse_the_same(config, network.bare)
    return fingerprint(network.bare, sites)


def check_pair(config: OwnPair, form: PictureForm) -> str:
    """Refuse a user's pair that could not train on such pictures; looked at with two of the last class.

    Returns its fingerprint: a study does not go on with another.
    """
    generator, discriminator = build_pair(config, form, generator=torch.Generator())
    seen = attach(generator.bare, {}, names=generator.names, observe=generator.sites)
    labels = torch.full((2,), form.classes - 1)
    drawn = tried(config.kind, generator, torch.zeros(2, generator.latent), labels)
    refuse_shape(config.kind, drawn, (2, form.channels, form.size, form.size), "two pictures have")
    seen.sparsity()
    judge = config.discriminator
    tried(judge.kind, discriminator, drawn, labels)
    refuse_the_same(config, generator.bare)
    if isinstance(discriminator, OwnDiscriminator) and isinstance(judge, OwnJudge):
        refuse_the_same(judge, discriminator.network)
    return fingerprint(nn.ModuleList([generator.bare, discriminator]), config.sites(form.size))
