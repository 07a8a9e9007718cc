"""Is a parameter of a fill what it has to be? One wording for all of them."""

from __future__ import annotations

import math

from pipeline.errors import ConfigError


def number(
    key: str, value: object, low: float, high: float = math.inf, *, whole: bool = False, path: str = "fill."
) -> None:
    """Raises ConfigError unless value is a number (an integer when `whole`) from low to high. path: what stands before
    the key in the message; "" in a part of a fill, whose path build.py knows."""
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high or math.isinf(value):
        bounds = f"of at least {low}" if math.isinf(high) else f"from {low} to {high}"
        raise ConfigError(f"{path}{key}: expected a {'whole ' if whole else ''}number {bounds}, got {value!r}")


def allowed(method: str, value: object) -> None:
    """Raises ConfigError unless the user has said that a reversible fill is what they want."""
    if value is not True:
        raise ConfigError(
            f"fill.allow_reversible: {method} is computed from the very pixels it hides, and models restore them well "
            f"enough to name a person; expected true to have it all the same, got {value!r}; else take fill=solid"
        )
