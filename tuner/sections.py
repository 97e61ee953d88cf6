"""The sections of a study's file: what may vary, how much is trained, who proposes, what a trial takes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PlainSerializer, PlainValidator, Strict, model_validator

from search_spaces.ranges import Range, Ranges, read_pair, read_ranges
from trainers.plan import Frozen
from trainers.settings import Mistake
from tuner.spec_file import plain, seconds

REGULARIZERS_KEY = "space.regularizers"
Whole = Annotated[int, Strict()]
AS_WRITTEN = PlainSerializer(
    lambda value: plain(value), return_type=Any
)  # 3 stays 3 and k an integer in the frozen file


def _sites(value: object) -> str | tuple[str, ...]:
    if value == "all":
        return "all"
    if isinstance(value, list | tuple):  # modules of an nn.Sequential are named by numbers
        value = [str(site) if type(site) is int else site for site in value]
    if not isinstance(value, list) or not all(isinstance(site, str) and site for site in value):
        raise ValueError('it must be a list of sites such as [up0, code, "2.1"], or the word all')
    twice = [site for site, times in Counter(value).items() if times > 1]
    if not value or twice:
        raise ValueError(
            f"each site must be named once, and {twice[0]!r} is not" if twice else "no site is left"
        )
    return tuple(value)


def _number(rule: str, holds: Callable[[float], bool]) -> PlainValidator:
    """A finite number, as it was written."""

    def check(value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not holds(value):
            raise ValueError(f"it must be a number {rule}")
        return value

    return PlainValidator(check)


def _extras(value: object) -> dict[str, Range]:
    if not isinstance(value, Mapping):
        raise ValueError("it must map options to ranges, as in {lr: [1.0e-4, 1.0e-2]}")
    return {str(name): read_pair(bounds, f"space.extras.{name}") for name, bounds in value.items()}


def _regularizers(value: object) -> Ranges:
    return read_ranges(value, REGULARIZERS_KEY)


Reduction = Annotated[float, _number("in 2..100", lambda value: 2 <= value <= 100), AS_WRITTEN]
Share = Annotated[
    float, _number("in 0..1, as a trial uses at most one GPU", lambda value: 0 <= value <= 1), AS_WRITTEN
]


class Space(Frozen):
    """What may vary."""

    sites: Annotated[str | tuple[str, ...], PlainValidator(_sites), AS_WRITTEN] = Field(
        default="all", description="the sites that may be active, as a list, or all"
    )
    max_sites: Whole = Field(
        default=2, ge=1, description="at most so many at once; 1, 2, … equally likely at first"
    )
    regularizers: Annotated[Ranges, PlainValidator(_regularizers), AS_WRITTEN] = Field(
        default={"l1": {"weight": (1e-3, 1.0)}, "l0": {"keep": (0.05, 0.5)}, "l0inf": {"k": (1, 64)}},
        description="log-uniform; k is cut to C - 1 of each site; or a range a site: {k: {code: [1, 8]}}",
    )
    extras: Annotated[dict[str, Range], PlainValidator(_extras), AS_WRITTEN] = Field(
        default={}, description="numbers of the plan that vary too, log-uniform: {lr: [1.0e-4, 1.0e-2]}"
    )


class Budget(Frozen):
    """How much is trained."""

    trials: Whole = Field(default=40, ge=1, le=10**6, description="proposals in all; baselines come on top")
    steps: Whole = Field(default=3000, ge=2, le=10**9, description="training steps of one trial")
    grace: Whole = Field(default=0, ge=1, description="the first rung, below steps; null: steps / reduction²")
    reduction: Reduction = Field(
        default=3,
        description="1/reduction of the trials at a rung go on, and the next rung is so many times later",
    )
    baseline_seeds: Whole = Field(default=5, ge=1, le=999, description="trainings without any regularizer")
    evaluate_at: tuple[Whole, ...] = Field(
        default=(), description="further steps to evaluate at; they decide nothing"
    )

    @model_validator(mode="before")
    @classmethod
    def _grace_of_steps(cls, values: Any) -> Any:
        """A spec that only shortens the training gets rungs that fit it: two, at steps/η² and steps/η."""
        if isinstance(values, Mapping) and values.get("grace") is None:
            fields = cls.model_fields
            steps = values.get("steps", fields["steps"].default)
            reduction = values.get("reduction", fields["reduction"].default)
            if (
                isinstance(steps, int)
                and 0 < steps < 10**9
                and isinstance(reduction, int | float)
                and 2 <= reduction <= 100
            ):
                return {**values, "grace": max(1, math.ceil(steps / reduction**2))}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Budget:
        if self.grace >= self.steps:
            raise Mistake(
                f"budget.grace is {self.grace}, but the first rung must lie below the {self.steps} steps of "
                "budget.steps: lower grace, or train longer"
            )
        beyond = [step for step in self.evaluate_at if not 1 <= step <= self.steps]
        if beyond:
            raise Mistake(
                f"budget.evaluate_at names step {beyond[0]}, but it must be in 1..{self.steps} "
                "(budget.steps): drop it, or train longer"
            )
        return self


class Search(Frozen):
    """Who proposes and who stops."""

    sampler: str = Field(
        default="tpe", description="tpe or random; gp or qmc where one site and one kind are searched"
    )
    scheduler: Literal["asha", "none"] = Field(
        default="asha", description="asha stops losing trials at rungs; or none"
    )
    seed: Whole = Field(
        default=0,
        ge=0,
        le=2**31,
        description="of the proposals and their trainings; baselines count on from it",
    )
    startup_trials: Annotated[int, Strict(), Field(ge=0)] | None = Field(
        default=None,
        description="random proposals before the sampler learns; null: a third of trials, at most 10",
    )


class Resources(Frozen):
    """What one trial takes."""

    cpu: Whole = Field(default=1, ge=1, description="CPUs, and torch threads, of a trial")
    gpu: Share = Field(default=0, description="share of a GPU; 0.25: four trials a GPU")
    concurrent: Annotated[int, Strict(), Field(ge=1)] | None = Field(
        default=None, description="trials at once; null: as many as fit; 1 repeats exactly"
    )


def _length(value: object) -> Any:
    seconds(value)
    return value


class Stall(Frozen):
    """When a trial that hangs or crawls is ended."""

    times: Annotated[float, _number("of at least 2", lambda value: 2 <= value <= 1e9), AS_WRITTEN] = Field(
        default=50, description="a step, or the way to an evaluation, took so many times as long as usual"
    )
    at_least: Annotated[float | str, PlainValidator(_length), AS_WRITTEN] = Field(
        default="20m", description="and so long; then its process is ended, and it is tried again"
    )

    @property
    def seconds(self) -> float:
        """`at_least` in seconds."""
        return seconds(self.at_least)

    def limit(self, usual: float) -> float:
        """The seconds after which it is ended, where it usually takes so many."""
        return max(self.seconds, self.times * usual)
