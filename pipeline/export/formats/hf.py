"""Hugging Face datasets: Parquet files with Image features, the segments of each image in a list, and a dataset card.
`datasets.load_dataset(FOLDER)` opens it without our code."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.export.choice import Split
from pipeline.export.formats.base import Made, Shape, Shown, Style, per_split, score_of
from pipeline.export.formats.label_maps import png
from pipeline.export.parts import Document

_IMAGE: Final = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_SEGMENT: Final = pa.struct(
    [
        ("class", pa.int64()),
        ("score", pa.float64()),
        ("bbox", pa.list_(pa.float32(), 4)),
        ("area", pa.int64()),
        ("rle", pa.string()),
    ]
)


class Hf:
    limits = "`class` counts from 0, as ClassLabel does: 0 is the class id 1 of the output; `mask` keeps the class ids"
    shapes: tuple[Shape, ...] = ("rle",)
    embeds = True
    pictures = ""

    def unit(self, unit_id: str, images: Sequence[Shown], style: Style) -> Made:
        made = Made()
        schema = _schema(style)
        for split, some in per_split(images):
            rows = [_row(each, style) for each in some]
            out = io.BytesIO()
            columns = [pa.array([row[field.name] for row in rows], field.type) for field in schema]
            pq.write_table(pa.Table.from_arrays(columns, schema=schema), out, compression="zstd")
            made.files.append((f"data/{split}/{unit_id}.parquet", out.getvalue()))
        return made

    def documents(self, style: Style, splits: Sequence[Split]) -> Iterator[Document]:
        files = "".join(f"  - split: {split}\n    path: data/{split}/*.parquet\n" for split in splits)
        yield Document(
            path="README.md", pieces=(f"---\nconfigs:\n- config_name: default\n  data_files:\n{files}---\n",)
        )


def _row(each: Shown, style: Style) -> dict[str, Any]:
    row = each.row
    return {
        "image": {"bytes": each.picture.data, "path": each.name} if each.picture else None,
        "image_id": row.image_id,
        "file_name": each.name,
        "image_uri": each.uri,
        "width": row.width,
        "height": row.height,
        "mask": {"bytes": png(each.label_map(), style), "path": f"{each.stem}.png"},
        "segments": [
            {
                "class": found.segment.class_id - 1,
                "score": score_of(found),
                "bbox": list(found.segment.box),
                "area": found.segment.area,
                "rle": found.segment.rle.decode(),
            }
            for found in row.found
        ],
    }


def _schema(style: Style) -> pa.Schema:
    """The columns, with what datasets keeps of them in the metadata."""
    columns: dict[str, pa.DataType] = {
        **({"image": _IMAGE} if style.copied else {}),
        **{name: pa.string() for name in ("image_id", "file_name", "image_uri")},
        "width": pa.int32(),
        "height": pa.int32(),
        "mask": _IMAGE,
        "segments": pa.list_(_SEGMENT),
    }
    features = {**{name: _feature(kind) for name, kind in columns.items()}, "mask": {"_type": "Image"}}
    if style.copied:
        features["image"] = {"_type": "Image"}
    names = [label for label, _ in sorted(style.classes.items(), key=lambda pair: pair[1])]
    segment = {
        "class": {"names": names, "_type": "ClassLabel"},
        "score": _feature(pa.float64()),
        "bbox": {"feature": _feature(pa.float32()), "length": 4, "_type": "List"},
        "area": _feature(pa.int64()),
        "rle": _feature(pa.string()),
    }
    features["segments"] = {"feature": segment, "_type": "List"}
    about = json.dumps({"info": {"features": features}})
    return pa.schema(columns).with_metadata({"huggingface": about})


def _feature(kind: pa.DataType) -> Mapping[str, object]:
    names = {"float": "float32", "double": "float64"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}
