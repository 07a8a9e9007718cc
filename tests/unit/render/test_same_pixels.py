"""A published file is compared with its source by what a decoder makes of both."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from pipeline.errors import ImageError
from pipeline.image.decode import Decode
from pipeline.image.header import open_image, read_header
from pipeline.image.strip import strip
from pipeline.records import EncodedImage, ImageRef
from pipeline.render.render import Render
from pipeline.render.same_pixels import check
from tests.fakes import crafted_images, metadata_samples
from tests.fakes.crafted_images import scan_by_scan
from tests.fakes.filled_images import full, item, one, rendered
from tests.fakes.metadata_samples import saved, small, with_alpha

LOSSLESS = ("PNG", "TIFF", "BMP")


def checked(published: bytes, data: bytes) -> None:
    image = EncodedImage(ref=ImageRef(image_id="a", key="a", member="a"), data=data)
    check(published, image, read_header(data), Decode().load())


def changed(published: bytes, data: bytes) -> str:
    with pytest.raises(ImageError, match="changed_pixels") as caught:
        checked(published, data)
    return caught.value.detail


@pytest.mark.parametrize("name", sorted(metadata_samples.every()))
def test_what_strip_makes_is_the_same(name: str) -> None:
    data = metadata_samples.every()[name]
    published = strip(data, read_header(data), keep_icc=False)
    assert published != data
    checked(published, data)


@pytest.mark.parametrize("fmt", LOSSLESS)
def test_one_level_of_one_pixel_shows(fmt: str) -> None:
    pixels = np.asarray(small()).copy()
    data = saved(Image.fromarray(pixels), fmt)
    pixels[40, 60, 2] ^= 1
    assert "shows other ones" in changed(saved(Image.fromarray(pixels), fmt), data)


def test_one_level_of_alpha_shows_and_of_sixteen_bits() -> None:
    rgba = np.asarray(with_alpha(small())).copy()
    data = saved(Image.fromarray(rgba), "PNG")
    rgba[40, 60, 3] ^= 1
    changed(saved(Image.fromarray(rgba), "PNG"), data)
    deep = np.arange(120 * 90, dtype=np.uint16).reshape(90, 120)
    one = deep.copy()
    one[40, 60] ^= 1
    for fmt in ("PNG", "TIFF"):
        changed(saved(Image.fromarray(one), fmt), saved(Image.fromarray(deep), fmt))


def test_another_size_or_a_turned_picture_shows() -> None:
    image = Image.new("RGB", (40, 30), "red")
    for fmt in (*LOSSLESS, "JPEG", "WEBP", "AVIF"):
        changed(saved(image.resize((30, 40)), fmt), saved(image, fmt))
    turned = saved(Image.new("RGB", (40, 40), "red"), "PNG", exif=metadata_samples.exif(6))
    changed(turned, saved(Image.new("RGB", (40, 40), "red"), "PNG"))


@pytest.mark.parametrize("fmt", [*LOSSLESS, "JPEG", "WEBP", "AVIF", "GIF"])
def test_a_file_that_cannot_be_read_is_not_the_same(fmt: str) -> None:
    data = saved(small(), fmt)
    assert "it cannot be read" in changed(data[: len(data) // 2], data)


def named(data: bytes, letters: bytes) -> bytes:
    """A JPEG of one scan whose components have these names."""
    frame, scan, renamed = data.index(b"\xff\xc0"), data.index(b"\xff\xda"), bytearray(data)
    for number, letter in enumerate(letters):
        renamed[frame + 10 + 3 * number] = letter
        renamed[scan + 5 + 2 * number] = letter
    return bytes(renamed)


@pytest.mark.parametrize(("mark", "letters"), [(b"JFIF", b"RGB"), (b"Adobe", b"\1\2\3")])
def test_a_jpeg_without_its_colour_transform_shows(mark: bytes, letters: bytes) -> None:
    """JFIF says YCC, Adobe here RGB; without them a decoder goes by the names of the components."""
    data = named(saved(small(), "JPEG", keep_rgb=mark == b"Adobe"), letters)
    at = data.index(mark) - 4
    without = data[:at] + data[at + 2 + int.from_bytes(data[at + 2 : at + 4], "big") :]
    assert "shows other ones" in changed(without, data)


@pytest.mark.parametrize("kind", ["progressive", "scan by scan"])
def test_a_jpeg_that_lost_a_scan_shows(kind: str) -> None:
    """Only the last scan's bits are away, which refine what is there."""
    data = saved(small(), "JPEG", progressive=True) if kind == "progressive" else scan_by_scan(small())
    last = data.rindex(b"\xff\xda")
    if kind == "progressive":
        last = data.rindex(b"\xff\xc4", 0, last)
    assert changed(data[:last] + b"\xff\xd9", data)


def test_one_bit_of_a_scan_shows() -> None:
    data = saved(small(), "JPEG")
    start, seen = data.index(b"\xff\xda") + 14, 0
    for at in range(start, len(data) - 40, 97):
        other = bytearray(data)
        other[at] ^= 0x10
        if 0xFF in data[at - 1 : at + 1] or other[at] == 0xFF:
            continue
        assert changed(bytes(other), data)
        seen += 1
    assert seen > 10


def test_floats_and_wide_numbers_are_compared_as_stored() -> None:
    for dtype in (np.float32, np.uint32, np.int16):
        values = np.linspace(0, 1, 48).reshape(6, 8).astype(dtype)
        files = []
        for nudge in (0, 1):
            values = values.copy()
            values.view({4: np.uint32, 2: np.uint16}[values.itemsize])[3, 3] += nudge
            out = io.BytesIO()
            tifffile.imwrite(out, values, metadata=None, photometric="minisblack")
            files.append(out.getvalue())
        checked(files[0] + b"tail", files[0])
        changed(files[1], files[0])


# --- what render makes of it ---------------------------------------------------------------------------------------

LOSSY = ("jpeg", "mpo", "avif", "webp-simple", "webp-alpha")


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("name", sorted(metadata_samples.every()))
def test_whatever_is_damaged_an_unchanged_file_shows_its_source_or_is_rejected(name: str, private: bool) -> None:
    """Bytes of the container are hit at random: every file that is published decodes to the source's pixels."""
    data, rng, published = metadata_samples.every()[name], np.random.default_rng(3), 0
    for _ in range(25):
        broken = bytearray(data)
        for at in rng.integers(0, min(len(data), 3000), 2):
            broken[at] = rng.integers(0, 256)
        decoder, image = (
            Decode().load(),
            EncodedImage(ref=ImageRef(image_id="x", key="x", member="x"), data=bytes(broken)),
        )
        try:
            before = decoder.full(image)
            made = Render(private=private)(item(bytes(broken)), decoder)
        except ImageError:
            continue
        published += 1
        recoded = name.startswith(LOSSY) and (made.detail or (private and "alpha" in name))
        if read_header(bytes(broken)).orientation == 1 and not recoded:
            np.testing.assert_array_equal(full(one(made)), before.rgb)
    assert published or name.startswith("png")  # whose checksums give nearly everything away


TIFF_COUNTS = {
    "none": (None, False),
    "zero": (0, False),
    "half": (121 * 90 * 3 // 2, False),
    "huge": (1 << 20, False),
    "deflate zero": (0, True),
}


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("name", TIFF_COUNTS)
def test_a_tiff_with_wrong_sizes_is_encoded_anew_to_the_same_pixels(name: str, private: bool) -> None:
    count, deflate = TIFF_COUNTS[name]
    image = metadata_samples.small()
    data = crafted_images.tiff_picture(image, count=count, deflate=deflate)
    result = rendered(item(data), private=private)
    assert result.status == "unchanged"
    assert result.detail.startswith("encoded anew: ")
    np.testing.assert_array_equal(np.asarray(open_image(one(result))), np.asarray(image))


def png_of(*, between: bytes = b"", drop_end: int = 0, spoil: bytes = b"") -> bytes:
    """The small photograph as PNG: chunks behind the header, bytes cut off its end, a chunk's CRC made 0."""
    data = metadata_samples.saved(Image.fromarray(np.asarray(metadata_samples.small())), "PNG")
    data = data[:33] + between + data[33 : len(data) - drop_end]
    if spoil:
        at = data.index(spoil)
        end = at + 4 + int.from_bytes(data[at - 4 : at], "big")
        data = data[:end] + bytes(4) + data[end + 4 :]
    return data


GAMMA = metadata_samples.chunk(b"gAMA", (45455).to_bytes(4, "big"))
PNGS = {
    "no_end": png_of(drop_end=12),
    "cut_end": png_of(drop_end=4),
    "end_bad_crc": png_of(spoil=b"IEND"),
    "pixels_bad_crc": png_of(spoil=b"IDAT"),
    "two_gammas": png_of(between=GAMMA + GAMMA),
    "long_srgb": png_of(between=metadata_samples.chunk(b"sRGB", b"\0" + metadata_samples.SECRET)),
    "text_bad_crc_behind": png_of(drop_end=12) + b"\0\0\0\x05tEXta\0bcd\0\0\0\0" + metadata_samples.SECRET,
}


@pytest.mark.parametrize("private", [False, True])
@pytest.mark.parametrize("name", PNGS)
def test_a_png_that_cannot_be_cut_is_encoded_anew_to_the_same_pixels(name: str, private: bool) -> None:
    result = rendered(item(PNGS[name]), private=private)
    assert (result.status, result.detail[:27]) == ("unchanged", "encoded anew: malformed_png")
    assert metadata_samples.SECRET not in one(result)
    np.testing.assert_array_equal(np.asarray(open_image(one(result))), np.asarray(metadata_samples.small()))
    header = read_header(one(result))
    assert strip(one(result), header, keep_icc=True) == one(result)


@pytest.mark.parametrize("private", [False, True])
def test_an_avif_that_cannot_be_cut_is_encoded_anew(private: bool) -> None:
    image = metadata_samples.photo().resize((128, 96))
    data = crafted_images.avif_premultiplied(image, Image.new("L", image.size, 255 if private else 200))
    result = rendered(item(data), private=private, quality=95)
    assert (result.status, result.files[0].suffix) == ("unchanged", ".avif")
    assert result.detail == "encoded anew: strip_unsupported: AVIF with premultiplied alpha"
    assert metadata_samples.SECRET in data
    assert metadata_samples.SECRET not in one(result)
    assert np.abs(full(one(result)).astype(int) - full(data)).mean() < 2
    assert read_header(one(result)).has_alpha != private
