"""Images as they come out of the fill stage, and what render makes of them."""

from __future__ import annotations

import numpy as np

from pipeline.image import rle
from pipeline.image.decode import Decode
from pipeline.image.header import read_header
from pipeline.records import (
    EncodedImage,
    Filled,
    ImageRef,
    Mask,
    Patch,
    Region,
    Rendered,
    Rgb,
    Segment,
    Segments,
    Sidecar,
    image_id,
)
from pipeline.render.render import Render
from tests.fakes import metadata_samples

FILL = np.array((20, 120, 60), np.uint8)


def disc(height: int, width: int, *, y: int = 40, x: int = 60, radius: int = 22) -> Mask:
    rows, columns = np.ogrid[:height, :width]
    inside: Mask = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    return inside


def segment_of(mask: Mask, label: str = "face", score: float = 0.9, class_id: int = 1) -> Segment:
    counts = rle.encode(mask)
    box = rle.box(counts, *mask.shape)
    return Segment(
        label=label, class_id=class_id, score=score, rle=counts, box=box, area=int(mask.sum()), model="drawn"
    )


def item(
    data: bytes,
    mask: Mask | None = None,
    *,
    patches: tuple[Patch, ...] | None = None,
    segments: tuple[Segment, ...] | None = None,
    sidecars: tuple[Sidecar, ...] = (),
) -> Filled:
    """One image as it comes out of the fill stage; mask None: nothing to fill."""
    height, width = read_header(data).upright
    empty = np.zeros((height, width), np.bool_)
    region = empty if mask is None else mask
    found = segments if segments is not None else (() if mask is None else (segment_of(mask),))
    ident = image_id("shard", str(hash(data)))
    if patches is None:
        patches = () if mask is None else (Patch(x=0, y=0, pixels=np.full((height, width, 3), FILL), mask=mask),)
    return Filled(
        image=EncodedImage(ref=ImageRef(image_id=ident, key="a/b", member="a/b.jpg"), data=data, sidecars=sidecars),
        segments=Segments(image_id=ident, height=height, width=width, segments=found),
        region=Region(
            image_id=ident,
            height=height,
            width=width,
            rle=rle.encode(region),
            area=int(region.sum()),
            chosen=tuple(range(len(found))) if mask is not None else (),
        ),
        patches=patches,
    )


def rendered(filled: Filled, *, preview: bool = False, **options: object) -> Rendered:
    return Render(**options)(filled, Decode().load(), preview=preview)  # type: ignore[arg-type]


def full(data: bytes) -> Rgb:
    return Decode().load().full(EncodedImage(ref=ImageRef(image_id="f", key="f", member="f"), data=data)).rgb


def one(result: Rendered) -> bytes:
    (file,) = result.files
    return file.data


def swapped_profile() -> bytes:
    """An RGB profile that is sRGB with the red and the blue primary exchanged."""
    profile = bytearray(metadata_samples.SRGB)
    table = {bytes(profile[at : at + 4]): at for at in range(132, 132 + 12 * profile[131], 12)}
    red, blue = table[b"rXYZ"], table[b"bXYZ"]
    profile[red + 4 : red + 12], profile[blue + 4 : blue + 12] = (
        profile[blue + 4 : blue + 12],
        profile[red + 4 : red + 12],
    )
    at = int.from_bytes(profile[table[b"desc"] + 4 : table[b"desc"] + 8], "big")
    length = int.from_bytes(profile[table[b"desc"] + 8 : table[b"desc"] + 12], "big")
    body = bytes(profile[at : at + length]).replace("sRGB".encode("utf-16-be"), "SWAP".encode("utf-16-be"))
    profile[at : at + length] = body.replace(b"sRGB", b"SWAP")
    return bytes(profile)
