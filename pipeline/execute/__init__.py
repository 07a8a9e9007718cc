"""Where the stages run: local.py is the plain loop, processes.py one machine, ray_data.py a cluster."""

import os

# Before ray is imported, which reads them once.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters of a dead worker comes back as an exception
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_NUM_REDIS_GET_RETRIES", "8")  # seconds to connect: who answers later is not there
