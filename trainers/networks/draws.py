"""Where a module's first weights come from: a generator of its own, not PyTorch's global one."""

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_DRAWS = {
    Tensor.uniform_, Tensor.normal_, Tensor.bernoulli_, Tensor.random_, Tensor.exponential_, Tensor.cauchy_,
    Tensor.log_normal_, Tensor.geometric_, torch.rand, torch.rand_like, torch.randn, torch.randn_like,
    torch.randint, torch.randint_like, torch.randperm, torch.normal, torch.bernoulli, torch.poisson,
    torch.multinomial,
}  # fmt: skip


class DrawFrom(TorchFunctionMode):
    """Within it, what draws without naming a generator draws from this one.

    Modules initialise themselves from PyTorch's global generator and offer no other. Seeding that one and
    putting it back would disturb whoever else draws from it meanwhile.
    """

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if kwargs.get("generator") is None and (func in _DRAWS or "generator" in kwargs):
            kwargs = {**kwargs, "generator": self.generator}
        return func(*args, **kwargs)
