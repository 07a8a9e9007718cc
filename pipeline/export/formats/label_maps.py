"""Label maps: a PNG an image whose values are the class ids of the output, with a palette, 0 where nothing is."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.export.choice import Split
from pipeline.export.colours import Colour
from pipeline.export.formats.base import Made, Shape, Shown, Style
from pipeline.export.parts import Document


class LabelMaps:
    limits = (
        "a pixel has one class, that of the segment with the highest score; instances of a class that touch are one; "
        "class ids above 255 make a grey PNG of 16 bits without a palette"
    )
    shapes: tuple[Shape, ...] = ("rle",)
    embeds = False
    pictures = "images/{split}"

    def unit(self, unit_id: str, images: Sequence[Shown], style: Style) -> Made:
        made = Made()
        for each in images:
            made.files.append((f"labels/{each.split}/{each.stem}.png", png(each.label_map(), style)))
        return made

    def documents(self, style: Style, splits: Sequence[Split]) -> Iterator[Document]:
        rows = [f"{number}\t{label}\t{_hex(style.colours[label])}\n" for label, number in style.classes.items()]
        yield Document(path="classes.tsv", pieces=("id\tname\tcolour\n0\tbackground\t#000000\n", *rows))


def png(ids: NDArray[np.uint16], style: Style) -> bytes:
    """The bytes of a label map. ids: (height, width)."""
    out = io.BytesIO()
    if max(style.classes.values(), default=0) > 255:
        Image.fromarray(ids).save(out, "PNG")
        return out.getvalue()
    picture = Image.fromarray(ids.astype(np.uint8))
    picture.putpalette(_palette(style.classes, style.colours))
    picture.save(out, "PNG")
    return out.getvalue()


def _palette(classes: Mapping[str, int], colours: Mapping[str, Colour]) -> list[int]:
    table = [(0, 0, 0)] * 256
    for label, number in classes.items():
        table[number] = colours[label]
    return [value for colour in table for value in colour]


def _hex(colour: Colour) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
