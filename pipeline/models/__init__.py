"""Networks of any stage: weights, licences, sessions, devices, batches. Stages share this, never each other."""

from typing import Final

ON_CPU: Final = "take the CPU: execute=ray, or execute=local execute.device=cpu"
"""Advice for a device that is missing."""
