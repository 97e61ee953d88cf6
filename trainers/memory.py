"""Whether an exception says that memory was exhausted. Needs neither torch nor anything else to import."""

# torch says most of this as a plain RuntimeError, so only its words tell.
_WORDS = ("out of memory", "allocate memory", "not enough memory", "alloc_failed")


def exhausted(error: BaseException) -> bool:
    """Whether memory, of the device or of this machine, was too little.

    >>> exhausted(RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")), exhausted(ValueError("x"))
    (True, False)
    """
    if isinstance(error, MemoryError):
        return True
    words = f"{type(error).__name__}: {error}".replace("OutOfMemory", "out of memory").lower()
    return isinstance(error, RuntimeError | OSError) and any(word in words for word in _WORDS)
