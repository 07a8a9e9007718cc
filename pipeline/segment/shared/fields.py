"""Types of fields that several segmenters have."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field

from pipeline.models.weights import Weights
from pipeline.spec import FieldError

Batch = Annotated[int, Field(ge=1, le=1024)]
Side = Annotated[int, Field(ge=32, le=1 << 14)]
Names = Annotated[tuple[str, ...], Field(min_length=1)]

NO_LIMIT: Final = 1 << 20
"""A side in pixels that no image has."""


def check_suffix(key: str, weights: Weights, *suffixes: str) -> None:
    """Raise FieldError unless these are the weights of a file with one of these suffixes."""
    if weights.path.suffix.lower() not in suffixes:
        raise FieldError(key, f": expected the weights of a {' or '.join(suffixes)} file, got {weights.uri}")
