"""Field types and rules that several fills share."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.errors import ConfigError

Context = Annotated[float, Field(ge=0, le=10)]
"""Margin of a crop, as a share of the longer side of its part of the region."""


def check_reversible_allowed(method: str, allowed: bool) -> None:
    """Raises ConfigError unless the config says that a reversible fill is wanted."""
    if not allowed:
        raise ConfigError(
            f"fill.allow_reversible: {method} is computed from the very pixels it hides, and models restore them well "
            "enough to name a person; expected true to use it anyway, got false; else take fill=solid"
        )
