"""One row a segment; the row alone gives the mask back."""

import numpy as np
import pycocotools.mask
import pytest

from pipeline.image import rle
from pipeline.records import ImageRef, Region, Rejected, Rendered, Segment, Segments
from pipeline.sink.masks import masks
from pipeline.sink.tables import MASKS


def image(number: int, *drawn: np.ndarray, chosen: tuple[int, ...] = ()) -> Rendered:
    ref = ImageRef(image_id=f"{number:032x}", key=f"a/{number}", member=f"a/{number}.jpg")
    segments = tuple(
        Segment(
            label="face",
            class_id=i,
            score=0.25 * (i + 1),
            rle=rle.encode(mask),
            box=rle.box(rle.encode(mask), 6, 9),
            area=int(mask.sum()),
            model="drawn",
        )
        for i, mask in enumerate(drawn)
    )
    found = Segments(image_id=ref.image_id, height=6, width=9, segments=segments)
    region = Region(image_id=ref.image_id, height=6, width=9, rle=rle.empty(6, 9), area=0, chosen=chosen)
    return Rendered(ref=ref, status="written", segments=found, region=region, seed=1, files=(), sidecars=())


def drawn(top: int, left: int, height: int, width: int) -> np.ndarray:
    mask = np.zeros((6, 9), bool)
    mask[top : top + height, left : left + width] = True
    return mask


FIRST, SECOND = drawn(1, 2, 3, 4), drawn(0, 0, 1, 1)


def test_rows_in_source_order_then_segment_order() -> None:
    rows = masks([image(1, FIRST, SECOND, chosen=(1,)), image(2), image(3, SECOND)]).to_pylist()
    assert [(r["key"], r["segment_id"], r["selected"]) for r in rows] == [
        ("a/1", 0, False),
        ("a/1", 1, True),
        ("a/3", 0, False),
    ]
    assert rows[0] == {
        "image_id": f"{1:032x}",
        "key": "a/1",
        "segment_id": 0,
        "class_id": 0,
        "label": "face",
        "score": 0.25,
        "bbox": [2.0, 1.0, 4.0, 3.0],
        "area": 12,
        "rle": rows[0]["rle"],
        "height": 6,
        "width": 9,
        "model": "drawn",
        "selected": False,
    }


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools 2.0.11 on NumPy 2
def test_pycocotools_decodes_a_row_without_our_code() -> None:
    row = masks([image(1, FIRST)]).to_pylist()[0]
    decoded = pycocotools.mask.decode({"size": [row["height"], row["width"]], "counts": row["rle"]})
    assert np.array_equal(decoded.astype(bool), FIRST)


def test_a_rejected_image_has_no_rows_and_an_empty_table_its_schema() -> None:
    gone = Rejected(ref=image(1).ref, stage="fill", reason="failed", detail="")
    table = masks([gone])
    assert table.num_rows == 0
    assert table.schema.equals(MASKS)
