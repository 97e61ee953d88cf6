"""Settings files, whole and broken, as tests write them."""

import json
from pathlib import Path

import pytest
from hypothesis import strategies as st

from trainers.settings import L0, L1, L0Inf, Mistake, SettingsFile

FULL = SettingsFile(
    task="dip",
    network="skip",
    sites={"down1": L0(0.2), "up0": L1(0.01), "code": L0Inf(4)},
    of={"down1": 2304, "code": 16},
    metric="psnr",
    direction="maximize",
    value=27.31,
    step=900,
    baseline={"mean": 27.26, "sd": 0.11, "seeds": [0, 1, 2]},
    confirmed={"verdict": "not distinguishable"},
    attained={"code": {"density": 0.25, "removed_energy": 0.1, "baseline_density": 0.9}},
    plan={"task": "dip", "evaluate_at": [100, 900], "options": {"image": "Ελλάδα"}},
    provenance={"study": "s", "uuid": "u", "seed": 0, "commit": None},
)

finite = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | finite | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def sentence(mistake: pytest.ExceptionInfo[Mistake]) -> str:
    text = str(mistake.value)
    assert "\n" not in text and 10 < len(text) < 400
    return text


def written(tmp_path: Path, content: object) -> Path:
    path = tmp_path / "settings.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def minimal(**entry: object) -> dict[str, object]:
    return {"schema": 1, "sites": {"up1": entry}}
