"""Defines the published tables: their schemas, and the bytes of their Parquet files.

No column changes from run to run. No value is null: where one does not apply, a text or a list is empty and a number is
0. Rows are in source order. Pixels are those of the upright full-size image.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

MASKS: Final = pa.schema(
    {
        "image_id": pa.string(),
        "key": pa.string(),
        "segment_id": pa.int32(),
        "class_id": pa.int32(),
        "label": pa.string(),
        "score": pa.float32(),
        "bbox": pa.list_(pa.float32(), 4),
        "area": pa.int64(),
        "rle": pa.string(),
        "height": pa.int32(),
        "width": pa.int32(),
        "model": pa.string(),
        "selected": pa.bool_(),
    }
)
"""`masks/`: one row a segment of an image that was not rejected.

segment_id: position in its image. class_id: as in `classes.json`, from 1. score: 0..1. bbox: x, y, width, height in
pixels. area: pixels. rle: COCO compressed counts (ASCII): `pycocotools.mask.decode({"size": [height, width], "counts":
rle})` is the mask. height, width: of the image. selected: the segment is part of the region to fill.
"""

IMAGES: Final = pa.schema(
    {
        "image_id": pa.string(),
        "key": pa.string(),
        "member": pa.string(),
        "image_uri": pa.string(),
        "source": pa.string(),
        "shard": pa.string(),
        "unit": pa.string(),
        "status": pa.string(),
        "stage": pa.string(),
        "reason": pa.string(),
        "detail": pa.string(),
        "width": pa.int32(),
        "height": pa.int32(),
        "n_segments": pa.int32(),
        "filled_share": pa.float64(),
        "seam": pa.float64(),
        "input_sha256": pa.string(),
        "output_sha256": pa.string(),
        "output": pa.string(),
        "output_member": pa.string(),
        "outputs": pa.list_(pa.struct([(name, pa.string()) for name in ("kind", "path", "member", "sha256")])),
        "sidecars": pa.list_(pa.string()),
        "models": pa.list_(pa.string()),
        "fill": pa.string(),
        "reversible": pa.bool_(),
        "seed": pa.int64(),
    }
)
"""`images/`, the index: one row an image, rejected ones included.

image_uri: absolute place of the source image: a file; `TAR#member`; `FILE#row=12` of a Parquet file, with `&item=0` in
a list. source: URI of the source root. shard: relative to it. member: the image's name in the shard. status: written |
unchanged | rejected. stage, reason, detail: of a rejection. width, height: 0 when the image could not be read.
filled_share: 0..1, the share of the pixels that were filled. seam: visibility of the fill (1: like what is around it;
above 3: review it; pipeline/render/seam.py), measured before encoding; 0 where no filled image is published. output:
the published object with the image, relative to the output root; output_member: its name inside (tar member; `key` of
the row of a Parquet file; empty for a loose file). Both name the `filled` image, or the first kind where the flow
renders no filled image. outputs: all published files of this image, each with its kind, path, member and the sha256 of
its bytes. sidecars: what is published with the filled image: members of its tar; paths of loose files; columns of its
row and names in its column `sidecars`. models: all models of the flow. fill, reversible: of the method that filled this
image; empty and false when nothing was filled.
"""

PREVIEWS: Final = pa.schema(
    {
        "image_id": pa.string(),
        "key": pa.string(),
        "before": pa.binary(),
        "mask": pa.binary(),
        "after": pa.binary(),
    }
)
"""`_previews/`, for the report only: small JPEGs. A rejected image has at most `before`. In a private run the region of
`before` is blanked."""


def utf8(name: str) -> str:
    r"""Return a name that a table can hold: bytes that are not UTF-8 (here lone surrogates) become `\xNN`."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def table(schema: pa.Schema, rows: Sequence[object]) -> pa.Table:
    """Return a table of this schema. rows: objects with an attribute for each column."""
    columns = [pa.array([getattr(row, field.name) for row in rows], field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def parquet(content: pa.Table, *, compressed: bool = True) -> bytes:
    """Return the bytes of a Parquet file, the same on every run for the same table and pyarrow version.

    One row group, no timestamps, no file-level metadata but the Arrow schema. compressed: false for columns of encoded
    images.
    """
    sink = io.BytesIO()
    pq.write_table(
        content,
        sink,
        row_group_size=max(1, content.num_rows),
        version="2.6",
        data_page_version="1.0",
        compression="zstd" if compressed else "none",
        compression_level=3 if compressed else None,
        use_dictionary=compressed,
        write_statistics=compressed,
        store_schema=True,
    )
    return sink.getvalue()
