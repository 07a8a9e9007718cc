from __future__ import annotations

import gzip
import os
import random

import pytest

from pipeline.errors import ShardError
from pipeline.source.stream import GzipStream
from tests.fakes.tar_samples import BytesStream

NOISE = random.Random(7).randbytes(300_000)


def drain(data: bytes, count: int = 70_000) -> tuple[bytes, str]:
    """What can be read, and the reason why it ended."""
    stream = GzipStream(BytesStream(data))
    found = b""
    try:
        while part := stream.read(count):
            found += part
    except ShardError as error:
        assert stream.tell() >= len(found)
        return found, error.reason
    return found, ""


@pytest.mark.parametrize("count", [1000, 65_536, 10**6])
def test_whole_streams(count: int) -> None:
    assert drain(gzip.compress(NOISE), count) == (NOISE, "")
    assert drain(gzip.compress(NOISE) + gzip.compress(b"more"), count) == (NOISE + b"more", "")
    assert drain(gzip.compress(NOISE) + bytes(100_000), count) == (NOISE, "")
    assert drain(gzip.compress(b"") + gzip.compress(b"x"), count) == (b"x", "")


def test_a_small_stream_that_unpacks_to_a_large_one() -> None:
    size = 50 << 20
    stream = GzipStream(BytesStream(gzip.compress(bytes(size))))
    stream.skip_to(size - 5)
    assert (stream.tell(), stream.read(100), stream.read(1)) == (size - 5, bytes(5), b"")


def test_damage() -> None:
    data = gzip.compress(NOISE)
    assert drain(data + b"x", 1000) == (NOISE, "gzip_trailing_data")
    assert drain(data + b"\x1f", 1000) == (NOISE, "gzip_trailing_data")
    assert drain(b"")[1] == "gzip_truncated"
    assert drain(data[:-1], 1000) == (NOISE, "gzip_truncated")
    assert drain(data + data[:5], 1000) == (NOISE, "gzip_truncated")


@pytest.mark.slow
def test_all_bytes_before_a_corrupt_one_are_returned() -> None:
    text = b"".join(b"%d " % i for i in range(60_000))
    data = bytearray(gzip.compress(text))
    data[len(data) // 2 : len(data) // 2 + 40] = os.urandom(40)
    found, reason = drain(bytes(data), 1)
    assert reason == "gzip_corrupt"
    # Deflate notices some time after the damage, so what comes out may be wrong at its end, but it is all there.
    assert len(found) > 0.4 * len(text)
    assert found[: int(0.4 * len(text))] == text[: int(0.4 * len(text))]


def test_skips_past_the_end_read_nothing() -> None:
    stream = GzipStream(BytesStream(gzip.compress(b"abc")))
    stream.skip_to(10)
    assert stream.read(1) == b""
