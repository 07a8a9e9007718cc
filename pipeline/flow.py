"""The chain: plan -> read -> decode -> segment -> select -> crop -> fill -> render -> commit -> report.

`STAGES` is the chain as a table, `process` runs it over images of one unit, `commit_unit` also writes and commits them.
`Flow` is what a config builds, `Worker` what a worker holds of it. Plan is plan.py, read is `units` of a source, report
is report/. Whether the stages run in one process or in many is decided in execute/, not here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from math import prod
from typing import Any, Final, TypeAlias

from pipeline import life
from pipeline.contracts import Fill, FillModel, Segmenter, SegmentModel, Source
from pipeline.errors import ConfigError, ImageError, RunError, SegfillError, one_line
from pipeline.fill.shared.crops import cut
from pipeline.image.decode import Decode, Decoder
from pipeline.image.header import open_image
from pipeline.image.view import Tiles
from pipeline.ledger.ledger import Ledger
from pipeline.models.weights import Weights
from pipeline.records import (
    Committed,
    Crop,
    Cropped,
    Device,
    EncodedImage,
    Filled,
    ImageRecord,
    Rendered,
    Segmented,
    Segments,
    Selected,
    UnitBatch,
    Viewed,
)
from pipeline.render.render import Render
from pipeline.select import Select
from pipeline.sink.unit_writer import Facts, Sink
from pipeline.stage import batched, per_image
from pipeline.storage.store import open_store

Process: TypeAlias = "Callable[[Worker, UnitBatch[Any]], UnitBatch[Any]]"
"""Takes images of one unit through some stages. The worker holds the loaded models."""


@dataclass(frozen=True)
class Stage:
    """One stage of the chain. name: in tables, records and reports. run: images of one unit in, the same images out.
    batched: whether a model sees all images of a call at once, so that larger batches pay."""

    name: str
    run: Process
    batched: bool = False


def decode(worker: Worker, batch: UnitBatch[EncodedImage]) -> UnitBatch[Viewed]:
    """Encoded bytes to what each segmenter looks at."""
    specs = [s.view for s in worker.flow.segment]
    return per_image(batch, "decode", lambda image: Viewed(image=image, views=worker.decoder.views(image, specs)))


def segment(worker: Worker, batch: UnitBatch[Viewed]) -> UnitBatch[Segmented]:
    """Views to labelled masks of all segmenters, united."""

    def work(items: Sequence[Viewed]) -> list[Segmented]:
        answers = [model([item.views[i] for item in items]) for i, model in enumerate(worker.segmenters)]
        if any(len(answer) != len(items) for answer in answers):
            raise ImageError("wrong_count", f"{[len(answer) for answer in answers]} answers for {len(items)} images")
        return [
            Segmented(
                image=item.image, segments=_united(item, [answer[row] for answer in answers], worker.flow.classes)
            )
            for row, item in enumerate(items)
        ]

    if any(isinstance(item, Viewed) for item in batch.items):
        _ = worker.segmenters  # load now: fetching and loading a model may take longer than an image may
    done = batched(batch, "segment", work, worker.picture)
    life.seen(len(batch.items))
    return done


def select(worker: Worker, batch: UnitBatch[Segmented]) -> UnitBatch[Selected]:
    """Masks to the region that is to be filled."""

    def work(item: Segmented) -> Selected:
        return Selected(image=item.image, segments=item.segments, region=worker.flow.select(item.segments))

    return per_image(batch, "select", work, worker.picture)


def crop(worker: Worker, batch: UnitBatch[Selected]) -> UnitBatch[Cropped]:
    """Decode images that have a region at full size, and cut the crops that the fill sees, blanked inside."""

    def work(item: Selected) -> Cropped:
        fill = worker.flow.fill
        crops: tuple[Crop, ...] = ()
        if fill.active and item.region.area:
            crops = cut(worker.decoder.full(item.image), item.region, fill, item.segments.segments)
        return Cropped(image=item.image, segments=item.segments, region=item.region, crops=crops)

    return per_image(batch, "crop", work, worker.picture)


def fill(worker: Worker, batch: UnitBatch[Cropped]) -> UnitBatch[Filled]:
    """Crops to patches of new pixels."""

    def work(items: Sequence[Cropped]) -> list[Filled]:
        crops = [crop for item in items for crop in item.crops]
        patches = worker.fill(crops) if crops else []
        if len(patches) != len(crops):
            raise ImageError("wrong_count", f"{len(patches)} patches for {len(crops)} crops")
        rest = iter(patches)
        return [
            Filled(
                image=item.image,
                segments=item.segments,
                region=item.region,
                patches=tuple(islice(rest, len(item.crops))),
            )
            for item in items
        ]

    if any(isinstance(item, Cropped) and item.crops for item in batch.items):
        _ = worker.fill  # load now, as in `segment`
    return batched(batch, "fill", work, worker.picture)


def render(worker: Worker, batch: UnitBatch[Filled]) -> UnitBatch[Rendered]:
    """Paste patches and encode the files to publish. The first images with a segment get a preview for the report; in a
    flow that fills, `sink.previews` of them are kept for images with a region."""
    left = batch.previews
    kept = worker.flow.sink.previews if worker.flow.fill.active else 0

    def work(item: Filled) -> Rendered:
        nonlocal left
        wanted = left > (0 if item.region.area else kept) and bool(item.segments.segments)
        left -= wanted
        return worker.flow.render(item, worker.decoder, preview=wanted)

    return replace(per_image(batch, "render", work, worker.picture), previews=left)


STAGES: Final = (
    Stage("decode", decode),
    Stage("segment", segment, batched=True),
    Stage("select", select),
    Stage("crop", crop),
    Stage("fill", fill, batched=True),
    Stage("render", render),
)
"""Between read and commit, in this order."""
TIMED: Final = ("read", *(stage.name for stage in STAGES), "commit")
"""The stages whose seconds a commit record holds, in order."""


def process(worker: Worker, batch: UnitBatch[Any], stages: Sequence[Stage] = STAGES) -> UnitBatch[Any]:
    """Images of one unit through the stages, in this process."""
    for stage in stages:
        batch = stage.run(worker, batch)
    return batch


def commit_unit(worker: Worker, batch: UnitBatch[Any], process: Process = process) -> Committed:
    """`process` on all images of a unit, some at a time, then write and commit the unit. Seconds of `commit` include
    building the tables and uploading the files."""
    flow, spent = worker.flow, 0.0
    writer = flow.sink.writer(batch.unit, flow.facts)
    part = replace(batch, items=(), previews=flow.previews)
    for items in _portions(worker, batch.items):
        part = process(worker, replace(part, items=items))
        started = time.perf_counter()
        writer.add(part.items)
        spent += time.perf_counter() - started
    started = time.perf_counter()
    output = writer.finish()
    spent += time.perf_counter() - started
    return worker.ledger.publish(output, {**part.seconds, "commit": spent}, bytes_in=_bytes(batch.items))


def _portions(worker: Worker, items: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    """`chunk` images at a time; fewer where segmenters look at tiles, which hold every pixel of an image decoded."""
    tiled = any(isinstance(segmenter.view, Tiles) for segmenter in worker.flow.segment)
    start, held = 0, 0
    for position, item in enumerate(items):
        pixels = _pixels(item) if tiled else 0
        if position - start == worker.flow.chunk or (position > start and held + pixels > _TILED_PIXELS):
            yield items[start:position]
            start, held = position, 0
        held += pixels
    if start < len(items):
        yield items[start:]


_TILED_PIXELS: Final = 32_000_000
"""Decoded at one time for segmenters that look at tiles."""


def _pixels(item: object) -> int:
    try:
        return prod(open_image(item.data).size) if isinstance(item, EncodedImage) else 0
    except ImageError:  # decode finds it again, and says so
        return 0


def _bytes(items: Iterable[object]) -> int:
    images = (item.image if isinstance(item, ImageRecord) else item for item in items)
    # The frames of a file share its bytes.
    return sum(len(image.data) for image in images if isinstance(image, EncodedImage) and image.frame <= 1)


def _united(item: Viewed, answers: Sequence[Segments], classes: Mapping[str, int]) -> Segments:
    """The segments of all models on one image, in the order of the flow, with the class ids of the run: a model counts
    its own from 0. Raises ImageError for a wrong size, and `unknown_label` for a label that its model does not
    declare."""
    height, width = item.views[0].height, item.views[0].width
    for answer in answers:
        if (answer.image_id, answer.height, answer.width) != (item.ref.image_id, height, width):
            raise ImageError(
                "shape_mismatch",
                f"expected masks of {height}x{width} for {item.ref.image_id}, "
                f"got {answer.height}x{answer.width} for {answer.image_id}",
            )
    found = [segment for answer in answers for segment in answer.segments]
    for segment in found:
        if segment.label not in classes:
            raise ImageError("unknown_label", f"{segment.model} gave {segment.label!r}, expected one of its labels")
    return Segments(
        image_id=item.ref.image_id,
        height=height,
        width=width,
        segments=tuple(replace(segment, class_id=classes[segment.label]) for segment in found),
    )


def needs_fill(*, private: bool) -> frozenset[str]:
    """The kinds of files that show what is to be filled, so that no job without a fill makes them."""
    return frozenset(("filled", "overlay", "cutout") if private else ("filled",))


@dataclass(frozen=True, kw_only=True)
class Flow:
    """The specs of every stage.

    name: of the job. chunk: images of a unit that are decoded in memory at one time when all stages run in one process;
    no result depends on it.
    """

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
        needy = needs_fill(private=self.render.private).intersection(self.render.outputs)
        if not self.fill.active and needy:
            raise ConfigError(
                f"render.outputs: {', '.join(sorted(needy))} would show what is to be filled, and fill=none fills "
                "nothing; choose a fill, or render=labels or render=none"
            )

    @property
    def weights(self) -> tuple[Weights, ...]:
        """Of all models of the flow."""
        parts: tuple[Segmenter | Fill, ...] = (*self.segment, self.fill)
        return tuple(weights for part in parts for weights in part.weights)

    @cached_property
    def classes(self) -> Mapping[str, int]:
        """Label -> class id, the same in every shard, table, label map and export of a run: those of `render.labels`
        in their order, then those of the segmenters in theirs. 0 is the background."""
        labels = (*self.render.labels, *(label for segmenter in self.segment for label in segmenter.labels))
        return {label: number for number, label in enumerate(dict.fromkeys(labels), 1)}

    @property
    def previews(self) -> int:
        """Images of a unit that get a preview, of which the sink keeps `sink.previews`, filled ones first: half as many
        more where the flow fills, so that some are of images in which nothing was selected."""
        return self.sink.previews * 3 // 2 if self.fill.active else self.sink.previews

    @property
    def facts(self) -> Facts:
        """What every index row says of the run."""
        return Facts(
            source=self.source.uri,
            models=tuple(type(segmenter).__name__.lower() for segmenter in self.segment),
            fill=type(self.fill).__name__.lower() if self.fill.active else "",
            reversible=self.fill.reversible,
        )

    def load(self, device: Device, threads: int) -> Worker:
        """threads: intra-op threads of the models on the CPU."""
        return Worker(flow=self, device=device, threads=threads)


@dataclass(frozen=True)
class Worker:
    """The loaded models of a flow. Each is loaded at its first use, so a worker holds only what its stages need."""

    flow: Flow
    device: Device
    threads: int

    @cached_property
    def decoder(self) -> Decoder:
        return self.flow.decode.load()

    @cached_property
    def segmenters(self) -> tuple[SegmentModel, ...]:
        with _loading("segment"):
            return tuple(s.load(self.device, self.threads) for s in self.flow.segment)

    @cached_property
    def fill(self) -> FillModel:
        with _loading("fill"):
            return self.flow.fill.load(self.device, self.threads)

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(open_store(self.flow.sink.uri), single_writer=self.flow.sink.single_writer)

    def picture(self, item: ImageRecord) -> bytes:
        """A small JPEG of a rejected image for the report; empty in a private run."""
        return self.flow.render.picture(item.image, self.decoder)


@contextmanager
def _loading(stage: str) -> Iterator[None]:
    """Raise RunError for whatever a runtime raises: no image is to blame for a model that cannot be loaded."""
    try:
        with life.doing("loading models"):
            yield
    except SegfillError:
        raise
    except Exception as error:
        raise RunError(
            f"{stage}: its model cannot be loaded ({type(error).__name__}: {one_line(error)}); a GPU that others share "
            "may lack memory (execute.gpus); the same command resumes the run"
        ) from error
