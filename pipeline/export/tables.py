"""Reads the committed tables of a finished output, one unit at a time: images, each with its segments.

The numbers that other formats want instead of hashes come from the commit records alone: an image's is its place among
all images of the output, a segment's its place among all segments, both from 1. So they are the same in every format,
for every choice of labels, and on every machine.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from pipeline.errors import OutputError, RunError
from pipeline.ledger.ledger import MANIFEST, SUCCESS, Ledger
from pipeline.records import Committed, Segment, Segments
from pipeline.sink.dataset_card import CLASSES
from pipeline.storage.store import Store

_MASKS = ("image_id", "segment_id", "class_id", "label", "score", "bbox", "area", "rle", "height", "width", "model")


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """One segment. number: its place in the output, from 1. segment_id: its place in its image, from 0. segment: label,
    class, score, mask, box and area, of the upright full-size image."""

    number: int
    segment_id: int
    segment: Segment


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One image. number: its place in the output, from 1. height, width: of the upright image, 0 for one that could not
    be read. outputs: kind -> (path, member) of what was published. found: its segments; none of a rejected image."""

    number: int
    image_id: str
    key: str
    member: str
    image_uri: str
    shard: str
    status: str
    stage: str
    reason: str
    detail: str
    width: int
    height: int
    input_sha256: str
    outputs: Mapping[str, tuple[str, str]]
    found: tuple[Found, ...]

    @property
    def rejected(self) -> bool:
        return self.status == "rejected"

    @property
    def segments(self) -> Segments:
        return Segments(
            image_id=self.image_id,
            height=self.height,
            width=self.width,
            segments=tuple(each.segment for each in self.found),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """A committed unit, and how many images and segments of the output stand before it."""

    record: Committed
    images: int
    segments: int

    @property
    def unit_id(self) -> str:
        return self.record.unit.unit_id


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The tables of one finished output. digest: identity of its run. classes: label -> class id, from 1. places: its
    units in order. private: no original may be shown."""

    store: Store
    digest: str
    job: str
    private: bool
    classes: Mapping[str, int]
    places: tuple[Place, ...]

    @property
    def images(self) -> int:
        return sum(place.record.counts.images for place in self.places)

    def rows(self, place: Place, *, segments: bool = True) -> list[Row]:
        """The images of a unit in source order. segments: false leaves them unread.

        Raises RunError for a table that its commit record does not fit.
        """
        index, masks = self._table(place, "images/"), self._table(place, "masks/") if segments else []
        found: dict[str, list[Found]] = {}
        for number, row in enumerate(masks, place.segments + 1):
            found.setdefault(row["image_id"], []).append(
                Found(number=number, segment_id=row["segment_id"], segment=_segment(row))
            )
        rows = [
            Row(
                number=number,
                outputs={each["kind"]: (each["path"], each["member"]) for each in row["outputs"]},
                found=tuple(found.pop(row["image_id"], ())),
                **{name: row[name] for name in _PLAIN},
            )
            for number, row in enumerate(index, place.images + 1)
        ]
        images, expected = place.record.counts.images, sum(n for _, n in place.record.segments) if segments else 0
        if found or len(rows) != images or len(masks) != expected:
            raise RunError(
                f"unit {place.unit_id} of {self.store.uri}: its tables hold {len(rows)} images and {len(masks)} "
                f"segments, its commit record says {images} and {expected}; segfill verify names the fault"
            )
        return rows

    def _table(self, place: Place, folder: str) -> list[dict[str, Any]]:
        """The rows of a unit's one table in this folder."""
        paths = [file.path for file in place.record.files if file.path.startswith(folder)]
        if len(paths) != 1:
            raise RunError(f"unit {place.unit_id} of {self.store.uri}: expected one file in {folder}, got {paths}")
        columns = None if folder == "images/" else list(_MASKS)
        rows: list[dict[str, Any]] = pq.read_table(io.BytesIO(self.store.read(paths[0])), columns=columns).to_pylist()
        return rows


_PLAIN = (
    *("image_id", "key", "member", "image_uri", "shard", "status", "stage", "reason", "detail"),
    *("width", "height", "input_sha256"),
)


def _segment(row: Mapping[str, Any]) -> Segment:
    return Segment(
        label=row["label"],
        class_id=row["class_id"],
        score=row["score"],
        rle=row["rle"].encode("ascii"),
        box=tuple(row["bbox"]),
        area=row["area"],
        model=row["model"],
    )


def is_output(store: Store) -> bool:
    """Whether something of ours lies here."""
    try:
        store.stat(MANIFEST)
    except OSError:
        return False
    return True


def open_tables(store: Store) -> Tables:
    """The tables of a finished output. Raises OutputError for anything else."""
    ledger = Ledger(store)
    try:
        finished = ledger.finished()
        manifest = json.loads(store.read(MANIFEST))
        classes = json.loads(store.read(CLASSES)) if finished else []
    except FileNotFoundError as error:
        raise OutputError(f"{store.uri}: expected the output of a segfill run, found none ({error})") from error
    if not finished:
        raise OutputError(
            f"{store.uri}: this run is not finished ({SUCCESS} is missing); the command that began it resumes it"
        )
    config = manifest["config"]
    return Tables(
        store=store,
        digest=json.loads(store.read(SUCCESS))["digest"],
        job=str(json.loads(config.get("job", '""'))),
        private=config.get("private") == "true",
        classes={each["name"]: each["id"] for each in classes},
        places=places_of(sorted(ledger.committed().values(), key=lambda record: record.unit.unit_id)),
    )


def places_of(records: Sequence[Committed]) -> tuple[Place, ...]:
    """Each unit with what stands before it in this order."""
    return tuple(_placed(records))


def _placed(records: Sequence[Committed]) -> Iterator[Place]:
    images = segments = 0
    for record in records:
        yield Place(record=record, images=images, segments=segments)
        images += record.counts.images
        segments += sum(count for _, count in record.segments)
