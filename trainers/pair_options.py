"""The networks that task `gan` trains, a generator with its discriminator each: their keys. No torch.

The networks of a kind are the classes `Generator` and `Discriminator` of the file of that name in
`trainers/networks/`.
"""

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, Union

from pydantic import Field, Tag

from trainers.plan import Frozen
from trainers.settings import Mistake

Sites = dict[str, tuple[int, int, int]]


class PairNetwork(Frozen):
    """What a plan says of both networks of one kind.

    LOSS: what the family was published with, `plan.loss` where it is left out. LABELS: whether it draws
    pictures of classes, and so needs data that have them.
    """

    LOSS: ClassVar[str] = "non_saturating"
    LABELS: ClassVar[bool] = False

    kind: str

    @abstractmethod
    def sites(self, size: int) -> Sites:
        """The generator's sites with their (C, H, W) in order of execution, for pictures of this side."""

    @abstractmethod
    def discriminator_sites(self, size: int) -> Sites:
        """The same of the discriminator; `code` is what its score is read from."""


class DcganNetwork(PairNetwork):
    """Transposed convolutions that double a small map (arXiv 1511.06434); the discriminator mirrors them."""

    kind: Literal["dcgan"] = "dcgan"
    width: int = Field(default=64, ge=1, description="channels at full size; doubled with each halving")
    blocks: int = Field(default=3, ge=1, le=6, description="how often the first map is doubled")
    latent: int = Field(default=128, ge=1, description="length of the latent vector")
    spectral_norm: bool = Field(default=False, description="in the discriminator")

    def sites(self, size: int) -> Sites:
        first = first_side(size, self.blocks)
        maps = [(self.width << (self.blocks - i), first << i, first << i) for i in range(self.blocks + 1)]
        return _named(maps)

    def discriminator_sites(self, size: int) -> Sites:
        first_side(size, self.blocks)
        return _named([(self.width << i, size >> i, size >> i) for i in range(self.blocks + 1)])


class ResidualNetwork(PairNetwork):
    """Residual blocks, in the sizes of arXiv 1802.05957's CIFAR-10 experiments; the kinds below vary them."""

    LOSS: ClassVar[str] = "hinge"

    width: int = Field(default=256, ge=1, description="channels of the generator")
    discriminator_width: int = Field(default=128, ge=1, description="channels of the discriminator")
    blocks: int = Field(default=3, ge=1, le=6, description="how often the first map is doubled")
    latent: int = Field(default=128, ge=1, description="length of the latent vector")
    spectral_norm: bool = Field(default=True, description="in the discriminator")

    def sites(self, size: int) -> Sites:
        first = first_side(size, self.blocks)
        sides = [first << (i + 1) for i in range(self.blocks)]
        return _named([(self.width, side, side) for side in (*sides, size)])

    def discriminator_sites(self, size: int) -> Sites:
        sides = (size, size // 2, size // 4, size // 4, size // 4)
        return _named([(self.discriminator_width, side, side) for side in sides])


class SnganNetwork(ResidualNetwork):
    """Residual blocks with spectral norm (arXiv 1802.05957), in the sizes of its CIFAR-10 experiments.

    Without spectral norm and with the non-saturating loss it is what the field's benchmarks call DCGAN.
    """

    kind: Literal["sngan"] = "sngan"


class SaganNetwork(ResidualNetwork):
    """The same with self-attention and spectral norm in both networks (arXiv 1805.08318); without labels."""

    kind: Literal["sagan"] = "sagan"
    spectral_norm: bool = Field(default=True, description="in both networks")


class SsganNetwork(ResidualNetwork):
    """SNGAN's networks, whose discriminator also tells how far a picture is turned (arXiv 1811.11212)."""

    LOSS: ClassVar[str] = "rotation"

    kind: Literal["ssgan"] = "ssgan"


class InfomaxNetwork(ResidualNetwork):
    """SNGAN's networks, whose discriminator also tells a picture by its parts (arXiv 2007.04589)."""

    LOSS: ClassVar[str] = "infomax"

    kind: Literal["infomax"] = "infomax"


class CganNetwork(ResidualNetwork):
    """Pictures of a class: conditional BatchNorm, and a discriminator that projects (arXiv 1802.05637)."""

    LABELS: ClassVar[bool] = True

    kind: Literal["cgan"] = "cgan"


def _named(maps: list[tuple[int, int, int]]) -> Sites:
    """The last is the code."""
    return {f"h{i}": shape for i, shape in enumerate(maps[:-1])} | {"code": maps[-1]}


def first_side(size: int, blocks: int) -> int:
    """The side of the map that so many doublings turn into a picture of this size."""
    if size % (1 << blocks):
        raise Mistake(
            f"plan.size is {size}, but a network of {blocks} blocks doubles a map {blocks} times: "
            f"take a multiple of {1 << blocks}, or other blocks"
        )
    return size >> blocks


# The list of kinds. What a plan may name, what is built, its docs and its tests follow from it.
_ALL: tuple[type[PairNetwork], ...] = (
    DcganNetwork,
    SnganNetwork,
    SaganNetwork,
    SsganNetwork,
    InfomaxNetwork,
    CganNetwork,
)
PAIRS: dict[str, type[PairNetwork]] = {one.model_fields["kind"].default: one for one in _ALL}
if TYPE_CHECKING:  # a union made from a list says nothing to a type checker
    Pair = PairNetwork
else:
    Pair = Union[tuple(Annotated[one, Tag(kind)] for kind, one in PAIRS.items())]  # noqa: UP007
