"""Which of the segments are to be filled: segments -> region."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.errors import ConfigError, ImageError
from pipeline.image import rle
from pipeline.records import Region, Segment, Segments


@dataclass(frozen=True, kw_only=True)
class Select:
    """Chooses segments, grows each one, and unites them.

    labels: those to choose; none given = all. min_score: 0..1. min_area: pixels, before growing. max_segment_share: a
    segment that covers more of the image than this is left alone: no caption fills a picture, but a text detector takes
    a cup, a shirt or a cat's face for one now and then. 1 (never leave one alone) is right for faces.
    dilate_px, dilate_share: each chosen mask grows by dilate_px pixels plus this share of its box's longer side: a
    mask that ends exactly at an edge leaves a rim of what was to go. max_share: an image of which a larger share would
    have to be filled is rejected instead of ruined.
    """

    labels: tuple[str, ...] = ()
    min_score: float = 0.0
    min_area: int = 0
    max_segment_share: float = 1.0
    dilate_px: int = 0
    dilate_share: float = 0.0
    max_share: float = 1.0

    def __post_init__(self) -> None:
        labels = self.labels
        if not isinstance(labels, (list, tuple)) or not all(isinstance(n, str) and n for n in labels):
            raise ConfigError(f"select.labels: expected a list of labels such as [face], got {labels!r}")
        object.__setattr__(self, "labels", tuple(labels))  # a config brings a list
        _number("min_score", self.min_score, 0, 1)
        _number("min_area", self.min_area, 0, whole=True)
        _number("max_segment_share", self.max_segment_share, 0, 1)
        _number("dilate_px", self.dilate_px, 0, whole=True)
        _number("dilate_share", self.dilate_share, 0, 1)
        _number("max_share", self.max_share, 0, 1)

    def check(self, known: Sequence[str]) -> None:
        """Raises ConfigError for a label that none of the segmenters gives. known: the labels of all of them."""
        for label in self.labels:
            if label not in known:
                near = difflib.get_close_matches(label, known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(known) or 'none'}"
                raise ConfigError(f"select.labels: no segmenter of this run gives {label!r}; {hint}")

    def __call__(self, segments: Segments) -> Region:
        """Raises ImageError `bad_score` (a score that is no number says nothing about what was found, so the image
        does not pass) and `too_much_region`."""
        height, width = segments.height, segments.width
        for s in segments.segments:
            if not math.isfinite(s.score):
                raise ImageError("bad_score", f"expected a finite score for a segment {s.label!r}, got {s.score}")
        chosen = tuple(i for i, s in enumerate(segments.segments) if self._wants(s, height * width))
        masks = [self._grown(segments.segments[i], height, width) for i in chosen]
        region = masks[0] if len(masks) == 1 else rle.union(masks, height, width)
        area = rle.area(region, height, width)
        if area > self.max_share * height * width:
            share = f"{area / (height * width):.3f} of the image, more than select.max_share={self.max_share}"
            raise ImageError("too_much_region", f"{len(chosen)} segments cover {share}")
        return Region(image_id=segments.image_id, height=height, width=width, rle=region, area=area, chosen=chosen)

    def _wants(self, segment: Segment, pixels: int) -> bool:
        named = not self.labels or segment.label in self.labels
        sized = self.min_area <= segment.area <= self.max_segment_share * pixels
        return named and sized and segment.score >= self.min_score

    def _grown(self, segment: Segment, height: int, width: int) -> bytes:
        longer = max(segment.box[2], segment.box[3])
        radius = self.dilate_px + math.ceil(round(self.dilate_share * longer, 6))
        return rle.dilate(segment.rle, height, width, radius)


def _number(key: str, value: object, low: float, high: float = math.inf, *, whole: bool = False) -> None:
    kinds = (int,) if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not low <= value <= high:
        bounds = f"of at least {low}" if high == math.inf else f"from {low} to {high}"
        raise ConfigError(f"select.{key}: expected a {'whole ' if whole else ''}number {bounds}, got {value!r}")
