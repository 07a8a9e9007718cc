"""Read images from tar shards in the WebDataset layout.

A sample is a run of consecutive members with the same key (`names.split`). Its image is the first member with an image
suffix, preferably one whose extension is only that suffix (`0001.png` before `0001.mask.png`); the other members are
its sidecars. Any other member is a row of its own, rejected with a reason:

    no_image_member   no member of the sample has an image suffix
    tar_member_type   a link, device, fifo or sparse file
    unsafe_name       absolute, `..`, control characters, or too long to write
    too_many_bytes    the member, or the sample with it, exceeds max_image_bytes; it is skipped without being read
    duplicate_member  a name that its sample already has, or a key that the shard already has

Folders are skipped. When the rest of a shard cannot be read (`tar`, `stream`), its last unit holds the rows so far and
one with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Annotated, Final

from pydantic import Field

from pipeline.contracts import Listed
from pipeline.errors import ShardError, SourceError
from pipeline.image.kinds import IMAGE_SUFFIXES
from pipeline.records import EncodedImage, ImageRef, Shard, Sidecar, UnitBatch, image_id
from pipeline.source import names
from pipeline.source.keys import Keys
from pipeline.source.listing import Listing, as_source_error, find, not_found, shards_of
from pipeline.source.stream import GzipStream, ObjectStream, Stream
from pipeline.source.tar import TarMember, TarReader
from pipeline.source.unit import ENDED, Suffix, UnitBuilder, UnitLimits, next_uncommitted
from pipeline.spec import spec

TAR_SUFFIXES: Final = (".tar", ".tar.gz", ".tgz")
_MAX_SAMPLE: Final = 1000  # members that share a key; more mean that the writer meant other keys
_SHARED_NAMES: Final = ("duplicate_member", "unsafe_name")  # other rows may have the same name: the id needs the offset
_PROBED_SHARDS: Final = 8
_PROBED_MEMBERS: Final = 1000


@spec
class WebDataset(UnitLimits):
    """Tar shards: `uri` is a folder (every *.tar, *.tar.gz, *.tgz below it), one shard, a glob or a brace range."""

    image_suffixes: Annotated[tuple[Suffix, ...], Field(min_length=1)] = tuple(sorted(IMAGE_SUFFIXES))
    """Suffixes of images, lower case, with the dot. Capital letters in a member's name do not matter."""

    def listed(self) -> Listed:
        """List the shards, sorted by path. Raises SourceError when there is none."""
        return self.of(find(self.uri, TAR_SUFFIXES, follow_links=self.follow_links))

    def of(self, listing: Listing) -> Listed:
        """The shards of a listing."""
        if not listing.found:
            raise not_found(self.uri, "*.tar, *.tar.gz or *.tgz", listing)
        return self._listed(shards_of(listing), listing)

    def resolve(self, shards: Sequence[Shard]) -> WebDataset:
        return self

    def probe(self, shards: Sequence[Shard]) -> None:
        """Read headers until one names an image. Raises SourceError when the first shards hold none."""
        probed = shards[:_PROBED_SHARDS]
        problem = "no member has an image suffix"
        for shard in probed:
            reader = _ShardReader(self, shard)
            try:
                with as_source_error(self.uri):
                    for _ in range(_PROBED_MEMBERS):
                        member = reader.member()
                        if member is None:
                            break
                        if member.kind == "file" and names.is_image(member.name, self.image_suffixes):
                            return
                    else:
                        return  # readable so far: leave the rest to the run
            except ShardError as error:
                problem = f"{shard.uri}: {error}"
            finally:
                reader.close()
        raise SourceError(f"source.uri={self.uri}: no image in the first {len(probed)} shards ({problem})")

    def units(self, shard: Shard, done: Mapping[int, int]) -> Iterator[UnitBatch[EncodedImage]]:
        """As contracts.Source says. Holds one unit and one sample; start and stop are offsets of tar headers."""
        position = next_uncommitted(0, done)
        if position == ENDED:
            return
        reader = _ShardReader(self, shard)
        try:
            yield from reader.units(position, done)
        finally:
            reader.close()


@dataclass
class _Part:
    """One member of a sample. reason, detail: why its data was not read, or empty."""

    name: str
    offset: int
    data: bytes = b""
    reason: str = ""
    detail: str = ""


@dataclass
class _Sample:
    key: str
    parts: list[_Part] = field(default_factory=list)
    size: int = 0


class _ShardReader:
    """One pass over one shard."""

    def __init__(self, source: WebDataset, shard: Shard) -> None:
        self._source = source
        self._shard = shard
        stream: Stream = ObjectStream(shard)
        self._stream = stream if shard.path.lower().endswith(".tar") else GzipStream(stream)
        self._reader = TarReader(self._stream)
        self._keys = Keys(shard)

    def close(self) -> None:
        self._stream.close()

    def member(self) -> TarMember | None:
        """Read the next member that is not a folder."""
        while (member := self._reader.next()) is not None:
            if member.kind != "folder":
                return member
        return None

    def units(self, position: int, done: Mapping[int, int]) -> Iterator[UnitBatch[EncodedImage]]:
        unit = UnitBuilder(shard=self._shard, start=position, limits=self._source)
        self._keys.skip(0, position)
        sample = _Sample(key="")
        try:
            member = self._at(position)
            if member is None and position:
                return  # the archive ends with the last committed unit
            while True:
                while member is not None and not unit.full:
                    sample = _Sample(key=names.split(names.tidy(member.name))[0])
                    member = self._fill(sample, member)
                    self._add(unit, sample)
                    sample = _Sample(key="")
                stop = self._reader.end if member is None else member.offset
                yield unit.batch(stop=stop, last=member is None)
                position = next_uncommitted(stop, done)
                if member is None or position == ENDED:
                    return
                self._keys.skip(stop, position)
                unit = UnitBuilder(shard=self._shard, start=position, limits=self._source)
                if position != stop:
                    member = self._at(position)
                    if member is None:
                        return
        except ShardError as error:
            self._add(unit, sample)
            yield unit.failed(error)

    def _at(self, position: int) -> TarMember | None:
        self._stream.skip_to(position)
        self._reader = TarReader(self._stream)
        return self.member()

    def _fill(self, sample: _Sample, member: TarMember) -> TarMember | None:
        """Read the members of one sample; return the first of the next. On an error the sample keeps its parts."""
        following: TarMember | None = member
        while following is not None:
            name = names.tidy(following.name)
            if names.split(name)[0] != sample.key:
                break
            if len(sample.parts) == _MAX_SAMPLE:
                shared = f"more than {_MAX_SAMPLE} members share the key {sample.key[:80]!r}"
                detail = f"{shared}; a key ends at the first dot of the name: rename them"
                raise ShardError("sample_too_long", detail, offset=following.offset)
            sample.parts.append(self._part(sample, following, name))
            following = self.member()
        return following

    def _part(self, sample: _Sample, member: TarMember, name: str) -> _Part:
        part = _Part(name=name, offset=member.offset)
        limit = self._source.max_image_bytes
        if unsafe := names.problem(name):
            shown = name if len(name) <= 200 else f"{name[:200]}..."
            return replace(part, name=shown, reason="unsafe_name", detail=unsafe)
        if any(name == other.name for other in sample.parts):
            return replace(part, reason="duplicate_member", detail="the sample already has a member of this name")
        if member.kind != "file":
            return replace(part, reason="tar_member_type", detail=f"{member.what}, not a regular file")
        if member.size > limit:
            return replace(
                part, reason="too_many_bytes", detail=f"{member.size} bytes; source.max_image_bytes is {limit}"
            )
        if sample.size + member.size > limit:
            detail = f"with it the sample has {sample.size + member.size} bytes; source.max_image_bytes is {limit}"
            return replace(part, reason="too_many_bytes", detail=detail)
        part.data = self._reader.read()
        sample.size += member.size
        return part

    def _add(self, unit: UnitBuilder, sample: _Sample) -> None:
        """Add the rows of a sample: one for its image, and one for each member that was not read."""
        if not sample.parts:
            return
        main = self._main(sample)
        if not self._keys.add(_short_key(sample.key)):
            detail = "its key was in this shard before; the members of a sample must lie together"
            first = main or sample.parts[0]
            unit.reject(self._ref(sample, first, again=True), "duplicate_member", detail)
            return
        if main is not None and not main.reason:
            sidecars = tuple(
                Sidecar(name=names.split(p.name)[1], data=p.data)
                for p in sample.parts
                if p is not main and not p.reason
            )
            unit.image(self._ref(sample, main), main.data, sidecars)
        rejected = [p for p in sample.parts if p.reason]
        for part in rejected:
            unit.reject(self._ref(sample, part, again=part.reason in _SHARED_NAMES), part.reason, part.detail)
        if main is None and not rejected:
            found = ", ".join(p.name.rpartition("/")[2] for p in sample.parts[:5])
            unit.reject(self._ref(sample, sample.parts[0]), "no_image_member", f"the sample holds only {found}")

    def _main(self, sample: _Sample) -> _Part | None:
        suffixes = self._source.image_suffixes
        images = [p for p in sample.parts if names.is_image(p.name, suffixes) and p.reason != "duplicate_member"]
        plain = [p for p in images if "." not in names.split(p.name)[1]]
        return next(iter(plain or images), None)

    def _ref(self, sample: _Sample, part: _Part, *, again: bool = False) -> ImageRef:
        name = f"{part.name}@{part.offset}" if again else part.name
        return ImageRef(image_id=image_id(self._shard.path, name), key=_short_key(sample.key), member=part.name)


def _short_key(key: str) -> str:
    """Cut a key that is too long for the tables: no image of such a name could be written."""
    return key if len(key) <= 1024 else key[:200]
