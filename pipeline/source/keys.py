"""Find keys that come twice in a shard: two images would share one id, or one name.

A key is stored as a hash of 8 bytes, in a set: 80 MB for a shard of a million samples; few shards have more than ten
thousand. In one of 30 million shards of that million, two different keys share a hash, and the second is rejected.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b

from pipeline.records import Shard


def packed(keys: Iterable[str]) -> bytes:
    """Hash the keys of a unit, for `Shard.keys`."""
    return array("Q", map(_hash, keys)).tobytes()


class Keys:
    """The keys that a reader has met in one shard, including those of committed units that it skipped."""

    def __init__(self, shard: Shard) -> None:
        self._committed = dict(shard.keys)
        self._seen: set[int] = set()

    def skip(self, start: int, stop: int) -> None:
        """Count the keys of the committed units from `start` to `stop`, which the reader skips, as met."""
        for at in [at for at in self._committed if start <= at < stop]:
            self._seen.update(array("Q", self._committed.pop(at)))

    def add(self, key: str) -> bool:
        """Count a key as met. False when it was met before."""
        before = len(self._seen)
        self._seen.add(_hash(key))
        return len(self._seen) > before


def _hash(key: str) -> int:
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")
