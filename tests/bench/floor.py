"""Peer (a), the floor: a careful hand-written `anonymize` for one machine.

python -m tests.bench.floor SHARDS OUT

One process a core, a shard at a time, the same functions with the same parameters and the same tricks (small views,
images without a face pass through), a tar and two small tables a shard. An image that
a stage refuses is counted and left out. No ledger, no commit, no resume, no report; a torn tar ends it.
"""

from __future__ import annotations

import io
import json
import multiprocessing
import sys
import tarfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import cv2
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import build
from pipeline.errors import ImageError
from pipeline.fill.shared.crops import cut
from pipeline.flow import Flow
from pipeline.records import EncodedImage, Filled, ImageRef, Rendered, image_id
from tests.bench.outcome import ALIKE


class Worker:
    """One process's models."""

    def __init__(self, flow: Flow) -> None:
        cv2.setNumThreads(1)
        self.flow = flow
        (self.view,) = (segmenter.view for segmenter in flow.segment)
        (self.find,) = (segmenter.load("cpu", 1) for segmenter in flow.segment)
        self.fill = flow.fill.load("cpu", 1)
        self.decoder = flow.decode.load()

    def image(self, shard: str, name: str, data: bytes) -> Rendered:
        ref = ImageRef(image_id=image_id(shard, name), key=name.split(".")[0], member=name)
        image = EncodedImage(ref=ref, data=data)
        (found,) = self.find(self.decoder.views(image, [self.view]))
        region = self.flow.select(found)
        crops = cut(self.decoder.full(image), region, self.flow.fill) if region.area else ()
        patches = tuple(self.fill(crops)) if crops else ()
        return self.flow.render(Filled(image=image, segments=found, region=region, patches=patches), self.decoder)

    def shard(self, source: Path, out: Path) -> tuple[int, int]:
        """Images of a shard, and how many of them were filled."""
        rejected = 0
        index: list[dict[str, Any]] = []
        masks: list[dict[str, Any]] = []
        with tarfile.open(source) as tar, tarfile.open(out / source.name, "w", format=tarfile.USTAR_FORMAT) as to:
            for member in tar:
                try:
                    done = self.image(source.name, member.name, tar.extractfile(member).read())  # type: ignore[union-attr]
                except ImageError:
                    rejected += 1
                    continue
                (file,) = done.files
                info = tarfile.TarInfo(f"{done.ref.key}{file.suffix}")
                info.size = len(file.data)
                to.addfile(info, io.BytesIO(file.data))
                index.append({"id": done.ref.image_id, "key": done.ref.key, "status": done.status})
                masks += [
                    {"id": done.ref.image_id, "label": s.label, "score": s.score, "box": list(s.box), "rle": s.rle}
                    for s in done.segments.segments
                ]
        pq.write_table(pa.Table.from_pylist(index), out / f"{source.stem}-index.parquet", compression="zstd")
        pq.write_table(pa.Table.from_pylist(masks), out / f"{source.stem}-masks.parquet", compression="zstd")
        return len(index) + rejected, sum(row["status"] == "written" for row in index)


_worker: Worker


def _begin(flow: Flow, ready: Barrier) -> None:
    global _worker
    _worker = Worker(flow)
    ready.wait()


def _shard(paths: tuple[Path, Path]) -> tuple[int, int]:
    return _worker.shard(*paths)


def main(shards: Path, out: Path) -> None:
    out.mkdir(parents=True)
    flow = build.build(
        build.compose("anonymize", [f"source.uri={shards}", f"sink.uri={out}", "execute=local", *ALIKE])
    ).flow
    cores = multiprocessing.cpu_count()
    ready = multiprocessing.Barrier(cores + 1, timeout=120)  # a worker that cannot load its model
    with ProcessPoolExecutor(cores, initializer=_begin, initargs=(flow, ready)) as pool:  # says so when a process dies
        _ = [pool.submit(abs, n) for n in range(cores)]  # starts them all
        ready.wait()
        started = time.perf_counter()
        done = list(pool.map(_shard, [(path, out) for path in sorted(shards.glob("*.tar"))]))
        seconds = time.perf_counter() - started
    print(json.dumps({"images": sum(i for i, _ in done), "faces": sum(f for _, f in done), "seconds": seconds}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
