"""FiftyOne: a folder a split, `data/` and `labels.json`, that it imports as COCODetectionDataset with masks, scores and
ids."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from pipeline.export.choice import Split
from pipeline.export.formats.base import Made, Shape, Shown, Style
from pipeline.export.formats.coco import Coco
from pipeline.export.parts import Document


class FiftyOne:
    limits = "import it with label_types='segmentations'; FiftyOne keeps a mask inside its box"
    shapes: tuple[Shape, ...] = ("rle",)
    embeds = False
    pictures = "{split}/data"

    def unit(self, unit_id: str, images: Sequence[Shown], style: Style) -> Made:
        return Coco().unit(unit_id, images, style)

    def documents(self, style: Style, splits: Sequence[Split]) -> Iterator[Document]:
        for split, document in zip(splits, Coco().documents(style, splits), strict=True):
            yield replace(document, path=f"{split}/labels.json")
