"""The keys of task `ddpm`: which U-Net, how much noise, and how it trains and draws. No torch."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from trainers import picture_options
from trainers.own_options import from_name, kind_of
from trainers.pair_options import Sites, first_side
from trainers.picture_options import GenerativeOptions
from trainers.plan import Frozen, Plan
from trainers.settings import Mistake


class DdpmNetwork(Frozen):
    """A U-Net of residual blocks that tells the noise in a picture (arXiv 2006.11239, 2102.09672).

    The widths are the first paper's for CIFAR-10; there is one block a size where it has two, and no
    attention.
    """

    kind: Literal["ddpm"] = "ddpm"
    width: int = Field(default=128, ge=1, description="channels at full size; below it, twice as many")
    blocks: int = Field(default=3, ge=1, le=6, description="how often the picture is halved")

    def widths(self) -> tuple[int, ...]:
        """Channels at full size, at half of it, …, in the middle."""
        return (self.width, *[2 * self.width] * self.blocks)

    def sites(self, size: int) -> Sites:
        """The sites with their (C, H, W) in order of execution, for pictures of this side."""
        first_side(size, self.blocks)  # a Mistake where it cannot be halved so often
        maps = [(channels, size >> i, size >> i) for i, channels in enumerate(self.widths())]
        down = {f"down{i}": maps[i] for i in range(self.blocks)}
        up = {f"up{i}": maps[self.blocks - 1 - i] for i in range(self.blocks)}
        return {**down, "mid": maps[-1], **up, "code": maps[0]}


def _ours(network: Any) -> Any:
    """How a user's own network would be told the time, nobody knows."""
    named = from_name(network)
    kind_of(named, (DdpmNetwork,), "ddpm", "plan.network", own=False)
    return named


class DdpmOptions(GenerativeOptions):
    """The keys of task `ddpm`; the defaults are those of arXiv 2006.11239 on CIFAR-10.

    Left out of it are dropout, the mirroring of pictures and the first steps' smaller rate. Pictures are
    drawn as arXiv 2010.02502 does, which in 50 steps comes near what 1,000 draw.
    """

    network: Annotated[DdpmNetwork, BeforeValidator(_ours)] = Field(
        default=DdpmNetwork(), description="the U-Net"
    )
    batch: int = Field(default=128, ge=2, description="pictures a step")
    lr: float = Field(default=2e-4, gt=0, description="Adam's learning rate")
    noise_steps: int = Field(
        default=1000, ge=2, le=100_000, description="in which a picture becomes noise, by a cosine schedule"
    )
    sampling_steps: int = Field(
        default=50, ge=2, description="in which noise becomes a picture (DDIM); an evaluation takes as long"
    )
    average: float = Field(
        default=0.9999, ge=0, lt=1, description="decay of the averaged weights that are scored; 0: no average"
    )

    @model_validator(mode="after")
    def _suits(self) -> "DdpmOptions":
        """What two keys have to agree on."""
        self.sites()
        if self.sampling_steps > self.noise_steps:
            raise Mistake(
                f"plan.sampling_steps is {self.sampling_steps}, but noise comes in {self.noise_steps} steps: "
                "take at most so many, or raise plan.noise_steps"
            )
        return self

    def sites(self) -> Sites:
        return self.network.sites(self.size)


def measured(plan: Plan) -> str:
    """On what the plan's objective is measured, and in how many steps: fewer draw worse pictures."""
    options = DdpmOptions.model_validate(plan.options)
    return f"{picture_options.measured(plan)}, each drawn in {options.sampling_steps} steps"
