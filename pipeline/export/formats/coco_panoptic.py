"""COCO panoptic: a JSON a split, and a PNG an image whose colours are the ids of its segments."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.export.choice import Split
from pipeline.export.formats.base import Made, Shape, Shown, Style, dumps, score_of
from pipeline.export.formats.coco import image
from pipeline.export.parts import Document, Stream
from pipeline.image import rle
from pipeline.records import Segments


class CocoPanoptic:
    limits = "a pixel belongs to one segment, that with the highest score; a segment that others hide is left out"
    shapes: tuple[Shape, ...] = ("rle",)
    embeds = False
    pictures = "images/{split}"

    def unit(self, unit_id: str, images: Sequence[Shown], style: Style) -> Made:
        made = Made()
        for each in images:
            ids = id_map(each.row.segments)
            parts = {number: (area, box) for number, _, area, box in rle.encode_map(ids)}
            segments = []
            for position, found in enumerate(each.row.found, 1):
                if position not in parts:
                    made.hidden += 1
                    continue
                area, box = parts[position]
                segments.append(
                    {
                        "id": found.segment_id + 1,
                        "category_id": found.segment.class_id,
                        "area": area,
                        "bbox": [int(value) for value in box],
                        "iscrowd": 0,
                        "score": score_of(found),
                    }
                )
            numbers = np.array([0, *(found.segment_id + 1 for found in each.row.found)], np.uint32)
            made.files.append((f"panoptic_{each.split}/{each.stem}.png", _png(numbers[ids])))
            one = {"image_id": each.row.number, "file_name": f"{each.stem}.png", "segments_info": segments}
            made.add(f"{each.split}/images", dumps(image(each)))
            made.add(f"{each.split}/annotations", dumps(one))
        return made

    def documents(self, style: Style, splits: Sequence[Split]) -> Iterator[Document]:
        classes = [
            {
                "id": number,
                "name": label,
                "supercategory": "",
                "isthing": int(label not in style.stuff),
                "color": list(style.colours[label]),
            }
            for label, number in style.classes.items()
        ]
        for split in splits:
            yield Document(
                path=f"annotations/panoptic_{split}.json",
                pieces=(
                    f'{{"info":{dumps({"description": style.about})},"licenses":[],\n"categories":{dumps(classes)},\n',
                    '"images":[\n',
                    Stream(name=f"{split}/images"),
                    '\n],\n"annotations":[\n',
                    Stream(name=f"{split}/annotations"),
                    "\n]}\n",
                ),
            )


def id_map(segments: Segments) -> NDArray[np.int64]:
    """(height, width): 0 where nothing is, else the position from 1 of the segment with the highest score at that
    pixel, the later one of equal scores: the rule of our label maps."""
    ids = np.zeros((segments.height, segments.width), np.int64)
    for position, segment in sorted(enumerate(segments.segments, 1), key=lambda pair: pair[1].score):
        x, y, w, h = (int(value) for value in segment.box)
        mask = rle.decode_at(segment.rle, segments.height, segments.width, x=x, y=y, crop_height=h, crop_width=w)
        ids[y : y + h, x : x + w][mask] = position
    return ids


def _png(ids: NDArray[np.uint32]) -> bytes:
    """id = red + 256 * green + 65536 * blue, as panopticapi has it."""
    colours = np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(colours).save(out, "PNG")
    return out.getvalue()
