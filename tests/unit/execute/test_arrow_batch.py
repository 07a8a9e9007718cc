"""A unit's images between processes: every record round-trips, whatever its names, sizes and counts."""

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pipeline.execute.arrow_batch import pack, unpack
from pipeline.records import (
    Crop,
    Cropped,
    EncodedImage,
    Filled,
    ImageRef,
    Patch,
    Region,
    Rejected,
    Rendered,
    Segment,
    Segmented,
    Segments,
    Selected,
    Sidecar,
    Tile,
    Unit,
    UnitBatch,
    View,
    Viewed,
)

# Any bytes can be a name in a tar: those that are not UTF-8 reach us as lone surrogates.
NAMES = st.binary(max_size=12).map(lambda raw: raw.decode("utf-8", "surrogateescape"))
SIDES = st.integers(0, 5)
NUMBERS = st.floats(allow_nan=False, width=64)
BOXES = st.tuples(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
INTS = st.integers(-(2**63), 2**63 - 1)


@st.composite
def rgb(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    return draw(hnp.arrays(np.uint8, (draw(SIDES), draw(SIDES), 3)))


@st.composite
def mask(draw: st.DrawFn) -> np.ndarray[Any, Any]:
    return draw(hnp.arrays(np.bool_, (draw(SIDES), draw(SIDES))))


def some(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(items, max_size=3).map(tuple)


REFS = st.builds(ImageRef, image_id=NAMES, key=NAMES, member=NAMES, sha256=NAMES)
REJECTED = st.builds(
    Rejected, ref=REFS, stage=NAMES, reason=NAMES, detail=NAMES, width=INTS, height=INTS, preview=st.binary(max_size=5)
)
SIDECARS = st.builds(Sidecar, name=NAMES, data=st.binary(max_size=9), kind=st.sampled_from(["file", "columns"]))
IMAGES = st.builds(EncodedImage, ref=REFS, data=st.binary(max_size=40), sidecars=some(SIDECARS))
VIEWS = st.builds(View, image_id=NAMES, height=INTS, width=INTS, tiles=some(st.builds(Tile, pixels=rgb(), box=BOXES)))
SEGMENT = st.builds(
    Segment, label=NAMES, class_id=INTS, score=NUMBERS, rle=st.binary(max_size=9), box=BOXES, area=INTS, model=NAMES
)
SEGMENTS = st.builds(Segments, image_id=NAMES, height=INTS, width=INTS, segments=some(SEGMENT))
REGIONS = st.builds(
    Region, image_id=NAMES, height=INTS, width=INTS, rle=st.binary(max_size=9), area=INTS, chosen=some(INTS)
)
CROPS = st.builds(Crop, x=INTS, y=INTS, pixels=rgb(), mask=mask(), known=mask(), seed=INTS, labels=some(NAMES))
PATCHES = st.builds(Patch, x=INTS, y=INTS, pixels=rgb(), mask=mask())
ITEMS = {
    EncodedImage: IMAGES,
    Viewed: st.builds(Viewed, image=IMAGES, views=some(VIEWS)),
    Segmented: st.builds(Segmented, image=IMAGES, segments=SEGMENTS),
    Selected: st.builds(Selected, image=IMAGES, segments=SEGMENTS, region=REGIONS),
    Cropped: st.builds(Cropped, image=IMAGES, segments=SEGMENTS, region=REGIONS, crops=some(CROPS)),
    Filled: st.builds(Filled, image=IMAGES, segments=SEGMENTS, region=REGIONS, patches=some(PATCHES)),
}
UNITS = st.builds(
    Unit,
    **dict.fromkeys(("unit_id", "shard", "uri", "etag", "failure"), NAMES),
    **dict.fromkeys(("start", "stop", "samples", "several"), INTS),
    last=st.booleans(),
    fields=st.dictionaries(NAMES, INTS, max_size=3),
)


def same(left: Any, right: Any) -> bool:
    """Equal in types and values, arrays included (`==` on dataclasses cannot compare arrays)."""
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray):
        return left.dtype == right.dtype and np.array_equal(left, right)
    if dataclasses.is_dataclass(left):
        return all(same(getattr(left, f.name), getattr(right, f.name)) for f in dataclasses.fields(left))
    if isinstance(left, tuple):
        return len(left) == len(right) and all(map(same, left, right))
    return bool(left == right)


@pytest.mark.parametrize("kind", ITEMS, ids=lambda kind: kind.__name__)
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_round_trip_of_any_batch(kind: type, data: st.DataObject) -> None:
    batch = data.draw(
        st.builds(
            UnitBatch,
            unit=UNITS,
            items=some(st.one_of(ITEMS[kind], REJECTED)),
            seconds=st.dictionaries(NAMES, NUMBERS, max_size=3),
        )
    )
    assert same(unpack(pack(batch)), batch)


UNIT = Unit(unit_id="u", shard="a.tar", uri="s3://b/a.tar", etag="e", start=0, stop=9, last=True)
REF = ImageRef(image_id="0" * 32, key="a", member="a.jpg", sha256="f" * 64)


def viewed(pixels: np.ndarray[Any, Any]) -> Viewed:
    tile = Tile(pixels=pixels, box=(0.0, 0.0, 8.0, 6.0))
    view = View(image_id=REF.image_id, height=6, width=8, tiles=(tile,))
    return Viewed(image=EncodedImage(ref=REF, data=b"jpeg"), views=(view,))


def batch(*items: Any) -> UnitBatch[Any]:
    return UnitBatch(unit=UNIT, items=items, seconds={"read": 0.25})


def first_tile(unpacked: UnitBatch[Any]) -> np.ndarray[Any, Any]:
    (item,) = unpacked.items
    assert isinstance(item, Viewed)
    return item.views[0].tiles[0].pixels


def test_pixels_are_views_into_the_cell_and_read_only() -> None:
    cell = pa.py_buffer(pack(batch(viewed(np.arange(144, dtype=np.uint8).reshape(6, 8, 3)))))
    pixels = first_tile(unpack(cell))
    start = pixels.__array_interface__["data"][0]
    assert cell.address <= start < cell.address + cell.size
    with pytest.raises(ValueError, match="read-only"):
        pixels[0, 0, 0] = 1


def test_an_array_that_is_not_contiguous_travels_by_its_values() -> None:
    pixels = np.arange(12 * 16 * 3, dtype=np.uint8).reshape(12, 16, 3)[::2, ::2, ::-1]
    assert np.array_equal(first_tile(unpack(pack(batch(viewed(pixels))))), pixels)


def test_columns_are_typed_and_pixels_are_not_hidden_in_a_blob() -> None:
    with pa.ipc.open_stream(pack(batch(viewed(np.zeros((6, 8, 3), np.uint8))))) as reader:
        schema = reader.schema
    assert schema.names == ["unit", "items", "seconds"]
    union = schema.field("items").type.value_type
    assert [union.field(i).name for i in range(union.num_fields)] == ["Viewed", "Rejected"]
    tile = union.field(0).type.field("views").type.value_type.field("tiles").type.value_type
    assert tile.field("pixels").type == pa.struct([("shape", pa.large_list(pa.int64())), ("data", pa.large_binary())])
    assert tile.field("box").type == pa.list_(pa.float64(), 4)


def test_a_unit_of_which_every_image_was_rejected() -> None:
    gone = Rejected(ref=REF, stage="decode", reason="truncated", detail="cut at byte 7")
    assert unpack(pack(batch(gone, gone))) == batch(gone, gone)
    assert unpack(pack(batch())) == batch()


def test_the_same_batch_gives_the_same_bytes() -> None:
    pixels = np.zeros((6, 8, 3), np.uint8)
    assert pack(batch(viewed(pixels))) == pack(batch(viewed(pixels.copy())))


def test_a_mixed_batch_is_refused() -> None:
    image = EncodedImage(ref=REF, data=b"")
    with pytest.raises(TypeError, match=r"unit u: expected items of one of .*EncodedImage.*Viewed"):
        pack(batch(image, viewed(np.zeros((1, 1, 3), np.uint8))))
    with pytest.raises(TypeError, match="Unit"):
        pack(batch(UNIT))


def test_pixels_of_another_dtype_are_refused() -> None:
    with pytest.raises(TypeError, match="expected an array of uint8, got float32"):
        pack(batch(viewed(np.zeros((6, 8, 3), np.float32))))


def test_rendered_images_travel_too() -> None:
    segments = Segments(image_id=REF.image_id, height=6, width=8, segments=())
    region = Region(image_id=REF.image_id, height=6, width=8, rle=b"", area=0, chosen=())
    item = Rendered(
        ref=REF, status="unchanged", segments=segments, region=region, seed=7, files=(), sidecars=(), seam=0.125
    )
    assert unpack(pack(batch(item))) == batch(item)
