"""The published tables: fixed schemas, fixed bytes, readable by the readers that people use."""

from dataclasses import dataclass, replace
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.image import rle
from pipeline.sink.tables import IMAGES, MASKS, PREVIEWS, parquet, table, utf8


@dataclass(frozen=True, kw_only=True)
class Row:
    image_id: str = "0" * 32
    key: str = "beach/a"
    segment_id: int = 0
    class_id: int = 3
    label: str = "face"
    score: float = 0.5
    bbox: tuple[float, float, float, float] = (1.0, 2.0, 3.5, 4.25)
    area: int = 6
    rle: str = ""
    height: int = 8
    width: int = 10
    model: str = "centerface"
    selected: bool = True


MASK = np.zeros((8, 10), bool)
MASK[2:5, 1:3] = True
ROWS = [Row(rle=rle.encode(MASK).decode()), Row(segment_id=1, label="text", selected=False)]


@pytest.fixture
def masks_file(tmp_path: Path) -> Path:
    path = tmp_path / "masks.parquet"
    path.write_bytes(parquet(table(MASKS, ROWS)))
    return path


def test_pyarrow_reads_back_the_very_schema_and_values(masks_file: Path) -> None:
    back = pq.read_table(masks_file)
    assert back.schema.equals(MASKS)
    assert back.column("bbox").to_pylist() == [[1.0, 2.0, 3.5, 4.25]] * 2
    assert back.column("selected").to_pylist() == [True, False]
    assert np.array_equal(rle.decode(back.column("rle")[0].as_py().encode(), 8, 10), MASK)


def test_pandas_reads_it(masks_file: Path) -> None:
    frame = pd.read_parquet(masks_file)
    assert list(frame.columns) == MASKS.names
    assert frame["label"].tolist() == ["face", "text"]
    assert frame["bbox"][0].tolist() == [1.0, 2.0, 3.5, 4.25]


def test_duckdb_reads_it(masks_file: Path) -> None:
    with duckdb.connect() as db:
        found = db.execute(
            "select label, bbox[3], area from read_parquet(?) where selected", [str(masks_file)]
        ).fetchall()
    assert found == [("face", 3.5, 6)]


def test_same_table_same_bytes() -> None:
    assert parquet(table(MASKS, ROWS)) == parquet(table(MASKS, [replace(row) for row in ROWS]))
    assert parquet(table(MASKS, ROWS)) != parquet(table(MASKS, ROWS[:1]))


@pytest.mark.parametrize("schema", [MASKS, IMAGES, PREVIEWS])
def test_an_empty_table_keeps_its_schema(schema: pa.Schema, tmp_path: Path) -> None:
    (tmp_path / "empty.parquet").write_bytes(parquet(table(schema, [])))
    back = pq.read_table(tmp_path / "empty.parquet")
    assert back.schema.equals(schema)
    assert back.num_rows == 0


def test_a_missing_column_is_an_error_not_nulls() -> None:
    with pytest.raises(AttributeError, match="member"):
        table(IMAGES, [replace(ROWS[0])])


def test_nothing_that_changes_from_run_to_run_is_a_column() -> None:
    assert not {"seconds", "host", "attempt", "time", "created"} & {*MASKS.names, *IMAGES.names}


def test_names_that_are_not_utf8_can_be_written() -> None:
    name = b"caf\xe9/\xff.jpg".decode("utf-8", "surrogateescape")
    assert utf8(name) == "caf\\xe9/\\xff.jpg"
    assert utf8("Bücher/日本.jpg") == "Bücher/日本.jpg"


def test_images_are_stored_uncompressed_and_unindexed() -> None:
    noise = np.random.default_rng(0).bytes(100_000)
    content = pa.table({"image": pa.array([noise, noise], pa.binary())})
    size = len(parquet(content, compressed=False))
    assert 200_000 < size < 201_000
