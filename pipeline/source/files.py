"""Read images from loose files: a folder with everything below it, a glob, or one file.

The sorted listing is cut into slices; each is one shard with one unit. A file with an image suffix, or with the first
bytes of an image, is an image. A `.txt` or `.json` file with the same name up to the last dot travels with it as its
sidecar; so does an image that `sidecar_members` names with the images of the same sample key (`members.owners`). Other
files are counted and not read, see `unread`. Reasons of rejected rows, which a sidecar that cannot be read gets too,
once for each of its images:

    no_image_member  source.sidecar_members names it, and there is no image that it could travel with
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
from typing import Final

from pipeline.contracts import Listed
from pipeline.records import EncodedImage, ImageRef, Member, Shard, Sidecar, UnitBatch, image_id
from pipeline.source import names
from pipeline.source.keys import Keys
from pipeline.source.listing import DETAILS, Listing, find, not_found
from pipeline.source.members import SampleMembers, owners
from pipeline.source.object_errors import of_one_object
from pipeline.source.unit import ENDED, UnitBuilder, next_uncommitted
from pipeline.source.unread import SIDECAR_SUFFIXES
from pipeline.spec import spec
from pipeline.storage.store import ObjectInfo, Store, open_store

_READS_AT_ONCE: Final = 16
_ALONE: Final = "no_image_member"
_DETAILS: Final = {**DETAILS, _ALONE: "source.sidecar_members names it, but no image of its sample key is there"}


@spec
class Files(SampleMembers):
    """Images as loose files."""

    sidecars: bool = True
    """A .txt or .json file of the same name travels with its image."""

    def listed(self) -> Listed:
        """Cut the listing into slices whose `members` are images, each followed by its sidecars. Raises SourceError."""
        return self.of(find(self.uri, self.suffixes, follow_links=self.follow_links, images=True))

    def of(self, listing: Listing) -> Listed:
        """The slices of a listing."""
        if all(info.problem for info in listing.found):
            raise not_found(self.uri, "images", listing)
        slices: list[list[Member]] = [[]]
        images = size = 0
        for members in self._groups(listing):
            if images >= self.unit_images or size >= self.unit_bytes:
                slices.append([])
                images = size = 0
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
            images = [i for i, member in enumerate(shard.members) if i > position and not member.sidecar]
            stop = images[self.unit_images - 1] if len(images) >= self.unit_images else len(shard.members)
            yield self._unit(shard, position, stop)
            position = next_uncommitted(stop, done)

    def _unit(self, shard: Shard, position: int, end: int) -> UnitBatch[EncodedImage]:
        unit, members = UnitBuilder(shard=shard, start=position, limits=self), shard.members[position:end]
        store = open_store(shard.uri)
        with ThreadPoolExecutor(_READS_AT_ONCE, thread_name_prefix="files") as pool:
            contents = list(pool.map(lambda member: self._read(store, member), members))
        starts = [i for i, member in enumerate(members) if not member.sidecar]
        for start, stop in zip(starts, [*starts[1:], len(contents)], strict=True):
            self._add(unit, members[start:stop], contents[start:stop])
        return unit.batch(stop=end, last=end == len(shard.members))

    def _read(self, store: Store, member: Member) -> bytes | tuple[str, str]:
        """The bytes of a file, or reason and detail."""
        if member.problem:
            return member.problem, _DETAILS[member.problem]
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
            Sidecar(name=_field(member.path), data=data)
            for member, data in zip(members[1:], contents[1:], strict=True)
            if isinstance(data, bytes)
        )
        if isinstance(contents[0], bytes):
            unit.image(_ref(members[0]), contents[0], sidecars)
        for member, data in zip(members, contents, strict=True):
            if not isinstance(data, bytes):
                unit.reject(_ref(member), *data)

    def _groups(self, listing: Listing) -> list[list[Member]]:
        """Return each image with its sidecars behind it, in the order of the listing."""
        carried = self._carried(listing)
        alone = {info.path for info, images in carried if not images}
        images = [i for i in listing.found if i.path in alone or i.problem or not self.is_sidecar(i.path)]
        problems = {info.path: _ALONE if info.path in alone else info.problem for info in images}
        keys = Keys()
        readable_first = sorted(problems, key=lambda path: problems[path] > "")
        own = {path: keys.row(path, image_id("", path)) for path in readable_first}
        groups = {i.path: [_member(i, own[i.path], problem=problems[i.path])] for i in images}
        for info, paths in carried:
            for path in paths:
                # Its row, should it be rejected, shares neither key nor id with another one.
                marked = f"{info.path}~{path}"
                key = next(key for key in (info.path, marked, f"{marked}~") if keys.add(key))
                groups[path].append(_member(info, key, problem=info.problem, sidecar=True))
        return list(groups.values())

    def _carried(self, listing: Listing) -> list[tuple[ObjectInfo, list[str]]]:
        """Return each sidecar with the paths of its images, sorted by path; without any, one of `sidecar_members`."""
        samples: dict[str, list[str]] = {}
        stems: dict[str, list[str]] = {}
        named = []
        for info in listing.found:
            if not info.problem and self.is_sidecar(info.path):
                named.append(info)
            else:
                samples.setdefault(names.split(info.path)[0], []).append(info.path)
                stems.setdefault(names.stem(info.path), []).append(info.path)
        found = []
        for info in named:
            paths = samples.get(names.split(info.path)[0], [])
            found.append((info, [paths[position] for position in owners(info.path, paths)]))
        for info in self._texts(listing) if self.sidecars else ():
            if images := stems.get(names.stem(info.path)):
                found.append((info, images))
        return sorted(found, key=lambda pair: pair[0].path)

    def _texts(self, listing: Listing) -> list[ObjectInfo]:
        others = list(listing.others)
        if listing.kind == "object":  # its folder was not listed
            for suffix in SIDECAR_SUFFIXES:
                with contextlib.suppress(FileNotFoundError):
                    path = names.stem(listing.found[0].path) + suffix
                    others.append(listing.store.stat(path, outside=self.follow_links))
        return [info for info in others if info.path.lower().endswith(SIDECAR_SUFFIXES)]


def _member(info: ObjectInfo, key: str, *, problem: str, sidecar: bool = False) -> Member:
    usual = info.path if sidecar else names.stem(info.path)
    return Member(
        path=info.path,
        size=info.size,
        etag=info.etag,
        problem=problem,
        key="" if key == usual else key,
        sidecar=sidecar,
    )


def _field(path: str) -> str:
    front, dot, suffix = names.split(path)[1].rpartition(".")
    return front + dot + suffix.lower()


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
    usual = member.path if member.sidecar else names.stem(member.path)
    place = (member.key or member.path) if member.sidecar else member.path
    return ImageRef(image_id=image_id("", place), key=member.key or usual, member=member.path)
