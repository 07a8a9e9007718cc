"""What does an image cost? A seeded sample through the real stages in this process; nothing is written anywhere.

The reads, models and codecs are the run's own. What a sample cannot see: the puts into the output's store, Ray's start
and what travels between its processes.
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

from pipeline import plan as planning
from pipeline.errors import ConfigError, SourceError
from pipeline.flow import TIMED, Flow, Worker, process
from pipeline.records import Device, EncodedImage, Rejected, Shard, UnitBatch

_SHARDS: Final = 8
"""The sample is spread over so many shards where there are as many; a tar can only be read from its start."""
_GROUPS: Final = 8
"""At least, where the sample has as many images: the spread between them tells how sure the mean is."""


@dataclass(frozen=True, kw_only=True)
class Group:
    """Images of one unit that went together. seconds: of one image, by stage. image_bytes: of one image in the
    source."""

    images: int
    seconds: Mapping[str, float]
    image_bytes: float


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Of this process, in bytes; 0 where nobody says. loaded: with the models. peak: while images went through.
    growth: an image that is done, which should be next to nothing once caches are full."""

    loaded: int
    peak: int
    growth: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """groups: at least one. shards: how many they came from. load: seconds until the models had seen a first image.
    total: images of the whole source, counted from a listing or (`guessed`) estimated from its bytes."""

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
    """Of the system over the last minute, for each core."""

    @property
    def images(self) -> int:
        return sum(group.images for group in self.groups)

    @property
    def seconds(self) -> dict[str, float]:
        """Of one image, by stage: the mean."""
        return {stage: sum(g.seconds.get(stage, 0.0) * g.images for g in self.groups) / self.images for stage in TIMED}

    @property
    def unsure(self) -> float:
        """The half width of the 95 % interval of seconds an image x images, as a share of it, as far as the spread
        between groups tells; infinite with a single group."""
        shares = [_unsure([sum(g.seconds.values()) for g in self.groups])]
        if self.guessed:
            shares.append(_unsure([g.image_bytes for g in self.groups]))
        return float(sum(share**2 for share in shares) ** 0.5)


def measure(flow: Flow, *, images: int, seed: int, device: Device, threads: int) -> Sample:
    """Takes about `images` images from up to eight shards chosen by `seed`. Raises SourceError without any image."""
    if type(images) is not int or images < 1:
        raise ConfigError(f"sample: expected a whole number of at least 1, got {images!r}")
    for weights in flow.weights:
        weights.fetch()
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
            seconds, bad = _through(worker, part)
            rejected += bad
            each = {stage: value / len(part.items) for stage, value in seconds.items()}
            groups.append(Group(images=len(part.items), seconds=read | each, image_bytes=_image_bytes(batch)))
            meter.done(len(part.items))
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
    flow: Flow, shards: Sequence[Shard], images: int, dice: random.Random
) -> Iterator[tuple[Shard, UnitBatch[EncodedImage], list[EncodedImage | Rejected]]]:
    """Units of shards in the order of the dice, each with those of its images that are in the sample, in their
    order."""
    quota, left = -(-images // min(len(shards), _SHARDS)), images
    for shard in dice.sample(list(shards), len(shards)):
        wanted = min(quota, left)
        for batch in flow.source.units(shard, {}):
            if not batch.items:
                continue
            where = sorted(dice.sample(range(len(batch.items)), min(wanted, len(batch.items))))
            yield shard, batch, [batch.items[position] for position in where]
            wanted, left = wanted - len(where), left - len(where)
            if not wanted:
                break
        if not left:
            return


def _warm(worker: Worker, batch: UnitBatch[EncodedImage], chosen: Sequence[EncodedImage | Rejected]) -> float:
    """Loads the models and shows them an image, under another name: no cache then knows it."""
    started = time.perf_counter()
    _ = worker.segmenters, worker.fill
    first = next((item for item in chosen if isinstance(item, EncodedImage)), None)
    if first is not None:
        first = replace(first, ref=replace(first.ref, image_id="0" * 32))
        _through(worker, UnitBatch(unit=batch.unit, items=(first,), seconds={}))
    return time.perf_counter() - started


def _through(worker: Worker, batch: UnitBatch[EncodedImage]) -> tuple[Mapping[str, float], int]:
    """-> seconds by stage, and how many were rejected. The unit's files are made, and dropped."""
    writer = worker.flow.sink.writer(batch.unit, worker.flow.facts)
    done = process(worker, replace(batch, previews=worker.flow.sink.previews))
    started = time.perf_counter()
    writer.add(done.items)
    counts = writer.finish().counts
    return {**done.seconds, "commit": time.perf_counter() - started}, counts.rejected


def _image_bytes(batch: UnitBatch[EncodedImage]) -> float:
    """Of the shard for each image of a unit. A tar's positions are bytes, with headers, sidecars and padding; the
    others' are rows, always fewer than the bytes of the images."""
    whole = [item for item in batch.items if isinstance(item, EncodedImage)]
    data = sum(len(item.data) + sum(len(sidecar.data) for sidecar in item.sidecars) for item in whole)
    return max(data, batch.unit.stop - batch.unit.start) / len(batch.items)


def _unsure(values: Sequence[float]) -> float:
    mean = statistics.fmean(values)
    if len(values) < 2:
        return float("inf")
    student = {2: 12.7, 3: 4.3, 4: 3.2, 5: 2.8, 6: 2.6, 7: 2.4, 8: 2.4}.get(len(values), 2.2)  # 95 %, two-sided
    return float(student * statistics.stdev(values) / len(values) ** 0.5 / mean) if mean else 0.0


class _Meter:
    """Resident memory over the images."""

    def __init__(self) -> None:
        self._loaded, self._images = 0, 0
        self._seen: list[tuple[int, int]] = []

    def loaded(self) -> None:
        self._loaded = _resident("VmRSS")
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew

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
    """Of this machine, that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
