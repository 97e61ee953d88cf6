"""What is told of a trial: its sites' measures beside the baseline's own, and what it was trained on."""

import doctest
import hashlib
import math
from pathlib import Path
from typing import Any

from PIL import Image

from trainers.sparsity import MEASURES as MEASURED
from tuner import exported
from tuner.exported import MEASURES, attained_of, baseline_of, companions_of
from tuner.rows import Recorded, Row
from tuner.spec import freeze, load_spec


def trained(number: int, value: float | None, metrics: dict[str, float], **changes: Any) -> Row:
    known: dict[str, Any] = {"role": "baseline", "state": "COMPLETE", "reason": None, "seed": number}
    known |= {"settings": {}, "extras": {}, "started": 0.0, "finished": 1.0}
    told = (Recorded(0, 0.0, 30, {}), Recorded(1, 1.0, 90, metrics))
    return Row(number=number, value=value, evaluations=told, **(known | changes))


def test_all_that_the_sites_measure_is_told() -> None:
    assert MEASURES == MEASURED  # the list is written twice, because reading the other needs torch


def test_the_baseline_is_the_mean_of_the_complete_ones_at_the_last_step() -> None:
    rows = [
        trained(0, 20.0, {"score": 20.0, "a[1].hoyer": 0.2, "a[1].density": 1.0, "a[1].small": math.nan}),
        trained(1, 22.0, {"score": 22.0, "a[1].hoyer": 0.4, "a[1].density": 1.0, "a[1].small": 0.5}),
        trained(2, None, {"a[1].hoyer": 0.9}, state="FAILED"),
    ]
    told = baseline_of(rows)
    assert told is not None and told["metrics"] == {"a_1_.hoyer": (0.2 + 0.4) / 2, "a_1_.density": 1.0}
    assert (told["mean"], told["seeds"], told["step"]) == (21.0, [0, 1], 90)
    assert baseline_of(rows[2:]) is None


def test_what_stands_beside_the_metric_is_averaged_too() -> None:
    rows = [trained(i, 20.0, {"score": 20.0, "a[1]": 0.25 * i, "other": 1.0}) for i in range(3)]
    told = baseline_of(rows, ["a[1]"])
    assert told is not None and told["metrics"] == {"a_1_": 0.25}
    beside = companions_of({"a[1]": "minimize", "b": None}, {"a_1_": math.nan}, told)
    assert beside == {
        "a[1]": {"value": None, "baseline": 0.25, "direction": "minimize", "oracle": False},
        "b": {"value": None, "baseline": None, "direction": None, "oracle": False},
    }
    assert companions_of({"psnr": "maximize"}, {"psnr": 20.0}, None)["psnr"]["oracle"] is True


def test_a_site_is_shown_beside_the_baselines_own() -> None:
    """What L1 does shows in Hoyer's measure and in small values, not in exact zeros."""
    own = {"a_1_.density": 1.0, "a_1_.hoyer": 0.6, "a_1_.mean_abs": math.nan}
    told = attained_of(["a[1]"], own, {"metrics": {"a_1_.density": 1.0, "a_1_.hoyer": 0.3}})["a[1]"]
    assert (told["density"], told["baseline_density"]) == (1.0, 1.0)
    assert (told["hoyer"], told["baseline_hoyer"]) == (0.6, 0.3)
    assert told["mean_abs"] is None and told["baseline_small"] is None
    assert set(told) == {*MEASURES, *(f"baseline_{measure}" for measure in MEASURES)}


def test_what_was_trained_on_is_what_the_task_says(tmp_path: Path) -> None:
    picture = tmp_path / "mine.png"
    Image.new("L", (40, 40), 128).save(picture)
    plan = {"image": str(picture), "size": 32, "network": {"width": 4, "scales": 2}}
    spec = freeze(load_spec({"name": "a", "plan": plan}))
    row = trained(0, 20.0, {"psnr": 20.0})
    told = exported.settings_file_of(row, spec, shapes={}, study={"uuid": "u", "run": "r"}).provenance
    checksum = hashlib.sha256(picture.read_bytes()).hexdigest()
    assert told["data"] == {"name": str(picture), "sha256": checksum} and told["oracle"] is True
    assert told["threads"] == 1


def test_all_that_was_trained_on_is_named(tmp_path: Path) -> None:
    files = [tmp_path / "one.png", tmp_path / "two.png"]
    for number, file in enumerate(files):
        Image.new("L", (40, 40), 100 + number).save(file)
    plan = {"image": "coffee", "more_images": [str(file) for file in files], "size": 32}
    spec = freeze(load_spec({"name": "a", "plan": plan | {"network": {"width": 4, "scales": 2}}}))
    told = exported.settings_file_of(trained(0, 20.0, {"psnr": 20.0}), spec, shapes={}, study={})
    assert told.provenance["data"] == [
        {"name": "coffee"},
        *({"name": str(one), "sha256": hashlib.sha256(one.read_bytes()).hexdigest()} for one in files),
    ]


def test_a_confirmations_file_has_the_plan_that_it_trained() -> None:
    plan = {"size": 32, "network": {"width": 4, "scales": 2}, "unseen_images": ["coffee"]}
    spec = freeze(load_spec({"name": "a", "plan": plan}))
    row = trained(0, 20.0, {"psnr": 20.0}, role="confirmation")
    told = exported.settings_file_of(row, spec, shapes={}, study={"uuid": "u", "run": "r"})
    assert told.plan["options"]["image"] == "coffee" and told.provenance["data"] == {"name": "coffee"}


def test_the_examples_of_the_docstrings_run() -> None:
    tried = doctest.testmod(exported)
    assert tried.failed == 0 and tried.attempted > 0
