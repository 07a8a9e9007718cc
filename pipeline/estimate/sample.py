"""Measures the cost of an image: runs a seeded sample through the real stages in this process, and writes nothing.

Reads, models and codecs are the run's own. Not measured: puts into the output's store, Ray's start, and transfers
between its processes.
"""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import cv2

from pipeline import life
from pipeline import plan as planning
from pipeline.errors import ConfigError, SourceError
from pipeline.flow import TIMED, Flow, Worker, process
from pipeline.image.frames import expanded
from pipeline.records import Device, EncodedImage, Rejected, Shard, UnitBatch

_SHARDS: Final = 8
"""Number of shards that the sample is spread over, if there are as many; a tar can only be read from its start."""
_GROUPS: Final = 8
"""Minimum number of groups, if the sample has as many images: their spread gives the interval of the mean."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Images of one unit that were processed together. seconds: of one image, by stage. image_bytes: of one image in
    the source."""

    images: int
    seconds: Mapping[str, float]
    image_bytes: float


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory of this process in bytes; 0 if unknown. loaded: with the models. peak: while processing images. growth:
    with each image, near 0 once the caches are full."""

    loaded: int
    peak: int
    growth: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A measured sample. groups: at least one. shards: number of shards they are from. load: seconds to load the models
    and run a first image. total: images of the whole source, from a listing or (`guessed`) estimated from its bytes.
    load_average: of the system over the last minute, for each core."""

    groups: tuple[Group, ...]
    shards: int
    rejected: int
    load: float
    memory: Memory
    total: float
    guessed: bool
    device: Device
    threads: int
    load_average: float = 0.0

    @property
    def images(self) -> int:
        return sum(group.images for group in self.groups)

    @property
    def seconds(self) -> dict[str, float]:
        """Mean seconds of one image, by stage."""
        return {stage: sum(g.seconds.get(stage, 0.0) * g.images for g in self.groups) / self.images for stage in TIMED}

    @property
    def half_width(self) -> float:
        """Half width of the 95 % interval of the total seconds, as a share of them, from the spread between groups;
        infinite with a single group."""
        shares = [_half_width([sum(g.seconds.values()) for g in self.groups])]
        if self.guessed:
            shares.append(_half_width([g.image_bytes for g in self.groups]))
        return float(sum(share**2 for share in shares) ** 0.5)


def measure(flow: Flow, *, images: int, seed: int, device: Device, threads: int) -> Sample:
    """Measure about `images` images from up to eight shards chosen by `seed`. Raises SourceError without any image.

    threads: intra-op threads of the models on the CPU.
    """
    if type(images) is not int or images < 1:
        raise ConfigError(f"sample: expected a whole number of at least 1, got {images!r}")
    life.phase("fetching models")
    for weights in flow.weights:
        weights.fetch()
    life.phase(f"listing {flow.source.uri}")
    shards = flow.source.shards()
    flow = replace(flow, source=flow.source.resolve(shards))
    cv2.setNumThreads(1)
    worker, meter = flow.load(device, threads), _Meter()
    groups: list[Group] = []
    used, rejected, load = set(), 0, 0.0
    size = max(1, min(flow.chunk, images // _GROUPS))
    for shard, batch, chosen in _chosen(flow, shards, images, random.Random(seed)):
        if not groups:
            load = _warm(worker, batch, chosen)
            meter.loaded()
        used.add(shard.path)
        read = {"read": batch.seconds.get("read", 0.0) / len(batch.items)}
        for start in range(0, len(chosen), size):
            part = UnitBatch(unit=batch.unit, items=tuple(chosen[start : start + size]), seconds={})
            seconds, bad = _measured(worker, part)
            rejected += bad
            each = {stage: value / len(part.items) for stage, value in seconds.items()}
            groups.append(Group(images=len(part.items), seconds=read | each, image_bytes=_image_bytes(batch)))
            meter.done(len(part.items))
            life.phase(f"measuring: {sum(group.images for group in groups):,} of {images:,} images")
    if not groups:
        raise SourceError(f"{flow.source.uri}: no image to measure")
    listed = planning.make(shards, ()).images
    mean = sum(g.image_bytes * g.images for g in groups) / sum(g.images for g in groups)
    return Sample(
        groups=tuple(groups),
        shards=len(used),
        rejected=rejected,
        load=load,
        memory=meter.memory(),
        total=listed or sum(shard.size for shard in shards) / max(1.0, mean),
        guessed=not listed,
        device=device,
        threads=threads,
        load_average=os.getloadavg()[0] / (os.cpu_count() or 1) if hasattr(os, "getloadavg") else 0.0,
    )


def _chosen(
    flow: Flow, shards: Sequence[Shard], images: int, rng: random.Random
) -> Iterator[tuple[Shard, UnitBatch[EncodedImage], list[EncodedImage | Rejected]]]:
    """Yield random shards' units, each with its images that are in the sample, in their order."""
    quota, left = -(-images // min(len(shards), _SHARDS)), images
    for shard in rng.sample(list(shards), len(shards)):
        wanted = min(quota, left)
        for read in flow.source.units(shard, {}):
            batch = expanded(read, flow.decode)
            if not batch.items:
                continue
            where = sorted(rng.sample(range(len(batch.items)), min(wanted, len(batch.items))))
            yield shard, batch, [batch.items[position] for position in where]
            wanted, left = wanted - len(where), left - len(where)
            if not wanted:
                break
        if not left:
            return


def _warm(worker: Worker, batch: UnitBatch[EncodedImage], chosen: Sequence[EncodedImage | Rejected]) -> float:
    """Load the models and run one image, under another id so that no cache holds it; return the seconds."""
    started = time.perf_counter()
    _ = worker.segmenters, worker.fill
    first = next((item for item in chosen if isinstance(item, EncodedImage)), None)
    if first is not None:
        first = replace(first, ref=replace(first.ref, image_id="0" * 32))
        _measured(worker, UnitBatch(unit=batch.unit, items=(first,), seconds={}))
    return time.perf_counter() - started


def _measured(worker: Worker, batch: UnitBatch[EncodedImage]) -> tuple[Mapping[str, float], int]:
    """Return seconds by stage, and the number of rejected images. The unit's files are built and dropped."""
    writer = worker.flow.sink.writer(batch.unit, worker.flow.facts)
    done = process(worker, replace(batch, previews=worker.flow.previews))
    started = time.perf_counter()
    writer.add(done.items)
    counts = writer.finish().counts
    return {**done.seconds, "commit": time.perf_counter() - started}, counts.rejected


def _image_bytes(batch: UnitBatch[EncodedImage]) -> float:
    """Return the shard's bytes for each image of a unit. Positions in a tar are bytes, with headers, sidecars and
    padding; elsewhere they are rows, always fewer than the bytes of the images."""
    whole = [item for item in batch.items if isinstance(item, EncodedImage)]
    data = sum(len(item.data) + sum(len(sidecar.data) for sidecar in item.sidecars) for item in whole)
    return max(data, batch.unit.stop - batch.unit.start) / len(batch.items)


def _half_width(values: Sequence[float]) -> float:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return float("inf")
    student = {2: 12.7, 3: 4.3, 4: 3.2, 5: 2.8, 6: 2.6, 7: 2.4, 8: 2.4}.get(len(values), 2.2)  # 95 %, two-sided
    return float(student * statistics.stdev(values) / len(values) ** 0.5 / mean) if mean else 0.0


class _Meter:
    """Tracks resident memory over the images."""

    def __init__(self) -> None:
        self._loaded, self._images = 0, 0
        self._seen: list[tuple[int, int]] = []

    def loaded(self) -> None:
        self._loaded = _resident("VmRSS")
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # reset the peak

    def done(self, images: int) -> None:
        self._images += images
        self._seen.append((self._images, _resident("VmRSS")))

    def memory(self) -> Memory:
        later = self._seen[len(self._seen) // 2 :]  # the first half fills the caches
        images, held = zip(*later, strict=True)
        growth = statistics.linear_regression(images, held).slope if len(later) > 1 else 0.0
        return Memory(loaded=self._loaded, peak=_resident("VmHWM"), growth=growth)


def _resident(what: str) -> int:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(text.split()[1]) << 10 for text in lines if text.startswith(f"{what}:")), 0)


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
