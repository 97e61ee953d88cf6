"""Whether nodes will do: versions in words; and a real Ray whose workers do not see the driver's memory."""

from pathlib import Path

import pytest

from trainers.settings import Mistake
from tuner.nodes import differences, look_at, versions
from tuner.sections import Resources
from tuner.storage import Storage


def test_versions_are_those_of_what_is_installed() -> None:
    import numpy
    import ray

    found = versions()
    assert (found["numpy"], found["ray"]) == (numpy.__version__, ray.__version__)
    assert found["Python"] is not None and "+" not in str(found["torch"])
    assert versions(("no-such-package",))["no-such-package"] is None


def test_differences_are_told_in_words() -> None:
    here = {"Python": "3.11.7", "torch": "2.14.1", "numpy": "2.4.0", "scipy": None}
    assert differences(here, dict(here)) == ""
    there = {"Python": "3.12.1", "torch": "2.9.0", "numpy": None, "scipy": "1.14"}
    assert (
        differences(here, there) == "Python 3.12.1 and not 3.11.7, torch 2.9.0 and not 2.14.1, no numpy 2.4.0"
    )


@pytest.mark.usefixtures("local_ray")
def test_a_storage_that_a_node_does_not_reach_is_found(tmp_path: Path) -> None:
    look_at(Resources(), Storage(str(tmp_path / "trials")))
    look_at(Resources(), Storage(f"file://{tmp_path}/trials"))
    assert list((tmp_path / "trials").iterdir()) == []
    told = r"^node \S+ \([0-9a-f]{8}\) does not reach the storage 'memory://mine': it does not see there what"
    with pytest.raises(Mistake, match=told):
        look_at(Resources(), Storage("memory://mine"))
