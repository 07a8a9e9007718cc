"""Makes the published files of an image: pastes fills strictly inside the region, encodes, removes metadata."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Final, Literal, Protocol

import numpy as np
from pydantic import Field

from pipeline.errors import ImageError
from pipeline.image import rle
from pipeline.image.deep import Deep, is_deep
from pipeline.image.feather import fade, nearest_known
from pipeline.image.header import SUFFIX, Header
from pipeline.image.jpeg_scan import hides
from pipeline.image.strip import CannotStrip, strip
from pipeline.records import (
    EncodedImage,
    Filled,
    Mask,
    Patch,
    Pixels,
    Preview,
    Rendered,
    RenderedFile,
    Rgb,
    seed_of,
)
from pipeline.render import draw, encode, encode_deep, same_pixels
from pipeline.render.encode import Icc
from pipeline.render.seam import seam
from pipeline.render.sidecars import harmless
from pipeline.spec import FieldError, spec

KINDS: Final = ("filled", "overlay", "cutout", "labels")
"""Of files, in the order in which `render=everything` makes them."""
_OVERLAY_QUALITY: Final = 90
_LOSSLESS: Final = ("PNG", "TIFF", "BMP", "GIF")
_OPAQUE: Final = np.zeros((0, 0), np.uint8)


class FullPictures(Protocol):
    """The part of a decoder that render uses."""

    def full(self, image: EncodedImage) -> Pixels: ...
    def header(self, image: EncodedImage) -> Header: ...
    def deep(self, image: EncodedImage) -> Deep | None:
        """Decode upright to numbers of more than 8 bits, if it has such."""

    def preview(self, image: EncodedImage, side: int) -> Rgb:
        """Decode upright, the longer side at most `side` pixels."""


@spec
class Render:
    """Makes the files of an image and removes metadata.

    `filled` is the image with its region filled, in the source's own format (a GIF with a region becomes a PNG). An
    image without a region keeps its compressed pixels byte for byte and loses its metadata; it is encoded anew to bake
    its orientation, to convert its colours, to remove its alpha in a private run, and where its container cannot be
    cut: PNG, TIFF, BMP and GIF to the same pixels, AVIF and WebP with `quality`. The index says so (`detail`).
    Outside the region a PNG or TIFF of more than 8 bits keeps its own numbers; where the result cannot be written so
    (colours in grey floats or wide integers, colours converted to sRGB) it has 8 bits, and the index says so.
    `overlay` is a JPEG with every segment tinted and outlined.
    `cutout` is a PNG with alpha: opaque inside the selected segments, transparent black elsewhere.
    `labels` is a PNG with a palette, the colours of the labels: 0 is background, other values are the class ids of
    `classes.json`; where an id is above 255 a grey PNG of 16 bits. Of a GeoTIFF it is a grey TIFF with the source's
    georeference, except in a private run.
    """

    outputs: tuple[Literal["filled", "overlay", "cutout", "labels"], ...] = ("filled",)
    """Kinds of files to make of each image, each kind once; an empty list makes none."""
    feather: Annotated[int, Field(ge=0, le=1024)] = 0
    """Width in pixels, inwards from the border of the region, over which a fill fades to the colours around it; 0: a
    hard border."""
    private: bool = False
    """No file and no preview shows original pixels of a region: overlay and cutout use the filled image, alpha is
    flattened onto white because colours can hide under it."""
    keep_sidecars: bool = True
    """Publish captions, labels and other columns with their image; a private run publishes only text and scalars."""
    icc: Icc = "keep"
    """keep: embed the source's colour profile, unless it is broken. srgb: convert the pixels to sRGB, embed none."""
    quality: Annotated[int, Field(ge=1, le=100)] = 92
    """Quality of WebP and AVIF; a JPEG keeps the quantisation tables of its source."""
    preview_side: Annotated[int, Field(ge=16, le=2048)] = 256
    """Longer side in pixels of the report's pictures."""
    labels: tuple[str, ...] = ()
    """Labels whose class ids come first, 1, 2, ..., in this order, each once; the others follow in the order of the
    run's segmenters."""

    def __post_init__(self) -> None:
        for key in ("outputs", "labels"):
            names = getattr(self, key)
            if len(set(names)) != len(names):
                raise FieldError(key, f": expected each name once, got {names!r}")

    def __call__(self, filled: Filled, decoder: FullPictures, *, preview: bool = False) -> Rendered:
        """Make the files of one image, and a preview if asked for.

        Raises ImageError: `region_not_filled` if an output shows the region and the patches do not cover it;
        `bad_patch`, `bad_region`, `shape_mismatch`, `unknown_label`, `bad_icc`, `bad_sidecar`; `malformed_...`,
        `strip_unsupported`, `changed_pixels`, `too_large_to_encode`, `cannot_encode`; and what the decoder raises.
        """
        picture = _Picture(self, filled, decoder)
        files = tuple(picture.file(kind) for kind in self.outputs)
        sidecars = filled.image.sidecars if self.keep_sidecars else ()
        return Rendered(
            ref=filled.image.ref,
            status="written" if filled.region.area else "unchanged",
            segments=filled.segments,
            region=filled.region,
            seed=seed_of(filled.image.ref.image_id),
            files=files,
            sidecars=harmless(sidecars) if self.private else sidecars,
            previews=(picture.preview(),) if preview else (),
            seam=picture.seam(),
            detail="; ".join([*picture.levels, *picture.details]),
        )

    def picture(self, image: EncodedImage, decoder: FullPictures) -> bytes:
        """Return a small JPEG of a rejected image for the report; empty in a private run or if it cannot be decoded."""
        if self.private:
            return b""
        try:
            return encode.small_jpeg(decoder.preview(image, self.preview_side))
        except ImageError:
            return b""


class _Picture:
    """One image to render. Its expensive parts are computed on first use."""

    def __init__(self, render: Render, filled: Filled, decoder: FullPictures) -> None:
        self.render, self.filled, self.decoder = render, filled, decoder
        self.image, self.segments = filled.image, filled.segments
        self.details: list[str] = []

    @cached_property
    def header(self) -> Header:
        return self.decoder.header(self.image)

    @cached_property
    def full(self) -> Pixels:
        pixels = self.decoder.full(self.image)
        region, expected = self.filled.region, (self.segments.height, self.segments.width)
        if pixels.rgb.shape != (*expected, 3) or (region.height, region.width) != expected:
            raise ImageError(
                "shape_mismatch",
                f"segments of {expected}, a region of {(region.height, region.width)}, pixels of {pixels.rgb.shape}",
            )
        return pixels

    @cached_property
    def deep(self) -> Deep | None:
        """The source's own numbers, if it has more than 8 bits a sample."""
        return self.decoder.deep(self.image) if is_deep(self.header) else None

    @property
    def levels(self) -> tuple[str, ...]:
        """What was read as black and white, if not the ends of the type."""
        return (str(self.deep.levels),) if self.deep and self.deep.levels.origin != "type" else ()

    @cached_property
    def region(self) -> Mask:
        region = self.filled.region
        mask = rle.decode(region.rle, region.height, region.width)
        if int(mask.sum()) != region.area:
            raise ImageError("bad_region", f"expected a region of {region.area} pixels, its mask has {int(mask.sum())}")
        return mask

    @cached_property
    def result(self) -> Rgb:
        """The filled image, composited onto white."""
        if not self.filled.region.area:
            return self.full.rgb
        return paste(self.full.rgb, self.region, self.filled.patches, feather=self.render.feather)

    @property
    def shown(self) -> Rgb:
        """The pixels that overlay and cutout show."""
        return self.result if self.render.private else self.full.rgb

    def file(self, kind: str) -> RenderedFile:
        icc = self.render.icc
        match kind:
            case "filled":
                return self._written() if self.filled.region.area else self._unchanged()
            case "overlay":
                rgb = draw.overlay(self.shown, self.segments)
                return encode.jpeg(kind, rgb, self.header, icc=icc, quality=_OVERLAY_QUALITY)
            case "cutout":
                return encode.png(kind, self._cutout(), self.header, icc=icc)
            case _:
                label_map = draw.label_map(self.segments)
                if self.header.geo and self.header.orientation == 1 and not self.render.private:
                    return encode.index_tiff(kind, label_map, self.header.geo)
                return encode.index_png(kind, label_map, draw.label_colours(self.segments))

    def _written(self) -> RenderedFile:
        if deep := self._deep_file():
            return deep
        pixels = Pixels(rgb=self.result, alpha=_OPAQUE)
        if self.full.alpha.size and not self.render.private:
            # Outside the region each pixel keeps its exact colour and alpha. Inside, the patch is opaque: it was made
            # on white and must not be composited again.
            source = self._straight()
            pixels = Pixels(
                rgb=np.where(self.region[..., None], self.result, source.rgb),
                alpha=np.where(self.region, np.uint8(255), source.alpha),
            )
        return self._encoded(pixels)

    def _unchanged(self) -> RenderedFile:
        header, render = self.header, self.render
        if render.private and header.format == "JPEG" and hides(self.image.data):
            raise ImageError(
                "size_mismatch", f"the header says {header.width}x{header.height}, but more was compressed"
            )
        hidden = render.private and header.has_alpha and bool((self.full.alpha < 255).any())
        other_colours = render.icc == "srgb" and not encode.is_srgb(header.icc)
        upright = header.can_be_cut and header.orientation == 1 and not hidden and not other_colours
        if upright:
            try:
                return self._stripped()
            except ImageError as error:
                if not (header.format in _LOSSLESS or isinstance(error, CannotStrip)):
                    raise
                self.details.append(f"encoded anew: {error}")
        file = self._deep_file() or self._encoded(self._whole())
        if upright and header.format in _LOSSLESS:
            self._check(file.data)
        return file

    def _stripped(self) -> RenderedFile:
        """The file without its metadata, checked: the compressed pixels stay the same bytes."""
        keep_icc = self.render.icc == "keep" and encode.profile_of(self.header.icc) is not None
        data = strip(self.image.data, self.header, keep_icc=keep_icc, keep_dpi=not self.render.private)
        self._check(data)
        return RenderedFile(kind="filled", suffix=SUFFIX[self.header.format], data=data)

    def _check(self, data: bytes) -> None:
        same_pixels.check(data, self.image, self.header, self.decoder)

    def _whole(self) -> Pixels:
        """The source's pixels to encode anew: without alpha in a private run, else straight."""
        if not self.full.alpha.size:
            return self.full
        return Pixels(rgb=self.full.rgb, alpha=_OPAQUE) if self.render.private else self._straight()

    def _straight(self) -> Pixels:
        return self.deep.straight() if self.deep else encode.straight(self.image.data, self.header, self.full)

    def _deep_file(self) -> RenderedFile | None:
        """The filled or the whole image with the source's own numbers outside the region, if it has more than 8 bits
        and its format can hold the result."""
        render, deep = self.render, self.deep
        if deep is None:
            return None
        if self.filled.region.area:
            deep = deep.filled(self.result, self.region)
        if render.private:
            deep = deep.flattened()
        converted = render.icc == "srgb" and not encode.is_srgb(self.header.icc)
        if converted or not encode_deep.can_hold(self.header.format, deep):
            self.details.append("written with 8 bits")
            return None
        grey = deep.values.ndim == 2 and not deep.alpha.size
        icc = encode.embeddable(self.header.icc, grey=grey) if render.icc == "keep" else b""
        dpi = None if render.private else encode.resolution(self.image.data, self.header)
        return encode_deep.file("filled", self.header.format, deep, icc=icc, dpi=dpi)

    def _encoded(self, pixels: Pixels) -> RenderedFile:
        render = self.render
        return encode.like_source(
            "filled",
            pixels,
            self.image.data,
            self.header,
            icc=render.icc,
            quality=render.quality,
            keep_dpi=not render.private,
        )

    def _cutout(self) -> Pixels:
        chosen = [self.segments.segments[position] for position in self.filled.region.chosen]
        mask = draw.united(chosen, self.segments.height, self.segments.width)
        return Pixels(rgb=np.where(mask[..., None], self.shown, np.uint8(0)), alpha=mask.astype(np.uint8) * 255)

    def seam(self) -> float:
        """Return the seam of the filled image; 0 if none is made."""
        made = "filled" in self.render.outputs and self.filled.region.area
        return seam(self.result, self.region) if made else 0.0

    def preview(self) -> Preview:
        """Make before, mask and after. A private region is blanked at full size: shrinking cannot mix its pixels in."""
        render, side, chosen = self.render, self.render.preview_side, self.filled.region.chosen
        line = max(1, round(max(self.segments.height, self.segments.width) / side))  # a pixel or two when shrunk
        if render.private and self.filled.region.area:
            before = draw.blanked(self.full.rgb, self.region)
        elif self.segments.segments:
            before = self.full.rgb
        else:
            before = self.decoder.preview(self.image, side)
        if "filled" in render.outputs:
            after = self.result if self.filled.region.area else before
        else:
            after = draw.tinted(before, self.segments, chosen, line=line) if self.segments.segments else before
        mask = draw.mask_picture(self.segments, self.region, chosen, line=line)
        return Preview(
            image_id=self.image.ref.image_id,
            before=encode.small_jpeg(draw.thumbnail(before, side)),
            mask=encode.small_jpeg(draw.thumbnail(mask, side)),
            after=encode.small_jpeg(draw.thumbnail(after, side)),
        )


def paste(rgb: Rgb, region: Mask, patches: Sequence[Patch], *, feather: int = 0) -> Rgb:
    """Return a copy of `rgb` (HWC uint8) with the patches inside `region` (HW bool); pixels outside stay the same.

    Raises ImageError `bad_patch`, and `region_not_filled` when a pixel of the region has no patch.
    """
    out = rgb.copy()
    left = region.copy()
    for patch in patches:
        height, width = patch.mask.shape
        window = np.s_[patch.y : patch.y + height, patch.x : patch.x + width]
        fits = 0 <= patch.y <= rgb.shape[0] - height and 0 <= patch.x <= rgb.shape[1] - width
        if not fits or patch.pixels.shape != (height, width, 3) or patch.pixels.dtype != np.uint8:
            raise ImageError(
                "bad_patch",
                f"pixels {patch.pixels.shape} {patch.pixels.dtype}, mask {patch.mask.shape} at {patch.x},{patch.y} "
                f"of {rgb.shape[1]}x{rgb.shape[0]}",
            )
        inside = patch.mask & region[window]
        out[window][inside] = patch.pixels[inside]
        left[window] &= ~inside
    if missing := int(left.sum()):
        raise ImageError("region_not_filled", f"{missing} of {int(region.sum())} pixels of the region have no fill")
    if feather:
        _feather(out, region, feather)
    return out


def _feather(out: Rgb, region: Mask, feather: int) -> None:
    """Fade the fill in place, within `feather` pixels of the border, to the colour of the nearest pixel outside.

    A usual feather mixes the fill with the original at the same pixel, which would publish the region's rim. Here the
    second colour always comes from outside the region, so no pixel of the region shows through.
    """
    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    if region.all() or not rows.size:
        return
    # The nearest outside pixel touches the region, so one pixel around its box is enough.
    window = np.s_[max(0, rows[0] - 1) : rows[-1] + 2, max(0, columns[0] - 1) : columns[-1] + 2]
    inside, part = region[window], out[window]
    distance, number, colours = nearest_known(part, ~inside)
    rim = inside & (distance <= feather)
    part[rim] = np.rint(fade(part[rim], colours[number[rim]], distance[rim], feather)).astype(np.uint8)
