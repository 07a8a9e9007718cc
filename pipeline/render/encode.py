"""Encodes pixels without metadata, in the source's own format where it can hold them.

Every file is saved from a new `Image.fromarray`, because Pillow copies comments, EXIF and XMP from the `info` of an
opened image, also through `convert` and `resize`.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, TiffImagePlugin

from pipeline.errors import ImageError
from pipeline.image.colours import Colour
from pipeline.image.header import GEO_TAGS, SUFFIX, GeoValue, Header, open_image, undecodable
from pipeline.image.strip import webp
from pipeline.image.turn import turn
from pipeline.records import Pixels, RenderedFile, Rgb

Icc: TypeAlias = Literal["keep", "srgb"]

_LONGEST: Final = {"JPEG": 65500, "WEBP": 16383, "AVIF": 65536}
"""The longest side in pixels that libjpeg (Pillow's build), libwebp and libavif write."""
_GREY_MODES: Final = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_SRGB: Final = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))


def like_source(
    kind: str, pixels: Pixels, data: bytes, header: Header, *, icc: Icc, quality: int, keep_dpi: bool = False
) -> RenderedFile:
    """Encode in the format of `data`, whose header is `header`.

    JPEG: the source's quantisation tables, subsampling and progression (baseline when Pillow cannot); grey stays grey,
    CMYK becomes RGB (with the tables). WebP: lossless when the source was. PNG, TIFF (deflate) and BMP: lossless, 8
    bits a channel, palettes and CMYK as RGB, grey as grey. AVIF: `quality`, 4:4:4. A GIF becomes a PNG, because a new
    palette of 256 colours would change pixels outside the region; so do a BMP with alpha, JPEG 2000, JPEG XL, DICOM,
    NIfTI and HEIC with alpha. HEIC: a JPEG of `quality`. A frame of several: as a still of its format.
    pixels.alpha: written if present; `pixels.rgb` is then straight, not composited. keep_dpi: with the source's
    resolution, where the format has one. Raises ImageError `too_large_to_encode` and `cannot_encode`.
    """
    image, profile = _prepared(pixels, header, icc)
    dpi = resolution(data, header) if keep_dpi else None
    density: dict[str, object] = {"dpi": dpi} if dpi else {}
    match header.format:
        case "JPEG":
            options = _jpeg_options(data, header, image, quality) | density
            try:
                return _file(kind, "JPEG", image, profile, **options)
            except ImageError:
                # Pillow writes a progressive image into one buffer, whose size it estimates too small for noise.
                if not options.pop("progressive") or max(image.size) > _LONGEST["JPEG"]:
                    raise
                return _file(kind, "JPEG", image, profile, **options)
        case "HEIF" if image.mode in ("L", "RGB"):
            return _file(kind, "JPEG", image, profile, quality=quality)
        case "WEBP" if webp.is_lossless(data):
            return _file(kind, "WEBP", image, profile, lossless=True, exact=True)  # exact: keep colours under alpha 0
        case "WEBP":
            return _file(kind, "WEBP", image, profile, quality=quality, exact=True)
        case "TIFF":
            return _file(kind, "TIFF", image, profile, compression="tiff_adobe_deflate", **density)
        case "BMP" if image.mode in ("L", "RGB"):
            return _file(kind, "BMP", image, b"", **density)
        case "AVIF":
            # One thread: libavif chooses tiles by the number of threads, and the bytes must not depend on the machine.
            return _file(kind, "AVIF", image, profile, quality=quality, subsampling="4:4:4", speed=8, max_threads=1)
        case _:
            return _file(kind, "PNG", image, profile, **density)


def resolution(data: bytes, header: Header) -> tuple[float, float] | None:
    """Read the resolution in dots an inch, across and down the upright image; None if there is no usable one."""
    dpi = open_image(data).info.get("dpi")
    try:
        across, down = (float(number) for number in dpi or ())
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    if not (1 < across < 65536 and 1 < down < 65536):  # Pillow says 1 of a TIFF that has none
        return None
    return (down, across) if header.orientation >= 5 else (across, down)


def png(kind: str, pixels: Pixels, header: Header, *, icc: Icc) -> RenderedFile:
    """Encode as PNG. header: of the source, for its colour profile."""
    image, profile = _prepared(pixels, header, icc)
    return _file(kind, "PNG", image, profile)


def jpeg(kind: str, rgb: Rgb, header: Header, *, icc: Icc, quality: int) -> RenderedFile:
    """Encode as JPEG. header: of the source, for its colour profile."""
    image, profile = _prepared(Pixels(rgb=rgb, alpha=np.zeros((0, 0), np.uint8)), header, icc)
    return _file(kind, "JPEG", image, profile, quality=quality)


def index_png(kind: str, values: NDArray[np.uint16], colours: Mapping[int, Colour]) -> RenderedFile:
    """Encode an HW map as a PNG with a palette, or a grey one of 16 bits if a value needs them.

    colours: of the values that are there; others are black.
    """
    if values.max(initial=0) > 255:
        return _file(kind, "PNG", Image.fromarray(values), b"")
    image = Image.fromarray(values.astype(np.uint8)).convert("P")
    palette = np.zeros((256, 3), np.uint8)
    for value, colour in colours.items():
        palette[value] = colour
    image.putpalette(palette.tobytes())
    return _file(kind, "PNG", image, b"")


def index_tiff(kind: str, values: NDArray[np.uint16], geo: Sequence[tuple[int, GeoValue]]) -> RenderedFile:
    """Encode an HW map as a GeoTIFF with the georeference of its source (`Header.geo`), of 8 or 16 bits."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, value in geo:
        tags.tagtype[tag] = GEO_TAGS[tag]
        tags[tag] = value
    image = Image.fromarray(values if values.max(initial=0) > 255 else values.astype(np.uint8))
    return _file(kind, "TIFF", image, b"", compression="tiff_adobe_deflate", tiffinfo=tags)


def small_jpeg(rgb: Rgb) -> bytes:
    """Encode a preview as JPEG, without a colour profile."""
    return _file("preview", "JPEG", Image.fromarray(rgb), b"", quality=85).data


def straight(data: bytes, header: Header, pixels: Pixels) -> Pixels:
    """Return the upright pixels with colours that are not composited, to be written with an alpha channel.

    `Pixels.rgb` is composited onto white, and dividing by alpha would round: the source is decoded once more, so that
    every pixel keeps its exact RGBA. For 8 bits only, see `Deep.straight`. Raises ImageError `shape_mismatch`.
    """
    image: Image.Image = open_image(data, header.frame)
    with undecodable(f"{header.format} data with alpha"):
        image.load()
        rgba = (image.convert("LA") if header.mode == "La" else image).convert("RGBA")  # La converts to LA only
    array = np.asarray(rgba)
    if header.format != "TIFF":  # Pillow turns a TIFF while it loads
        array = turn(array, header.orientation)
    if array.shape[:2] != pixels.rgb.shape[:2]:
        raise ImageError("shape_mismatch", f"expected {pixels.rgb.shape[:2]} with alpha, got {array.shape[:2]}")
    return Pixels(rgb=array[..., :3].copy(), alpha=array[..., 3].copy())


# --- colour profiles -------------------------------------------------------------------------------------------


def profile_of(icc: bytes) -> ImageCms.ImageCmsProfile | None:
    """Parse a colour profile; None if it is absent or broken. A broken profile is never published."""
    if not icc:
        return None
    try:
        return ImageCms.ImageCmsProfile(io.BytesIO(icc))
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def is_srgb(icc: bytes) -> bool:
    """Return whether dropping this profile changes no colour: absent, broken, or sRGB by its own description."""
    profile = profile_of(icc)
    return profile is None or str(profile.profile.profile_description or "").startswith("sRGB")


def embeddable(icc: bytes, *, grey: bool) -> bytes:
    """Return a source's profile if it describes the written channels, as one of CMYK does not; else nothing."""
    profile = profile_of(icc)
    return icc if profile and _space(profile) == ("GRAY" if grey else "RGB") else b""


def _space(profile: ImageCms.ImageCmsProfile) -> str:
    return str(profile.profile.xcolor_space).strip()


def _prepared(pixels: Pixels, header: Header, icc: Icc) -> tuple[Image.Image, bytes]:
    """Return the image to save, and the colour profile to embed."""
    rgb = pixels.rgb
    grey = header.mode in _GREY_MODES and _is_grey(rgb)
    profile = profile_of(header.icc)
    embed = embeddable(header.icc, grey=grey) if icc == "keep" else b""
    if icc == "srgb" and profile is not None and not is_srgb(header.icc):
        rgb = _to_srgb(rgb, profile, _space(profile))
        grey = grey and _is_grey(rgb)
    colours = rgb[..., 0] if grey else rgb
    return Image.fromarray(np.dstack([colours, pixels.alpha]) if pixels.alpha.size else colours), embed


def _is_grey(rgb: Rgb) -> bool:
    return bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all())


def _to_srgb(rgb: Rgb, profile: ImageCms.ImageCmsProfile, space: str) -> Rgb:
    if space == "RGB":
        image = Image.fromarray(rgb)
    elif space == "GRAY" and _is_grey(rgb):
        image = Image.fromarray(rgb[..., 0])
    else:
        return rgb  # decode converted the pixels to RGB without this profile
    try:
        turned = ImageCms.profileToProfile(image, profile, _SRGB, outputMode="RGB")
    except ImageCms.PyCMSError as error:
        raise ImageError("bad_icc", f"the colour profile cannot be converted to sRGB ({error})") from error
    if turned is None:
        raise ImageError("bad_icc", "the colour profile cannot be converted to sRGB")
    return np.asarray(turned)


# --- saving ----------------------------------------------------------------------------------------------------


def _jpeg_options(data: bytes, header: Header, image: Image.Image, quality: int) -> dict[str, object]:
    progressive = bool(open_image(data).info.get("progressive"))
    if not header.quantization:
        return {"quality": quality, "progressive": progressive}
    # Without `quality` Pillow uses the tables as given, else it scales them. A single table is for all channels.
    options: dict[str, object] = {"qtables": [list(t) for t in header.quantization[:2]], "progressive": progressive}
    if image.mode != "L":
        options["subsampling"] = max(header.subsampling, 0)
    return options


def _file(kind: str, fmt: str, image: Image.Image, icc: bytes, **options: object) -> RenderedFile:
    longest = _LONGEST.get(fmt, 0)
    if longest and max(image.size) > longest:
        raise ImageError(
            "too_large_to_encode", f"{fmt} holds {longest} pixels a side, got {image.width}x{image.height}"
        )
    if icc:
        options["icc_profile"] = icc
    out = io.BytesIO()
    try:
        image.save(out, fmt, **options)
    except (OSError, ValueError, SystemError) as error:
        raise ImageError("cannot_encode", f"{image.mode} {image.width}x{image.height} as {fmt}: {error}") from error
    return RenderedFile(kind=kind, suffix=SUFFIX[fmt], data=out.getvalue())
