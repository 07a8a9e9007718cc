"""Find what comes twice in a shard, or in a folder: members, whose images would share one id, and keys.

Each is stored as a hash of 8 bytes, in a set: 160 MB for a shard of a million images; few shards have more than ten
thousand. In one of 8 million shards of that million, two different names share a hash, and the second is rejected.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from hashlib import blake2b

from pipeline.image.kinds import IMAGE_SUFFIXES
from pipeline.records import Shard
from pipeline.source import names

_MEMBER, _SAMPLE = "\0member:", "\0sample:"


def packed(rows: Iterable[tuple[str, str]]) -> bytes:
    """Hash key and member of each row of a unit, for `Shard.keys`."""
    return array("Q", (_hash(name) for key, member in rows for name in _of_row(key, member))).tobytes()


class Keys:
    """The keys and members of the rows that a reader has met in one shard, including those of committed units that it
    skipped; without a shard, of a whole listing."""

    def __init__(self, shard: Shard | None = None) -> None:
        self._committed = dict(shard.keys) if shard else {}
        self._seen: set[int] = set()

    def skip(self, start: int, stop: int) -> None:
        """Count the rows of the committed units from `start` to `stop`, which the reader skips, as met."""
        for at in [at for at in self._committed if start <= at < stop]:
            self._seen.update(array("Q", self._committed.pop(at)))

    def add(self, key: str) -> bool:
        """Count a key as met. False when it was met before."""
        before = len(self._seen)
        self._seen.add(_hash(key))
        return len(self._seen) > before

    def has_member(self, member: str) -> bool:
        return _hash(_MEMBER + member) in self._seen

    def has_sample(self, sample: str) -> bool:
        """Whether a row had this sample key (`names.split`)."""
        return not self._seen.isdisjoint((_hash(sample), _hash(_SAMPLE + sample)))

    def row(self, member: str, image_id: str) -> str:
        """Give a row its key, and count it as met: the member's stem; where a row before has that, the whole name; or
        this with a part of the id.

        Written as a file, an image without a suffix gets one: `a` becomes `a.jpg`. If the source holds `a.jpg` too, the
        later of the two gets a key with a part of the id, which the sink then takes as its name.
        """
        stem, marked = names.stem(member), f"{member}~{image_id[:8]}"
        if names.is_image(member, IMAGE_SUFFIXES):
            clashes = self.has_member(stem) and not names.is_image(stem, IMAGE_SUFFIXES)
        else:
            clashes = _hash(member) in self._seen
        choices = (marked, image_id) if clashes else (stem, member, marked, image_id)
        key = next((key for key in choices if _hash(key) not in self._seen), image_id)
        self._seen.update(map(_hash, _of_row(key, member)))
        return key


def _of_row(key: str, member: str) -> Iterator[str]:
    """What a row counts as met. The sample key is mostly the key."""
    yield key
    yield _MEMBER + member
    if (sample := names.split(member)[0]) != key:
        yield _SAMPLE + sample


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")
