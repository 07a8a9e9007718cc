"""One PNG of 0 and 255 a segment, and a line a file that says what it is."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from PIL import Image

from pipeline.export.choice import Split
from pipeline.export.formats.base import Made, Shape, Shown, Style, dumps, score_of
from pipeline.export.parts import Document, Stream
from pipeline.image import rle
from pipeline.sink.safe_names import safe


class MasksPng:
    limits = ""
    shapes: tuple[Shape, ...] = ("rle",)
    embeds = False
    pictures = "images/{split}"

    def unit(self, unit_id: str, images: Sequence[Shown], style: Style) -> Made:
        made = Made()
        for each in images:
            for found in each.row.found:
                label = safe(found.segment.label.replace("/", "_"))
                name = f"masks/{each.split}/{each.stem}/{found.segment_id:04d}-{label}.png"
                mask = rle.decode(found.segment.rle, each.row.height, each.row.width)
                out = io.BytesIO()
                Image.fromarray(mask).save(out, "PNG")
                made.files.append((name, out.getvalue()))
                one = {
                    "file": name,
                    "image": each.name,
                    "image_id": each.row.image_id,
                    "class_id": found.segment.class_id,
                    "label": found.segment.label,
                    "score": score_of(found),
                    "bbox": list(found.segment.box),
                    "area": found.segment.area,
                }
                made.add(each.split, dumps(one))
        return made

    def documents(self, style: Style, splits: Sequence[Split]) -> Iterator[Document]:
        for split in splits:
            yield Document(path=f"masks_{split}.jsonl", pieces=(Stream(name=split, between="\n"),))
