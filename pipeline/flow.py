"""The order: plan -> read -> decode -> segment -> select -> fill -> render -> commit -> report.

`Flow` is what a config builds. `Hot` is what a worker holds. Each function below is one word of the line, from a batch
of one unit's images to the next; `run` is the whole line for one unit. `plan` is plan.py, `read` is the source's
`units`, `report` is report/. Whether the words run in one process or many is decided in execute/, not here.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Final, TypeAlias

from pipeline.contracts import Fill, HotFill, HotSegmenter, Segmenter, Source
from pipeline.errors import ConfigError, ImageError, RunError, SegfillError
from pipeline.fill.shared.crops import cut
from pipeline.image.decode import Decode, Decoder
from pipeline.image.header import read_header
from pipeline.image.view import Tiles
from pipeline.ledger.ledger import Ledger
from pipeline.models.weights import Weights
from pipeline.records import (
    Batch,
    Committed,
    Crop,
    Device,
    EncodedImage,
    Filled,
    Rejected,
    Rendered,
    Segmented,
    Segments,
    Selected,
    Viewed,
)
from pipeline.render.render import Render
from pipeline.select import Select
from pipeline.sink.unit_writer import Facts, Previews, Sink, UnitWriter
from pipeline.stage import each, together
from pipeline.storage.store import open_store

Images: TypeAlias = Callable[["Hot", Batch[Any], Previews], Batch[Rendered]]
"""What takes images of one unit to rendered files: `rendered`, `render`, or one image at a time in another process."""


Items: TypeAlias = tuple[EncodedImage | Rejected, ...]

_TILED_PIXELS: Final = 32_000_000
"""Decoded at one time for segmenters that look at tiles."""


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Every stage, cold. name: of the job. chunk: images of a unit that are in memory decoded at one time when the
    whole line runs in one process; it never changes a result."""

    name: str
    source: Source
    decode: Decode
    segment: tuple[Segmenter, ...]
    select: Select
    fill: Fill
    render: Render
    sink: Sink
    chunk: int = 16

    def __post_init__(self) -> None:
        if type(self.chunk) is not int or self.chunk < 1:
            raise ConfigError(f"chunk: expected a whole number of at least 1, got {self.chunk!r}")
        shown = {"filled", "overlay", "cutout"} if self.render.private else {"filled"}
        if not self.fill.active and (needy := shown.intersection(self.render.outputs)):
            raise ConfigError(
                f"render.outputs: {', '.join(sorted(needy))} would show what is to be filled, and fill=none fills "
                "nothing; choose a fill, or render=labels or render=none"
            )

    @property
    def weights(self) -> tuple[Weights, ...]:
        """Of all models of the flow."""
        parts: tuple[Segmenter | Fill, ...] = (*self.segment, self.fill)
        return tuple(weights for part in parts for weights in part.weights)

    @property
    def facts(self) -> Facts:
        """What every index row says of the run."""
        return Facts(
            source=self.source.uri,
            models=tuple(type(segmenter).__name__.lower() for segmenter in self.segment),
            fill=type(self.fill).__name__.lower() if self.fill.active else "",
            reversible=self.fill.reversible,
        )

    def load(self, device: Device, threads: int) -> Hot:
        return Hot(flow=self, device=device, threads=threads)


@dataclass(frozen=True)
class Hot:
    """A worker's loaded stages. Each is loaded when first used: a worker holds only what its part of the line needs."""

    flow: Flow
    device: Device
    threads: int

    @cached_property
    def decoder(self) -> Decoder:
        return self.flow.decode.load()

    @cached_property
    def segmenters(self) -> tuple[HotSegmenter, ...]:
        with _loading("segment"):
            return tuple(s.load(self.device, self.threads) for s in self.flow.segment)

    @cached_property
    def fill(self) -> HotFill:
        with _loading("fill"):
            return self.flow.fill.load(self.device, self.threads)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(open_store(self.flow.sink.uri), single_writer=self.flow.sink.single_writer)

    def picture(self, item: Viewed | Segmented | Selected | Filled) -> bytes:
        """A rejected image for the report; nothing in a private run."""
        return self.flow.render.picture(item.image, self.decoder)


@contextmanager
def _loading(stage: str) -> Iterator[None]:
    """Raises RunError for whatever the runtimes raise: no image is to blame for a model that cannot be loaded."""
    try:
        yield
    except SegfillError:
        raise
    except Exception as error:
        line = " ".join(str(error).split())[:300]
        raise RunError(
            f"{stage}: its model cannot be loaded ({type(error).__name__}: {line}); a GPU that others share may "
            "lack memory (execute.gpus); the same command resumes the run"
        ) from error


def run(hot: Hot, batch: Batch[EncodedImage], images: Images | None = None) -> Committed:
    """The whole line for one unit in this process, some images at a time. images: who takes them from bytes to rendered
    files; the words below unless told otherwise."""
    writer, seconds = hot.flow.sink.writer(batch.unit, hot.flow.facts), batch.seconds
    for items in _portions(hot, batch.items):
        part = Batch(unit=batch.unit, items=items, seconds=seconds)
        seconds = _write((images or rendered)(hot, part, writer.previews), writer)
    return commit(hot, writer, seconds, _bytes(batch.items))


def finish(hot: Hot, batch: Batch[Filled], images: Images | None = None) -> Committed:
    """The end of the line for one unit whose other stages ran elsewhere."""
    writer = hot.flow.sink.writer(batch.unit, hot.flow.facts)
    seconds = _write((images or render)(hot, batch, writer.previews), writer)
    return commit(hot, writer, seconds, _bytes(item.image for item in batch.items if isinstance(item, Filled)))


def _portions(hot: Hot, items: Items) -> Iterator[Items]:
    """`chunk` images at a time; fewer where segmenters look at tiles, which hold every pixel of an image decoded."""
    tiled = any(isinstance(segmenter.view, Tiles) for segmenter in hot.flow.segment)
    start, held = 0, 0
    for position, item in enumerate(items):
        pixels = _pixels(item) if tiled else 0
        if position - start == hot.flow.chunk or (position > start and held + pixels > _TILED_PIXELS):
            yield items[start:position]
            start, held = position, 0
        held += pixels
    if start < len(items):
        yield items[start:]


def _pixels(item: EncodedImage | Rejected) -> int:
    try:
        return prod(read_header(item.data).upright) if isinstance(item, EncodedImage) else 0
    except ImageError:  # decode finds it again, and says so
        return 0


def rendered(hot: Hot, batch: Batch[EncodedImage], previews: Previews) -> Batch[Rendered]:
    return render(hot, fill(hot, select(hot, segment(hot, decode(hot, batch)))), previews)


def decode(hot: Hot, batch: Batch[EncodedImage]) -> Batch[Viewed]:
    specs = [s.view for s in hot.flow.segment]
    return each(batch, "decode", lambda image: Viewed(image=image, views=hot.decoder.views(image, specs)))


def segment(hot: Hot, batch: Batch[Viewed]) -> Batch[Segmented]:
    def work(items: Sequence[Viewed]) -> list[Segmented]:
        answers = [model([item.views[i] for item in items]) for i, model in enumerate(hot.segmenters)]
        if any(len(answer) != len(items) for answer in answers):
            raise ImageError("wrong_count", f"{[len(answer) for answer in answers]} answers for {len(items)} images")
        return [
            Segmented(image=item.image, segments=_united(item, [answer[row] for answer in answers]))
            for row, item in enumerate(items)
        ]

    if any(isinstance(item, Viewed) for item in batch.items):
        _ = hot.segmenters  # now: bringing and loading a model may take longer than an image may
    return together(batch, "segment", work, hot.picture)


def select(hot: Hot, batch: Batch[Segmented]) -> Batch[Selected]:
    def work(item: Segmented) -> Selected:
        region, flow = hot.flow.select(item.segments), hot.flow
        crops: tuple[Crop, ...] = ()
        if flow.fill.active and region.area:
            crops = cut(hot.decoder.full(item.image), region, flow.fill, item.segments.segments)
        return Selected(image=item.image, segments=item.segments, region=region, crops=crops)

    return each(batch, "select", work, hot.picture)


def fill(hot: Hot, batch: Batch[Selected]) -> Batch[Filled]:
    def work(items: Sequence[Selected]) -> list[Filled]:
        crops = [crop for item in items for crop in item.crops]
        patches = hot.fill(crops) if crops else []
        if len(patches) != len(crops):
            raise ImageError("wrong_count", f"{len(patches)} patches for {len(crops)} crops")
        rest = iter(patches)
        return [
            Filled(
                image=item.image,
                segments=item.segments,
                region=item.region,
                patches=tuple(itertools.islice(rest, len(item.crops))),
            )
            for item in items
        ]

    if any(isinstance(item, Selected) and item.crops for item in batch.items):
        _ = hot.fill  # now, as in `segment`
    return together(batch, "fill", work, hot.picture)


def render(hot: Hot, batch: Batch[Filled], previews: Previews) -> Batch[Rendered]:
    def work(item: Filled) -> Rendered:
        return hot.flow.render(item, hot.decoder, preview=previews.wants(item))

    return each(batch, "render", work, hot.picture)


def _write(batch: Batch[Rendered], writer: UnitWriter) -> Mapping[str, float]:
    """Hands rendered images to the unit's writer; returns the seconds by stage so far."""
    started = time.perf_counter()
    writer.add(batch.items)
    return {**batch.seconds, "sink": batch.seconds.get("sink", 0.0) + time.perf_counter() - started}


def commit(hot: Hot, writer: UnitWriter, seconds: Mapping[str, float], bytes_in: int) -> Committed:
    return hot.ledger.publish(writer.finish(), seconds, bytes_in=bytes_in)


def _bytes(items: Iterable[EncodedImage | Rejected]) -> int:
    return sum(len(item.data) for item in items if isinstance(item, EncodedImage))


def _united(item: Viewed, answers: Sequence[Segments]) -> Segments:
    """The segments of all models on one image, in the order of the flow. A wrong size is an error, not a crop."""
    height, width = item.views[0].height, item.views[0].width
    for answer in answers:
        if (answer.image_id, answer.height, answer.width) != (item.ref.image_id, height, width):
            raise ImageError(
                "shape_mismatch",
                f"expected masks of {height}x{width} for {item.ref.image_id}, "
                f"got {answer.height}x{answer.width} for {answer.image_id}",
            )
    return Segments(
        image_id=item.ref.image_id,
        height=height,
        width=width,
        segments=tuple(segment for answer in answers for segment in answer.segments),
    )
