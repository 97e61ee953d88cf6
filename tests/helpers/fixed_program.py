"""What a step must not do, refused: waiting for the device, and copies between devices."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode


class RefuseCopies(TorchDispatchMode):
    """Refuses what moves data between devices, which fake tensors let pass."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        devices = {item.device for item in (*args, result) if isinstance(item, Tensor)}
        if len(devices) > 1:
            raise RuntimeError(f"{func} copies between {devices}")
        return result


class RefuseTheHost(TorchFunctionMode):
    """Refuses the calls that bring values to the host, which here, on the CPU, copy nothing."""

    calls = (
        Tensor.cpu, Tensor.to, Tensor.numpy, Tensor.item, Tensor.tolist, Tensor.cuda,
        Tensor.__float__, Tensor.__int__, Tensor.__bool__, Tensor.__index__, Tensor.__complex__,
    )  # fmt: skip

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func in self.calls:
            raise RuntimeError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def watched() -> Iterator[None]:
    """Tensors without values: what needs one, or brings it to another device or the host, raises."""
    with FakeTensorMode(allow_non_fake_inputs=True), RefuseTheHost(), RefuseCopies():
        yield


def sloped(outputs: Tensor, inputs: Tensor, create_graph: bool) -> tuple[Tensor]:
    """In place of `torch.autograd.grad`, whose engine wants a real GPU: the shape, and a graph."""
    return (inputs * outputs,)
