"""What a cluster has room for, as numbers; tests/tuner/test_cluster.py asks real raylets."""

from typing import Any

import pytest

from trainers.settings import Mistake
from tuner.sections import Resources
from tuner.slots import slots_of


@pytest.mark.parametrize(
    ("nodes", "asked", "fit"),
    [
        ([{"CPU": 8, "GPU": 2}], {"gpu": 0.4}, 4),  # not 5: no trial lies across two GPUs
        ([{"CPU": 16, "GPU": 1}], {"gpu": 0.1}, 10),
        ([{"CPU": 64, "GPU": 1}], {"gpu": 1 / 3}, 3),
        ([{"CPU": 64, "GPU": 2}], {"gpu": 0.6}, 2),
        ([{"CPU": 64, "GPU": 4}], {"gpu": 1}, 4),
        ([{"CPU": 4, "GPU": 2}], {"gpu": 0.25, "cpu": 2}, 2),  # the CPUs are what is short
        ([{"CPU": 4}, {"CPU": 4, "GPU": 1}], {"gpu": 0.5}, 2),
        ([{"CPU": 3}, {"CPU": 3}], {"cpu": 2}, 2),
        ([{"CPU": 4}, {"memory": 1.0}], {}, 4),
        ([{"CPU": 4}], {"concurrent": 3}, 3),
    ],
)
def test_trials_that_fit_are_counted_for_each_node_and_gpu(
    nodes: list[dict[str, float]], asked: dict[str, Any], fit: int
) -> None:
    assert slots_of(nodes, Resources(**asked)) == fit


def test_where_no_node_has_a_gpu_none_fits() -> None:
    with pytest.raises(Mistake, match=r"asks for 1 CPUs and 0\.5 GPUs and the largest node has 4 and 0"):
        slots_of([{"CPU": 4}], Resources(gpu=0.5))
