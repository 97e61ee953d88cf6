"""A task whose training says passwords and tokens, in every way in which a training speaks."""

import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

from trainers.plan import Plan
from trainers.tasks import Task
from trainers.training import Evaluation

SECRETS = {
    "MLFLOW_TRACKING_USERNAME": "me",
    "MLFLOW_TRACKING_PASSWORD": "SECRET-of-mlflow",
    "MLFLOW_TRACKING_TOKEN": "SECRET-token",
    "AWS_SECRET_ACCESS_KEY": "SECRET/of+aws",
    "RAY_AUTH_TOKEN": "SECRET0123456789abcdef0123456789abcdef",
    "PGPASSWORD": "SECRET-of-postgres",
}
ADDRESSES = (
    "http://me:SECRET-typed@127.0.0.1:9",
    "postgresql://me:SECRET/typed@127.0.0.1:9/x",
    "s3://KEY:SECRET/typed@bucket/x",
    "https://host/x?sig=SECRET-typed&sv=1",
    "mssql+pyodbc:///?odbc_connect=Server%3Dx%3BPWD%3DSECRET-typed",
)


def train(plan: Plan, *, seed: int, device: str = "cpu", folder: Path | None = None) -> Iterator[Evaluation]:
    """Say all of them; then raise, with settings as the machine's fault, with an odd seed as the plan's."""
    told = " and ".join(
        (*ADDRESSES, *(os.environ[name] for name in SECRETS if name != "MLFLOW_TRACKING_USERNAME"))
    )
    print(told)
    print(told, file=sys.stderr)
    logging.getLogger("leaking").warning(told)
    warnings.warn(told, stacklevel=1)
    for step in plan.evaluate_at:
        yield Evaluation(step, {"score": float(step)})
        if plan.settings:
            raise OSError(f"no answer from {told}")
        if seed % 2:
            raise ValueError(f"no answer from {told}")


TASK = Task("leaking", "score", "maximize", train, sites={"up0": (8, 8, 8)})
