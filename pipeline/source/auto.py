"""Detect the kind of a source: by the suffix of its URI, or by the objects in its folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Final, Literal, TypeAlias

from pipeline.contracts import Listed
from pipeline.errors import ConfigError, SourceError
from pipeline.image.kinds import IMAGE_SUFFIXES
from pipeline.records import EncodedImage, Shard, UnitBatch
from pipeline.source.files import Files
from pipeline.source.listing import Listing, find, not_found
from pipeline.source.members import SampleMembers
from pipeline.source.parquet import PARQUET_SUFFIXES, Parquet
from pipeline.source.unit import UnitLimits
from pipeline.source.webdataset import TAR_SUFFIXES, WebDataset
from pipeline.spec import spec

Kind: TypeAlias = Literal["webdataset", "parquet", "files"]

_SUFFIXES: Final[Mapping[Kind, tuple[str, ...]]] = {
    "webdataset": TAR_SUFFIXES,
    "parquet": PARQUET_SUFFIXES,
    "files": tuple(sorted(IMAGE_SUFFIXES)),
}


def detect(uri: str) -> Kind | None:
    """Name the kind of source that the suffix of a URI tells, or None."""
    return next((kind for kind, suffixes in _SUFFIXES.items() if uri.lower().endswith(suffixes)), None)


def kind_of(uri: str, listing: Listing) -> Kind:
    """Name the kind of source that a listing shows. Raises SourceError when it holds none, or several."""
    counts: Counter[Kind] = Counter()
    for info in listing.found:
        if not info.problem:
            counts[detect(info.path) or "files"] += 1  # what has no suffix of a kind is an image by its bytes
    if not counts:
        raise not_found(uri, "tar shard, Parquet file or image", listing)
    if len(counts) > 1:
        found = ", ".join(f"{counts[kind]} for source={kind}" for kind in _SUFFIXES if counts[kind])
        raise SourceError(f"source.uri={uri} holds several kinds of sources ({found}); choose one, or a narrower URI")
    return next(iter(counts))


@spec
class Auto(SampleMembers):
    """A source of any kind, with the default options of that kind."""

    def listed(self) -> Listed:
        if kind := detect(self.uri):
            return self._source(kind).listed()
        every = [suffix for suffixes in _SUFFIXES.values() for suffix in suffixes]
        listing = find(self.uri, every, follow_links=self.follow_links, images=True)
        return self._source(kind_of(self.uri, listing)).of(listing)

    def resolve(self, shards: Sequence[Shard]) -> WebDataset | Parquet | Files:
        """Return the source of the kind that the shards have."""
        source = self._source(_kind_of(_first_readable(shards)))
        return source.resolve(shards) if isinstance(source, Parquet) else source

    def probe(self, shards: Sequence[Shard]) -> None:
        self._source(_kind_of(_first_readable(shards))).probe(shards)

    def units(self, shard: Shard, done: Mapping[int, int]) -> Iterator[UnitBatch[EncodedImage]]:
        return self._source(_kind_of(shard)).units(shard, done)

    def _source(self, kind: Kind) -> WebDataset | Parquet | Files:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if kind != "parquet":
            return Files(**values) if kind == "files" else WebDataset(**values)
        limits = {field.name: values.pop(field.name) for field in fields(UnitLimits)}
        if chosen := [name for name, value in values.items() if value]:
            raise ConfigError(f"source.{chosen[0]} is for tars and folders, but {self.uri} holds Parquet: remove it")
        return Parquet(**limits)


def _first_readable(shards: Sequence[Shard]) -> Shard:
    """The first shard whose name says its kind: a broken link may have any name."""
    return next((shard for shard in shards if not shard.problem), shards[0])


def _kind_of(shard: Shard) -> Kind:
    if shard.members:
        return "files"
    return "parquet" if shard.path.lower().endswith(PARQUET_SUFFIXES) else "webdataset"
