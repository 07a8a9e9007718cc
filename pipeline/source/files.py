"""Read images from loose files: a folder with everything below it, a glob, or one file.

The sorted listing is cut into slices; each is one shard with one unit. A file with an image suffix, or with the first
bytes of an image, is an image. A `.txt` or `.json` file with the same name up to the last dot travels with it as its
sidecar. Other files are counted and not read, see `unread`. Reasons of rejected rows, which a sidecar that cannot be
read gets too:

    source_changed   the file was replaced or removed after the plan (a changed tar or Parquet file fails as a shard)
    too_many_bytes   larger than source.max_image_bytes
    unsafe_name      control characters, empty parts, or too long to write
    archived         in a storage class such as Glacier, from which it has to be restored first
    no_read_right, no_list_right, bad_name, dangling_link, link_loop, link_outside, not_a_file   see `listing`
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import blake2b
from typing import Annotated, Final

from pydantic import Field

from pipeline.contracts import Listed
from pipeline.image.kinds import IMAGE_SUFFIXES
from pipeline.records import EncodedImage, ImageRef, Member, Shard, Sidecar, UnitBatch, image_id
from pipeline.source import names
from pipeline.source.listing import DETAILS, Listing, find, not_found
from pipeline.source.object_errors import of_one_object
from pipeline.source.unit import ENDED, Suffix, UnitBuilder, UnitLimits, next_uncommitted
from pipeline.source.unread import SIDECAR_SUFFIXES
from pipeline.spec import spec
from pipeline.storage.store import ObjectInfo, Store, open_store

_READS_AT_ONCE: Final = 16


@spec
class Files(UnitLimits):
    """Images as loose files."""

    image_suffixes: Annotated[tuple[Suffix, ...], Field(min_length=1)] = tuple(sorted(IMAGE_SUFFIXES))
    """Suffixes of images, lower case, with the dot. Capital letters in a file's name do not matter."""
    sidecars: bool = True
    """A .txt or .json file of the same name travels with its image."""

    def listed(self) -> Listed:
        """Cut the listing into slices whose `members` are images, each followed by its sidecars. Raises SourceError."""
        return self.of(find(self.uri, self.image_suffixes, follow_links=self.follow_links, images=True))

    def of(self, listing: Listing) -> Listed:
        """The slices of a listing."""
        if all(info.problem for info in listing.found):
            raise not_found(self.uri, "images", listing)
        sidecars = self._sidecars(listing)
        slices: list[list[Member]] = [[]]
        images = size = 0
        for info in listing.found:
            if images >= self.unit_images or size >= self.unit_bytes:
                slices.append([])
                images = size = 0
            members = [_member(info), *sidecars.get(_stem(info.path), ())]
            slices[-1] += members
            images += 1
            size += sum(m.size for m in members if m.size <= self.max_image_bytes)
        shards = tuple(_shard(index, members, listing.store.uri) for index, members in enumerate(slices))
        return self._listed(shards, listing)

    def resolve(self, shards: Sequence[Shard]) -> Files:
        return self

    def probe(self, shards: Sequence[Shard]) -> None:
        """Do nothing: `shards` has found images."""

    def units(self, shard: Shard, done: Mapping[int, int]) -> Iterator[UnitBatch[EncodedImage]]:
        """Read the one unit of a slice, its files concurrently. Start and stop count its members. Where a run with a
        limit did the first part of a slice, another unit has the rest."""
        position = next_uncommitted(0, done)
        while ENDED != position < len(shard.members):
            images = [i for i, m in enumerate(shard.members) if i > position and not _is_sidecar(m)]
            stop = images[self.unit_images - 1] if len(images) >= self.unit_images else len(shard.members)
            yield self._unit(shard, position, stop)
            position = next_uncommitted(stop, done)

    def _unit(self, shard: Shard, position: int, end: int) -> UnitBatch[EncodedImage]:
        unit, members = UnitBuilder(shard=shard, start=position, limits=self), shard.members[position:end]
        store = open_store(shard.uri)
        with ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="files") as pool:
            contents = list(pool.map(lambda member: self._read(store, member), members))
        starts = [i for i, member in enumerate(members) if member.problem or not _is_sidecar(member)]
        for start, stop in zip(starts, [*starts[1:], len(contents)], strict=True):
            self._add(unit, members[start:stop], contents[start:stop])
        return unit.batch(stop=end, last=end == len(shard.members))

    def _read(self, store: Store, member: Member) -> bytes | tuple[str, str]:
        """The bytes of a file, or reason and detail."""
        if member.problem:
            return member.problem, DETAILS[member.problem]
        if unsafe := names.problem(member.path):
            return "unsafe_name", unsafe
        if member.size > self.max_image_bytes:
            return "too_many_bytes", f"{member.size} bytes; source.max_image_bytes is {self.max_image_bytes}"
        try:
            return store.read(member.path, etag=member.etag)
        except OSError as error:
            if found := of_one_object(store, member.path, error):
                return found
            raise

    def _add(self, unit: UnitBuilder, members: Sequence[Member], contents: Sequence[bytes | tuple[str, str]]) -> None:
        """Add an image and its sidecars."""
        sidecars = tuple(
            Sidecar(name=member.path.rpartition(".")[2].lower(), data=data)
            for member, data in zip(members[1:], contents[1:], strict=True)
            if isinstance(data, bytes)
        )
        if isinstance(contents[0], bytes):
            unit.image(_ref(members[0]), contents[0], sidecars)
        for member, data in zip(members, contents, strict=True):
            if not isinstance(data, bytes):
                unit.reject(_ref(member), *data)

    def _sidecars(self, listing: Listing) -> dict[str, list[Member]]:
        """Sidecars by path without suffix."""
        if not self.sidecars:
            return {}
        others: list[ObjectInfo] = list(listing.others)
        if listing.kind == "object":  # its folder was not listed
            for suffix in SIDECAR_SUFFIXES:
                with contextlib.suppress(FileNotFoundError):
                    others.append(listing.store.stat(_stem(listing.found[0].path) + suffix, outside=self.follow_links))
        found: dict[str, list[Member]] = {}
        for info in sorted(others, key=lambda o: o.path):
            if info.path.lower().endswith(SIDECAR_SUFFIXES):
                found.setdefault(_stem(info.path), []).append(_member(info))
        return found


def _member(info: ObjectInfo) -> Member:
    return Member(path=info.path, size=info.size, etag=info.etag, problem=info.problem)


def _is_sidecar(member: Member) -> bool:
    return member.path.lower().endswith(SIDECAR_SUFFIXES)


def _stem(path: str) -> str:
    return path.rpartition(".")[0]


def _shard(index: int, members: Sequence[Member], root: str) -> Shard:
    listed = "\n".join(f"{m.path}\0{m.size}\0{m.etag}" for m in members)
    return Shard(
        path=f"files-{index:06d}",
        uri=root,
        size=sum(m.size for m in members),
        etag=blake2b(listed.encode(), digest_size=16).hexdigest(),
        members=tuple(members),
    )


def _ref(member: Member) -> ImageRef:
    return ImageRef(image_id=image_id("", member.path), key=names.split(member.path)[0], member=member.path)
