"""Label Studio: tasks with the segments as predictions, brush masks or polygons, and the labelling interface."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray

from pipeline.export.choice import Split
from pipeline.export.formats.base import Made, Shape, Shown, Style, dumps, score_of
from pipeline.export.parts import Document, Stream
from pipeline.export.tables import Found
from pipeline.image import rle
from pipeline.records import Mask

_SIZES: Final = (3, 4, 8, 16)
"""Bits of a run's length, of the four kinds of runs."""


class LabelStudio:
    limits = "a polygon of several parts is several regions, with the number of their segment in `meta`"
    shapes: tuple[Shape, ...] = ("rle", "polygons")
    embeds = False
    pictures = "images/{split}"

    def unit(self, unit_id: str, images: Sequence[Shown], style: Style) -> Made:
        made = Made()
        for each in images:
            copied = f"/data/local-files/?d={quote(f'images/{each.split}/{each.name}')}"
            where = copied if style.copied else each.uri or each.name
            results = [result for found in each.row.found for result in _results(made, found, each, style)]
            task = {
                "data": {"image": where, "image_id": each.row.image_id, "file_name": each.name},
                "predictions": [{"model_version": style.about, "score": _mean(each), "result": results}],
            }
            made.add(each.split, dumps(task))
        return made

    def documents(self, style: Style, splits: Sequence[Split]) -> Iterator[Document]:
        for split in splits:
            yield Document(path=f"tasks_{split}.json", pieces=("[\n", Stream(name=split), "\n]\n"))
        kind, name = ("BrushLabels", "brush") if style.shape == "rle" else ("PolygonLabels", "polygon")
        labels = "".join(
            f'    <Label value={quoteattr(label)} background="#{"".join(f"{v:02x}" for v in style.colours[label])}"/>\n'
            for label in style.classes
        )
        interface = (
            f'<View>\n  <Image name="image" value="$image" zoom="true"/>\n  <{kind} name="{name}" toName="image">\n'
            f"{labels}  </{kind}>\n</View>\n"
        )
        yield Document(path="interface.xml", pieces=(interface,))


def _results(made: Made, found: Found, each: Shown, style: Style) -> Iterator[dict[str, Any]]:
    row = each.row
    common = {
        "to_name": "image",
        "original_width": row.width,
        "original_height": row.height,
        "image_rotation": 0,
        "score": score_of(found),
        "meta": {"segment": [str(found.number)]},
    }
    labels = [found.segment.label]
    if style.shape == "rle":
        code = brush(rle.decode(found.segment.rle, row.height, row.width))
        value: dict[str, Any] = {"format": "rle", "rle": code, "brushlabels": labels}
        yield {"id": str(found.number), "type": "brushlabels", "from_name": "brush", "value": value, **common}
        return
    for part, ring in enumerate(made.rings(found, row, style.tolerance)):
        points = np.round(ring * (100 / row.width, 100 / row.height), 5).tolist()
        value = {"points": points, "closed": True, "polygonlabels": labels}
        yield {
            "id": f"{found.number}-{part}",
            "type": "polygonlabels",
            "from_name": "polygon",
            "value": value,
            **common,
        }


def brush(mask: Mask) -> list[int]:
    """Label Studio's own run lengths (of thi.ng/rle-pack) of the mask as an RGBA picture of 0 and 255, along the rows,
    as bytes. mask: HW bool."""
    values = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])
    lengths = np.diff(np.append(starts, values.size)) * 4
    bits = [f"{values.size * 4:032b}", f"{8 - 1:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for length, value in zip(lengths.tolist(), values[starts].tolist(), strict=True):
        bits += _run(length, "11111111" if value else "00000000")
    text = "".join(bits)
    return _bytes(text)


def _run(length: int, value: str) -> Iterator[str]:
    """Bits of a run: 1, the kind of run, its length less one, the value; several for a very long one."""
    while length:
        kind = next((kind for kind, size in enumerate(_SIZES) if length <= 1 << size), len(_SIZES) - 1)
        part = min(length, 1 << _SIZES[kind])
        yield f"1{kind:02b}{part - 1:0{_SIZES[kind]}b}{value}"
        length -= part


def _bytes(bits: str) -> list[int]:
    digits: NDArray[np.uint8] = np.frombuffer(bits.encode(), np.uint8) - ord("0")
    return [int(value) for value in np.packbits(digits)]


def _mean(each: Shown) -> float:
    """The mean score of the segments, 0 without any: what people sort tasks by."""
    scores = [found.segment.score for found in each.row.found]
    return round(float(np.mean(scores)), 6) if scores else 0.0
