"""The keys of task `gan`: which networks and loss, and how they train. No torch."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from trainers.losses.names import LOSSES
from trainers.own_options import OWN, OwnNetwork, from_name, kind_of
from trainers.pair_options import PAIRS, DcganNetwork, Pair, Sites
from trainers.picture_options import Augmentation, GenerativeOptions, refuse_repeated
from trainers.settings import DISCRIMINATOR, Mistake, is_discriminators

if TYPE_CHECKING:  # a Literal made from a list says nothing to a type checker
    LossName = str
else:
    LossName = Literal[*LOSSES]


def _kind(network: Any) -> str:
    """Which model an entry means; `{width: 16}` is a dcgan."""
    return kind_of(network, tuple(PAIRS.values()), "gan", "plan.network")


def _kind_of_judge(network: Any) -> str:
    return kind_of(network, tuple(PAIRS.values()), "gan", "plan.network.discriminator")


class OwnJudge(OwnNetwork):
    """A discriminator of the user's: N×C×S×S → N scores; its argument `labels` gets classes."""

    KEY: ClassVar[str] = "plan.network.discriminator"

    def discriminator_sites(self, size: int) -> Sites:
        """Its sites with their (C, H, W), found by a forward pass of a picture, in colour or grey."""
        from trainers.networks.own import sites

        return sites(self, tuple((channels, size, size) for channels in (3, 1)))


Judge = Annotated[
    Pair | Annotated[OwnJudge, Tag(OWN)],
    Discriminator(_kind_of_judge),
    BeforeValidator(from_name),
]


class OwnPair(OwnNetwork):
    """A generator of the user's: N×L or N×L×1×1 → N×C×S×S in [-1, 1]; its argument `labels` gets classes."""

    LOSS: ClassVar[str] = "non_saturating"

    output: Literal["none", "tanh"] = Field(
        default="none", description="what is put behind it; none: it ends in [-1, 1] itself"
    )
    latent: int | None = Field(
        default=None, ge=1, description="length of the latent vector; null: as the generator says"
    )
    discriminator: Judge = Field(
        default=DcganNetwork(spectral_norm=True),
        description="that of a network of ours, or a factory of one of your own: N×C×S×S → N scores",
    )

    def inputs(self) -> tuple[tuple[int, ...], ...] | None:
        """The shapes in which the generator may take a latent vector; None: as it says itself."""
        return None if self.latent is None else ((self.latent,), (self.latent, 1, 1))

    def sites(self, size: int) -> Sites:
        """The generator's sites with their (C, H, W), found by a forward pass."""
        from trainers.networks.own import sites  # torch, and what the user's module imports

        return sites(self, self.inputs())

    def discriminator_sites(self, size: int) -> Sites:
        """Those of the discriminator."""
        return self.discriminator.discriminator_sites(size)


Network = Annotated[
    Pair | Annotated[OwnPair, Tag(OWN)],
    Discriminator(_kind),
    BeforeValidator(from_name),
]


class GanOptions(GenerativeOptions):
    """The keys of task `gan`; the defaults are the field's reference on CIFAR-10 (arXiv 2005.02494)."""

    network: Network = Field(default=DcganNetwork(), description="generator and discriminator")
    loss: LossName = Field(
        default="non_saturating",
        description=f"{', '.join(LOSSES)}; where it is left out, what the network was published with",
    )
    augment: tuple[Augmentation, ...] = Field(
        default=(),
        description="what is done to pictures before they are judged: color, translation, cutout, flip",
    )
    generator_lr: float = Field(default=2e-4, gt=0, description="Adam's learning rate of the generator")
    discriminator_lr: float = Field(default=2e-4, gt=0, description="and of the discriminator")
    beta1: float = Field(default=0.0, ge=0, lt=1, description="Adam's decay of the mean")
    beta2: float = Field(default=0.9, ge=0, lt=1, description="Adam's decay of the square")
    decay: Literal["linear", "none"] = Field(
        default="linear", description="of both rates, to 0 at the last step"
    )
    discriminator_steps: int = Field(default=5, ge=1, description="before each step of the generator")
    discriminator_sites: bool = Field(
        default=False, description="whether its activations are sites too: discriminator.h0, …"
    )

    @model_validator(mode="before")
    @classmethod
    def _loss_of_the_network(cls, given: Any) -> Any:
        """Each family was published with its loss."""
        if isinstance(given, Mapping) and "loss" not in given and "network" in given:
            kind = _kind(from_name(given["network"]))
            return {**given, "loss": PAIRS[kind].LOSS if kind in PAIRS else OwnPair.LOSS}
        return given

    @model_validator(mode="after")
    def _suits(self) -> "GanOptions":
        """What two keys have to agree on, as far as it can be said without the data."""
        if not isinstance(self.network, OwnPair):  # what a user's own draws shows when it is built
            self.sites()
        judge = getattr(self.network, "discriminator", None)
        if getattr(judge, "names", None) and not self.discriminator_sites:
            raise Mistake(
                "plan.network.discriminator.names names sites, but plan.discriminator_sites is false: set it "
                "to true, or leave the names out"
            )
        refuse_repeated(self.augment)
        return self

    def sites(self) -> Sites:
        drawing, judging = self.network.sites(self.size), self.sites_of_discriminator()
        taken = [name for name in drawing if is_discriminators(name)]
        if taken:
            raise Mistake(
                f"the generator's site {taken[0]!r} has the name of one of the discriminator's: give it "
                "another by plan.network.names"
            )
        return drawing | {f"{DISCRIMINATOR}.{name}": shape for name, shape in judging.items()}

    def sites_of_discriminator(self) -> Sites:
        """By its own names; none where the plan does not ask for them."""
        return self.network.discriminator_sites(self.size) if self.discriminator_sites else {}
