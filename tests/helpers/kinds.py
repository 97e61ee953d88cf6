"""One regularizer of each kind; a new kind joins here."""

import torch
from torch import Tensor

from trainers.regularizers import (
    L0,
    L1,
    GroupLasso,
    HardThreshold,
    Hoyer,
    L0Inf,
    Penalty,
    Projection,
    Regularizer,
    SoftThreshold,
    SpatialTopK,
)

EXAMPLES: dict[str, Regularizer] = {
    "l1": L1(0.25),
    "l0": L0(0.3),
    "l0inf": L0Inf(2),
    "group_lasso": GroupLasso(0.25),
    "hoyer": Hoyer(0.25),
    "soft_threshold": SoftThreshold(0.4),
    "hard_threshold": HardThreshold(0.4),
    "spatial_topk": SpatialTopK(0.3),
}


def passed_on(regularizer: Regularizer, h: Tensor) -> Tensor:
    """What the layer behind the site sees."""
    return regularizer.project(h) if isinstance(regularizer, Projection) else h


def cost(regularizer: Regularizer, h: Tensor) -> Tensor:
    """What is added to the loss."""
    return regularizer.cost(h) if isinstance(regularizer, Penalty) else torch.zeros(())
