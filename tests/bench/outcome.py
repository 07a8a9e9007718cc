"""What did a run of Segfill publish? Read from its index."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq

ALIKE = ("segment.faces.thorough=false", "audit=none")
"""What our own entries run with: the peers look once at each image and never at what they wrote, so ours do too."""


def outcome(out: Path) -> dict[str, float]:
    """images: with a row, whatever became of them. faces: images in which something was filled."""
    tables = [pq.read_table(path, columns=["status"]) for path in sorted(out.glob("images/*.parquet"))]
    status = [value for table in tables for value in table["status"].to_pylist()]
    return {"images": len(status), "faces": status.count("written")}
