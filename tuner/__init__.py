"""Run, record, query and export studies; the only package that knows Ray, Optuna and MLflow.

Read `spec` (what a study is), `record` (its only truth), `queue` (the one loop), `trial` (what a worker
does), `tracker` over `projection` (the record, copied to MLflow), `study` (the façade), then `cli`.
"""
