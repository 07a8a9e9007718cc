"""Make an image of each frame of a file: `decode.frames=all`.

A frame shares the bytes and the sidecars of its file. Its member is `name#frame=1` and so on, its key that of the file
with the same ending, and its id a hash of both. A file of one frame stays as it is. The number of frames comes from the
header, so it is the same on every run and no pixel is decoded.

Source keys that end like this, from files that were split before, get `~` and a hash, in every run and with any
`decode.frames`: no two images share a key, and a resumed run knows which keys its source has given (`source_row`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Any, Final

from PIL import ImageFile

from pipeline.errors import ImageError
from pipeline.image.decode import Decode
from pipeline.image.header import full_pages, open_image, undecodable
from pipeline.records import EncodedImage, ImageRef, Rejected, Unit, UnitBatch, image_id

_ENDING: Final = re.compile(r"#frame=[0-9]+$")
_HASHED: Final = re.compile(r"~[0-9a-f]{8}$")
_RESERVED: Final = re.compile(r"#frame=[0-9]+(~[0-9a-f]{8})*$")
_JPEG: Final = b"\xff\xd8\xff"
_OF_OWN_SIZE: Final = ("TIFF", "HEIF")
"""Formats whose pictures may differ in size."""


def expanded(batch: UnitBatch[Any], decode: Decode) -> UnitBatch[Any]:
    """Return a unit, as it was read, with each file of several frames replaced by its frames, in order, or by one
    `Rejected` (`too_many_frames`, `too_many_pixels`) when they exceed the limits. A file whose header cannot be read
    stays, and decode rejects it."""
    return replace(batch, items=tuple(image for item in batch.items for image in _expanded(item, batch.unit, decode)))


def source_row(key: str, member: str) -> tuple[str, str]:
    """Return the key and the member that the source gave, from those of a frame or of any other image."""
    if not _RESERVED.search(key):
        return key, member
    if _HASHED.search(key):
        return _HASHED.sub("", key), member
    return _ENDING.sub("", key), _ENDING.sub("", member)


def _expanded(item: EncodedImage | Rejected, unit: Unit, decode: Decode) -> Iterator[EncodedImage | Rejected]:
    frames = 1
    if isinstance(item, EncodedImage) and decode.frames == "all":
        try:
            frames = _frames(item.data, decode)
        except ImageError as error:
            item = Rejected(ref=item.ref, stage="decode", reason=error.reason, detail=error.detail)
    if isinstance(item, Rejected) or frames == 1:
        yield replace(item, ref=_unreserved(item.ref))
        return
    for frame in range(1, frames + 1):
        ending = f"#frame={frame}"
        ref = replace(
            item.ref,
            image_id=image_id(unit.shard, f"{item.ref.image_id}\0{ending}"),
            key=item.ref.key + ending,
            member=item.ref.member + ending,
        )
        yield replace(item, ref=ref, frame=frame)


def _unreserved(ref: ImageRef) -> ImageRef:
    if not _RESERVED.search(ref.key):
        return ref
    digest = blake2b(ref.image_id.encode(), digest_size=4).hexdigest()
    return replace(ref, key=f"{ref.key}~{digest}")


def _frames(data: bytes, decode: Decode) -> int:
    """Count the frames; 1 for a file that decode will reject with a reason of its own, and for a JPEG (MPO)."""
    if len(data) > decode.max_bytes or data[:3] == _JPEG:
        return 1
    try:
        image = open_image(data)
        with undecodable("frames"):
            positions = full_pages(image)
    except ImageError:
        return 1
    if image.format not in _OF_OWN_SIZE and image.size[0] * image.size[1] > decode.max_pixels:
        return 1  # before a frame of it is decoded to reach the next one
    if len(positions) > decode.max_frames:
        raise ImageError(
            "too_many_frames", f"expected at most {decode.max_frames} (decode.max_frames), got {len(positions)}"
        )
    with undecodable("frames"):
        pixels = _pixels(image, len(positions))
    if len(positions) > 1 and pixels > decode.max_frame_pixels:
        raise ImageError(
            "too_many_pixels",
            f"expected at most {decode.max_frame_pixels} in all frames (decode.max_frame_pixels), got {pixels}",
        )
    return len(positions)


def _pixels(image: ImageFile.ImageFile, frames: int) -> int:
    """Count the pixels of all frames, by their headers."""
    if image.format not in _OF_OWN_SIZE:
        return frames * image.size[0] * image.size[1]
    total = 0
    for position in full_pages(image):
        image.seek(position)
        total += image.size[0] * image.size[1]
    return total
