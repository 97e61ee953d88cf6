"""A degradation of every kind in the list, with the file that it may read."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainers.degradations.known import KINDS


def options_of(kind: str, folder: Path, patch: pytest.MonkeyPatch, *, size: int = 20) -> dict[str, Any]:
    """Its keys, what has no default by its example; `mask.png`, size×size, lies where we stand."""
    patch.chdir(folder)
    mask = np.random.default_rng(5).random((size, size)) < 0.7
    Image.fromarray(mask).save(folder / "mask.png")
    fields = KINDS[kind].model_fields.items()
    return {"kind": kind} | {key: field.examples[0] for key, field in fields if field.examples}
