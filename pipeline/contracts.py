"""The protocols of sources, segmenters and fills: the spec that a config builds, the model that a worker loads from it.

A spec is a frozen dataclass of parameters (pipeline/spec.py): cheap, picklable, validated when it is built. `load`
returns the model, once for each worker; it may hold sessions, sockets and caches and is never pickled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias, runtime_checkable

from pipeline.image.view import ViewSpec
from pipeline.models.weights import Weights
from pipeline.records import Crop, Device, EncodedImage, Patch, Rejected, Segments, Shard, UnitBatch, View


@dataclass(frozen=True, kw_only=True)
class Unread:
    """What a listing holds and its source does not read. images, others: (name of a kind, files), the most frequent
    first; `images` are, or may hold, images. outputs: outputs of Segfill below the source, each counted once."""

    images: tuple[tuple[str, int], ...] = ()
    others: tuple[tuple[str, int], ...] = ()
    outputs: int = 0

    def __add__(self, other: Unread) -> Unread:
        images, others = Counter(dict(self.images)), Counter(dict(self.others))
        images.update(dict(other.images))
        others.update(dict(other.others))
        return Unread(
            images=tuple(images.most_common()),
            others=tuple(others.most_common()),
            outputs=self.outputs + other.outputs,
        )

    @property
    def files(self) -> int:
        return sum(count for _, count in (*self.images, *self.others))

    def kinds(self, shown: int = 8) -> str:
        """Return `HEIC 6, ZIP 1, other (.txt) 1`, the first few kinds only."""
        every = [f"{name} {count:,}" for name, count in (*self.images, *self.others)]
        return ", ".join(every[:shown] + ([f"{len(every) - shown} more kinds"] if len(every) > shown else []))

    def text(self) -> str:
        return f"{self.files:,} file{'' if self.files == 1 else 's'} not read: {self.kinds()}"

    def outputs_text(self) -> str:
        each = "output of Segfill below it is" if self.outputs == 1 else "outputs of Segfill below it are"
        return f"{self.outputs:,} {each} not read"


ALL_READ: Final = Unread()


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A source as it was listed. shards: sorted by path. unread: what else is there. root: common to several URIs, or
    empty."""

    shards: tuple[Shard, ...]
    unread: Unread = ALL_READ
    root: str = ""


class Source(Protocol):
    """Reads images. One class for each kind of source; a source needs no model."""

    @property
    def uri(self) -> str: ...

    def shards(self) -> tuple[Shard, ...]:
        """List every shard, sorted by path. Raises SourceError when there is none, or a named column is missing."""

    def resolve(self, shards: Sequence[Shard]) -> Source:
        """Return the source that workers get: with everything that the listing decides (its kind, its column) fixed."""

    def probe(self, shards: Sequence[Shard]) -> None:
        """Look for a first image, quickly. Raises SourceError when the first shards hold none."""

    def units(self, shard: Shard, done: Mapping[int, int]) -> Iterator[UnitBatch[EncodedImage]]:
        """Read the units of a shard in order, without those that are committed.

        done: start -> stop of each committed unit; it is skipped without being read. The bounds of units depend on the
        shard's bytes and the config only, never on `done`. When the rest of the shard cannot be read, the last unit has
        a `failure` and ends with a Rejected of stage `read`.
        """


@runtime_checkable
class TellsUnread(Protocol):
    """A source that also tells what of its listing it does not read."""

    def listed(self) -> Listed:
        """List every shard, and what is not read. Raises SourceError as `shards` does, and where the config says that
        the run is to fail for what is not read."""


class SegmentModel(Protocol):
    """A loaded segmenter."""

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        """Segment a batch: one answer for each view, in order. Raises ImageError for an answer that is not usable (NaN,
        a wrong shape)."""


class Segmenter(Protocol):
    """Finds segments. One class for each model family."""

    @property
    def view(self) -> ViewSpec:
        """How images are fitted for the model."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Label of class_id 0, 1, ..."""

    @property
    def weights(self) -> tuple[Weights, ...]: ...
    def load(self, device: Device, threads: int) -> SegmentModel:
        """threads: intra-op threads on the CPU."""


@runtime_checkable
class Checked(Protocol):
    """A segmenter or fill whose config can only be checked against its weights."""

    def check(self) -> None:
        """Run once on the driver, after the weights are fetched and before anything is written. Raises ConfigError."""


class FillModel(Protocol):
    """A loaded fill."""

    def __call__(self, crops: Sequence[Crop]) -> list[Patch]:
        """Fill a batch: one patch for each crop, in order, of the crop's size. Raises ImageError when it cannot."""


class Fill(Protocol):
    """Makes new pixels for a region. One class for each method."""

    @property
    def active(self) -> bool:
        """False: nothing is filled, so no image is decoded at full size and no crop is cut (fill=none)."""

    @property
    def reversible(self) -> bool:
        """True: the result is computed from the region's own pixels (blur, pixelate), so crops are not blanked."""

    @property
    def context(self) -> float:
        """Margin of a crop around its part of the region, as a share of that part's longer side."""

    @property
    def weights(self) -> tuple[Weights, ...]: ...
    def load(self, device: Device, threads: int) -> FillModel:
        """threads: intra-op threads on the CPU."""


ImageOrReject: TypeAlias = EncodedImage | Rejected
