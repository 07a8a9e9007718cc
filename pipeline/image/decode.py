"""Decode encoded bytes to the views of segmenters, to the full-size image, or to a preview.

All arrays are upright (EXIF orientation applied), HWC uint8 RGB. Pixels of more than 8 bits are scaled by the range
that they declare or use, or the image is rejected with a reason: one that reached a detector all white or all black
would be published unseen. Colours stay as stored; ICC profiles are left to render.

JPEGs are decoded at 1/2, 1/4 or 1/8 of their size in the DCT domain (libjpeg's scaled IDCT, Pillow's `draft`) when the
views need no more. Measured on a 1.4 MP JPEG, one core: Pillow 5.9 ms at full and 4.0 ms at half size, cv2.imdecode 4.8
ms and 3.6 ms. Pillow is used nevertheless: both refuse a truncated file, but OpenCV makes an image of a damaged one
(and prints to stderr) where Pillow raises, and OpenCV hides modes, frames and profiles.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from pydantic import Field

from pipeline.errors import ConfigError, ImageError
from pipeline.image.deep import Deep, is_deep, load_deep
from pipeline.image.header import Header, header_of, open_image, seek_frame, undecodable
from pipeline.image.jpeg_scan import ScanStream
from pipeline.image.to_rgb import load_rgb
from pipeline.image.turn import FLIPS, turn
from pipeline.image.view import Fit, Resample, ViewSpec, Window
from pipeline.records import Box, EncodedImage, Pixels, Rgb, Tile, View
from pipeline.spec import spec

_HEADERS: Final = 512

_STRETCH: Final = 1.1
"""A tile may exceed its part of a draft by this factor in one direction: a side that is rounded up to a multiple is
only stretched, which is no reason to decode four times the pixels."""


@spec
class Decode:
    """The limits of decoding."""

    max_pixels: Annotated[int, Field(ge=1)] = 100_000_000
    """Maximum width times height in pixels. A larger image is rejected by its header, before it is decoded."""
    max_bytes: Annotated[int, Field(ge=1)] = 256 << 20
    """Maximum encoded bytes of an image."""
    frames: Literal["reject", "first", "all"] = "reject"
    """Animations, TIFFs of several pages, HEICs of several pictures and volumes: reject them; read only the first frame
    (of a HEIC its primary picture); or make an image of each frame, `name#frame=1` and so on. Of an MPO always only the
    first picture."""
    max_frames: Annotated[int, Field(ge=1)] = 1000
    """Maximum number of frames of a file for frames=all; a file with more is rejected."""
    max_frame_pixels: Annotated[int, Field(ge=1)] = 1_000_000_000
    """Maximum pixels of all frames of a file together for frames=all."""
    float_range: tuple[float, float] = (0.0, 1.0)
    """Black and white of floating-point TIFFs that declare no range."""
    cache_bytes: Annotated[int, Field(ge=0)] = 256 << 20
    """Bytes of decoded full-size images that one worker keeps. 0 keeps none."""

    def __post_init__(self) -> None:
        if self.float_range[0] >= self.float_range[1]:
            raise ConfigError(f"decode.float_range: expected black below white, got {self.float_range}")

    def load(self) -> Decoder:
        return Decoder(self)


class Decoder:
    """Decodes for one worker, in one thread. Every method raises ImageError for bytes it cannot decode faithfully.

    Reasons: `empty`, `format_not_allowed`, `too_many_bytes`, `too_many_pixels`, `many_frames`, `truncated`,
    `undecodable`, `size_mismatch`, `unsupported_mode`, `out_of_range`, `not_finite`. Returned arrays are read-only.
    """

    def __init__(self, config: Decode) -> None:
        self._config = config
        self._cache: OrderedDict[str, Pixels] = OrderedDict()
        self._cached = 0
        self._headers: OrderedDict[str, Header] = OrderedDict()
        self._opened: tuple[bytes, int, ImageFile.ImageFile] | None = None
        ImageFile.LOAD_TRUNCATED_IMAGES = False  # another library may have set it

    def views(self, image: EncodedImage, specs: Sequence[ViewSpec]) -> tuple[View, ...]:
        """Make one view for each spec, from one decode at the smallest scale that serves all of them."""
        encoded, header = self._open(image)
        height, width = header.upright
        windows = [view.windows(height, width) for view in specs]
        scale = _draft_scale(header, [window for fitted in windows for window in fitted])
        if scale > 1:  # even when the full image is cached: the result must not depend on the cache
            source = _draft(encoded, header, scale)
        else:
            source = _Scaled(rgb=(self._cached_pixels(image) or self._decode(image, encoded, header)).rgb)
        views = []
        for view, fitted in zip(specs, windows, strict=True):
            tiles = tuple(Tile(pixels=_cut(source, window, view.resample), box=window.box) for window in fitted)
            views.append(View(image_id=image.ref.image_id, height=height, width=width, tiles=tiles))
        return tuple(views)

    def full(self, image: EncodedImage) -> Pixels:
        """Decode the upright full-size image; recent ones come from a cache."""
        return self._cached_pixels(image) or self._decode(image, *self._open(image))

    def header(self, image: EncodedImage) -> Header:
        """Read the header. The last ones are kept: that of a frame of an animation, or of a JPEG XL, costs a decode."""
        return self._headers.get(image.ref.image_id) or self._open(image)[1]

    def deep(self, image: EncodedImage) -> Deep | None:
        """Decode the upright full-size image to its own numbers, if it has more than 8 bits a sample; else None."""
        encoded, header = self._open(image)
        if not is_deep(header):
            return None
        with undecodable(f"{header.format} pixels"):
            deep = load_deep(encoded, header, self._config.float_range)
            return deep if header.format == "TIFF" else deep.turned(header.orientation)

    def preview(self, image: EncodedImage, side: int) -> Rgb:
        """Decode the whole image, shrunk until its longer side has at most `side` pixels."""
        (view,) = self.views(image, (Fit(side=side, multiple=1, resample="area"),))
        return view.tiles[0].pixels

    def _open(self, image: EncodedImage) -> tuple[ImageFile.ImageFile, Header]:
        """Open an image and check its header against the limits. Decodes no pixel."""
        if len(image.data) > self._config.max_bytes:
            raise ImageError(
                "too_many_bytes", f"expected at most {self._config.max_bytes} (decode.max_bytes), got {len(image.data)}"
            )
        encoded = self._opened_at(image)
        width, height = encoded.size
        if width * height > self._config.max_pixels:
            raise ImageError(
                "too_many_pixels",
                f"expected at most {self._config.max_pixels} (decode.max_pixels), got {width}x{height}",
            )
        header = header_of(encoded, image.frame)
        if header.format == "JPEG" or image.frame:  # further pictures of an MPO are dropped when it is published
            several = False
        else:
            several = header.frames > 1 and self._config.frames != "first"
        if several:
            raise ImageError(
                "many_frames",
                f"expected one frame, got {header.frames} in a {header.format}: decode.frames=first reads the first, "
                "decode.frames=all makes an image of each",
            )
        self._headers[image.ref.image_id] = header
        if len(self._headers) > _HEADERS:
            self._headers.popitem(last=False)
        return encoded, header

    def _opened_at(self, image: EncodedImage) -> ImageFile.ImageFile:
        """Open an image. The file of the frame before is still open: an animation decodes from its start only."""
        data, before, encoded = self._opened or (b"", 0, None)
        if encoded is None or not image.frame or data is not image.data or before != image.frame - 1:
            encoded = open_image(image.data, image.frame)
        else:
            seek_frame(encoded, image.frame)
        self._opened = (image.data, image.frame, encoded) if image.frame else None
        return encoded

    def _cached_pixels(self, image: EncodedImage) -> Pixels | None:
        pixels = self._cache.get(image.ref.image_id)
        if pixels:
            self._cache.move_to_end(image.ref.image_id)
        return pixels

    def _decode(self, image: EncodedImage, encoded: ImageFile.ImageFile, header: Header) -> Pixels:
        """Decode at full size, cache the result, drop the oldest ones beyond the limit."""
        rgb, alpha = _load_upright(encoded, header, self._config.float_range, header.upright)
        pixels = Pixels(rgb=rgb, alpha=alpha)
        self._cache[image.ref.image_id] = pixels
        self._cached += rgb.nbytes + alpha.nbytes
        while self._cached > self._config.cache_bytes:
            _, oldest = self._cache.popitem(last=False)
            self._cached -= oldest.rgb.nbytes + oldest.alpha.nbytes
        return pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class _Scaled:
    """The upright image at 1/`scale`. left, top: position of the image's upper left corner in `rgb`, in its pixels.

    A draft rounds its sides up, so its last stored row and column may be partly padding. Turning can move them to the
    front, and so the corner of the image to a fraction of a pixel.
    """

    rgb: Rgb
    scale: int = 1
    left: float = 0.0
    top: float = 0.0


def _draft_scale(header: Header, windows: Sequence[Window]) -> int:
    """Choose the largest of libjpeg's scales 8, 4, 2, 1 at which a JPEG has enough pixels for every window."""
    if header.format != "JPEG":
        return 1
    room = min(
        (min(window.box[2] / window.width, window.box[3] / window.height) for window in windows), default=math.inf
    )
    return next((scale for scale in (8, 4, 2) if scale <= room * _STRETCH), 1)


def _draft(encoded: ImageFile.ImageFile, header: Header, scale: int) -> _Scaled:
    """Decode a JPEG at 1/2, 1/4 or 1/8 of its size."""
    encoded.draft(None, (header.width // scale, header.height // scale))
    height, width = (-(-side // scale) for side in header.upright)
    rgb, _ = _load_upright(encoded, header, (0.0, 1.0), (height, width))
    left_right, upside_down = FLIPS.get(header.orientation, (False, False))
    return _Scaled(
        rgb=rgb,
        scale=scale,
        left=width - header.upright[1] / scale if left_right else 0.0,
        top=height - header.upright[0] / scale if upside_down else 0.0,
    )


def _load_upright(
    encoded: ImageFile.ImageFile, header: Header, float_range: tuple[float, float], size: tuple[int, int]
) -> tuple[Rgb, NDArray[np.uint8]]:
    """Load every pixel (nothing less finds a truncation) and turn it upright. size: expected height and width."""
    stream = encoded.fp
    with undecodable(f"{header.format} pixels"):
        rgb, alpha = load_rgb(encoded, header, float_range)
        if isinstance(stream, ScanStream):
            stream.check(f"{header.width}x{header.height}")
        if header.format != "TIFF":  # which Pillow turns while it loads
            rgb = turn(rgb, header.orientation)
            alpha = turn(alpha, header.orientation) if alpha.size else alpha
        if rgb.shape != (*size, 3):
            raise ImageError("undecodable", f"expected {size[1]}x{size[0]} pixels, got {rgb.shape[1]}x{rgb.shape[0]}")
        rgb.setflags(write=False)
        alpha.setflags(write=False)
        return rgb, alpha


def _cut(source: _Scaled, window: Window, resample: Resample) -> Rgb:
    """Cut and resize one tile, exact to fractions of a pixel: half a pixel off triples a view's mean error (2.2 instead
    of 0.7)."""
    x, y, wide, high = (side / source.scale for side in window.box)
    x, y = x + source.left, y + source.top
    column, row = math.floor(x), math.floor(y)
    part = source.rgb[row : math.ceil(y + high), column : math.ceil(x + wide)]
    x, y = x - column, y - row
    whole = part.shape[0] == high and part.shape[1] == wide
    size = (window.width, window.height)
    average = resample == "area" and wide >= window.width and high >= window.height
    if whole and wide == window.width and high == window.height:
        tile = part.view()  # no copy: the tiles of a large image would take its memory once more
    elif resample == "lanczos" or (average and not whole):
        kernel = Image.Resampling.HAMMING if average else Image.Resampling.LANCZOS
        tile = np.asarray(Image.fromarray(part).resize(size, kernel, box=(x, y, x + wide, y + high)))
    elif whole:
        tile = np.asarray(
            cv2.resize(part, size, interpolation=cv2.INTER_AREA if average else cv2.INTER_LINEAR), np.uint8
        )
    else:
        tile = _linear(part, (x, y, wide, high), size)
    tile.setflags(write=False)
    return tile


def _linear(part: Rgb, box: Box, size: tuple[int, int]) -> Rgb:
    """Resize like cv2.resize with INTER_LINEAR, of a box that begins or ends within a pixel. size: width, height."""
    x, y, wide, high = box
    across, down = wide / size[0], high / size[1]
    back = np.array([[across, 0.0, x + across / 2 - 0.5], [0.0, down, y + down / 2 - 0.5]])
    how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return np.asarray(cv2.warpAffine(part, back, size, flags=how, borderMode=cv2.BORDER_REPLICATE), np.uint8)
