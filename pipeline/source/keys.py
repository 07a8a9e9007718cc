"""Was this key in the shard before? A key that comes twice would be one image id, or one name, for two images.

Kept is a number of 8 bytes a key: 80 MB for a shard of a million samples, of which few have more than ten thousand.
Two different keys of such a shard have the same number, and the second is then taken for a repetition, once in 30
million shards.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from hashlib import blake2b

from pipeline.records import Shard


def packed(keys: Iterable[str]) -> bytes:
    """The hashes of the keys of a unit, for `Shard.keys`."""
    return array("Q", map(_hash, keys)).tobytes()


class Keys:
    """Those that a reader has met in one shard, also in the committed units over which it hopped."""

    def __init__(self, shard: Shard) -> None:
        self._committed = dict(shard.keys)
        self._seen: set[int] = set()

    def hopped(self, start: int, stop: int) -> None:
        """The reader passed the committed units from `start` up to `stop`."""
        for at in [at for at in self._committed if start <= at < stop]:
            self._seen.update(array("Q", self._committed.pop(at)))

    def first(self, key: str) -> bool:
        """False when the key was there before."""
        before = len(self._seen)
        self._seen.add(_hash(key))
        return len(self._seen) > before


def _hash(key: str) -> int:
    return int.from_bytes(blake2b(key.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")
