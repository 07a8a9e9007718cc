"""`segfill demo [FOLDER]`: the three jobs on real photographs, one of them on Ray Data.

Each job reads another kind of source; `clean` runs a second time, for an object that is in the way. FOLDER/in holds the
sources, FOLDER/before_mask_after.jpg a picture of what the jobs wrote (docs/before_mask_after.jpg is a copy of one).
"""

from __future__ import annotations

import shutil
import sys
import time
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq
from omegaconf import DictConfig
from PIL import Image, ImageDraw, ImageFont, ImageOps

from jobs import entry
from jobs.demo_shards import build as build_shards
from pipeline import build, driver, life
from pipeline.errors import EXIT_OK, RefusedError
from pipeline.image import rle
from pipeline.spec import spec

OBJECTS = ("segment=[captions,salient]", "select.labels=[text,salient]", "select.max_segment_share=0.12")
"""What stands out, when it is small: what is large is what a photograph is about."""
RUNS = (
    (
        "annotate", "webdataset", "annotate", "the salient object, faces and text, from WebDataset tars",
        ["render=overlay", "sink=files"],
    ),
    (
        "clean", "parquet", "clean", "drawn captions removed, from Parquet, on Ray Data",
        ["sink=files", "fill=generative", "execute=ray"],
    ),
    (
        "clean", "folder/things", "clean-objects", "small objects removed too, from a folder",
        ["sink=files", "fill=generative", *OBJECTS],
    ),
    ("anonymize", "folder", "anonymize", "faces removed, from a folder", ["sink=files"]),
)  # fmt: skip
SHOWN = (
    ("clean", "in/folder/things", "clean-objects", "rocket.jpg"),
    ("anonymize", "in/folder", "anonymize", "people/turned.jpg"),
)
"""Verb, source, output and member of a row of the picture: both photographs are in the public domain."""
_PANEL, _GAP, _HEAD = 320, 8, 24


@spec
class DemoKeys:
    """The key of conf/demo.yaml."""

    folder: str = "demo"
    """Where the demo goes; one that lies there is replaced."""


KEYS: Final = DemoKeys
main = partial(entry.main, "demo")


def run(config: DictConfig) -> int:
    """Builds the shards, runs the jobs, prints their tables. Exit code: the first job's that did not end well."""
    folder, started = Path(str(build.plain(config, "demo")["folder"])), time.monotonic()
    source = folder / "in"
    if folder.exists() and any(folder.iterdir()):
        if not (source / "webdataset/demo-000000.tar").exists():
            raise RefusedError(f"{folder}: not empty, and no demo of ours; name a folder that may be replaced")
        shutil.rmtree(folder)
    life.phase("making the sources")
    build_shards(source)
    life.say(f"{folder}: real photographs of scikit-image as tars, Parquet and a folder; two are cut off on purpose\n")
    codes = []
    for name, kind, into, what, options in RUNS:
        life.say(f"--- segfill {name}: {what}")
        overrides = [f"source.uri={source / kind}", f"sink.uri={folder / into}", *options]
        overrides.append("max_reject_share=0.1")  # one broken image of twelve is planted
        codes.append(driver.run(build.build(build.compose(name, overrides)), sys.stdout, sys.stderr))
        life.say("")
    life.phase("making the picture")
    picture(folder).save(folder / "before_mask_after.jpg", quality=88)
    life.say(f"before, mask, after: {folder}/before_mask_after.jpg")
    life.say(f"took {time.monotonic() - started:.0f} s; the same on your own data: segfill anonymize --help")
    return next((code for code in codes if code), EXIT_OK)


def picture(folder: Path) -> Image.Image:
    """A row a verb: the source, what was selected in amber, and what was published, all read from the demo's files."""
    font, rows = ImageFont.load_default(size=15), []
    for verb, source, into, member in SHOWN:
        before, mask, after = _panels(folder / source / member, folder / into, member)
        row = Image.new("RGB", (3 * _PANEL + 2 * _GAP, before.height + _HEAD), "white")
        titles = (f"segfill {verb}: before", "mask", "after")
        for column, (panel, title) in enumerate(zip((before, mask, after), titles, strict=True)):
            row.paste(panel, (column * (_PANEL + _GAP), _HEAD))
            ImageDraw.Draw(row).text((column * (_PANEL + _GAP), 3), title, fill="black", font=font)
        rows.append(row)
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows) + _GAP), "white")
    for number, row in enumerate(rows):
        sheet.paste(row, (0, number * (rows[0].height + _GAP)))
    return sheet


def _panels(source: Path, output: Path, member: str) -> tuple[Image.Image, Image.Image, Image.Image]:
    images, masks = (pq.read_table(output / name).to_pylist() for name in ("images", "masks"))
    (image,) = (row for row in images if row["member"] == member)
    height, width = image["height"], image["width"]
    runs = [row["rle"].encode() for row in masks if row["image_id"] == image["image_id"] and row["selected"]]
    before = ImageOps.exif_transpose(Image.open(source)).convert("RGB")
    inside = rle.decode(rle.union(runs, height, width), height, width)
    grey = np.asarray(before.convert("L").convert("RGB")) // 3
    mask = Image.fromarray(np.where(inside[..., None], np.array([255, 191, 0], np.uint8), grey))
    after = Image.open(output / "rendered/filled" / member).convert("RGB")
    size = (_PANEL, round(height * _PANEL / width))
    small = [each.resize(size, Image.Resampling.LANCZOS) for each in (before, mask, after)]
    return small[0], small[1], small[2]


if __name__ == "__main__":
    sys.exit(main())
