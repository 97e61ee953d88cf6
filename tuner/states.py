"""A trial's states and why it may be PRUNED, as the record, MLflow and people name them. No imports."""

RUNNING, COMPLETE, PRUNED, FAILED = "RUNNING", "COMPLETE", "PRUNED", "FAILED"
# Why a trial is PRUNED whose plan cannot be trained at all; Optuna ranks such a trial behind all others.
DIVERGED, OUT_OF_MEMORY = "diverged", "out of memory"
