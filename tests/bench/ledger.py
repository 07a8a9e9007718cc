"""How a resume and the end of a run grow with the units of an output.

`python -m tests.bench.ledger --units 10000 100000`. The units are made up, three files each; on disk, or with --s3 in a
bucket of seaweedfs on loopback. Times are wall seconds of one process, memory is the peak of that process.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipeline import plan
from pipeline.ledger import packs
from pipeline.ledger.commit_json import to_json
from pipeline.ledger.commit_records import CommitRecords
from pipeline.ledger.ledger import Identity, Ledger
from pipeline.records import Committed, Counts, FileEntry, Shard, Unit, unit_id
from pipeline.storage.store import Store, open_store
from tests.fakes.s3_server import S3, serve

_A_SHARD = 10
"""Units of each shard."""
_FOLDERS = ("masks", "images", "rendered/filled")


def record(number: int) -> Committed:
    """The record of a unit of 128 images, as a run on S3 writes it."""
    shard, start = f"train/part-{number // _A_SHARD:06}.tar", number % _A_SHARD * 64_000_000
    name = unit_id(shard, start)
    data = f"{number}".encode()
    sha256, etag = hashlib.sha256(data).hexdigest(), hashlib.md5(data, usedforsecurity=False).hexdigest()
    files = (
        FileEntry(path=f"{folder}/{name}-{sha256[:12]}.parquet", size=len(data), sha256=sha256, etag=etag)
        for folder in _FOLDERS
    )
    return Committed(
        unit=Unit(
            unit_id=name,
            shard=shard,
            uri=f"s3://bucket/{shard}",
            etag=etag,
            start=start,
            stop=start + 64_000_000,
            last=number % _A_SHARD == _A_SHARD - 1,
            samples=128,
            fields={"jpg": 128},
        ),
        attempt=sha256[:32],
        counts=Counts(images=128, written=100, unchanged=28),
        files=tuple(files),
        loose=(),
        staged=(),
        rejects=(),
        segments=(("face", 200 + number % 17),),
        seconds={"read": 1.5, "decode": 1.25, "segment": 9.0 + number % 7 / 8, "render": 2.5, "commit": 0.5},
        bytes_in=60_000_000 + number,
        host=f"node-{number % 16}",
    )


def shards(units: int) -> tuple[Shard, ...]:
    paths = (f"train/part-{number:06}.tar" for number in range(units // _A_SHARD))
    return tuple(Shard(path=path, uri=f"s3://bucket/{path}", size=640_000_000, etag="e") for path in paths)


def write(store: Store, units: int) -> None:
    """Put all that the units left behind, and the packs that the driver of their run wrote on the way."""
    identity = Identity(config={}, weights={}, code="bench", source={shard.path: "e" for shard in shards(units)})
    ledger = Ledger(store)
    ledger.begin(identity)

    def put(number: int) -> tuple[str, bytes]:
        one = record(number)
        for file in one.files:
            _put(store, file.path, f"{number}".encode())
        data = to_json(one).encode()
        _put(store, packs.record_path(one.unit.unit_id), data)
        return one.unit.unit_id, data

    packer = ledger.packer()
    with ThreadPoolExecutor(32) as pool:
        for name, data in pool.map(put, range(units)):
            packer.add(name, data)


def _put(store: Store, path: str, data: bytes) -> None:
    if store.is_local:  # without the sync of each, which is what a run's time goes into, not a resume's
        target = Path(store.uri) / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    else:
        store.put(path, data)


def resume(store: Store, units: int) -> str:
    records = Ledger(store).committed()
    left = plan.make(shards(units), records.values())
    assert (len(records), len(left.pending), left.before.images) == (units, 0, 128 * units)
    return "resume"


def resume_without_packs(store: Store, units: int) -> str:
    store.delete([info.path for info in store.list(packs.PACKS)])
    return resume(store, units) + " without packs"


def end(store: Store, units: int) -> str:
    held = CommitRecords(map(record, range(units)))
    done = Ledger(store).finish({}, held)
    assert done.units == units
    return "end, records made up and held"


def timed(uri: str, units: int) -> Iterator[str]:
    """Each step in a process of its own."""
    for step in (resume, end, resume, resume_without_packs):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            yield pool.apply(_measured, (step, uri, units))


def _measured(step: object, uri: str, units: int) -> str:
    assert callable(step)
    started = time.perf_counter()
    what = step(open_store(uri), units)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return f"{units:>9,} units  {what:<32} {seconds:7.1f} s  {peak:7.0f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--s3", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.s3:
            with serve() as s3, _ambient(s3):
                for units in options.units:
                    _one(s3.uri(f"bench-{units}"), units)
        else:
            for units in options.units:
                _one(f"{folder}/{units}", units)


@contextlib.contextmanager
def _ambient(s3: S3) -> Iterator[None]:
    kept = dict(os.environ)
    os.environ.update(s3.environment())
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def _one(uri: str, units: int) -> None:
    write(open_store(uri), units)
    for line in timed(uri, units):
        print(line, flush=True)


if __name__ == "__main__":
    main()
