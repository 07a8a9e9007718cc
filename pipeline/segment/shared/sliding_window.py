"""How a network of classes looks at an image: whole or in tiles, at which sizes, mirrored too. Cold; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import ConfigError
from pipeline.image.view import Fit, Tiles
from pipeline.segment.shared.fields import check_flag, check_number, check_whole


@dataclass(frozen=True, kw_only=True)
class SlidingWindow:
    """overlap: 0 shrinks an image to `side`; above it, full-size tiles of `side` that overlap by at least so many
    pixels are seen, and the logits blended where they do: choose at least the network's receptive field. scales: sizes
    at which each tile is seen, as shares of its own; mirror: each also with left and right swapped. The logits of all
    are averaged.
    """

    overlap: int = 0
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        check_whole("sliding_window.overlap", self.overlap, 0, 1 << 13)
        if not isinstance(self.scales, tuple) or not self.scales:
            raise ConfigError(f"segment.sliding_window.scales: expected at least one number, got {self.scales!r}")
        for scale in self.scales:
            check_number("sliding_window.scales", scale, 0.125, 8)
        check_flag("sliding_window.flip", self.flip)

    @property
    def plain(self) -> bool:
        """True: one look at the whole image."""
        return not self.overlap and self.scales == (1.0,) and not self.flip

    def view(self, side: int, multiple: int) -> Fit | Tiles:
        """multiple: of pixels, that each side of what the network sees must be. Raises ConfigError."""
        if not self.overlap:
            return Fit(side=side, multiple=multiple, resample="area")
        if side % multiple:
            raise ConfigError(f"segment.side: expected a multiple of {multiple} for tiles, got {side}")
        if 2 * self.overlap > side:
            raise ConfigError(
                f"segment.sliding_window.overlap: expected at most half of side={side}, got {self.overlap}"
            )
        return Tiles(side=side, overlap=self.overlap)
