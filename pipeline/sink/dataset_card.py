"""Makes the two files at the root of an output that say how its tables are read: `classes.json` and `README.md`.

The card's configs make `datasets.load_dataset(OUT)` load one table instead of everything that lies there: the published
images with their segments where they are Parquet, else the index. Any other table is `load_dataset(OUT, "masks")`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

from pipeline.image.colours import css

CLASSES: Final = "classes.json"
CARD: Final = "README.md"


def notes(job: str, classes: Mapping[str, int], kinds: Sequence[str]) -> dict[str, bytes]:
    """Return path -> bytes. classes: label -> class id. kinds: of images that are published as Parquet, each a config;
    the first is the default."""
    tables = {"images": "images", "masks": "masks", **{kind: f"rendered/{kind}" for kind in kinds}}
    default = kinds[0] if kinds else "images"
    configs = "".join(
        f"- config_name: {name}\n  data_files: {folder}/*.parquet\n" + ("  default: true\n" if name == default else "")
        for name, folder in tables.items()
    )
    named = [{"id": number, "name": label, "colour": css(label)} for label, number in classes.items()]
    return {
        CLASSES: json.dumps(named, indent=1, ensure_ascii=False).encode(),
        CARD: f"---\nconfigs:\n{configs}---\n\n{_TEXT.format(job=job)}".encode(),
    }


_TEXT: Final = """# The output of segfill {job}

`images/` has a row an image, `masks/` a row a segment; `image_id` joins them, and joins `rendered/`. The ids in
`class_id` and in label maps are those of `classes.json`, which has their colours too; 0 is what no label has.
`report/index.html` shows what was done.
"""
