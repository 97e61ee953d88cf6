"""What may act at a site: each class is one number, the rule that it keeps, and the mathematics.

A *penalty* leaves the activation as it is and adds its cost to the loss, in training only. A *projection*
puts another activation in its place, in training and at inference. A new kind is one class here and its name
in `REGULARIZERS`, below the last.

h is a site's activation, N × C × H × W (or N × C × any shape, or N × C), floating. Nothing waits for the
device, so a training step can be captured in a CUDA graph; NaN stays NaN, so that a divergence is not hidden.
This file ships in an exported package with `settings.py` and `sparsity.py`; torch is imported when something
is computed, not when settings are read.
"""

import contextlib
import math
import reprlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import TYPE_CHECKING, ClassVar, cast

if TYPE_CHECKING:
    from torch import Tensor


class Mistake(ValueError):
    """A user's mistake; its text is one sentence with the value received, the rule and the way out."""


class Regularizer(ABC):
    """A kind by name, and in an instance its one number, which its first field names."""

    kind: ClassVar[str]

    @staticmethod
    def out_of(shape: Sequence[int]) -> int | None:
        """What the number is out of at a site of shape (C, H, W); None where it counts nothing."""
        return None


class Penalty(Regularizer):
    """Adds a cost to the loss, in training only."""

    @abstractmethod
    def cost(self, h: "Tensor") -> "Tensor":
        """A tensor without dimensions, in float32 where h is in half precision; 0 where h is 0."""


class Projection(Regularizer):
    """Puts another activation in the place of h, in training and at inference."""

    @abstractmethod
    def project(self, h: "Tensor") -> "Tensor":
        """A tensor of the shape, type and memory format of h, which is left as it is."""


@dataclass(frozen=True)
class _Weighted:
    """The number of penalties: λ."""

    weight: float

    def __post_init__(self) -> None:
        rule = "a finite number of at least 0, for example weight=0.01"
        object.__setattr__(self, "weight", number("weight", self.weight, rule, lambda found: found >= 0))


@dataclass(frozen=True)
class _Fraction:
    """The number of projections that keep so many of all: ρ."""

    keep: float

    def __post_init__(self) -> None:
        rule = "a number above 0 and up to 1 (the fraction that stays), for example keep=0.2"
        object.__setattr__(self, "keep", number("keep", self.keep, rule, lambda found: 0 < found <= 1))


@dataclass(frozen=True)
class _Threshold:
    """The number of projections that look at each entry alone: τ."""

    threshold: float

    def __post_init__(self) -> None:
        rule = "a finite number of at least 0, for example threshold=0.1"
        object.__setattr__(
            self, "threshold", number("threshold", self.threshold, rule, lambda found: found >= 0)
        )


class L1(_Weighted, Penalty):
    """λ · mean|h|, the penalty of Ganz & Elad (arXiv 2104.00464).

    `weight` is λ, a finite number of at least 0. Anything else raises `Mistake`.

    >>> import torch
    >>> L1(weight=0.5).cost(torch.tensor([[-3.0, 0.0, 1.0, 0.0]]))
    tensor(0.5000)
    """

    kind: ClassVar[str] = "l1"

    def cost(self, h: "Tensor") -> "Tensor":
        return self.weight * _mean(h.abs())


class GroupLasso(_Weighted, Penalty):
    """λ · mean over samples and channels of √(mean over positions of h²): the L2,1 norm (arXiv 1608.03665).

    A group is a channel's map in one sample, so whole channels go out. Where there is one position it is L1.
    `weight` is λ, a finite number of at least 0. Anything else raises `Mistake`.

    >>> import torch
    >>> GroupLasso(weight=1).cost(torch.tensor([[[3.0, 3.0], [0.0, 0.0]]]))
    tensor(1.5000)
    """

    kind: ClassVar[str] = "group_lasso"

    def cost(self, h: "Tensor") -> "Tensor":
        maps = h.reshape(*h.shape[:2], -1)
        return self.weight * _mean(_norm(maps, 2) / math.sqrt(maps.shape[2]))


class Hoyer(_Weighted, Penalty):
    """λ · mean over samples of ‖h‖₁ / (√n · ‖h‖₂), n = C·H·W: Hoyer's ratio (JMLR 5, 2004; arXiv 1908.09979).

    From 1/√n for a single non-zero to 1 for equal magnitudes, whatever the scale of h, so that a
    normalisation cannot escape it by a small gain; a sample of zeros costs 0. `weight` is λ, a finite number
    of at least 0. Anything else raises `Mistake`.

    >>> import torch
    >>> Hoyer(weight=1).cost(torch.tensor([[5.0, 0.0, 0.0, 0.0], [2.0, -2.0, 2.0, 2.0]]))
    tensor(0.7500)
    """

    kind: ClassVar[str] = "hoyer"

    def cost(self, h: "Tensor") -> "Tensor":
        flat = h.flatten(1)
        sizes, norm = _norm(flat, 1), _norm(flat, 2) * math.sqrt(flat.shape[1])
        return self.weight * _mean(sizes / norm.masked_fill(norm == 0, 1))


class L0(_Fraction, Projection):
    """Keeps in each sample the k = max(1, round(ρ · C · H · W)) entries of largest |h| (arXiv 2104.00464).

    Among equal magnitudes the lower flat index over (C, H, W) stays; gradients flow through what stays alone.
    `keep` is ρ, a number above 0 and up to 1. Anything else raises `Mistake`.

    >>> import torch
    >>> L0(keep=0.5).project(torch.tensor([[-3.0, 1.0, 2.0, 2.0]])).tolist()
    [[-3.0, 0.0, 2.0, 0.0]]
    >>> L0(keep=0.25).out_of((16, 8, 8))
    1024
    """

    kind: ClassVar[str] = "l0"

    @staticmethod
    def out_of(shape: Sequence[int]) -> int | None:
        """C · H · W: of how many entries the fraction is kept."""
        return math.prod(shape)

    def project(self, h: "Tensor") -> "Tensor":
        flat = h.detach().flatten(1)
        k = max(1, round(self.keep * flat.shape[1]))
        return h if k >= flat.shape[1] else h * _largest(flat.abs(), k, dim=1).reshape(h.shape)


@dataclass(frozen=True)
class L0Inf(Projection):
    """Keeps in each sample, at each position, the k of C channels of largest |h| (arXiv 2104.00464).

    A *needle* is the vector of C channels at one position; L0,∞ is the most non-zeros in any needle, so here
    ‖h‖₀,∞ ≤ k. (The literature also defines it over stripes, the needles of a neighbourhood: that is not
    meant here.) Among equal magnitudes the lower channel stays; gradients as in `L0`. `k` is a whole number
    of at least 1; one of C or more changes nothing. Anything else raises `Mistake`.

    >>> import torch
    >>> L0Inf(k=1).project(torch.tensor([[[5.0, 1.0], [4.0, -1.5], [6.0, 0.5]]])).tolist()
    [[[0.0, 0.0], [0.0, -1.5], [6.0, 0.0]]]
    """

    k: int
    kind: ClassVar[str] = "l0inf"

    def __post_init__(self) -> None:
        rule = "a whole number of at least 1 (the channels that stay at a position), for example k=4"
        object.__setattr__(self, "k", number("k", self.k, rule, lambda number: number >= 1, whole=True))

    @staticmethod
    def out_of(shape: Sequence[int]) -> int | None:
        """C: of how many channels k are kept."""
        return shape[0]

    def project(self, h: "Tensor") -> "Tensor":
        return h if self.k >= h.shape[1] else h * _largest(h.detach().abs(), self.k, dim=1)


class SpatialTopK(_Fraction, Projection):
    """Keeps in each channel of a sample the k = max(1, round(ρ · H · W)) largest |h| (arXiv 1409.2752).

    The reference keeps a single one a channel. Among equal magnitudes the lower flat position stays;
    gradients as in `L0`. `keep` is ρ, a number above 0 and up to 1. Anything else raises `Mistake`.

    >>> import torch
    >>> SpatialTopK(keep=0.5).project(torch.tensor([[[1.0, -2.0], [4.0, 3.0]]])).tolist()
    [[[0.0, -2.0], [4.0, 0.0]]]
    """

    kind: ClassVar[str] = "spatial_topk"

    @staticmethod
    def out_of(shape: Sequence[int]) -> int | None:
        """H · W: of how many positions the fraction is kept."""
        return math.prod(shape[1:])

    def project(self, h: "Tensor") -> "Tensor":
        maps = h.detach().reshape(*h.shape[:2], -1)
        k = max(1, round(self.keep * maps.shape[2]))
        return h if k >= maps.shape[2] else h * _largest(maps.abs(), k, dim=2).reshape(h.shape)


class SoftThreshold(_Threshold, Projection):
    """sign(h) · max(|h| - τ, 0), the proximal map of τ‖h‖₁ as a layer (Daubechies et al. 2004, math/0307152).

    `threshold` is τ, a finite number of at least 0. Anything else raises `Mistake`.

    >>> import torch
    >>> SoftThreshold(threshold=1).project(torch.tensor([[-3.0, 0.5, 1.0, 2.0]])).tolist()
    [[-2.0, 0.0, 0.0, 1.0]]
    """

    kind: ClassVar[str] = "soft_threshold"

    def project(self, h: "Tensor") -> "Tensor":
        return h - h.clamp(-self.threshold, self.threshold) if self.threshold else h


class HardThreshold(_Threshold, Projection):
    """h where |h| > τ, else 0: the proximal map of τ²/2 · ‖h‖₀ (Blumensath & Davies 2008, arXiv 0805.0510).

    Gradients flow through what stays alone. `threshold` is τ, a finite number of at least 0. Anything else
    raises `Mistake`.

    >>> import torch
    >>> HardThreshold(threshold=1).project(torch.tensor([[-3.0, 0.5, 1.0, 2.0]])).tolist()
    [[-3.0, 0.0, 0.0, 2.0]]
    """

    kind: ClassVar[str] = "hard_threshold"

    def project(self, h: "Tensor") -> "Tensor":
        return h * (h.detach().abs() > self.threshold) if self.threshold else h


REGULARIZERS: dict[str, type[Regularizer]] = {
    one.kind: one for one in (L1, L0, L0Inf, GroupLasso, Hoyer, SoftThreshold, HardThreshold, SpatialTopK)
}


def regularizer(kind: str, strength: object) -> Regularizer:
    """The regularizer of that kind, whose one number `strength` is; it checks the number.

    >>> regularizer("l0", 0.5)
    L0(keep=0.5)
    """
    strength_of(kind)
    return cast(Callable[[object], Regularizer], REGULARIZERS[kind])(strength)


def strength_of(kind: str | Regularizer | type[Regularizer]) -> str:
    """The name of a regularizer's one number: of a kind, a class or an instance.

    >>> strength_of("l0"), strength_of(L1), strength_of(L0Inf(k=2))
    ('keep', 'weight', 'k')
    """
    if isinstance(kind, str):
        if kind not in REGULARIZERS:
            raise Mistake(f"{shown(kind)} is no regularizer; the known ones are {', '.join(REGULARIZERS)}")
        kind = REGULARIZERS[kind]
    return fields(kind)[0].name  # type: ignore[arg-type]  # each of them is a dataclass


def number(
    name: str, value: object, rule: str, allowed: Callable[[float], bool], whole: bool = False
) -> float | int:
    """The value as a plain number; a `Mistake` where it is none, not finite, or not allowed."""
    kind = Integral if whole else Real
    with contextlib.suppress(OverflowError):  # an integer beyond the range of a float
        if isinstance(value, kind) and not isinstance(value, bool):
            found = float(cast("float", value))
            if math.isfinite(found) and allowed(found):
                return int(cast("int", value)) if whole else found
    raise Mistake(f"{name} is {shown(value)}, but it has to be {rule}")


def shown(value: object) -> str:
    """The value as one short line, whatever it is."""
    try:
        return " ".join(reprlib.repr(value).split())
    except Exception:  # a repr that fails (an integer of 5000 digits, say) must not hide the mistake itself
        return f"a {type(value).__name__} that cannot be shown"


def _mean(values: "Tensor") -> "Tensor":
    import torch

    return values.mean(dtype=torch.promote_types(values.dtype, torch.float32))


def _norm(h: "Tensor", order: int) -> "Tensor":
    """Along the last dimension; its gradient at 0 is 0."""
    import torch

    dtype = torch.promote_types(h.dtype, torch.float32)
    found: Tensor = torch.linalg.vector_norm(h, order, dim=-1, dtype=dtype)
    return found


def _largest(magnitude: "Tensor", k: int, dim: int) -> "Tensor":
    """True at the k largest along that dimension, the lower index among equal ones.

    The k-th largest is a threshold, and a running count over those equal to it settles ties. A stable sort
    says the same but takes 3 to 4 times as long on a CPU (11.5 against 3.1 ms at 1 × 16 × 96 × 96, 260
    against 65 ms at 1 × 128 × 128 × 128); `kthvalue` is faster for few long rows and slower for needles.
    """
    import torch

    threshold = magnitude.topk(k, dim=dim, sorted=False).values.amin(dim=dim, keepdim=True)
    above = magnitude > threshold
    equal = magnitude == threshold
    missing = k - above.sum(dim=dim, keepdim=True, dtype=torch.int32)
    return above | (equal & (equal.cumsum(dim=dim, dtype=torch.int32) <= missing))
