"""The study of the analytic task whose record the tests write by hand."""

from typing import Any

from tuner.spec import StudySpec, freeze, load_spec


def frozen(**changes: Any) -> StudySpec:
    spec: dict[str, Any] = {
        "name": "study",
        "task": "analytic:TASK",
        "budget": {"trials": 12, "steps": 270, "grace": 30, "reduction": 3, "baseline_seeds": 2},
    }
    return freeze(load_spec(spec | changes)).model_copy(update={"uuid": "u1"})
