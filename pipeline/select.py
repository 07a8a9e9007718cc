"""Which of the segments are to be filled: segments -> region."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from pipeline.errors import ConfigError, ImageError, nearest
from pipeline.image import rle
from pipeline.records import Region, Segment, Segments
from pipeline.spec import Share, spec


@spec
class Select:
    """Chooses segments, grows each one, and unites them."""

    labels: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Labels of the segments to choose; none given: all."""
    min_score: Share = 0.0
    """Minimum score of a segment."""
    min_area: Annotated[int, Field(ge=0)] = 0
    """Minimum area of a segment in pixels, before it grows."""
    max_segment_share: Share = 1.0
    """Maximum share of the image that a segment may cover; a larger one is left alone. No caption fills a picture, but
    a text detector takes a cup, a shirt or a cat's face for one now and then. 1 leaves none alone: right for faces."""
    dilate_px: Annotated[int, Field(ge=0)] = 0
    """Pixels by which each chosen mask grows: a mask that ends exactly at an edge leaves a rim of what was to go."""
    dilate_share: Share = 0.0
    """Further growth, as a share of the longer side of the mask's box."""
    max_share: Share = 1.0
    """Maximum share of the image to fill; an image that needs more is rejected instead of ruined."""

    def check(self, known: Sequence[str]) -> None:
        """Raises ConfigError for a label that none of the segmenters gives. known: the labels of all of them."""
        for label in self.labels:
            if label not in known:
                raise ConfigError(f"select.labels: no segmenter of this run gives {label!r}{nearest(label, known)}")

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
