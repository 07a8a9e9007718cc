"""How a network of classes sees an image: whole or in tiles, at which scales, mirrored too. Imports no torch."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipeline.image.view import Fit, Tiles
from pipeline.spec import FieldError, spec


@spec
class SlidingWindow:
    """How a network of classes sees an image. The scores of all passes are averaged."""

    overlap: Annotated[int, Field(ge=0, le=1 << 13)] = 0
    """0: shrink the image to the segmenter's side. Above 0: full-size tiles of that side that overlap by at least this
    many pixels, their scores blended; choose at least the network's receptive field."""
    scales: Annotated[tuple[Annotated[float, Field(ge=0.125, le=8)], ...], Field(min_length=1)] = (1.0,)
    """Scales at which each tile is seen, [0.75, 1.0, 1.5]."""
    flip: bool = False
    """Also see each tile with left and right swapped."""

    @property
    def plain(self) -> bool:
        """Whether this is a single pass over the whole image."""
        return not self.overlap and self.scales == (1.0,) and not self.flip

    def view(self, side: int, multiple: int, key: str = "side", extra: int = 0) -> Fit | Tiles:
        """The view of a segmenter whose field `key` is `side`. multiple: of pixels, that each side of the network's
        input must be, and `extra` pixels more. Raises FieldError."""
        if not self.overlap:
            return Fit(side=side, multiple=multiple, extra=extra, resample="area")
        if side % multiple != extra % multiple:
            more = f" and {extra} more" if extra else ""
            raise FieldError(key, f": expected a multiple of {multiple}{more} for tiles, got {side}")
        if 2 * self.overlap > side:
            raise FieldError("sliding_window.overlap", f": expected at most half of {key}={side}, got {self.overlap}")
        return Tiles(side=side, overlap=self.overlap)
