"""The result of a Segfill run, read from its index."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

ALIKE = ("segment.faces.thorough=false", "audit=none")
"""Options of Segfill's entries: the peers run one pass over each image and no audit, so these do too."""


def outcome(out: Path) -> dict[str, float]:
    """images: those with a row of any status. faces: images in which something was filled."""
    tables = [pq.read_table(path, columns=["status"]) for path in sorted(out.glob("images/*.parquet"))]
    status = [value for table in tables for value in table["status"].to_pylist()]
    return {"images": len(status), "faces": status.count("written")}
