"""Which segments an export takes, and into which split an image goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field

from pipeline.errors import ConfigError, nearest
from pipeline.export.tables import Row
from pipeline.records import Segment
from pipeline.spec import Share, spec

Split: TypeAlias = Literal["train", "val", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")


@spec
class Choice:
    """What of an output is taken."""

    labels: tuple[str, ...] = ()
    """Only segments with these labels; empty: all. The ids of classes stay those of `classes.json`."""
    min_score: Share = 0.0
    """Minimum score of a segment."""
    min_area: Annotated[int, Field(ge=0)] = 0
    """Minimum area of a segment in pixels."""
    split: tuple[Share, Share, Share] = (1.0, 0.0, 0.0)
    """Shares of train, val and test, by a hash of the image id: an image stays in its split in every export, and when
    images are added."""

    def __post_init__(self) -> None:
        if abs(sum(self.split) - 1) > 1e-6:
            raise ConfigError(f"split: expected three shares that add up to 1, got {list(self.split)}")

    def check(self, known: Iterable[str]) -> None:
        """Raises ConfigError for a label that the output cannot have."""
        for label in self.labels:
            if label not in known:
                raise ConfigError(f"labels: this output has no {label}{nearest(label, known)}")

    def taken(self, row: Row) -> Row:
        """The image with the segments that are taken. An image without any stays: it shows what is nothing."""
        return replace(row, found=tuple(each for each in row.found if self._takes(each.segment)))

    def _takes(self, segment: Segment) -> bool:
        # A segment without a pixel has no outline, no box and no place in a label map: `segmentation: []` of others.
        of_label = not self.labels or segment.label in self.labels
        return of_label and segment.score >= self.min_score and segment.area >= max(1, self.min_area)

    def split_of(self, image_id: str) -> Split:
        """image_id: 32 hex digits, themselves a hash."""
        place = int(image_id[:13], 16) / 16**13
        train, val, _ = self.split
        return "train" if place < train or train == 1 else "val" if place < train + val else "test"
