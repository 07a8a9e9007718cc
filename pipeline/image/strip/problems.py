"""Errors of stripping."""

from __future__ import annotations

from typing import Final

from pipeline.errors import ImageError

STRIP_UNSUPPORTED: Final = "strip_unsupported"


class CannotStrip(ImageError):
    """A legal image whose container cannot be cut without risk. The caller may encode its pixels anew, or reject it."""

    def __init__(self, detail: str) -> None:
        super().__init__(STRIP_UNSUPPORTED, detail)


def malformed(fmt: str, detail: str) -> ImageError:
    """Make the error for a broken container. fmt: `jpeg`, `png`, ... detail: what was expected and what came."""
    return ImageError(f"malformed_{fmt}", detail)
