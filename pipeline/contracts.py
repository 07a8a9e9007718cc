"""What each stage promises: the cold object that a config builds, and the hot one that a worker loads from it.

Cold objects are frozen dataclasses of parameters: cheap, picklable, checked in `__post_init__` (types, ranges).
`load(device)` returns the hot object, once a worker; it may hold sessions, sockets and caches and is never pickled.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from pipeline.image.view import ViewSpec
from pipeline.models.weights import Weights
from pipeline.records import Crop, Device, EncodedImage, Patch, Rejected, Segments, Shard, UnitBatch, View


class Source(Protocol):
    """Where images come from."""

    @property
    def uri(self) -> str: ...

    def shards(self) -> tuple[Shard, ...]:
        """Every shard, sorted by path. Raises SourceError when there is nothing, or not what the config names."""

    def resolve(self, shards: Sequence[Shard]) -> Source:
        """The same source with what only the listing can tell (which kind it is, which column): what workers get."""

    def probe(self, shards: Sequence[Shard]) -> None:
        """A quick look for a first image. Raises SourceError when the first shards hold none."""

    def units(self, shard: Shard, done: Mapping[int, int]) -> Iterator[UnitBatch[EncodedImage]]:
        """The units of a shard in order. `done` maps start to stop of units that are committed: they are hopped
        over without being read. The bounds depend on the shard's bytes and the config only, never on `done`.
        A shard that cannot be read on ends with a unit whose `failure` is set and whose last item is a Rejected
        (stage `read`)."""


class SegmentModel(Protocol):
    def __call__(self, views: Sequence[View]) -> list[Segments]:
        """One answer a view, in order. Raises ImageError for an answer that is not usable (NaN, wrong shape)."""


class Segmenter(Protocol):
    """Finds segments. One class a model family."""

    @property
    def view(self) -> ViewSpec: ...
    @property
    def labels(self) -> tuple[str, ...]:
        """Label of class_id 0, 1, ..."""

    @property
    def weights(self) -> tuple[Weights, ...]: ...
    def load(self, device: Device, threads: int) -> SegmentModel:
        """threads: intra-op threads on the CPU."""


@runtime_checkable
class Checked(Protocol):
    """A segmenter or fill whose config can only be judged with the weights at hand."""

    def check(self) -> None:
        """Called once on the driver, when the weights are fetched and before anything is written. Raises
        ConfigError."""


class FillModel(Protocol):
    def __call__(self, crops: Sequence[Crop]) -> list[Patch]:
        """One patch a crop, in order, of the crop's size. Raises ImageError when it cannot fill."""


class Fill(Protocol):
    """Makes new pixels for a region. One class a method."""

    @property
    def active(self) -> bool:
        """False: nothing is ever filled, so no crops are cut and no image is decoded for it (none)."""

    @property
    def reversible(self) -> bool:
        """True: the result is computed from the region's own pixels (blur, pixelate), so crops are not blanked."""

    @property
    def context(self) -> float:
        """Margin of a crop around its part of the region, as a share of the part's longer side."""

    @property
    def weights(self) -> tuple[Weights, ...]: ...
    def load(self, device: Device, threads: int) -> FillModel: ...


ImageOrReject: TypeAlias = EncodedImage | Rejected
