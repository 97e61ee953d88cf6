"""A network of the user's own in a plan: named as module:factory, imported when it is built. No torch."""

import importlib
import re
import reprlib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, JsonValue, field_validator

from trainers.plan import Frozen
from trainers.settings import Mistake

OWN = "module:factory"  # stands in messages, and in pydantic's unions, for all networks of users' own
_FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")


def imported(name: str, key: str) -> Any:
    """What "package.module:attribute" names; whatever goes wrong on the way is a Mistake, told of `key`."""
    module, _, attributes = name.partition(":")
    try:
        thing: Any = importlib.import_module(module)
        for attribute in attributes.split("."):
            thing = getattr(thing, attribute)
        return thing
    except Mistake:
        raise
    except Exception as error:  # whatever a user's module does while it is imported
        raise Mistake(
            f"{key} is {name!r}, but it cannot be imported ({told(error)}): make `import {module}` work "
            "where you stand, and name what is in it"
        ) from error


def told(error: Exception) -> str:
    """What a user's code raised, on one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


# Modules of an nn.Sequential are named by numbers, which a file need not quote.
Name = Annotated[str, BeforeValidator(lambda name: str(name) if type(name) is int else name)]


class OwnModule(Frozen):
    """What a function of the user's makes: an nn.Module, anew at each call."""

    TAG: ClassVar[str] = OWN
    KEY: ClassVar[str] = "plan.network"  # where it stands in a study's file

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
    """One with sites."""

    names: dict[Name, Name] = Field(
        default={}, description="site: module, as {code: layers.5}; empty: each candidate by its own name"
    )

    @field_validator("names")
    @classmethod
    def _sites(cls, names: dict[str, str]) -> dict[str, str]:
        for site in names:
            if not site or "|" in site or site == "extras":
                raise ValueError(f"{site!r} cannot name a site: not empty, not 'extras', and without '|'")
        return names


def kind_of(network: Any, known: tuple[type[Frozen], ...], task: str, key: str, *, own: bool = True) -> str:
    """The tag of the model that the entry at `key` means; one without a kind is the first of those known.

    own: whether the task trains networks of users' own too.
    """
    kinds = [str(one.model_fields["kind"].default) for one in known]
    if not isinstance(network, Mapping | Frozen):
        raise Mistake(
            f"{key} is {reprlib.repr(network)}, but it is a section: write for example {{kind: {kinds[0]}}}"
        )
    kind = network.get("kind", kinds[0]) if isinstance(network, Mapping) else getattr(network, "kind", None)
    if own and isinstance(kind, str) and ":" in kind:
        return OWN
    if kind not in kinds:
        others = f"or one of your own as {OWN}" if own else "and your own train with gan, or a task of yours"
        raise Mistake(
            f"{key}.kind is {reprlib.repr(kind)}, but the networks of task {task} are "
            f"{', '.join(kinds)}, {others}"
        )
    return str(kind)


def from_name(network: Any) -> Any:
    """`network: sngan` and `network: package.module:factory` are short for sections with that kind alone."""
    return {"kind": network} if isinstance(network, str) else network
