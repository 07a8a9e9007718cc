from __future__ import annotations

import re
import struct
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.errors import ImageError
from pipeline.image.header import open_image, read_header
from pipeline.image.strip import CannotStrip, strip
from tests.fakes import crafted_images, metadata_samples
from tests.fakes.exiftool import EXIFTOOL, MISSING, beyond_the_picture, tags

NAMES = sorted(metadata_samples.every())


@cache
def corpus() -> dict[str, bytes]:
    return metadata_samples.every()


def stripped(name: str, *, keep_icc: bool = False) -> bytes:
    data = corpus()[name]
    return strip(data, read_header(data), keep_icc=keep_icc)


def decoded(data: bytes) -> tuple[str, np.ndarray, np.ndarray]:
    """Mode, stored samples, visible samples."""
    image = open_image(data)
    seen = np.asarray(image) if image.mode in ("I;16", "F") else np.asarray(image.convert("RGBA"))
    return image.mode, np.asarray(image), seen


@pytest.mark.parametrize("name", NAMES)
def test_nothing_planted_survives_and_every_pixel_does(name: str) -> None:
    before = corpus()[name]
    after = stripped(name)
    assert metadata_samples.SECRET in before
    assert metadata_samples.SECRET not in after
    assert not re.search(
        rb"Exif\0|xmpmeta|xpacket|photoshop|8BIM|MPF\0|JFXX|ICC_PROFILE|acsp|tEXt|iTXt|zTXt|eXIf", after
    )
    for was, now in zip(decoded(before), decoded(after), strict=True):
        np.testing.assert_array_equal(was, now)
    assert read_header(after).frames == 1


@pytest.mark.parametrize("name", NAMES)
def test_stripping_twice_changes_nothing_more(name: str) -> None:
    once = stripped(name)
    assert strip(once, read_header(once), keep_icc=False) == once


@pytest.mark.parametrize(
    "name", ["jpeg-icc", "png", "webp", "webp-lossless-alpha", "tiff", "tiff-lzw", "avif", "avif-alpha"]
)
def test_the_profile_stays_when_asked(name: str) -> None:
    assert read_header(corpus()[name]).icc == metadata_samples.SRGB
    kept = stripped(name, keep_icc=True)
    assert read_header(kept).icc == metadata_samples.SRGB
    assert metadata_samples.SECRET not in kept
    assert read_header(stripped(name)).icc == b""


def test_compressed_bytes_are_the_same_bytes() -> None:
    """A codec's stream that can be cut out by hand is a part of the output, byte for byte."""
    data = corpus()["jpeg-progressive"]
    scan = data[
        data.index(b"\xff\xda", data.index(b"\xff\xc2")) : data.rindex(b"\xff\xfe")
    ]  # to the comment behind the last scan
    assert len(scan) > 2000
    assert scan in stripped("jpeg-progressive")
    for name in ("png", "png-16"):
        data = corpus()[name]
        at = data.index(b"IDAT")
        assert data[at - 4 : at + 4 + int.from_bytes(data[at - 4 : at], "big")] in stripped(name)
    data = corpus()["webp"]
    at = data.index(b"VP8 ")
    assert data[at : at + 8 + int.from_bytes(data[at + 4 : at + 8], "little")] in stripped("webp")


@pytest.mark.skipif(EXIFTOOL is None, reason=MISSING)
def test_exiftool_finds_only_facts_of_the_picture(tmp_path: Path) -> None:
    for name in NAMES:
        (tmp_path / name).write_bytes(stripped(name))
    (tmp_path / "raw").write_bytes(corpus()["jpeg"])
    answers = tags(tmp_path, ["raw", *NAMES])
    groups = {tag.partition(":")[0] for tag in answers.pop("raw")}
    assert groups >= {"GPS", "IFD0", "ExifIFD", "IPTC", "XMP-dc", "JFIF"}  # it does see what is planted
    assert set(answers) == set(NAMES)
    assert {name: beyond_the_picture(name, answer) for name, answer in answers.items()} == {name: [] for name in NAMES}


# --- refusals --------------------------------------------------------------------------------------------------


def test_an_orientation_is_never_lost() -> None:
    data = metadata_samples.jpeg(metadata_samples.small(), orientation=6)
    with pytest.raises(CannotStrip, match="orientation 6"):
        strip(data, read_header(data), keep_icc=False)


def test_a_tiff_of_an_unknown_codec_is_refused() -> None:
    data = bytearray(corpus()["tiff-lzw"])
    header = read_header(bytes(data))
    directory = int.from_bytes(data[4:8], "little")
    for at in range(directory + 2, directory + 2 + 12 * int.from_bytes(data[directory : directory + 2], "little"), 12):
        if int.from_bytes(data[at : at + 2], "little") == 259:
            struct.pack_into("<H", data, at + 8, 34712)
    with pytest.raises(CannotStrip, match="34712"):
        strip(bytes(data), header, keep_icc=False)


def tiles(columns: int, rows: int) -> list[Image.Image]:
    whole = metadata_samples.photo().resize((128 * columns, 128 * rows))
    corners = [(128 * column, 128 * row) for row in range(rows) for column in range(columns)]
    return [whole.crop((x, y, x + 128, y + 128)) for x, y in corners]


AVIFS = {
    "gain map": lambda: crafted_images.avif_gain_map(metadata_samples.photo()),
    "thumbnail": lambda: crafted_images.avif_thumbnail(metadata_samples.photo()),
    "grid": lambda: crafted_images.avif_grid(tiles(3, 2), 3),
    "grid with alpha": lambda: crafted_images.avif_grid(tiles(2, 1), 2, alpha=tiles(2, 1)),
}


@pytest.mark.parametrize("name", AVIFS)
def test_an_avif_of_several_items_keeps_its_picture_and_nothing_else(name: str) -> None:
    data = AVIFS[name]()
    assert metadata_samples.SECRET in data
    after = strip(data, read_header(data), keep_icc=False)
    np.testing.assert_array_equal(decoded(data)[1], decoded(after)[1])
    assert metadata_samples.SECRET not in after
    assert b"tmap" not in after
    kept = 1 if "grid" not in name else {"grid": 7, "grid with alpha": 6}[name]
    assert after.count(b"infe") == kept
    assert strip(after, read_header(after), keep_icc=False) == after


def test_an_avif_with_a_picture_of_another_kind_is_refused() -> None:
    data = corpus()["avif"].replace(b"\x00av01Color", b"\x00idenColor")
    with pytest.raises(CannotStrip, match="iden"):
        strip(data, read_header(corpus()["avif"]), keep_icc=False)


def test_a_grid_of_other_tiles_than_it_says_is_malformed() -> None:
    data = corpus()["avif"].replace(b"\x00av01Color", b"\x00gridColor")
    with pytest.raises(ImageError, match="malformed_avif: a grid"):
        strip(data, read_header(corpus()["avif"]), keep_icc=False)


def test_a_metadata_unit_inside_the_av1_stream_goes() -> None:
    from pipeline.image.strip.avif import _picture_units

    sequence, frame = bytes((0x0A, 3, 1, 2, 3)), bytes((0x32, 2, 9, 9))
    metadata = bytes((0x2A, len(metadata_samples.SECRET))) + metadata_samples.SECRET
    assert _picture_units(sequence + metadata + frame) == sequence + frame
    assert _picture_units(sequence + metadata + b"\x30\x09\x09") == sequence + b"\x30\x09\x09"  # the last has no size


def test_an_animated_webp_is_refused() -> None:
    frames = [metadata_samples.small(), Image.new("RGB", metadata_samples.small().size)]
    data = metadata_samples.saved(frames[0], "WEBP", save_all=True, append_images=frames[1:])
    with pytest.raises(CannotStrip, match="animated"):
        strip(data, read_header(data), keep_icc=False)


def test_only_the_first_frame_or_page_stays() -> None:
    image = metadata_samples.small()
    pages = [metadata_samples.tiff(image, pages=2), metadata_samples.tiff(image, pages=2, compression="tiff_lzw")]
    apng = metadata_samples.saved(image, "PNG", save_all=True, append_images=[Image.new("RGB", image.size, (1, 2, 3))])
    gif = metadata_samples.saved(image.quantize(16), "GIF", save_all=True, append_images=[Image.new("RGB", image.size)])
    for data in (apng, gif, *pages):
        assert read_header(data).frames == 2
        after = strip(data, read_header(data), keep_icc=False)
        assert read_header(after).frames == 1
        np.testing.assert_array_equal(decoded(data)[2], decoded(after)[2])
        assert len(after) < len(data)
        assert metadata_samples.SECRET not in after


@pytest.mark.parametrize(
    "name", ["jpeg", "jpeg-progressive", "png", "webp", "gif", "bmp", "tiff-lzw", "tiff-jpeg", "avif-alpha"]
)
def test_a_cut_file_is_malformed(name: str) -> None:
    """A file cut anywhere is rejected, or gives the output of the whole file when only dropped bytes are cut."""
    data = corpus()[name]
    header, whole = read_header(data), stripped(name)
    reasons = set()
    for length in range(0, len(data), max(1, len(data) // 97)):
        try:
            assert strip(data[:length], header, keep_icc=False) == whole
        except ImageError as error:
            reasons.add(error.reason)
    assert f"malformed_{header.format.lower()}" in reasons
    assert reasons <= {f"malformed_{header.format.lower()}", "malformed_jpeg", "strip_unsupported"}


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_an_image_error_and_nothing_else(name: str) -> None:
    data = corpus()[name]
    header = read_header(data)
    rng = np.random.default_rng(11)
    reasons: set[str] = set()
    for _ in range(60):
        broken = bytearray(data)
        for at in rng.integers(0, min(len(data), 2500), 4):
            broken[at] = rng.integers(0, 256)
        try:
            strip(bytes(broken), header, keep_icc=True)
        except ImageError as error:
            reasons.add(error.reason)
    allowed = {"strip_unsupported", "malformed_jpeg", f"malformed_{header.format.lower()}"}
    assert reasons <= allowed


def test_a_png_chunk_with_a_wrong_crc_is_malformed() -> None:
    data = bytearray(corpus()["png"])
    data[data.index(b"tEXt") + 6] ^= 1
    with pytest.raises(ImageError, match=r"malformed_png.*CRC"):
        strip(bytes(data), read_header(corpus()["png"]), keep_icc=False)


def test_nothing_can_be_stuffed_into_a_chunk_that_stays() -> None:
    data = corpus()["png-grey"]
    at = data.index(b"IDAT") - 4
    stuffed = (
        data[:at] + metadata_samples.chunk(b"gAMA", struct.pack(">I", 45455) + metadata_samples.SECRET) + data[at:]
    )
    with pytest.raises(ImageError, match=r"malformed_png.*gAMA"):
        strip(stuffed, read_header(data), keep_icc=False)


def test_nothing_can_be_stuffed_behind_an_uncompressed_strip() -> None:
    plain = metadata_samples.saved(metadata_samples.small().convert("L"), "TIFF")
    directory = int.from_bytes(plain[4:8], "little")
    data = bytearray(plain + metadata_samples.SECRET)
    for at in range(directory + 2, directory + 2 + 12 * int.from_bytes(data[directory : directory + 2], "little"), 12):
        if int.from_bytes(data[at : at + 2], "little") == 279:
            (count,) = struct.unpack_from("<I", data, at + 8)
            struct.pack_into("<I", data, at + 8, count + len(metadata_samples.SECRET))
    after = strip(bytes(data), read_header(bytes(data)), keep_icc=False)
    assert metadata_samples.SECRET not in after
    np.testing.assert_array_equal(decoded(plain)[1], decoded(after)[1])


@pytest.mark.parametrize(("count", "deflate"), [(0, False), (0, True), (40, False), (None, False), (None, True)])
def test_a_strip_of_another_size_than_its_pixels_is_refused(count: int | None, deflate: bool) -> None:
    """Pillow and libtiff work the size out by themselves; what is cut by such a count would be no picture."""
    image = metadata_samples.small()
    data = crafted_images.tiff_picture(image, count=count, deflate=deflate)
    np.testing.assert_array_equal(decoded(data)[1], np.asarray(image))
    with pytest.raises(CannotStrip, match=r"TIFF w(ith|hose)"):
        strip(data, read_header(data), keep_icc=False)


@pytest.mark.parametrize("kind", [1, 7])
def test_the_range_of_the_samples_may_be_typed_as_bytes(kind: int) -> None:
    image = metadata_samples.small()
    more = [(280, kind, 3, 0), (281, kind, 3, 0xFFFFFF)]
    data = crafted_images.tiff_picture(image, count=image.width * image.height * 3, more=more)
    after = strip(data, read_header(data), keep_icc=False)
    np.testing.assert_array_equal(decoded(after)[1], np.asarray(image))
    page = open_image(after).tag_v2  # type: ignore[attr-defined]
    assert (page[280], page[281], page.tagtype[280]) == (b"\0\0\0", b"\xff\xff\xff", 1)


@pytest.mark.parametrize("bits", [8, 4])
def test_a_run_length_bmp_ends_at_its_end_code(bits: int) -> None:
    """4 x 2 pixels: a run and a literal row; the secret behind the end code goes."""
    rows = (
        (b"\x04\x01\x00\x00\x00\x04\x01\x02\x01\x03\x00\x01")
        if bits == 8
        else b"\x04\x11\x00\x00\x00\x04\x12\x13\x00\x01"
    )
    palette = b"".join(bytes((v, v, v)) + b"S" for v in (0, 60, 120, 250))
    head = struct.pack("<IiiHHIIiiII", 40, 4, 2, 1, bits, 1 if bits == 8 else 2, len(rows), 0, 0, 4, 4)
    body = head + palette + rows + metadata_samples.SECRET
    data = b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 14 + 40 + len(palette)) + body
    header = read_header(data) if bits == 8 else read_header(corpus()["bmp"])
    after = strip(data, header, keep_icc=False)
    assert after.endswith(rows)
    assert b"S" not in after
    if bits == 8:
        np.testing.assert_array_equal(decoded(data)[2], decoded(after)[2])


def test_tiles_and_big_endian_tiff() -> None:
    tifffile = pytest.importorskip("tifffile", reason="comes with scikit-image")
    import io

    array = np.asarray(metadata_samples.photo())[:200, :300]
    for options in (
        {"tile": (64, 64)},
        {"tile": (64, 64), "compression": "zlib"},
        {"planarconfig": "separate"},
        {"rowsperstrip": 7},
    ):
        for order in "<>":
            source = np.moveaxis(array, 2, 0) if "planarconfig" in options else array
            out = io.BytesIO()
            with tifffile.TiffWriter(out, byteorder=order) as writer:
                writer.write(
                    source,
                    photometric="rgb",
                    description=metadata_samples.TEXT,
                    software=metadata_samples.TEXT,
                    **options,
                )
                writer.write(array[:50, :50], photometric="rgb", description=metadata_samples.TEXT)
            data = out.getvalue()
            after = strip(data, read_header(data), keep_icc=False)
            assert metadata_samples.SECRET not in after
            np.testing.assert_array_equal(np.asarray(open_image(after)), array)
