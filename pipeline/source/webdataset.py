"""Read images from tar shards in the WebDataset layout.

A sample is a run of consecutive members with the same sample key (`names.split`). Each of its members that is an image
(`members`) is a row, with its own name, key, bytes and output. The others are sidecars: a sidecar travels with the
images of its run whose names share the most leading parts with it (`members.owners`), so `1.json` goes with both
`1.left.jpg` and `1.right.jpg`. Members that systems add, such as `._1.jpg` and `.DS_Store`, are passed over unless
they are images by their bytes. Any other member is a row of its own, rejected with a reason:

    no_image_member      the first member of a sample that has no image
    format_not_allowed   an image of a format that is not read, such as DNG
    tar_member_type      a link, device, fifo or sparse file
    unsafe_name          absolute, `..`, control characters, or too long to write
    too_many_bytes       it exceeds max_image_bytes and is skipped without being read; or it is a sidecar with which the
                         sample, or its copies for several images, would exceed them
    duplicate_member     a whole name that its sample, or an image before it in the shard, has

A key may come again later in the shard: the images of that run are rows as well, and its sidecars travel with them, 8
hex digits before their fields, because an earlier run may have sidecars of the same names. A run ends early before an
image with which it would exceed max_image_bytes, and after 1,000 members: the rest is a key that comes again.

Folders are skipped. When the rest of a shard cannot be read (`tar`, `stream`), its last unit holds the rows so far and
one with the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from pipeline.contracts import Listed
from pipeline.errors import ShardError, SourceError
from pipeline.image.kinds import HEAD_BYTES, KINDS
from pipeline.records import EncodedImage, ImageRef, Shard, Sidecar, UnitBatch, image_id
from pipeline.source import names
from pipeline.source.keys import Keys
from pipeline.source.listing import Listing, as_source_error, find, not_found, shards_of
from pipeline.source.members import SampleMembers, What, owners
from pipeline.source.stream import ObjectStream, Stream, unpacked
from pipeline.source.tar import TarMember, TarReader
from pipeline.source.unit import ENDED, UnitBuilder, next_uncommitted
from pipeline.spec import spec

TAR_SUFFIXES: Final = next(kind.suffixes for kind in KINDS if kind.name == "tar")
_MAX_RUN: Final = 1000  # members of a run; more share a key because names hold dots, not because they belong together
_SHARED_NAMES: Final = ("duplicate_member", "unsafe_name")  # other rows may have the same name: the id needs the offset
_PROBED_SHARDS: Final = 8
_PROBED_MEMBERS: Final = 1000


@spec
class WebDataset(SampleMembers):
    """Tar shards: `uri` is a folder (every *.tar, *.tar.gz, *.tar.bz2, *.tar.xz, *.tar.zst below it), one shard, a glob
    or a brace range."""

    def listed(self) -> Listed:
        """List the shards, sorted by path. Raises SourceError when there is none."""
        return self.of(find(self.uri, TAR_SUFFIXES, follow_links=self.follow_links))

    def of(self, listing: Listing) -> Listed:
        """The shards of a listing."""
        if not listing.found:
            raise not_found(self.uri, "*.tar, *.tar.gz, *.tar.bz2, *.tar.xz or *.tar.zst", listing)
        return self._listed(shards_of(listing), listing)

    def resolve(self, shards: Sequence[Shard]) -> WebDataset:
        return self

    def probe(self, shards: Sequence[Shard]) -> None:
        """Read headers until one names an image. Raises SourceError when the first shards hold none."""
        probed = shards[:_PROBED_SHARDS]
        problem = "no member is an image, by its suffix or by its bytes"
        for shard in probed:
            reader = _ShardReader(self, shard)
            try:
                with as_source_error(self.uri):
                    member = reader.at(0)
                    for _ in range(_PROBED_MEMBERS):
                        if member is None:
                            break
                        if member.kind == "file" and reader.what(member) == "image":
                            return
                        member = reader.member()
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
    """One member of a sample. size: bytes in the archive. reason, detail: why it is a rejected row, or empty."""

    name: str
    offset: int
    size: int
    what: What = "sidecar"
    data: bytes = b""
    reason: str = ""
    detail: str = ""

    def reject(self, reason: str, detail: str) -> None:
        self.reason, self.detail, self.data = reason, detail, b""


@dataclass
class _Sample:
    """A run of members with one sample key. size: bytes of data that it holds."""

    key: str
    parts: list[_Part] = field(default_factory=list)
    size: int = 0

    def ends_before(self, part: _Part, limit: int) -> bool:
        """Whether the run ends before this part although the key is the same."""
        if len(self.parts) >= _MAX_RUN and names.stem(part.name) != names.stem(self.parts[-1].name):
            return True
        return part.what == "image" and not part.reason and self.size > 0 and self.size + part.size > limit


class _ShardReader:
    """One pass over one shard."""

    def __init__(self, source: WebDataset, shard: Shard) -> None:
        self._source = source
        self._shard = shard
        self._object = ObjectStream(shard)
        self._stream: Stream | None = None
        self._reader = TarReader(self._object)
        self._keys = Keys(shard)

    def close(self) -> None:
        self._object.close()

    def member(self) -> TarMember | None:
        """Read the next member that is no folder and no clutter."""
        while (member := self._reader.next()) is not None:
            clutter = member.kind == "file" and names.clutter(names.tidy(member.name))
            if member.kind != "folder" and not (clutter and self.what(member) == "clutter"):
                return member
        return None

    def what(self, member: TarMember) -> What:
        """Decide what the regular file is that `at` or `member` returned."""
        return self._source.what(names.tidy(member.name), self._reader.head(HEAD_BYTES))

    def at(self, position: int) -> TarMember | None:
        """Read the member at a position, or the first one behind it that `member` returns."""
        self._stream = self._stream or unpacked(self._object, self._shard.path)
        self._stream.skip_to(position)
        self._reader = TarReader(self._stream)
        return self.member()

    def units(self, position: int, done: Mapping[int, int]) -> Iterator[UnitBatch[EncodedImage]]:
        unit = UnitBuilder(shard=self._shard, start=position, limits=self._source)
        self._keys.skip(0, position)
        sample = _Sample(key="")
        try:
            member = self.at(position)
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
                    member = self.at(position)
                    if member is None:
                        return
        except ShardError as error:
            self._add(unit, sample)
            yield unit.failed(error)

    def _fill(self, sample: _Sample, member: TarMember) -> TarMember | None:
        """Read the members of one sample; return the first of the next. On an error the sample keeps its parts."""
        following: TarMember | None = member
        while following is not None:
            name = names.tidy(following.name)
            if names.split(name)[0] != sample.key:
                break
            part = self._looked_at(sample, following, name)
            if sample.ends_before(part, self._source.max_image_bytes):
                break
            if not part.reason:
                part.data = self._reader.read()
                sample.size += part.size
            sample.parts.append(part)
            following = self.member()
        return following

    def _looked_at(self, sample: _Sample, member: TarMember, name: str) -> _Part:
        """Decide what a member is, and whether it can be read. Only its first bytes are read."""
        part = _Part(name=name, offset=member.offset, size=member.size)
        limit = self._source.max_image_bytes
        head = self._reader.head(HEAD_BYTES) if member.kind == "file" else b""
        part.what = self._source.what(name, head)
        if unsafe := names.problem(name):
            part.name = name if len(name) <= 200 else f"{name[:200]}..."
            part.reject("unsafe_name", unsafe)
        elif any(name == other.name for other in sample.parts):
            part.reject("duplicate_member", "the sample already has a member of this name")
        elif member.kind != "file":
            part.reject("tar_member_type", f"{member.what}, not a regular file")
        elif part.what == "unread":
            part.reject("format_not_allowed", self._source.refusal(name, head))
        elif member.size > limit:
            part.reject("too_many_bytes", f"{member.size} bytes; source.max_image_bytes is {limit}")
        elif part.what == "sidecar" and sample.size + member.size > limit:
            whole = f"with it the sample has {sample.size + member.size} bytes"
            part.reject("too_many_bytes", f"{whole}; source.max_image_bytes is {limit}")
        return part

    def _add(self, unit: UnitBuilder, sample: _Sample) -> None:
        """Add the rows of a sample: one for each image, and one for each member that was rejected."""
        if not sample.parts:
            return
        again = self._keys.has_sample(sample.key)
        images = [part for part in sample.parts if part.what == "image" and not part.reason]
        for part in images:
            if again and self._keys.has_member(part.name):
                part.reject("duplicate_member", "an image before it in the shard has this name")
        images = [part for part in images if not part.reason]
        sidecars = self._sidecars(sample, images, again=again)
        refs = {part.offset: self._ref(part) for part in images}  # before others take their keys
        for part in sample.parts:
            if part.offset in refs:
                unit.image(refs[part.offset], part.data, tuple(sidecars[part.offset]))
            elif part.reason:
                unit.reject(self._ref(part), part.reason, part.detail)
        if not images and not any(part.reason for part in sample.parts):
            found = ", ".join(p.name.rpartition("/")[2] for p in sample.parts[:5])
            before = "; members of its key stand apart from it, before it in the shard" if again else ""
            unit.reject(self._ref(sample.parts[0]), "no_image_member", f"the sample holds only {found}{before}")
        looked_at = [part for part in sample.parts if part.what in ("image", "unread")]
        unit.sample([_field(part.name) for part in looked_at if part.reason != "duplicate_member"])

    def _sidecars(self, sample: _Sample, images: Sequence[_Part], *, again: bool) -> dict[int, list[Sidecar]]:
        """Offset of each image -> its sidecars. One that would take too many bytes in all its copies is rejected."""
        found: dict[int, list[Sidecar]] = {image.offset: [] for image in images}
        mark = f"{image_id(self._shard.path, f'@{sample.parts[0].offset}')[:8]}." if again else ""
        limit = left = self._source.max_image_bytes
        image_names = [image.name for image in images]
        for part in sample.parts:
            if part.what != "sidecar" or part.reason or not images:
                continue
            whose = owners(part.name, image_names)
            copies = (len(whose) - 1) * len(part.data)
            if copies > left:
                detail = f"{len(part.data)} bytes, which {len(whose)} images of its sample share"
                part.reject("too_many_bytes", f"{detail}; source.max_image_bytes is {limit}")
                continue
            left -= copies
            sidecar = Sidecar(name=mark + names.split(part.name)[1], data=part.data)
            for position in whose:
                found[images[position].offset].append(sidecar)
        return found

    def _ref(self, part: _Part) -> ImageRef:
        again = part.reason in _SHARED_NAMES or self._keys.has_member(part.name)
        identity = image_id(self._shard.path, f"{part.name}@{part.offset}" if again else part.name)
        return ImageRef(image_id=identity, key=self._keys.row(part.name, identity), member=part.name)


def _field(name: str) -> str:
    return names.split(name)[1] or "no suffix"
