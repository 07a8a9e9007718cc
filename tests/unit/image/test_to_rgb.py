"""Every mode reaches the models as the 8-bit RGB that a viewer would show, or is rejected with a reason."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import ImageError
from pipeline.image.decode import Decode
from pipeline.image.view import Fit
from pipeline.records import EncodedImage, ImageRef, Pixels
from tests.fakes.crafted_images import tiff_picture

HEIGHT, WIDTH = 6, 8
RGB = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
GREY = RGB[..., 0]
ALPHA = np.linspace(0, 255, HEIGHT * WIDTH).round().astype(np.uint8).reshape(HEIGHT, WIDTH)
SHORT, LONG, FLOAT, DOUBLE = 3, 4, 11, 12


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def tiff(array: NDArray[Any], **options: Any) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, array, metadata=None, **{"photometric": "minisblack", **options})
    return out.getvalue()


def full(data: bytes, **config: Any) -> Pixels:
    return Decode(**config).load().full(EncodedImage(ref=ImageRef(image_id="a", key="a", member="a"), data=data))


def rejection(data: bytes, **config: Any) -> ImageError:
    with pytest.raises(ImageError) as caught:
        full(data, **config)
    return caught.value


def grey_of(pixels: Pixels) -> NDArray[np.uint8]:
    assert np.array_equal(pixels.rgb, pixels.rgb[..., :1].repeat(3, 2))
    assert pixels.alpha.shape == (0, 0)
    return pixels.rgb[..., 0]


def on_white(rgb: NDArray[Any], alpha: NDArray[Any]) -> NDArray[np.uint8]:
    weight = alpha[..., None] / 255
    return np.rint(rgb * weight + 255 * (1 - weight)).astype(np.uint8)


# --- eight bits and fewer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
def test_plain_colours_and_greys_stay_unchanged(kind: str) -> None:
    assert np.array_equal(full(save(Image.fromarray(RGB), kind)).rgb, RGB)
    assert np.array_equal(grey_of(full(save(Image.fromarray(GREY), kind))), GREY)
    bits = grey_of(full(save(Image.fromarray(GREY > 127), kind)))
    assert np.array_equal(bits, np.where(GREY > 127, 255, 0))


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "BMP"])
def test_palettes_show_their_colours(kind: str) -> None:
    index = np.arange(48, dtype=np.uint8).reshape(6, 8) % 5
    palette = Image.frombytes("P", (8, 6), index.tobytes())
    palette.putpalette(bytes(RGB.reshape(-1)[:15]))
    expected = RGB.reshape(-1, 3)[:5][index]
    pixels = full(save(palette, kind))
    assert np.array_equal(pixels.rgb, expected)
    assert pixels.alpha.size == 0


def test_a_large_image_of_several_blocks_is_the_same() -> None:
    """Over 16 MB Pillow may store an image in pieces."""
    tall = np.broadcast_to(np.arange(2600, dtype=np.uint16)[:, None, None] % 251, (2600, 2000, 3)).astype(np.uint8)
    assert np.array_equal(full(save(Image.fromarray(tall), "BMP")).rgb, tall)


# --- alpha -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})])
def test_alpha_is_composited_onto_white_and_kept(kind: str, options: dict[str, Any]) -> None:
    pixels = full(save(Image.fromarray(np.dstack([RGB, ALPHA])), kind, **options))
    assert np.array_equal(pixels.rgb, on_white(RGB, ALPHA))
    assert np.array_equal(pixels.alpha, ALPHA)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_alpha(kind: str) -> None:
    pixels = full(save(Image.fromarray(np.dstack([GREY, ALPHA])), kind))
    assert np.array_equal(pixels.rgb, on_white(GREY[..., None].repeat(3, 2), ALPHA))
    assert np.array_equal(pixels.alpha, ALPHA)


def test_pixels_hidden_by_alpha_do_not_show() -> None:
    secret = np.dstack([RGB, np.zeros_like(GREY)])
    assert full(save(Image.fromarray(secret), "PNG")).rgb.min() == 255


def test_an_opaque_alpha_is_dropped() -> None:
    pixels = full(save(Image.fromarray(np.dstack([RGB, np.full_like(GREY, 255)])), "PNG"))
    assert np.array_equal(pixels.rgb, RGB)
    assert pixels.alpha.shape == (0, 0)


def test_premultiplied_alpha_of_a_tiff() -> None:
    """Unmultiplied on the way in, so that compositing does not darken twice."""
    premultiplied = np.rint(RGB * (ALPHA[..., None] / 255)).astype(np.uint8)
    data = tiff(np.dstack([premultiplied, ALPHA]), photometric="rgb", extrasamples=["assocalpha"])
    pixels = full(data)
    assert np.array_equal(pixels.alpha, ALPHA)
    assert np.abs(pixels.rgb.astype(int) - on_white(RGB, ALPHA)).max() <= 2


def test_a_palette_with_an_alpha_channel() -> None:
    index = np.arange(48, dtype=np.uint8).reshape(6, 8) % 5
    image = Image.frombytes("PA", (8, 6), np.dstack([index, ALPHA]).tobytes())
    image.putpalette(RGB.reshape(-1)[:15].tobytes())
    data = save(image, "TIFF")
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.mode == "PA"
    pixels = full(data)
    assert np.array_equal(pixels.alpha, ALPHA)
    assert np.array_equal(pixels.rgb, on_white(RGB.reshape(-1, 3)[index], ALPHA))


@pytest.mark.parametrize("transparency", [1, b"\xff\x00\x80"])
def test_a_palette_with_transparency(transparency: int | bytes) -> None:
    index = np.arange(48).reshape(6, 8) % 3
    palette = Image.frombytes("P", (8, 6), index.astype(np.uint8).tobytes())
    colours = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], np.uint8)
    palette.putpalette(colours.tobytes())
    alpha = np.array([255, 0, 255] if transparency == 1 else [255, 0, 128], np.uint8)[index]
    for kind in ("PNG", "GIF") if transparency == 1 else ("PNG",):
        pixels = full(save(palette, kind, transparency=transparency))
        assert np.array_equal(pixels.alpha, alpha)
        assert np.array_equal(pixels.rgb, on_white(colours[index], alpha))


@pytest.mark.parametrize(
    ("image", "transparent"),
    [
        (Image.fromarray(GREY), int(GREY[2, 3])),
        (Image.fromarray(GREY.astype(np.uint16) * 257), int(GREY[2, 3]) * 257),
        (Image.fromarray(RGB), tuple(int(v) for v in RGB[2, 3])),
        (Image.fromarray(GREY > 127), 255),
    ],
)
def test_one_transparent_colour_of_a_png(image: Image.Image, transparent: int | tuple[int, ...]) -> None:
    stored = np.asarray(image).astype(int) * (255 if image.mode == "1" else 1)
    hidden = stored == transparent
    hidden = hidden.all(-1) if hidden.ndim == 3 else hidden
    pixels = full(save(image, "PNG", transparency=transparent))
    assert hidden.any()
    assert np.array_equal(pixels.alpha, np.where(hidden, 0, 255))
    assert (pixels.rgb[hidden] == 255).all()
    shown = stored // 257 if image.mode == "I;16" else stored
    shown = shown if shown.ndim == 3 else shown[..., None].repeat(3, 2)
    assert np.array_equal(pixels.rgb[~hidden], shown[~hidden])


# --- CMYK ------------------------------------------------------------------------------------------------------

INKS = {  # C, M, Y, K, 0 = no ink -> the colour that is seen
    (0, 0, 0, 0): (255, 255, 255),
    (255, 0, 0, 0): (0, 255, 255),
    (0, 255, 0, 0): (255, 0, 255),
    (0, 0, 255, 0): (255, 255, 0),
    (0, 255, 255, 0): (255, 0, 0),
    (0, 0, 0, 255): (0, 0, 0),
    (0, 0, 0, 128): (127, 127, 127),
}


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
@pytest.mark.parametrize(("ink", "colour"), INKS.items())
def test_cmyk_has_the_right_polarity(kind: str, ink: tuple[int, ...], colour: tuple[int, ...]) -> None:
    pixels = full(save(Image.new("CMYK", (16, 16), ink), kind))
    assert np.abs(pixels.rgb.astype(int) - colour).max() <= 2


@pytest.mark.parametrize(("ink", "colour"), INKS.items())
def test_ycck_as_adobe_writes_it(ink: tuple[int, ...], colour: tuple[int, ...]) -> None:
    """Photoshop stores 255 - ink, turns the first three into YCC and says transform 2 (Adobe Technical Note 5116)."""
    stored = [255 - value for value in ink]
    red, green, blue = (255 - value for value in stored[:3])  # libjpeg's YCCK works on 255 - C, M, Y
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    ycc = [luma, 128 + (blue - luma) / 1.772, 128 + (red - luma) / 1.402]
    planes = tuple(255 - min(255, round(value)) for value in (*ycc, stored[3]))  # Pillow stores 255 - plane
    data = bytearray(save(Image.new("CMYK", (16, 16), planes), "JPEG", quality=100))
    adobe = data.index(b"Adobe")
    assert data[adobe + 11] == 0
    data[adobe + 11] = 2
    assert np.abs(full(bytes(data)).rgb.astype(int) - colour).max() <= 3


def test_a_reduced_decode_has_the_colours_of_the_full_one() -> None:
    for mode in ("CMYK", "L"):
        ramp = Image.linear_gradient("L").resize((512, 512)).convert("RGB").convert(mode)
        data = save(ramp, "JPEG", quality=95)
        image = EncodedImage(ref=ImageRef(image_id="a", key="a", member="a"), data=data)
        (view,) = Decode().load().views(image, (Fit(side=64, resample="area"),))
        expected = cv2.resize(full(data).rgb, (64, 64), interpolation=cv2.INTER_AREA)
        assert np.abs(view.tiles[0].pixels.astype(int) - expected).max() <= 2


# --- sixteen bits and more -------------------------------------------------------------------------------------

RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)


def test_sixteen_bit_grey_is_divided_by_257_and_does_not_saturate() -> None:
    expected = np.rint(RAMP / 257).astype(np.uint8)
    big_endian = tiff(RAMP, byteorder=">")
    for data in (save(Image.fromarray(RAMP), "PNG"), save(Image.fromarray(RAMP), "TIFF"), big_endian):
        grey = grey_of(full(data))
        assert np.array_equal(grey, expected)
        assert len(np.unique(grey)) == 256


@pytest.mark.parametrize("suffix", [".png", ".tiff"])
def test_sixteen_bit_colours_are_scaled(suffix: str) -> None:
    deep = np.dstack([RAMP, RAMP[::-1], RAMP.T])
    ok, data = cv2.imencode(suffix, deep[..., ::-1])
    assert ok
    assert np.array_equal(full(data.tobytes()).rgb, np.rint(deep / 257))


def test_sixteen_bit_with_alpha() -> None:
    deep = np.dstack([RAMP, RAMP, RAMP, RAMP.T])
    ok, data = cv2.imencode(".png", deep)
    assert ok
    pixels = full(data.tobytes())
    assert np.array_equal(pixels.alpha, np.rint(RAMP.T / 257))
    assert np.abs(pixels.rgb - on_white(deep[..., :3] / 257, deep[..., 3] / 257).astype(int)).max() <= 1


def test_white_is_zero_is_turned_round_at_any_depth() -> None:
    for array in (GREY, GREY.astype(np.uint16) * 257, (GREY / 255).astype(np.float32)):
        assert np.array_equal(grey_of(full(tiff(array, photometric="miniswhite"))), 255 - GREY)


@pytest.mark.parametrize("tags", [(280, 281), (340, 341)])
def test_twelve_bits_in_sixteen_by_the_declared_range(tags: tuple[int, int]) -> None:
    ramp = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    extra = [(tags[0], SHORT, 1, 0, True), (tags[1], SHORT, 1, 4095, True)]
    grey = grey_of(full(tiff(ramp, extratags=extra)))
    assert np.array_equal(grey, np.rint(ramp * (255 / 4095)))
    assert np.array_equal(grey_of(full(tiff(ramp))), np.rint(ramp * (255 / 4095)))  # not declared, but used
    dark = tiff(ramp >> 4, extratags=extra)
    assert np.array_equal(grey_of(full(dark)), np.rint((ramp >> 4) * (255 / 4095)))  # declared: a dark picture


@pytest.mark.parametrize("kind", [1, 2, 7])
def test_a_range_of_another_type_does_not_cost_the_image(kind: int) -> None:
    """Typed BYTE, ASCII or UNDEFINED, as some writers have it."""
    image = Image.fromarray(RGB)
    more = [(280, kind, 3, 0), (281, kind, 3, 0xFFFFFF)]
    assert np.array_equal(full(tiff_picture(image, count=RGB.size, more=more)).rgb, RGB)
    grey = tiff(GREY.astype(np.uint16), extratags=[(280, kind, 1, b"\0", True), (281, kind, 1, b"\xff", True)])
    assert np.array_equal(grey_of(full(grey)), GREY) or kind == 2


def test_packed_twelve_bits_use_their_own_range() -> None:
    """Two pixels in three bytes. tifffile cannot pack them: the strip is written as bytes and the tags corrected."""
    ramp = np.linspace(0, 4095, 64).round().astype(np.uint16).reshape(8, 8)
    pairs = ramp.reshape(-1, 2)
    packed = np.stack([pairs[:, 0] >> 4, (pairs[:, 0] & 15) << 4 | pairs[:, 1] >> 8, pairs[:, 1] & 255], 1)
    data = save(Image.frombytes("L", (12, 8), packed.astype(np.uint8).tobytes()), "TIFF")
    entry = {
        tag: data.index(tag.to_bytes(2, "little") + kind.to_bytes(2, "little") + (1).to_bytes(4, "little"))
        for tag, kind in ((256, LONG), (258, SHORT))
    }
    patched = bytearray(data)
    patched[entry[256] + 8 : entry[256] + 12] = (8).to_bytes(4, "little")
    patched[entry[258] + 8 : entry[258] + 10] = (12).to_bytes(2, "little")
    assert np.array_equal(grey_of(full(bytes(patched))), np.rint(ramp * (255 / 4095)))


def test_signed_and_wide_integers_use_the_range_of_their_type() -> None:
    signed = np.linspace(-32768, 32767, 64).round().astype(np.int16).reshape(8, 8)
    assert np.array_equal(grey_of(full(tiff(signed))), np.rint((signed + 32768.0) / 257))
    wide = np.linspace(0, 2**32 - 1, 64).round().astype(np.uint32).reshape(8, 8)
    assert np.array_equal(grey_of(full(tiff(wide))), np.rint(wide * (255 / (2**32 - 1))))


def test_a_small_range_in_wide_integers_is_no_black_image() -> None:
    wide = np.arange(64, dtype=np.uint32).reshape(8, 8)
    assert np.array_equal(grey_of(full(tiff(wide))), wide)
    assert np.array_equal(grey_of(full(tiff(wide << 12))), np.rint((wide << 12) * (255 / (2**20 - 1))))
    declared = tiff(wide, extratags=[(340, LONG, 1, 0, True), (341, LONG, 1, 63, True)])
    assert np.array_equal(grey_of(full(declared)), np.rint(wide * (255 / 63)))


@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_floats_use_the_configured_range(byteorder: str) -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    expected = np.rint(ramp.astype(np.float64) * 255)
    assert np.array_equal(grey_of(full(tiff(ramp, byteorder=byteorder))), expected)
    assert np.array_equal(grey_of(full(tiff(ramp * 100, byteorder=byteorder), float_range=(0, 100))), expected)


@pytest.mark.parametrize("kind", [FLOAT, DOUBLE])
def test_floats_use_the_range_they_declare_before_the_configured_one(kind: int) -> None:
    ramp = np.linspace(-50, 150, 64, dtype=np.float32).reshape(8, 8)
    data = tiff(ramp, extratags=[(340, kind, 1, -50.0, True), (341, kind, 1, 150.0, True)])
    assert np.array_equal(grey_of(full(data)), np.rint((ramp.astype(np.float64) + 50) * (255 / 200)))


@pytest.mark.parametrize(("low", "high"), [(0, 255), (-3, 1), (0, 1 / 600)])
def test_floats_of_another_range_are_rejected_and_not_clipped(low: float, high: float) -> None:
    error = rejection(tiff(np.linspace(low, high, 64, dtype=np.float32).reshape(8, 8)))
    assert error.reason == "out_of_range"
    assert "decode.float_range" in error.detail


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_rejected(bad: float) -> None:
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    ramp[3, 3] = bad
    assert rejection(tiff(ramp)).reason == "not_finite"


# --- rejections ------------------------------------------------------------------------------------------------


def lab() -> bytes:
    return save(Image.new("LAB", (8, 8), (128, 3, 4)), "TIFF")


@pytest.mark.parametrize(
    ("data", "reasons"),
    [
        (lab(), {"unsupported_mode"}),
        (tiff(GREY.astype(np.int8)), {"unsupported_mode", "undecodable"}),
        (tiff(GREY.astype(np.float64)), {"undecodable"}),
        (tiff(GREY.astype(np.float16)), {"undecodable"}),
        (tiff(RGB.astype(np.float32), photometric="rgb"), {"undecodable"}),
    ],
)
def test_an_unknown_kind_of_pixels_is_rejected_by_name(data: bytes, reasons: set[str]) -> None:
    assert rejection(data).reason in reasons


@pytest.mark.parametrize("tags", [{284: 2}, {280: 0, 281: 4095}])
def test_ink_of_sixteen_bits_that_pillow_reads_wrongly_is_rejected(tags: dict[int, int]) -> None:
    ink = np.random.default_rng(3).integers(0, 65536, (8, 8, 4), np.uint16)
    extra = [(tag, SHORT, 1, value, True) for tag, value in tags.items() if tag != 284]
    planes = {"planarconfig": "separate"} if 284 in tags else {}
    data = tiff(np.moveaxis(ink, 2, 0) if planes else ink, photometric="separated", extratags=extra, **planes)
    assert rejection(data).reason == "unsupported_mode"
    assert full(tiff(ink, photometric="separated")).rgb.max() > 100
    assert rejection(tiff(ink >> 4, photometric="separated")).reason == "out_of_range"


# --- turned ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16", "F", "I"])
def test_every_mode_leaves_a_tiff_upright(mode: str, orientation: int) -> None:
    """Pillow turns TIFFs while it loads them, each mode by its own code."""
    scene = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5
    stored = scene.swapaxes(0, 1) if orientation >= 5 else scene
    flip = {2: (1,), 3: (0, 1), 4: (0,), 6: (0,), 7: (0, 1), 8: (1,)}.get(orientation, ())
    stored = np.ascontiguousarray(np.flip(stored, flip))
    block = Image.Exif()
    block[0x0112] = orientation
    if mode in ("I;16", "F", "I"):
        deep: dict[str, np.ndarray] = {
            "I;16": stored.astype(np.uint16) * 257,
            "F": stored.astype(np.float32) / 255,
            "I": stored.astype(np.uint32) * 16843009,
        }
        data = tiff(deep[mode], extratags=[(274, SHORT, 1, orientation, True)])
    else:
        image = Image.fromarray(stored)
        data = save(image.convert(mode) if mode != "P" else image.quantize(256), "TIFF", exif=block)
    expected = np.where(scene > 127, 255, 0) if mode == "1" else scene
    got = full(data).rgb[..., 0].astype(int)
    assert got.shape == scene.shape
    if mode == "1":  # dithered on the stored side: only where it cannot differ
        sure = (scene < 5) | (scene > 230)
        assert np.array_equal(got[sure], expected[sure])
    else:
        assert np.abs(got - expected).max() <= (2 if mode == "CMYK" else 0)
