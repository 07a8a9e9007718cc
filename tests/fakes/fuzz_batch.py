"""A batch of mutated inputs in a separate process, with a limit on its memory and on each input's time.

`python -m tests.fakes.fuzz_batch KIND FIRST COUNT` mutates the inputs of seeds FIRST, FIRST + 1, ... and feeds them to
`decode` or to the `tar` reader. Exit 0: each was read or refused with a Segfill error. Prints the outcomes and their
counts, which the test judges.
"""

from __future__ import annotations

import random
import resource
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from types import FrameType

from pipeline.errors import ImageError, ShardError
from pipeline.image.decode import Decode
from pipeline.image.view import Fit
from pipeline.records import EncodedImage, ImageRef
from pipeline.source.stream import unpacked
from pipeline.source.tar import TarReader
from tests.fakes import input_catalogue
from tests.fakes.tar_samples import BytesStream

MEMORY = 1 << 30
"""Bytes beyond what the process holds when it starts."""
SECONDS = 10
_WORDS = (b"\0", b"\xff", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"777777777777")


def mutated(seeds: Sequence[bytes], number: int) -> bytes:
    """Seed input `number` with 1 to 8 changes: bytes, magic numbers, cuts, repeats, a piece of another input."""
    draw = random.Random(number)
    data = bytearray(seeds[number % len(seeds)])
    for _ in range(draw.randint(1, 8)):
        # Headers decide what a parser allocates, so half of the changes are there.
        at = draw.randrange(min(len(data), 512) if draw.random() < 0.5 else len(data)) if data else 0
        kind = draw.randrange(6)
        if kind == 0 and data:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1 and data:
            data[at] = draw.randrange(256)
        elif kind == 2:
            word = draw.choice(_WORDS)
            data[at : at + len(word)] = word
        elif kind == 3 and draw.random() < 0.4:
            del data[at:]
        elif kind == 4:
            data[at:at] = data[at : at + draw.randint(1, 600)]
        else:
            other = draw.choice(seeds)
            start = draw.randrange(len(other) + 1)
            data[at : at + 64] = other[start : start + draw.randint(1, 64)]
    return bytes(data)


def decode(data: bytes) -> str:
    image = EncodedImage(ref=ImageRef(image_id="0" * 32, key="a", member="a"), data=data)
    decoder = Decode(cache_bytes=0).load()
    try:
        decoder.views(image, (Fit(side=64, multiple=32),))
        decoder.full(image)
    except ImageError as error:
        if isinstance(error.__cause__, MemoryError):
            raise error.__cause__ from error  # rejected as it should be, but only because of the limit below
        return error.reason
    return "read"


def tar(data: bytes) -> str:
    stream = BytesStream(data)
    reader = TarReader(unpacked(stream, "a.tar"))
    try:
        while member := reader.next():
            if member.kind == "file" and member.size <= 1 << 20:
                reader.read()
    except ShardError as error:
        return error.reason
    return "read"


def inputs(kind: str) -> tuple[Callable[[bytes], str], list[bytes]]:
    if kind == "decode":
        cases = [data for data, _ in input_catalogue.images().values() if 0 < len(data) < 100_000]
        return decode, cases
    return tar, [data for name, (data, _) in input_catalogue.tars().items() if 0 < len(data) < 100_000]


def main(kind: str, first: int, count: int) -> None:
    work, seeds = inputs(kind)
    work(seeds[0])  # what is loaded once is no part of an input's memory
    with open("/proc/self/statm", encoding="ascii") as statm:
        held = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + MEMORY, held + MEMORY))

    number = first

    def late(signum: int, frame: FrameType | None) -> None:
        sys.stderr.write(f"{kind} input {number}: longer than {SECONDS} s\n")
        sys.stderr.flush()
        sys.exit(3)

    signal.signal(signal.SIGALRM, late)
    met = Counter[str]()
    for number in range(first, first + count):
        signal.alarm(SECONDS)
        try:
            met[work(mutated(seeds, number))] += 1
        except Exception as error:
            sys.exit(f"{kind} input {number}: {type(error).__name__}: {error}")
        signal.alarm(0)
    for reason, times in met.most_common():
        print(reason, times)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
