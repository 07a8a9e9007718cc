"""What an output is measured against: for an image of ours the classes of its pixels, and where the truth has them its
single segments. Kept in a temporary file, not in memory."""

from __future__ import annotations

import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco

from pipeline.errors import ConfigError
from pipeline.export.tables import Row
from pipeline.image import rle
from pipeline.image.kinds import IMAGE_SUFFIXES
from pipeline.sink.safe_names import folder_of, safe

Kind: TypeAlias = Literal["coco", "coco_panoptic", "label_maps", "output"]
BACKGROUND: Final = "background"
IGNORED: Final = -1


@dataclass(frozen=True, kw_only=True)
class TrueSegment:
    """label: index of its class, from 1. rle: compressed counts. area: in pixels, as the truth has it. crowd: it stands
    for many, and any number of ours may meet it."""

    label: int
    rle: bytes
    area: float
    crowd: bool = False


@dataclass(frozen=True, kw_only=True)
class TrueImage:
    """labels: (height, width) int, index of the class, 0 background, IGNORED where nothing is known. segments: single
    ones; empty for a truth without. ids: (height, width), 0 or the place from 1 in `segments`, where they share no
    pixel."""

    name: str
    labels: NDArray[np.int64]
    segments: tuple[TrueSegment, ...]
    ids: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An image of the truth. number: in the store of the truth."""

    number: int
    name: str
    height: int
    width: int


class Store:
    """Images and segments of a truth in a temporary SQLite file."""

    def __init__(self) -> None:
        self._file = tempfile.NamedTemporaryFile(suffix=".sqlite")  # noqa: SIM115  # lives as long as this object
        self._db = sqlite3.connect(self._file.name)
        self._db.executescript(
            "pragma journal_mode=off; pragma synchronous=off; pragma cache_size=-8192;"
            "create table images(number integer primary key, name text, height int, width int, used int default 0);"
            "create table names(name text primary key, number int, several int default 0);"
            "create table segments(image int, class int, crowd int, area real, shape blob);"
        )

    def add_image(self, number: int, name: str, height: int, width: int) -> None:
        with self._unique(f"image {number}"):
            self._db.execute(
                "insert into images(number, name, height, width) values (?,?,?,?)", (number, name, height, width)
            )
        for each in dict.fromkeys((name, stripped(name))):
            self._db.execute(
                "insert into names(name, number) values (?,?) on conflict do update set several = 1", (each, number)
            )

    def add_segment(self, image: int, label: int, shape: str, *, crowd: bool = False, area: float = 0) -> None:
        self._db.execute("insert into segments values (?,?,?,?,?)", (image, label, crowd, area, shape))

    def ready(self) -> None:
        """Call it once, when all is added."""
        self._db.execute("create index of_image on segments(image)")
        self._db.commit()

    def find(self, names: Iterable[str]) -> Entry | None:
        """The image of the first name that is one image's alone."""
        for name in names:
            found = self._db.execute(
                "select i.number, i.name, height, width from names n join images i using (number) "
                "where n.name = ? and several = 0",
                (name,),
            ).fetchone()
            if found:
                number, own, height, width = found
                return Entry(number=number, name=own, height=height, width=width)
        return None

    def use(self, number: int) -> bool:
        """Note that an image of ours is this one; False when another one was already."""
        self._db.execute("update images set used = used + 1 where number = ?", (number,))
        return bool(self._db.execute("select used = 1 from images where number = ?", (number,)).fetchone()[0])

    def unused(self) -> tuple[int, list[str]]:
        """How many images no image of ours is, and the first three."""
        (count,) = self._db.execute("select count(*) from images where used = 0").fetchone()
        first = self._db.execute("select name from images where used = 0 order by number limit 3").fetchall()
        return count, [name for (name,) in first]

    def segments(self, number: int) -> list[tuple[int, bool, float, str]]:
        """class, crowd, area and shape (JSON) of each segment of an image, in the order they were added."""
        rows = self._db.execute(
            "select class, crowd, area, shape from segments where image = ? order by rowid", (number,)
        ).fetchall()
        return [(label, bool(crowd), area, shape) for label, crowd, area, shape in rows]

    def classes(self) -> set[int]:
        """The class ids of all segments."""
        return {label for (label,) in self._db.execute("select distinct class from segments")}

    @contextlib.contextmanager
    def _unique(self, what: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.IntegrityError as error:
            raise ConfigError(f"truth: {what} is there twice; give each its own id") from error


@dataclass(frozen=True, kw_only=True)
class Classes:
    """The classes that are measured. names: index -> name, the background first. ours, theirs: class id -> index."""

    names: tuple[str, ...]
    ours: Mapping[int, int]
    theirs: Mapping[int, int]
    things: frozenset[int]


def stripped(name: str) -> str:
    """A name without the suffix of an image."""
    suffix = PurePosixPath(name).suffix
    return name[: -len(suffix)] if suffix.lower() in IMAGE_SUFFIXES else name


def names_of(row: Row) -> list[str]:
    """The names under which a truth may know an image of ours, the most exact first."""
    member = row.member.partition("#")[0]
    whole = [folder_of(row.shard) + member, member, folder_of(row.shard) + safe(row.key), row.key, row.image_id]
    bases = [PurePosixPath(member).name, PurePosixPath(row.key).name]
    return list(dict.fromkeys([*whole, *map(stripped, whole), *bases, *map(stripped, bases)]))


def counts_of(shape: str, height: int, width: int) -> bytes:
    """Compressed counts of a COCO segmentation: polygons, counts, or compressed counts. Raises ConfigError for counts
    of another size."""
    found: Any = json.loads(shape)
    if isinstance(found, list):
        rings = [ring for ring in found if len(ring) >= 6]
        if not rings:
            return rle.empty(height, width)
        return bytes(coco.merge(coco.frPyObjects(rings, height, width))["counts"])
    if list(found["size"]) != [height, width]:
        raise ConfigError(f"truth: a mask of {found['size']} (height, width) in an image of {[height, width]}")
    if isinstance(found["counts"], list):
        return bytes(coco.frPyObjects(found, height, width)["counts"])
    return str(found["counts"]).encode()


def painted(segments: Iterable[tuple[int, TrueSegment]], height: int, width: int) -> NDArray[np.int64]:
    """(height, width) the given number of each segment, the later ones over the earlier ones, else 0."""
    out = np.zeros((height, width), np.int64)
    for number, segment in segments:
        x, y, w, h = (int(value) for value in rle.box(segment.rle, height, width))
        mask = rle.decode_at(segment.rle, height, width, x=x, y=y, crop_height=h, crop_width=w)
        out[y : y + h, x : x + w][mask] = number
    return out
