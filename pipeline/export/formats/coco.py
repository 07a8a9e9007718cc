"""COCO instances: a JSON a split, valid for pycocotools' COCO and COCOeval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pipeline.export.choice import Split
from pipeline.export.formats.base import Made, Shape, Shown, Style, dumps, flat, score_of
from pipeline.export.parts import Document, Stream


class Coco:
    limits = ""
    shapes: tuple[Shape, ...] = ("rle", "polygons")
    embeds = False
    pictures = "images/{split}"

    def unit(self, unit_id: str, images: Sequence[Shown], style: Style) -> Made:
        made = Made()
        for each in images:
            made.add(f"{each.split}/images", dumps(image(each)))
            for found in each.row.found:
                if style.shape == "polygons":
                    rings = made.rings(found, each.row, style.tolerance)
                    shape: object = [flat(ring) for ring in rings]
                else:
                    shape = {"size": [each.row.height, each.row.width], "counts": found.segment.rle.decode()}
                one = {
                    "id": found.number,
                    "image_id": each.row.number,
                    "category_id": found.segment.class_id,
                    "iscrowd": 0,
                    "area": found.segment.area,
                    "bbox": list(found.segment.box),
                    "score": score_of(found),
                    "segmentation": shape,
                }
                made.add(f"{each.split}/annotations", dumps(one))
        return made

    def documents(self, style: Style, splits: Sequence[Split]) -> Iterator[Document]:
        classes = [{"id": number, "name": label, "supercategory": ""} for label, number in style.classes.items()]
        for split in splits:
            yield Document(
                path=f"annotations/instances_{split}.json",
                pieces=(
                    f'{{"info":{dumps({"description": style.about})},"licenses":[],\n"categories":{dumps(classes)},\n',
                    '"images":[\n',
                    Stream(name=f"{split}/images"),
                    '\n],\n"annotations":[\n',
                    Stream(name=f"{split}/annotations"),
                    "\n]}\n",
                ),
            )


def image(each: Shown) -> dict[str, object]:
    """The entry of an image. coco_url: where it can be read."""
    row = each.row
    found: dict[str, object] = {"id": row.number, "file_name": each.name, "width": row.width, "height": row.height}
    if each.uri:
        found["coco_url"] = each.uri
    return {**found, "image_id": row.image_id}
