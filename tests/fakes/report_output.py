"""A small handmade output: two units of photographs, with a hostile name and rejected images in each."""

import io
from typing import Final

import numpy as np
import pyarrow as pa
from PIL import Image

from jobs.demo_shards import photograph
from pipeline.records import Committed, FileEntry
from pipeline.sink.tables import IMAGES, MASKS, PREVIEWS, parquet
from pipeline.storage.store import Store
from tests.fakes.commit_records import committed

HOSTILE = "<img src=x onerror=alert(1)>"
PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "motorcycle_left.png", "page.png", "coins.png")


def write_output(store: Store, *, images: int = 6, rejected: int = 2, unfilled: int = 0) -> list[Committed]:
    """Write two units of `images` images each, the last `rejected` of them rejected, the first `unfilled` unchanged.

    The first unit is published as loose files, the second in a tar. Returns their commit records.
    """
    records = []
    for unit in ("a-0", "b-0"):
        keys = [f"{unit}/picture-{i}" for i in range(images - 1)] + [f"{unit}/{HOSTILE}"]
        good, bad = keys[: images - rejected], keys[images - rejected :]
        contents = {
            f"masks/{unit}-000000000000.parquet": _masks(good),
            f"images/{unit}-000000000000.parquet": _index(unit, good, bad, unfilled),
            f"_previews/{unit}-000000000000.parquet": _previews(good, bad),
        }
        for path, data in contents.items():
            store.put(path, data)
        records.append(
            committed(
                unit,
                shard=f"{unit}.tar",
                written=len(good),
                rejected=len(bad),
                rejects=(("decode", "truncated", len(bad)),) if bad else (),
                segments=(("face", 2 * len(good)), ("text", len(good))),
                seconds={
                    "read": 0.2,
                    "decode": 1.5,
                    "segment": 6.0,
                    "select": 0.1,
                    "crop": 0.5,
                    "fill": 0.9,
                    "render": 1.1,
                    "commit": 0.3,
                },
                bytes_in=1_500_000,
                files=tuple(FileEntry(path=p, size=len(d), sha256="0" * 64) for p, d in contents.items()),
            )
        )
    return records


def _masks(keys: list[str]) -> bytes:
    rng = np.random.default_rng(3)
    row = {"class_id": 0, "bbox": [0.0, 0.0, 9.0, 9.0], "area": 81, "rle": "0", "height": 10, "width": 10, "model": "m"}
    rows = [
        {"image_id": key, "key": key, "segment_id": i, "label": label, "score": score, "selected": i != 1, **row}
        for key in keys
        for i, (label, score) in enumerate(
            (("face", rng.uniform(0.8, 1)), ("face", rng.uniform(0.3, 1)), ("text", 1.0))
        )
    ]
    return parquet(pa.Table.from_pylist(rows, MASKS))


_EMPTY: Final = {"string": "", "list": [], "bool": False}


def _index(unit: str, good: list[str], bad: list[str], unfilled: int) -> bytes:
    """Good images are filled but for the first `unfilled`. The seam of each is its position in its unit, plus a half in
    the second unit; its share falls from 0.5 by hundredths."""
    rows = []
    for number, key in enumerate(good + bad):
        row: dict[str, object] = {field.name: _EMPTY.get(str(field.type).partition("<")[0], 0) for field in IMAGES}
        row |= {"image_id": key, "key": key, "unit": unit, "status": "written"}
        if key in good:
            loose = unit == "a-0"
            path, member = (f"rendered/filled/{key} 1#.jpg", "") if loose else (f"rendered/filled/{unit}.tar", key)
            row["outputs"] = [{"kind": "filled", "path": path, "member": member, "sha256": ""}]
        if key in good[unfilled:]:
            row |= {"filled_share": (50 - number) / 100, "seam": number + 0.5 * (not loose)}
        if key in bad:
            row |= {
                "status": "rejected",
                "stage": "decode",
                "reason": "truncated",
                "detail": f"{key}: 3 bytes are missing",
            }
        rows.append(row)
    return parquet(pa.Table.from_pylist(rows, IMAGES))


def _previews(good: list[str], bad: list[str]) -> bytes:
    rows = []
    for index, key in enumerate(good):
        picture = photograph(PHOTOS[index % len(PHOTOS)]).convert("RGB")
        picture.thumbnail((240, 240))
        mask = Image.new("L", picture.size)
        box = (picture.width // 3, picture.height // 4, picture.width // 2, picture.height // 2)
        mask.paste(255, box)
        after = picture.copy()
        after.paste((90, 90, 90), box)
        rows.append({"image_id": key, "key": key, "before": jpeg(picture), "mask": jpeg(mask), "after": jpeg(after)})
    for number, key in enumerate(bad):
        before = jpeg(Image.new("RGB", (60, 40), "maroon")) if number == 0 else b""
        rows.append({"image_id": key, "key": key, "before": before, "mask": b"", "after": b""})
    return parquet(pa.Table.from_pylist(rows, PREVIEWS), compressed=False)


def jpeg(picture: Image.Image) -> bytes:
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=80)
    return out.getvalue()
