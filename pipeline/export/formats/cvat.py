"""CVAT for images 1.1: one XML, masks or polygons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from xml.sax.saxutils import escape, quoteattr

import numpy as np

from pipeline.export.choice import Split
from pipeline.export.formats.base import Made, Shape, Shown, Style
from pipeline.export.parts import Document, Stream
from pipeline.export.tables import Found
from pipeline.image import rle


class Cvat:
    limits = "a polygon of several parts is several polygons of one group; no scores"
    shapes: tuple[Shape, ...] = ("rle", "polygons")
    embeds = False
    pictures = "images/{split}"

    def unit(self, unit_id: str, images: Sequence[Shown], style: Style) -> Made:
        made = Made()
        for each in images:
            row = each.row
            head = f'<image id="{row.number - 1}" name={quoteattr(each.name)} subset="{each.split}"'
            made.add(
                "images",
                f'  {head} width="{row.width}" height="{row.height}">\n',
                *(line for found in row.found for line in _shapes(made, found, each, style)),
                "  </image>\n",
            )
        return made

    def documents(self, style: Style, splits: Sequence[Split]) -> Iterator[Document]:
        labels = "".join(
            f"    <label><name>{escape(label)}</name>"
            f"<color>#{''.join(f'{value:02x}' for value in style.colours[label])}</color>"
            f"<type>any</type><attributes></attributes></label>\n"
            for label in style.classes
        )
        yield Document(
            path="annotations.xml",
            pieces=(
                '<?xml version="1.0" encoding="utf-8"?>\n',
                "<annotations>\n  <version>1.1</version>\n  <meta><job><labels>\n",
                f"{labels}  </labels></job></meta>\n",
                Stream(name="images", between=""),
                "</annotations>\n",
            ),
        )


def _shapes(made: Made, found: Found, each: Shown, style: Style) -> Iterator[str]:
    common = f'label={quoteattr(found.segment.label)} source="auto" occluded="0"'
    if style.shape == "polygons":
        for ring in made.rings(found, each.row, style.tolerance):
            points = ";".join(f"{x:.2f},{y:.2f}" for x, y in ring.tolist())
            yield f'    <polygon {common} points="{points}" z_order="0" group_id="{found.number}"></polygon>\n'
        return
    height, width = each.row.height, each.row.width
    x, y, w, h = (int(value) for value in rle.box(found.segment.rle, height, width))
    inside = rle.decode_at(found.segment.rle, height, width, x=x, y=y, crop_height=h, crop_width=w).ravel()
    changes = np.flatnonzero(np.diff(inside, prepend=False))  # a run of 0 first, empty or not, along the rows
    runs = ", ".join(map(str, np.diff(changes, prepend=0, append=inside.size).tolist()))
    place = f'left="{x}" top="{y}" width="{w}" height="{h}"'
    yield f'    <mask {common} rle="{runs}" {place} z_order="0"></mask>\n'
