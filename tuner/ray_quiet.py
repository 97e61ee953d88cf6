"""Ray's settings for a study, unless the user has set them. Import this before ray, which reads them then."""

import os

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
os.environ.setdefault("TUNE_PRINT_ALL_TRIAL_ERRORS", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
# Ray's native handler of crashes hears SIGTERM too: it aborts the process three seconds after one that comes
# before `cluster.py` has set back what SIGTERM does here. Python's faulthandler still tells of crashes.
os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")
# Ctrl-C is then heard by `interruption.py` alone; Tune would wait for the steps in flight.
os.environ.setdefault("TUNE_DISABLE_SIGINT_HANDLER", "1")
