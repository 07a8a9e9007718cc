"""What two runs published, for comparison: every object by path, less what may differ (hosts, seconds, attempts)."""

import hashlib
import json

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
    return [entry.path for entry in open_store(uri).list()]


def totals(uri: str) -> dict[str, int]:
    """images, written, unchanged, rejected over the commit records."""
    store = open_store(uri)
    sums = {"images": 0, "written": 0, "unchanged": 0, "rejected": 0}
    for entry in store.list("_commit"):
        counts = json.loads(store.read(entry.path))["counts"]
        sums = {key: sums[key] + counts[key] for key in sums}
    return sums
