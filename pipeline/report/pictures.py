"""Chooses the images that the report shows: a sample, the riskiest, those with a visible seam, the rejected ones."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.image.colours import css as colour
from pipeline.records import Committed
from pipeline.report.unit_tables import read_tables, spread
from pipeline.storage.store import Store

GALLERY: Final = 24
"""Maximum number of images in the sample."""
SEAM_UNITS: Final = 256
"""Maximum number of units whose index is searched for visible seams."""
FIRST: Final = 3
"""Maximum number of images that are named first, for each measure of risk."""
SEAMS: Final = 24
"""Maximum number of images with a visible seam."""
REJECTS: Final = 500
"""Maximum number of rejected images."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """Segments of one label in an image. colour: of the label in pictures, for CSS. selected, others: their numbers."""

    label: str
    colour: str
    selected: int
    others: int


@dataclass(frozen=True, kw_only=True)
class File:
    """A published file. place: its path in the output, and its name inside a tar or Parquet file. href: relative to the
    page; empty for what a browser cannot open from there."""

    kind: str
    place: str
    href: str


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image of a gallery. images: (caption, data URI or empty); empty when no preview was kept. note: follows the
    key."""

    key: str
    images: tuple[tuple[str, str], ...]
    note: str = ""
    found: tuple[Found, ...] = ()
    files: tuple[File, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Review:
    """Filled images that a person should look at. seams: those with a visible seam, the worst first. note: above them.
    first: the riskiest by any measure, without pictures."""

    seams: tuple[Picture, ...] = ()
    note: str = ""
    first: tuple[Picture, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reject:
    """One rejected image. uri: a small picture as a data URI, or empty."""

    key: str
    stage: str
    reason: str
    detail: str
    uri: str


def gallery(store: Store, units: Sequence[Committed], private: bool) -> tuple[tuple[Picture, ...], str]:
    """Return previews, evenly spread over the units, filled images first, and the note above them."""
    sample = spread([record for record in units if record.counts.written + record.counts.unchanged], GALLERY)
    each = -(-GALLERY // len(sample)) if sample else 0
    index = {
        row["image_id"]: row for table in read_tables(store, sample, "images/", _INDEX) for row in table.to_pylist()
    }
    chosen: list[dict[str, Any]] = []
    for table in read_tables(store, sample, "_previews/"):
        rows = table.filter(pc.greater(pc.binary_length(table["mask"]), 0))  # rejected images have no mask
        riskiest = sorted(range(rows.num_rows), key=lambda at: _risk(index[rows["image_id"][at].as_py()]))[-each:]
        chosen += rows.take(sorted(riskiest)).to_pylist()
    chosen = sorted(chosen, key=lambda row: not index[row["image_id"]]["filled_share"])[:GALLERY]
    found = _found(store, sample, [row["image_id"] for row in chosen])
    pictures = tuple(_picture(store, index[row["image_id"]], found, _three(row)) for row in chosen)
    note = "Images with a segment, from all parts of the output, filled ones first."
    if private:
        note = f"No original is shown: before has its region blanked. {note}"
    return pictures, note if pictures else "No previews were kept."


def review(store: Store, units: Sequence[Committed], above: float) -> Review:
    """Search for filled images with a seam larger than `above` (0: none), and for the largest fills."""
    written = [record for record in units if record.counts.written]
    sample = spread(written, SEAM_UNITS)
    filled = visible = 0
    worst: list[dict[str, Any]] = []
    largest: list[dict[str, Any]] = []
    for table in read_tables(store, sample, "images/", _INDEX):
        rows = table.filter(pc.greater(table["filled_share"], 0)).to_pylist()
        seen = [row for row in rows if above and row["seam"] > above]
        filled, visible = filled + len(rows), visible + len(seen)
        worst = sorted(worst + seen, key=lambda row: -row["seam"])[:SEAMS]
        largest = sorted(largest + rows, key=lambda row: -row["filled_share"])[:FIRST]
    holders = {row["unit"] for row in worst}
    held = [record for record in sample if record.unit.unit_id in holders]
    ids = [row["image_id"] for row in worst]
    images: dict[str, tuple[tuple[str, str], ...]] = {}
    for table in read_tables(store, held, "_previews/"):
        rows = table.filter(pc.is_in(table["image_id"], pa.array(ids))).to_pylist()
        images |= {row["image_id"]: _three(row) for row in rows}
    found = _found(store, held, ids)
    note = (
        f"{visible:,} of {filled:,} filled images have a seam above {above:g}; at 1 a fill looks like its surroundings."
    )
    if len(sample) < len(written):
        note += f" Searched {len(sample):,} of the {len(written):,} units, evenly spread; images/ has every seam."
    elif visible > len(worst):
        note += f" The worst {len(worst)}; images/ has every seam."
    return Review(
        seams=tuple(_picture(store, row, found, images.get(row["image_id"], ()), note=_seam(row)) for row in worst),
        note=note if filled and above else "",
        first=tuple(
            _picture(store, row, {}, (), note=f"{_seam(row)}, " * (row in worst) + f"{row['filled_share']:.1%} filled")
            for row in {row["image_id"]: row for row in worst[:FIRST] + largest}.values()
        ),
    )


_INDEX: Final = ["image_id", "key", "unit", "filled_share", "seam", "outputs"]


def _risk(row: Mapping[str, Any]) -> tuple[float, float]:
    return row["seam"], row["filled_share"]


def _seam(row: Mapping[str, Any]) -> str:
    return f"seam {row['seam']:.1f}"


def _picture(
    store: Store,
    row: Mapping[str, Any],
    found: Mapping[str, tuple[Found, ...]],
    images: tuple[tuple[str, str], ...],
    note: str = "",
) -> Picture:
    return Picture(
        key=row["key"],
        images=images,
        note=note,
        found=found.get(row["image_id"], ()),
        files=tuple(
            File(
                kind=output["kind"],
                place=f"{output['path']}: {output['member']}" if output["member"] else output["path"],
                href=f"../{quote(output['path'])}" if store.is_local and not output["member"] else "",
            )
            for output in row["outputs"]
        ),
    )


def _found(store: Store, units: Sequence[Committed], ids: Sequence[str]) -> dict[str, tuple[Found, ...]]:
    """Return image id -> its segments by label, the labels sorted."""
    counted: Counter[tuple[str, str, bool]] = Counter()
    for table in read_tables(store, units, "masks/", ["image_id", "label", "selected"]):
        rows = table.filter(pc.is_in(table["image_id"], pa.array(ids, pa.string())))
        counted.update(zip(*(rows[name].to_pylist() for name in rows.column_names), strict=True))
    labels: dict[str, set[str]] = {}
    for image, label, _ in counted:
        labels.setdefault(image, set()).add(label)
    return {
        image: tuple(
            Found(
                label=label,
                colour=colour(label),
                selected=counted[image, label, True],
                others=counted[image, label, False],
            )
            for label in sorted(names)
        )
        for image, names in labels.items()
    }


def rejects(store: Store, units: Sequence[Committed]) -> tuple[Reject, ...]:
    """Return the first rejected images in source order, with a picture where one could be made."""
    needed = _first_with_rejects(units)
    pictures: dict[str, bytes] = {}
    for table in read_tables(store, needed, "_previews/", ["image_id", "before", "mask"]):
        rows = table.filter(pc.equal(pc.binary_length(table["mask"]), 0))
        pictures |= dict(zip(rows["image_id"].to_pylist(), rows["before"].to_pylist(), strict=True))
    found: list[Reject] = []
    for table in read_tables(store, needed, "images/", ["image_id", "key", "status", "stage", "reason", "detail"]):
        for row in table.filter(pc.equal(table["status"], "rejected")).to_pylist():
            found.append(
                Reject(
                    key=row["key"],
                    stage=row["stage"],
                    reason=row["reason"],
                    detail=row["detail"],
                    uri=_data_uri(pictures.get(row["image_id"], b"")),
                )
            )
    return tuple(found[:REJECTS])


def _first_with_rejects(units: Sequence[Committed]) -> list[Committed]:
    """Return the first units that hold `REJECTS` rejected images together, or all units with rejects."""
    needed: list[Committed] = []
    number = 0
    for record in units:
        if record.counts.rejected and number < REJECTS:
            needed.append(record)
            number += record.counts.rejected
    return needed


def _three(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((caption, _data_uri(row[caption])) for caption in ("before", "mask", "after"))


def _data_uri(image: bytes) -> str:
    """Return an image as a data URI; empty for what does not begin like a JPEG or PNG."""
    for magic, kind in ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG\r\n", "png")):
        if image.startswith(magic):
            return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"
    return ""
