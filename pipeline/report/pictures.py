"""Chooses the images that the report shows: a sample, those with a visible seam, and the rejected ones."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from pipeline.records import Committed
from pipeline.report.unit_tables import read_tables, spread
from pipeline.storage.store import Store

GALLERY: Final = 24
"""Maximum number of images in the sample."""
SEAM_UNITS: Final = 256
"""Maximum number of units whose index is searched for visible seams."""
SEAMS: Final = 24
"""Maximum number of images with a visible seam."""
REJECTS: Final = 500
"""Maximum number of rejected images."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image of a gallery. images: (caption, data URI or empty); empty when no preview was kept. note: follows the
    key."""

    key: str
    images: tuple[tuple[str, str], ...]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Reject:
    """One rejected image. uri: a small picture as a data URI, or empty."""

    key: str
    stage: str
    reason: str
    detail: str
    uri: str


def gallery(store: Store, units: Sequence[Committed], private: bool) -> tuple[tuple[Picture, ...], str]:
    """Return previews, evenly spread over the units, and the note above them."""
    sample = spread([record for record in units if record.counts.written + record.counts.unchanged], GALLERY)
    each = -(-GALLERY // len(sample)) if sample else 0
    pictures: list[Picture] = []
    for table in read_tables(store, sample, "_previews/"):
        rows = table.filter(pc.greater(pc.binary_length(table["mask"]), 0))  # rejected images have no mask
        for index in spread(range(rows.num_rows), each):
            row = rows.slice(index, 1).to_pylist()[0]
            pictures.append(Picture(key=row["key"], images=_three(row)))
    note = (
        "Images with a segment, evenly spread over the output. Mask: segments in colour, the rest of the region white."
    )
    if private:
        note = f"No original is shown: before has its region blanked. {note}"
    return tuple(pictures[:GALLERY]), note if pictures else "No previews were kept."


def seams(store: Store, units: Sequence[Committed], above: float) -> tuple[tuple[Picture, ...], str]:
    """Return filled images with a seam larger than `above`, the worst first, and the note above them. The note is empty
    when `above` is 0 or nothing was filled."""
    written = [record for record in units if record.counts.written] if above else []
    sample = spread(written, SEAM_UNITS)
    filled = visible = 0
    worst: list[dict[str, Any]] = []
    for table in read_tables(store, sample, "images/", ["image_id", "key", "unit", "filled_share", "seam"]):
        filled += int((table["filled_share"].to_numpy() > 0).sum())
        found = table.filter(pc.greater(table["seam"], above)).to_pylist()
        visible += len(found)
        worst = sorted(worst + found, key=lambda row: -row["seam"])[:SEAMS]
    if not filled:
        return (), ""
    holders = {row["unit"] for row in worst}
    images: dict[str, tuple[tuple[str, str], ...]] = {}
    for table in read_tables(store, [record for record in sample if record.unit.unit_id in holders], "_previews/"):
        rows = table.filter(pc.is_in(table["image_id"], pa.array([row["image_id"] for row in worst])))
        images |= {row["image_id"]: _three(row) for row in rows.to_pylist()}
    note = (
        f"{visible:,} of {filled:,} filled images have a seam above {above:g}; at 1 the border of a fill is invisible."
    )
    if len(sample) < len(written):
        note += f" Searched {len(sample):,} of the {len(written):,} units, evenly spread; images/ has every seam."
    elif visible > len(worst):
        note += f" The worst {len(worst)}; images/ has every seam."
    return tuple(
        Picture(key=row["key"], images=images.get(row["image_id"], ()), note=f"seam {row['seam']:.1f}") for row in worst
    ), note


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
