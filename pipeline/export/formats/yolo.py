"""YOLO segmentation: a text an image, a line a segment (`class x1 y1 x2 y2 ...`, shares of width and height), and
data.yaml."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence

from pipeline.export.choice import Split
from pipeline.export.formats.base import Made, Shape, Shown, Style
from pipeline.export.parts import Document, Stream


class Yolo:
    limits = (
        "an object is one polygon: holes and parts are joined by bridges, which a reader that draws the outline may "
        "show as lines; class 0 is the class id 1 of the output; no scores"
    )
    shapes: tuple[Shape, ...] = ("polygons",)
    embeds = False
    pictures = "images/{split}"

    def unit(self, unit_id: str, images: Sequence[Shown], style: Style) -> Made:
        made = Made()
        for each in images:
            lines = []
            for found in each.row.found:
                for ring in made.rings(found, each.row, style.tolerance, one=True):
                    shares = (ring / (each.row.width, each.row.height)).ravel().tolist()
                    lines.append(" ".join([str(found.segment.class_id - 1), *(f"{share:.7g}" for share in shares)]))
            made.files.append((f"labels/{each.split}/{each.stem}.txt", "".join(f"{line}\n" for line in lines).encode()))
            made.add(each.split, f"./images/{each.split}/{each.name}" if style.copied else each.uri or each.name)
        return made

    def documents(self, style: Style, splits: Sequence[Split]) -> Iterator[Document]:
        for split in splits:
            yield Document(path=f"{split}.txt", pieces=(Stream(name=split, between="\n"),))
        names = "".join(f"  {number - 1}: {json.dumps(label)}\n" for label, number in style.classes.items())
        places = {split: f"images/{split}" if style.copied else f"{split}.txt" for split in splits}
        if "val" not in places and "train" in places:
            places["val"] = f"{places['train']} # no image is in val, and trainers want one; see split"
        listed = "".join(f"{split}: {place}\n" for split, place in places.items())
        yield Document(path="data.yaml", pieces=(f"# {style.about}\n{listed}names:\n{names}",))
