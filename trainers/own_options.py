"""A network of the user's own in a plan: named as module:factory, imported when it is built. No torch."""

import re
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, JsonValue, field_validator

from trainers.plan import Frozen
from trainers.settings import Mistake

OWN = "module:factory"  # stands in messages, and in pydantic's unions, for all networks of users' own
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


# Modules of an nn.Sequential are named by numbers, which a file need not quote.
Name = Annotated[str, BeforeValidator(lambda name: str(name) if type(name) is int else name)]


class OwnModule(Frozen):
    """What a function of the user's makes: an nn.Module, anew at each call."""

    TAG: ClassVar[str] = OWN

    kind: str = Field(description="the function that makes it, as package.module:factory")
    arguments: dict[str, JsonValue] = Field(
        default={}, description="what the factory is called with, by name"
    )

    @field_validator("kind")
    @classmethod
    def _named(cls, kind: str) -> str:
        if not _FACTORY.fullmatch(kind):
            raise ValueError("it must name a factory as package.module:factory")
        return kind


class OwnNetwork(OwnModule):
    """A generator with sites."""

    output: Literal["none", "sigmoid", "tanh"] = Field(
        default="none", description="what is put behind it: none where it ends in the pictures' range itself"
    )
    names: dict[Name, Name] = Field(
        default={}, description="site: module, as {code: layers.5}; empty: each candidate by its own name"
    )


def kind_of(network: Any, known: tuple[type[Frozen], ...], task: str) -> str:
    """The tag of the model that an entry `network` means; one without a kind is the first of those known."""
    kinds = [str(one.model_fields["kind"].default) for one in known]
    if not isinstance(network, Mapping | Frozen):
        raise Mistake(
            f"plan.network is {reprlib.repr(network)}, but it is a section: "
            f"write for example {{kind: {kinds[-1]}}}"
        )
    kind = network.get("kind", kinds[0]) if isinstance(network, Mapping) else getattr(network, "kind", None)
    if isinstance(kind, str) and ":" in kind:
        return OWN
    if kind not in kinds:
        raise Mistake(
            f"plan.network.kind is {reprlib.repr(kind)}, but the networks of task {task} are "
            f"{', '.join(kinds)}, or one of your own as {OWN}"
        )
    return str(kind)


def from_name(network: Any) -> Any:
    """`network: sngan` and `network: package.module:factory` are short for sections with that kind alone."""
    return {"kind": network} if isinstance(network, str) else network
