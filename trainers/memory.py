"""How much memory there is, and whether an exception says that it was exhausted. No torch at import."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# torch says most of this as a plain RuntimeError, so only its words tell.
_WORDS = ("out of memory", "allocate memory", "not enough memory", "alloc_failed")


def in_all(device: "torch.device") -> int:
    """Bytes of memory that a GPU, or else this machine, has, whoever uses them."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(device).total_memory)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def exhausted(error: BaseException) -> bool:
    """Whether memory, of the device or of this machine, was too little.

    >>> exhausted(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")), exhausted(ValueError("x"))
    (True, False)
    """
    if isinstance(error, MemoryError):
        return True
    words = f"{type(error).__name__}: {error}".replace("OutOfMemory", "out of memory").lower()
    return isinstance(error, RuntimeError | OSError) and any(word in words for word in _WORDS)
