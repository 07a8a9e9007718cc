"""Draws the faces that an audit still found on one sheet for review. It shows faces: never publish it."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from pipeline.audit.receipt import Finding
from pipeline.credentials import printable
from pipeline.records import Rgb

_CELL: Final = (180, 212)
_COLUMNS: Final = 6
_LETTERS: Final = 30


def draw(crops: Sequence[tuple[Finding, Rgb]]) -> bytes:
    """Return a JPEG with one cell for each face: the crop (HWC uint8), and its size, score and image."""
    width, height = _CELL
    rows = max(1, -(-len(crops) // _COLUMNS))
    sheet = Image.new("RGB", (min(_COLUMNS, max(1, len(crops))) * width, rows * height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=11)
    for number, (face, crop) in enumerate(crops):
        x, y = number % _COLUMNS * width, number // _COLUMNS * height
        picture = Image.fromarray(crop)
        scale = min((width - 12) / picture.width, (width - 12) / picture.height)
        size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
        sheet.paste(picture.resize(size, Image.Resampling.BICUBIC), (x + (width - size[0]) // 2, y + 6))
        name = printable(face.image.rpartition("!")[2])
        short = name if len(name) <= _LETTERS else "..." + name[3 - _LETTERS :]
        pen.text((x + 6, y + width - 2), f"{face.side} px, score {face.score:.3f}\n{short}", fill="black", font=font)
    out = io.BytesIO()
    sheet.save(out, "JPEG", quality=90)
    return out.getvalue()
