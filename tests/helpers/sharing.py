"""A task whose trainings share a file that is made once, and a text that must not change."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from trainers import prepared
from trainers.plan import Plan
from trainers.settings import Mistake
from trainers.tasks import Task
from trainers.training import Evaluation

SITES = {"up0": (8, 8, 8), "code": (16, 16, 16)}


def prepare(plan: Plan) -> Mapping[str, str]:
    """The file `factor-….npz`, made from the option `factor`, and the text of the option `text`."""
    text = Path(plan.options.text)
    if not text.is_file():
        raise Mistake(f"text is {plan.options.text!r}, but there is no such file: write one")
    _, name, digest = _factor(plan)
    return {name: digest, "text": hashlib.sha256(text.read_bytes()).hexdigest()}


def _factor(plan: Plan) -> tuple[dict[str, np.ndarray], str, str]:
    def make() -> dict[str, np.ndarray]:
        with Path(plan.options.text).with_name("made.txt").open("a") as file:
            file.write("made\n")
        return {"factor": np.full(3, plan.options.factor)}

    return prepared.made_once("factor", {"factor": plan.options.factor}, make)


def train(plan: Plan, *, seed: int, device: str = "cpu", folder: Path | None = None) -> Iterator[Evaluation]:
    """The score is the shared factor less half of the sites; what lies beside it is twice that."""
    plan.refuse_another(prepare(plan))
    score = float(_factor(plan)[0]["factor"][0]) - len(plan.settings) / 2
    for step in plan.evaluate_at:
        yield Evaluation(step, {"score": score + seed, "beside": 2 * (score + seed), "other": 0.0})


TASK = Task(
    name="sharing",
    metric="score",
    direction="maximize",
    train=train,
    sites=SITES,
    options={"text": "", "factor": 3.0},
    prepare=prepare,
    measured=lambda plan: f"{plan.options.factor:g} less half of the sites",
    companions=lambda plan: ["beside"],
)
