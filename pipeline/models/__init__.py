"""What runs a network, of whichever stage: sessions, devices, batches. Stages share this, never each other."""

from typing import Final

ON_CPU: Final = "take the CPU: execute=ray, or execute=local execute.device=cpu"
"""For a device that is not there."""
