"""The photographs that a fill is trained on, and windows of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from pipeline.contracts import Source
from pipeline.errors import ImageError, SourceError
from pipeline.image.decode import Decode
from pipeline.records import EncodedImage, Rgb
from pipeline.spec import spec

CACHE = 1 << 30
"""Bytes of decoded photographs kept in memory."""
Text = Annotated[str, Field(min_length=1, pattern=r"\S")]
"""Text that is more than blanks."""


@spec
class Collection:
    """Photographs under one licence."""

    uri: Text
    """A source of images, of any kind that `source` knows."""
    licence: Text
    """SPDX name or names that cover all of it."""


@dataclass(frozen=True, kw_only=True)
class Photo:
    """A photograph to learn from. image: encoded. sha256: hex, of its bytes."""

    image: EncodedImage
    licence: str
    sha256: str


def gather(
    data: Sequence[Collection], min_side: int, open_source: Callable[[str], Source]
) -> tuple[list[Photo], list[str]]:
    """Find the photographs that can be learnt from.

    -> every readable one whose shorter side is at least `min_side` pixels, ordered by sha256, each once; and a message
    for each one that is left out. open_source: of a URI. Raises SourceError when nothing is left.
    """
    decoder, found, left_out = Decode().load(), dict[str, Photo](), list[str]()
    for collection in data:
        source = open_source(collection.uri)
        shards = source.shards()
        for shard in shards:
            for unit in source.resolve(shards).units(shard, {}):
                for item in unit.items:
                    if not isinstance(item, EncodedImage):
                        left_out.append(f"{item.ref.key}: {item.reason}: {item.detail}")
                        continue
                    try:
                        side = min(decoder.full(item).rgb.shape[:2])
                    except ImageError as error:
                        left_out.append(f"{item.ref.key}: {error}")
                        continue
                    if side < min_side:
                        left_out.append(f"{item.ref.key}: its shorter side is {side} pixels, expected {min_side}")
                        continue
                    sha256 = hashlib.sha256(item.data).hexdigest()
                    # Two collections may use the same names: the bytes tell images apart.
                    image = replace(item, ref=replace(item.ref, image_id=sha256))
                    found.setdefault(sha256, Photo(image=image, licence=collection.licence, sha256=sha256))
    if not found:
        raise SourceError("data: expected photographs that can be read, found none; check data.uri and sizes")
    return [found[sha256] for sha256 in sorted(found)], left_out


def random_window(rgb: Rgb, side: int, rng: np.random.Generator) -> Rgb:
    """Cut (side, side, 3) from a photograph, shrunk and mirrored at random: sizes between its own and the smallest that
    holds a window are equally likely."""
    height, width = rgb.shape[:2]
    smallest = side / min(height, width)
    scale = float(rng.uniform(smallest, max(smallest, 1.0)))
    size = (max(side, round(width * scale)), max(side, round(height * scale)))
    if size != (width, height):
        rgb = np.asarray(
            cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC), np.uint8
        )
    top, left = (int(rng.integers(0, n - side + 1)) for n in rgb.shape[:2])
    rgb = rgb[top : top + side, left : left + side]
    return np.ascontiguousarray(rgb[:, ::-1] if rng.random() < 0.5 else rgb)


class PhotoDecoder:
    """Decodes photographs and keeps the recent ones."""

    def __init__(self) -> None:
        self._decoder = Decode(cache_bytes=CACHE).load()

    def __call__(self, photo: Photo) -> Rgb:
        return self._decoder.full(photo.image).rgb
