"""What a run published, as its readers find it: objects and their hashes, rows of tables, counts, pixels."""

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from pipeline.storage.store import open_store


def published(uri: str) -> dict[str, str]:
    """Path -> sha256 of every object a reader would glob. Names carry hashes, so equal maps are equal outputs."""
    store = open_store(uri)
    return {
        entry.path: hashlib.sha256(store.read(entry.path)).hexdigest()
        for entry in store.list()
        if entry.path.split("/")[0] in ("masks", "images", "rendered", "_previews")
    }


def everything(uri: str) -> list[str]:
    """The path of every object, those of the run's own folders too."""
    return [entry.path for entry in open_store(uri).list()]


def totals(uri: str) -> dict[str, int]:
    """images, written, unchanged, rejected over the commit records."""
    store = open_store(uri)
    sums = {"images": 0, "written": 0, "unchanged": 0, "rejected": 0}
    for entry in store.list("_commit"):
        counts = json.loads(store.read(entry.path))["counts"]
        sums = {key: sums[key] + counts[key] for key in sums}
    return sums


def commits(uri: str) -> int:
    """The number of units committed so far; 0 where there is no output yet."""
    try:
        return len(open_store(uri).list("_commit"))
    except FileNotFoundError:
        return 0


def rows(out: Path | str, table: str = "images") -> list[dict[str, Any]]:
    """All rows of `images` or `masks`, in the order of the files' names."""
    store = open_store(str(out))
    files = [entry.path for entry in store.list(table)]
    return [row for path in sorted(files) for row in pq.read_table(io.BytesIO(store.read(path))).to_pylist()]


def index(out: Path | str) -> dict[str, dict[str, Any]]:
    """Member -> its row of `images`."""
    return {str(row["member"]): row for row in rows(out)}


def pixels(path: Path) -> np.ndarray:
    """HWC RGB of a picture as integers that can be subtracted."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB")).astype(int)
