"""What all tests share: one thread a library, no telemetry, nobody's MLflow server, one Ray for who asks."""

import atexit
import os
import shutil
import tempfile
from collections.abc import Iterator

import pytest

# Before anything imports torch, ray or mlflow; Ray's workers inherit it.
os.environ.update(
    OMP_NUM_THREADS="1",
    MLFLOW_DISABLE_TELEMETRY="true",
    RAY_USAGE_STATS_ENABLED="0",
    TUNE_DISABLE_AUTO_CALLBACK_LOGGERS="1",
    RAY_AIR_NEW_OUTPUT="0",
    CUBLAS_WORKSPACE_CONFIG=":4096:8",  # on a GPU, what deterministic algorithms ask for
    SPARSITY_TUNER_CACHE=tempfile.mkdtemp(prefix="sparsity-tuner-tests-"),
)
atexit.register(shutil.rmtree, os.environ["SPARSITY_TUNER_CACHE"], ignore_errors=True)
os.environ.pop("MLFLOW_TRACKING_URI", None)


@pytest.fixture(scope="session")
def local_ray() -> Iterator[None]:
    """A real Ray on two CPUs; started once, because starting and stopping one takes about 5 s."""
    import ray

    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
