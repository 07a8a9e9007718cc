"""Build units: the limits that every source takes, and the batch that grows until it reaches one."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Annotated, Final, Literal

from pydantic import Field

from pipeline.contracts import Listed
from pipeline.errors import ShardError
from pipeline.records import EncodedImage, ImageRef, Rejected, Shard, Sidecar, Unit, UnitBatch, image_id, unit_id
from pipeline.source.listing import Listing
from pipeline.source.several import uris_of
from pipeline.source.unread import judged
from pipeline.spec import spec
from pipeline.storage.store import pay_requests

MiB: Final = 1 << 20
STAGE: Final = "read"
_MAX_FIELDS: Final = 100  # of the fields that a unit counts; names with dots may make each image one


Suffix = Annotated[str, Field(pattern=r"^\.[^.\p{Lu}\p{Lt}]+$", description="a lower-case suffix such as .jpg")]


@spec
class UnitLimits:
    """Base of every source: where the images are, and where a unit ends."""

    uri: Annotated[str, Field(pattern=r"\S", description="a path or URI such as s3://bucket/shards")]
    """A folder, a file, a glob or a brace range `{00..12}`: s3://, gs://, az:// or a path. Several: [A,B], or @FILE
    with one a line."""
    unit_images: Annotated[int, Field(ge=1)] = 128
    """Rows (images and rejected members) at which a unit ends. A unit is scheduled, retried and committed whole."""
    unit_bytes: Annotated[int, Field(ge=1)] = 64 * MiB
    """Encoded bytes, sidecars included, at which a unit ends."""
    max_image_bytes: Annotated[int, Field(ge=1)] = 256 * MiB
    """Maximum encoded bytes of an image; a larger member is rejected without being read."""
    follow_links: bool = False
    """Read links that lead out of the source folder, too: only for a folder that you trust. False: each of them is a
    rejected row or a failed shard."""
    requester_pays: bool = False
    """Pay for the requests to the source's S3 bucket where its owner asks for that."""
    unread: Literal["warn", "fail", "ignore"] = "warn"
    """What files of the source mean that it does not read (HEIC without its package, ZIP, video, ...). warn: they are
    counted by kind. fail: the run does not start when they are images, or may hold some. ignore: not a word."""

    def __post_init__(self) -> None:
        if self.requester_pays:
            for uri in uris_of(self.uri):
                pay_requests(uri)

    def __setstate__(self, state: Mapping[str, object]) -> None:
        """Unpickle in another process, where the payer has to be known, too."""
        self.__dict__.update(state)
        self.__post_init__()

    def shards(self) -> tuple[Shard, ...]:
        """List every shard, sorted by path. Raises SourceError."""
        return self.listed().shards

    def listed(self) -> Listed:
        """As `contracts.TellsUnread` says."""
        raise NotImplementedError

    def _listed(self, shards: tuple[Shard, ...], listing: Listing) -> Listed:
        """Apply `unread` to what a listing holds besides its shards."""
        root = listing.store.uri if listing.several else ""
        return Listed(shards=shards, unread=judged(listing.unread, self.uri, self.unread), root=root)


class UnitBuilder:
    """Collects the rows of one unit. Seconds of `read` count from its construction to `batch` or `failed`."""

    def __init__(self, *, shard: Shard, start: int, limits: UnitLimits) -> None:
        self.start = start
        self.rows = 0
        self._shard = shard
        self._limits = limits
        self._items: list[EncodedImage | Rejected] = []
        self._bytes = 0
        self._samples = self._several = 0
        self._fields: Counter[str] = Counter()
        self._began = time.perf_counter()

    @property
    def full(self) -> bool:
        return self.rows >= self._limits.unit_images or self._bytes >= self._limits.unit_bytes

    def image(self, ref: ImageRef, data: bytes, sidecars: tuple[Sidecar, ...] = ()) -> None:
        """Add an image; `ref` gets the sha256 of its bytes."""
        named = ImageRef(image_id=ref.image_id, key=ref.key, member=ref.member, sha256=sha256(data).hexdigest())
        self._items.append(EncodedImage(ref=named, data=data, sidecars=sidecars))
        self.rows += 1
        self._bytes += len(data) + sum(len(s.data) for s in sidecars)

    def reject(self, ref: ImageRef, reason: str, detail: str) -> None:
        self._items.append(Rejected(ref=ref, stage=STAGE, reason=reason, detail=detail))
        self.rows += 1

    def sample(self, fields: Sequence[str]) -> None:
        """Count a sample of a tar. fields: of its images."""
        self._samples += bool(fields)
        if len(fields) > 1:
            self._several += 1
            self._fields.update(fields)

    def batch(self, *, stop: int, last: bool) -> UnitBatch[EncodedImage]:
        """Return the unit and empty the builder, so that only the caller holds the bytes."""
        return self._made(stop=stop, last=last, failure="")

    def failed(self, error: ShardError) -> UnitBatch[EncodedImage]:
        """Return the rows so far and a last one that says why the rest of the shard cannot be read.

        No unit follows a failure, so `stop` equals `start`.
        """
        place = f"{self._shard.path}@{error.offset}"
        self.reject(
            ImageRef(image_id=image_id(self._shard.path, f"@{error.offset}"), key=place, member=place),
            error.reason,
            error.detail,
        )
        return self._made(stop=self.start, last=True, failure=error.reason)

    def _made(self, *, stop: int, last: bool, failure: str) -> UnitBatch[EncodedImage]:
        items, self._items = tuple(self._items), []
        unit = Unit(
            unit_id=unit_id(self._shard.path, self.start),
            shard=self._shard.path,
            uri=self._shard.uri,
            etag=self._shard.etag,
            start=self.start,
            stop=stop,
            last=last,
            failure=failure,
            samples=self._samples,
            several=self._several,
            fields=dict(sorted(self._fields.items(), key=lambda pair: (-pair[1], pair[0]))[:_MAX_FIELDS]),
        )
        return UnitBatch(unit=unit, items=items, seconds={STAGE: time.perf_counter() - self._began})


ENDED: Final = -1


def next_uncommitted(position: int, done: Mapping[int, int]) -> int:
    """Find the first position from `position` on that no committed unit covers. done: start -> stop of each.

    ENDED when the committed units reach one that no other follows: a failure, or an empty shard.
    """
    while position in done:
        if done[position] <= position:
            return ENDED
        position = done[position]
    return position
