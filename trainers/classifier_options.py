"""The keys of task `classifier`: which network, on which pictures it is scored, how it trains. No torch."""

import os
from typing import Annotated, ClassVar, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from trainers.own_options import OWN, OwnNetwork, from_name, kind_of
from trainers.pair_options import Sites
from trainers.picture_options import Augmentation, PictureOptions, refuse_repeated
from trainers.plan import Frozen, Plan
from trainers.settings import Mistake

ACCURACY, CROSS_ENTROPY = "accuracy", "cross_entropy"
METRICS: dict[str, Literal["minimize", "maximize"]] = {ACCURACY: "maximize", CROSS_ENTROPY: "minimize"}
IN_WORDS = {ACCURACY: "accuracy", CROSS_ENTROPY: "mean cross-entropy"}


class ClassifierNetwork(Frozen):
    """A residual network with BatchNorm and ReLU before convolutions (arXiv 1603.05027).

    The defaults are the field's smallest for pictures of 32×32 (ResNet-20, arXiv 1512.03385).
    """

    kind: Literal["classifier"] = "classifier"
    width: int = Field(default=16, ge=1, description="channels at full size; doubled with each halving")
    stages: int = Field(default=3, ge=1, le=6, description="sizes of the map, each half of the one before")
    blocks: int = Field(default=3, ge=1, le=32, description="residual blocks at each of them")

    def maps(self, size: int) -> list[tuple[int, int, int]]:
        """(C, H, W) of what each block gives, for pictures of this side."""
        if size >> (self.stages - 1) < 1:
            raise Mistake(
                f"plan.size is {size}, but a network of {self.stages} stages halves its map "
                f"{self.stages - 1} times: take fewer stages, or larger pictures"
            )
        sides = [-(-size // (1 << i)) for i in range(self.stages)]
        return [(self.width << i, side, side) for i, side in enumerate(sides) for _ in range(self.blocks)]

    def sites(self, size: int) -> Sites:
        """The sites with their (C, H, W) in order of execution, for pictures of this side."""
        maps = self.maps(size)
        return {f"h{i}": shape for i, shape in enumerate(maps)} | {"code": maps[-1]}


class OwnClassifier(OwnNetwork):
    """A classifier of the user's: N×C×S×S in [-1, 1] → N×classes, the logits."""

    def sites(self, size: int) -> Sites:
        """The sites with their (C, H, W), found by a forward pass of a colour or a grey picture."""
        from trainers.networks.own import sites  # torch, and what the user's module imports

        return sites(self, ((3, size, size), (1, size, size)))


Network = Annotated[
    Annotated[ClassifierNetwork, Tag("classifier")] | Annotated[OwnClassifier, Tag(OWN)],
    Discriminator(lambda network: kind_of(network, (ClassifierNetwork,), "classifier", "plan.network")),
    BeforeValidator(from_name),
]


class ClassifierOptions(PictureOptions):
    """The keys of task `classifier`; the defaults are the field's reference on CIFAR-10 (arXiv 1605.07146).

    Its rate falls in stairs there, and along a cosine (arXiv 1608.03983) here. Pictures are drawn with
    repetition: so many steps are steps · batch / pictures passes over them.
    """

    FIXED: ClassVar[tuple[str, ...]] = ("held_out", "unseen")

    network: Network = Field(default=ClassifierNetwork(), description="what classifies")
    objective: Literal["accuracy", "cross_entropy"] = Field(
        default="accuracy",
        description="of the held-out pictures: accuracy or cross_entropy; the other beside it",
    )
    held_out: float = Field(
        default=0.2, gt=0, lt=1, description="fraction of each class that is never trained on, and scored"
    )
    unseen: float = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="a further one, which no search sees: confirm scores it in place of the other",
    )
    score: Literal["held_out", "unseen"] = Field(
        default="held_out", description="which of them is scored; a confirmation turns it to unseen"
    )
    batch: int = Field(default=128, ge=2, description="pictures a step")
    augment: tuple[Augmentation, ...] = Field(
        default=(), description="what is done to training pictures: translation, flip, color, cutout"
    )
    lr: float = Field(default=0.1, gt=0, description="learning rate of SGD")
    momentum: float = Field(default=0.9, gt=0, lt=1, description="of SGD, Nesterov's")
    weight_decay: float = Field(default=5e-4, ge=0, description="of SGD, on all weights")
    decay: Literal["cosine", "none"] = Field(
        default="cosine", description="of the rate, to 0 at the last step"
    )

    @model_validator(mode="after")
    def _suits(self) -> "ClassifierOptions":
        """What two keys have to agree on, as far as it can be said without the data."""
        if isinstance(self.network, ClassifierNetwork):  # what a user's own takes shows when it is built
            self.sites()
        if self.held_out + self.unseen >= 1:
            raise Mistake(
                f"plan.held_out is {self.held_out:g} and plan.unseen {self.unseen:g}, but they must leave "
                "pictures to train on: lower them to less than 1 together"
            )
        if self.score == "unseen" and not self.unseen:
            raise Mistake(
                "plan.score is unseen, but plan.unseen is 0, so there are no such pictures: give plan.unseen "
                "a fraction, or leave plan.score out"
            )
        refuse_repeated(self.augment)
        return self

    def sites(self) -> Sites:
        return self.network.sites(self.size)


def confirmation(plan: Plan) -> Plan:
    """The plan that a confirmation trains: scored on the unseen pictures, where there are any."""
    options = ClassifierOptions.model_validate(plan.options)
    if not options.unseen:
        return plan
    return plan.model_copy(update={"options": options.model_copy(update={"score": "unseen"})})


def scope(plan: Plan) -> str:
    """Where what a confirmation finds holds."""
    unseen = ClassifierOptions.model_validate(plan.options).unseen
    return f"on pictures that the search {'never saw' if unseen else 'was scored on, too'}"


def measured(plan: Plan) -> str:
    """On what the plan's objective is measured, and what was trained on instead."""
    options = ClassifierOptions.model_validate(plan.options)
    trained = "" if options.limit is None else f"; trained on {_share(options.limit)} of the others"
    unseen = options.score == "unseen"
    data = f"{os.path.basename(options.data)} at {options.size}×{options.size}"
    return (
        f"{IN_WORDS[options.objective]} on the {_share(options.unseen if unseen else options.held_out)} of "
        f"each class of {data} that {'no search sees' if unseen else 'are never trained on'}{trained}"
    )


def _share(part: int | float) -> str:
    """A count, or a fraction as per cent."""
    return f"{part:,}" if isinstance(part, int) else f"{100 * part:.4g}%"


def companions(plan: Plan) -> tuple[str, ...]:
    """The other of the two measures: accuracy comes in steps of one picture, cross-entropy does not."""
    options = ClassifierOptions.model_validate(plan.options)
    return tuple(name for name in METRICS if name != options.objective)
