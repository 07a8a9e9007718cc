from __future__ import annotations

import bz2
import gzip
import lzma
import random
import tracemalloc
from collections.abc import Callable, Mapping
from functools import partial

import pytest

from pipeline.errors import ShardError
from pipeline.source.stream import PACKINGS, Stream, UnpackedStream, unpacked
from tests.fakes.tar_samples import BytesStream, tar_of, zstd

NOISE = random.Random(7).randbytes(300_000)


PACK: Mapping[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bzip2": partial(bz2.compress, compresslevel=1),
    "xz": partial(lzma.compress, preset=0),
    "zstd": zstd,
}
LOST = {"gzip": 0, "bzip2": 0, "xz": 0, "zstd": 1 << 12}
"""Maximum of bytes before a cut that are not returned."""
TEXT = random.Random(8).randbytes(1 << 18).hex().encode()
"""Packs to half its size, and each part of it alike."""
every = pytest.mark.parametrize("name", PACK)


def opened(name: str, data: bytes) -> UnpackedStream:
    return UnpackedStream(BytesStream(data), next(packing for packing in PACKINGS if packing.name == name))


def drain(stream: Stream, count: int = 70_000) -> tuple[bytes, str]:
    """What can be read, and the reason why it ended."""
    found = b""
    try:
        while part := stream.read(count):
            found += part
    except ShardError as error:
        assert stream.tell() >= len(found)
        with pytest.raises(ShardError, match=error.detail[:20]):  # again, not a proper end
            stream.read(1)
        return found, error.reason
    return found, ""


@every
@pytest.mark.parametrize("count", [1000, 65_536, 10**6])
def test_whole_streams(name: str, count: int) -> None:
    pack = PACK[name]
    assert drain(opened(name, pack(NOISE)), count) == (NOISE, "")
    assert drain(opened(name, pack(NOISE) + pack(b"more")), count) == (NOISE + b"more", "")
    assert drain(opened(name, pack(b"") + pack(b"x")), count) == (b"x", "")
    if name != "zstd":  # Arrow takes padding for a bad stream
        assert drain(opened(name, pack(NOISE) + bytes(100_000)), count) == (NOISE, "")


@every
def test_a_small_stream_that_unpacks_to_a_large_one_takes_little_memory(name: str) -> None:
    size = 50 << 20
    data = PACK[name](bytes(size))
    stream = opened(name, data)
    tracemalloc.start()
    stream.skip_to(size - 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20
    assert (stream.tell(), stream.read(100), stream.read(1)) == (size - 5, bytes(5), b"")


@every
def test_damage(name: str) -> None:
    data = PACK[name](NOISE)
    for more, what in ((b"x" * 9, "trailing_data"), (data[:1], "trailing_data"), (data[:9], "truncated")):
        found, reason = drain(opened(name, data + more), 1000)
        assert NOISE.startswith(found)
        assert len(found) > len(NOISE) - LOST[name] - 1000
        # Arrow takes one byte of a frame for the begin of a cut one.
        assert reason == f"{name}_truncated" if (name, len(more)) == ("zstd", 1) else reason == f"{name}_{what}"
    found, reason = drain(opened(name, data[:-1]), 1000)
    assert reason == f"{name}_truncated"
    assert NOISE.startswith(found)
    assert drain(opened(name, b"no packed bytes at all"))[1] == f"{name}_corrupt"
    if name != "zstd":  # nothing is no frame, and so no bytes: the tar in it has no end
        assert drain(opened(name, b""))[1] == f"{name}_truncated"


@every
def test_what_stands_before_a_cut_is_read(name: str) -> None:
    data = PACK[name](TEXT)
    block = 0.3  # a share of the text: bzip2 unpacks 100 kB at least
    for cut in range(len(data) // 7, len(data), len(data) // 7):
        found, reason = drain(opened(name, data[:cut]), 1000)
        assert reason == f"{name}_truncated"
        assert TEXT.startswith(found)
        assert len(found) > len(TEXT) * (cut / len(data) - block)


@every
@pytest.mark.slow
def test_all_bytes_before_a_corrupt_one_are_returned(name: str) -> None:
    data = bytearray(PACK[name](TEXT))
    at = int(0.7 * len(data))
    data[at : at + 40] = random.Random(9).randbytes(40)
    found, reason = drain(opened(name, bytes(data)), 1000)
    if name == "zstd":  # frames of Arrow carry no checksum: half of the damage is seen
        assert reason in ("", "zstd_corrupt")
    else:
        assert reason == f"{name}_corrupt"
    # Unpackers notice some time after the damage, so what comes out may be wrong at its end, but it is all there.
    assert len(found) > 0.4 * len(TEXT)
    assert found[: int(0.4 * len(TEXT))] == TEXT[: int(0.4 * len(TEXT))]


@every
def test_skips_past_the_end_read_nothing(name: str) -> None:
    stream = opened(name, PACK[name](b"abc"))
    stream.skip_to(10)
    assert stream.read(1) == b""


@every
def test_an_error_of_the_storage_passes_through_and_stays(name: str) -> None:
    class Broken(BytesStream):
        def read(self, count: int) -> bytes:
            if self.tell() > 100_000:
                raise OSError(5, "the disk is gone")
            return super().read(count)

    packing = next(packing for packing in PACKINGS if packing.name == name)
    stream = UnpackedStream(Broken(PACK[name](NOISE)), packing)
    for _ in range(2):
        with pytest.raises(OSError, match="the disk is gone"):
            drain(stream, 1000)


def test_a_window_beyond_the_limit_of_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of xz only: gzip and bzip2 take less than 8 MiB, Zstandard refuses windows above 128 MiB by itself."""
    data = lzma.compress(b"x", preset=6)  # a dictionary of 8 MiB
    assert drain(opened("xz", data)) == (b"x", "")
    monkeypatch.setattr("pipeline.source.stream._MEMORY", 1 << 20)
    assert drain(opened("xz", data)) == (b"", "xz_corrupt")


SUFFIX = {"gzip": ".tar.gz", "bzip2": ".tbz2", "xz": ".TXZ", "zstd": ".tar.zst"}
ARCHIVE = tar_of([("a.jpg", b"1" * 600)])


@every
def test_bytes_tell_how_a_tar_is_packed_whatever_its_name_is(name: str) -> None:
    for path in ("a.tar", f"d/a{SUFFIX[name]}", "a.tgz"):
        assert unpacked(BytesStream(PACK[name](ARCHIVE)), path).read(10**6) == ARCHIVE
        assert unpacked(BytesStream(ARCHIVE), path).read(10**6) == ARCHIVE
    if name != "zstd":
        with pytest.raises(ShardError, match=f"{name} stream stops after 0 bytes"):
            unpacked(BytesStream(b""), f"d/a{SUFFIX[name]}").read(1)
