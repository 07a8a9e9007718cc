"""How many images of a unit are decoded at one time."""

import io

import pytest
from PIL import Image

from pipeline import build
from pipeline.flow import Hot, _portions
from pipeline.records import EncodedImage, ImageRef, Rejected

WEIGHTS = ["model.uri=file:/away.safetensors", f"model.sha256={'0' * 64}", "model.licence=MIT", "names=[disc]"]


def hot(*overrides: str) -> Hot:
    """Of a flow with a network of ours, whose weights are never looked at."""
    net = ["segment=[unet]", *(f"segment.unet.{value}" for value in WEIGHTS)]
    config = build.compose("annotate", ["source.uri=/in", "sink.uri=/out", *net, *overrides])
    return build.build(config).flow.load("cpu", 1)


def items(width: int, height: int, count: int) -> tuple[EncodedImage | Rejected, ...]:
    out = io.BytesIO()
    Image.new("1", (width, height)).save(out, "PNG")
    refs = [ImageRef(image_id=str(number), key="k", member="k.png") for number in range(count)]
    return tuple(EncodedImage(ref=ref, data=out.getvalue()) for ref in refs)


@pytest.mark.parametrize(
    ("overrides", "size", "expected"),
    [
        (["chunk=3"], (5000, 4000), [3, 3, 1]),
        (["chunk=3", "segment.unet.look.overlap=64"], (5000, 4000), [1] * 7),
        (["chunk=3", "segment.unet.look.overlap=64"], (4000, 4000), [2, 2, 2, 1]),
        (["chunk=3", "segment.unet.look.overlap=64"], (400, 400), [3, 3, 1]),
    ],
)
def test_large_images_go_in_smaller_portions_where_tiles_hold_all_their_pixels(
    overrides: list[str], size: tuple[int, int], expected: list[int]
) -> None:
    images = items(*size, 7)
    portions = list(_portions(hot(*overrides), images))
    assert [len(portion) for portion in portions] == expected
    assert sum(portions, ()) == images


def test_what_cannot_be_read_is_no_obstacle() -> None:
    ref = ImageRef(image_id="0", key="k", member="k.png")
    bad = (EncodedImage(ref=ref, data=b"no image"), Rejected(ref=ref, stage="read", reason="empty", detail=""))
    assert list(_portions(hot("segment.unet.look.overlap=64"), bad)) == [bad]
    assert list(_portions(hot(), ())) == []
