"""The catalogue of bad and odd input: each case with its expected outcome.

Images: name -> (bytes, "written", "unchanged" or "stage: reason"). Shards: name -> (bytes, the outcomes of its rows in
order); a row "shard: REASON" is the failure of the rest of that shard.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageCms, PngImagePlugin

from tests.fakes import crafted_images
from tests.fakes.metadata_samples import SRGB, chunk, exif, jpeg, mpo, photo, saved, small

WRITTEN = "written"
UNCHANGED = "unchanged"
TRUNCATED = "decode: truncated"
BROKEN = "decode: undecodable"
LAB = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
REFUSED = "decode: format_not_allowed"
TOO_LARGE = "decode: too_many_pixels"
FRAMES = "decode: many_frames"
NO_MODE = "decode: unsupported_mode"
WRONG_SIZE = "decode: size_mismatch"

Images = dict[str, tuple[bytes, str]]
Shards = dict[str, tuple[bytes, tuple[str, ...]]]


def plain(width: int = 40, height: int = 30) -> Image.Image:
    """A gradient, so without a face."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.dstack([x, y, 255 - x]).astype(np.uint8))


def cut(data: bytes, share: float = 0.6) -> bytes:
    return data[: int(len(data) * share)]


def _png_header(width: int, height: int) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 64)) + chunk(b"IEND", b"")


def _gif_bomb() -> bytes:
    return b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + b"\0" * 6 + saved(plain(), "GIF")[13:]


def _text_bomb() -> bytes:
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "A" * (64 << 20), zip=True)
    return saved(plain(), "PNG", pnginfo=info)


def _frames(fmt: str, number: int = 3, **options: object) -> bytes:
    more = [plain().rotate(9 * turn + 9) for turn in range(number - 1)]
    return saved(plain(), fmt, save_all=True, append_images=more, **options)


def _oriented(value: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = value
    return saved(plain(), "JPEG", exif=tags)


def _wide_gamut() -> bytes:
    """sRGB with the red and green primaries moved outwards. Each entry of the tag table has a name, offset and size."""
    profile = bytearray(SRGB)
    primaries = {
        b"rXYZ": (0.6097, 0.3111, 0.0195),
        b"gXYZ": (0.2053, 0.6257, 0.0609),
        b"bXYZ": (0.1492, 0.0632, 0.7446),
    }
    for at in range(132, 132 + 12 * int.from_bytes(profile[128:132], "big"), 12):
        name, start = bytes(profile[at : at + 4]), int.from_bytes(profile[at + 4 : at + 8], "big")
        if name in primaries:
            fixed = (round(value * 65536) for value in primaries[name])
            profile[start + 8 : start + 20] = struct.pack(">3i", *fixed)
    return bytes(profile)


@cache
def images() -> Images:
    """Each is a member of one tar. Those with the outcome `written` show a face."""
    face = photo().crop((96, 0, 352, 256))
    whole = {
        ".jpg": saved(plain(), "JPEG"),
        ".png": saved(plain(), "PNG"),
        ".webp": saved(plain(), "WEBP"),
        ".tif": saved(plain(), "TIFF"),
        ".avif": saved(plain(), "AVIF"),
        ".bmp": saved(plain(), "BMP"),
        ".gif": saved(plain(), "GIF"),
    }
    made: Images = {"zero.jpg": (b"", "decode: empty"), "one_byte.jpg": (b"\xff", REFUSED)}
    for suffix, data in whole.items():
        made[f"whole{suffix}"] = (data, UNCHANGED)
        made[f"cut{suffix}"] = (cut(data), TRUNCATED)
        made[f"magic_only{suffix}"] = (data[:16], BROKEN if suffix in (".tif", ".bmp", ".gif") else TRUNCATED)
    made |= {f"really_{key[1:]}.jpg": (data, UNCHANGED) for key, data in whole.items() if key != ".jpg"}
    made |= {
        "eps.jpg": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", REFUSED),
        "pdf.jpg": (b"%PDF-1.7\n", REFUSED),
        "svg.png": (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", REFUSED),
        "fits.tif": (b"SIMPLE  =                    T", REFUSED),
        "psd.png": (b"8BPS\0\1" + bytes(40), REFUSED),
        "html.jpg": (b"<!DOCTYPE html><title>404</title>", REFUSED),
        "zip.png": (b"PK\x03\x04" + bytes(40), REFUSED),
        "bomb.png": (_png_header(50_000, 50_000), TOO_LARGE),
        "bomb_most.png": (_png_header(2**31 - 1, 2**31 - 1), TOO_LARGE),
        "bomb.jpg": (crafted_images.resized_jpeg(whole[".jpg"], 65535, 65535), TOO_LARGE),
        "bomb.tif": (crafted_images.tiff(crafted_images.tiff_entries(65535, 65535)), TOO_LARGE),
        "bomb.gif": (_gif_bomb(), TOO_LARGE),
        "bomb_text.png": (_text_bomb(), BROKEN),
        "no_pixels.png": (_png_header(0, 0), BROKEN),
        "bomb_frame.gif": (crafted_images.gif_frame(plain(), 65535), TOO_LARGE),
        "bomb_frames.gif": (_frames("GIF", 300), FRAMES),
        "frame_beyond.gif": (crafted_images.gif_frame(plain(), 60), TRUNCATED),
        "bomb_lossless.webp": (crafted_images.webp_lossless(plain(), 16384), TOO_LARGE),
        "bomb_lossy.webp": (crafted_images.webp_lossy(plain(), 16383), TOO_LARGE),
        "bomb_canvas.webp": (crafted_images.webp_canvas(plain(), 60_000), TOO_LARGE),
        "canvas_too_large.webp": (crafted_images.webp_canvas(plain(), 1 << 24), BROKEN),
        # Every viewer shows the missing part grey, and no viewer shows the part that the header leaves out.
        "size_beyond.jpg": (crafted_images.resized_jpeg(whole[".jpg"], 400, 300), WRONG_SIZE),
        "size_below.jpg": (crafted_images.resized_jpeg(saved(face, "JPEG"), 256, 40), WRONG_SIZE),
        "size_below_restarts.jpg": (
            crafted_images.resized_jpeg(saved(face, "JPEG", restart_marker_rows=1), 256, 40),
            WRONG_SIZE,
        ),
        "size_below_progressive.jpg": (
            crafted_images.resized_jpeg(saved(face, "JPEG", progressive=True), 256, 40),
            "render: size_mismatch",
        ),
        "face.jpg": (saved(face, "JPEG", quality=90), WRITTEN),
        "face.png": (saved(face, "PNG"), WRITTEN),
        "face.webp": (saved(face, "WEBP"), WRITTEN),
        "face_ultra_hdr.jpg": (crafted_images.ultra_hdr(face), WRITTEN),
        "face_mpo.jpg": (mpo(face), WRITTEN),
        "loop.tif": (crafted_images.tiff(crafted_images.tiff_entries(8, 8), after=8), UNCHANGED),
        "ring_2.tif": (crafted_images.tiff_ring(2), FRAMES),
        "ring_9.tif": (crafted_images.tiff_ring(9), FRAMES),
        "loop_sub.tif": (crafted_images.tiff_inner_loop(330), UNCHANGED),
        "loop_exif.tif": (crafted_images.tiff_inner_loop(34665), UNCHANGED),
        "loop_gps.tif": (crafted_images.tiff_inner_loop(34853), UNCHANGED),
        "no_directory.tif": (b"II*\0" + struct.pack("<I", 1 << 30) + bytes(8), BROKEN),
        "pages.tif": (_frames("TIFF"), FRAMES),
        "animated.gif": (_frames("GIF", duration=50), FRAMES),
        "animated.webp": (_frames("WEBP", duration=50), FRAMES),
        "animated.png": (_frames("PNG", duration=50), FRAMES),
        "mpo.jpg": (mpo(plain()), UNCHANGED),
        "motion.jpg": (whole[".jpg"] + b"\0\0\0\x18ftypmp42" + bytes(3000), UNCHANGED),
        "second.jpg": (whole[".jpg"] + whole[".jpg"], UNCHANGED),
        "ultra_hdr.jpg": (crafted_images.ultra_hdr(plain(400, 300)), UNCHANGED),
        "tail.png": (whole[".png"] + b"tail" * 99, UNCHANGED),
        "icc_broken.jpg": (saved(plain(), "JPEG", icc_profile=b"no profile at all"), UNCHANGED),
        "icc_other_space.png": (saved(plain(), "PNG", icc_profile=LAB), UNCHANGED),
        "icc_wide.jpg": (saved(plain(), "JPEG", icc_profile=_wide_gamut()), UNCHANGED),
        "exif_broken.jpg": (saved(plain(), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff"), UNCHANGED),
        "exif_short.jpg": (saved(plain(), "JPEG", exif=b"Exif\0\0I"), UNCHANGED),
        "exif_all.jpg": (jpeg(small().crop((0, 0, 30, 20))), UNCHANGED),
        "exif.png": (saved(plain(), "PNG", exif=exif(6)), UNCHANGED),
        "1x1.png": (saved(plain(1, 1), "PNG"), UNCHANGED),
        "1x1.jpg": (saved(plain(1, 1), "JPEG"), UNCHANGED),
        "1xN.png": (saved(plain(1, 900), "PNG"), UNCHANGED),
        "Nx1.webp": (saved(plain(900, 1), "WEBP", lossless=True), UNCHANGED),
        "wide.jpg": (saved(plain(65500, 2), "JPEG"), UNCHANGED),
        "high.png": (saved(plain(2, 65500), "PNG"), UNCHANGED),
    }
    made |= {f"orientation_{value}.jpg": (_oriented(value), UNCHANGED) for value in range(10)}
    return made | dict(_modes())


def _modes() -> Iterator[tuple[str, tuple[bytes, str]]]:
    """Every colour mode and depth that the encoders write."""
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"mode_{mode}.png", (saved(plain().convert(mode), "PNG"), UNCHANGED)
        if mode != "LA":
            yield f"mode_{mode}.tif", (saved(plain().convert(mode), "TIFF"), UNCHANGED)
    for mode in ("L", "CMYK", "YCbCr"):
        yield f"mode_{mode}.jpg", (saved(plain().convert(mode), "JPEG"), UNCHANGED)
    grey = np.linspace(0, 65535, 1200).reshape(30, 40)
    deep = Image.fromarray(grey.astype(np.uint16))
    yield "depth_16.png", (saved(deep, "PNG"), UNCHANGED)
    yield "depth_16.tif", (saved(deep, "TIFF"), UNCHANGED)
    yield "mode_CMYK.tif", (saved(plain().convert("CMYK"), "TIFF"), UNCHANGED)
    yield "mode_LAB.tif", (saved(Image.new("LAB", (40, 30), (90, 9, 9)), "TIFF"), NO_MODE)
    unit = (grey / 65535).astype(np.float32)
    yield "float.tif", (saved(Image.fromarray(unit), "TIFF"), UNCHANGED)
    yield "float_beyond.tif", (saved(Image.fromarray(unit * 900), "TIFF"), "decode: out_of_range")
    yield "float_nan.tif", (saved(Image.fromarray(np.where(unit > 0.5, np.nan, unit)), "TIFF"), "decode: not_finite")


# --- tars ------------------------------------------------------------------------------------------------------

Entry = tuple[tarfile.TarInfo, bytes]


def entry(
    name: str, data: bytes = b"", *, kind: bytes = tarfile.REGTYPE, pax: Mapping[str, str] | None = None
) -> Entry:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.pax_headers = kind, len(data), dict(pax or {})
    info.linkname = "ok0.png" if kind in (tarfile.LNKTYPE, tarfile.SYMTYPE) else ""
    return info, data


def tar(*entries: Entry, form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, errors="surrogateescape") as archive:
        for info, data in entries:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


@cache
def tars() -> Shards:
    ok = saved(plain(8, 8), "PNG")
    first, last = entry("ok0.png", ok), entry("ok1.png", ok)

    def between(*entries: Entry) -> bytes:
        return tar(first, *entries, last)

    fine, beside = tar(first, last), UNCHANGED
    sound = (beside, beside)
    odd = (beside, "read: tar_member_type", beside)
    unsafe = (beside, "read: unsafe_name", beside)
    twice = (beside, "read: duplicate_member", beside)
    header = bytearray(fine)
    header[3] ^= 1
    return {
        "fine.tar": (fine, sound),
        "fine.tgz": (gzip.compress(fine, mtime=0), sound),
        "hard_link.tar": (between(entry("a.png", kind=tarfile.LNKTYPE)), odd),
        "symbolic_link.tar": (between(entry("a.png", kind=tarfile.SYMTYPE)), odd),
        "device.tar": (between(entry("a.png", kind=tarfile.CHRTYPE)), odd),
        "block_device.tar": (between(entry("a.png", kind=tarfile.BLKTYPE)), odd),
        "fifo.tar": (between(entry("a.png", kind=tarfile.FIFOTYPE)), odd),
        "sparse.tar": (between(entry("a.png", ok, pax={"GNU.sparse.major": "1", "GNU.sparse.minor": "0"})), odd),
        "folder.tar": (between(entry("a.png", kind=tarfile.DIRTYPE)), sound),
        "absolute.tar": (between(entry("/etc/a.png", ok)), unsafe),
        "dotdot.tar": (between(entry("../../a.png", ok)), unsafe),
        "control.tar": (between(entry("a\nb.png", ok)), unsafe),
        "long.tar": (between(entry("x" * 5000 + ".png", ok)), unsafe),
        "adjacent.tar": (tar(first, first, last), twice),
        "apart.tar": (tar(first, last, first), (beside, beside, "read: duplicate_member")),
        "pax_dotdot.tar": (between(entry("a.png", ok, pax={"path": "../a.png"})), unsafe),
        "not_utf8.tar": (between(entry("caf\udce9.png", ok)), (beside, beside, beside)),
        "case.tar": (tar(entry("A.png", ok), entry("a.png", ok)), sound),
        "no_image.tar": (between(entry("b.txt", b"text")), (beside, "read: no_image_member", beside)),
        "raw.tar": (between(entry("b.dng", b"II*\0raw")), (beside, "read: format_not_allowed", beside)),
        "several.tar": (tar(entry("a.left.png", ok), entry("a.right.png", ok), entry("a.json", b"{}")), sound),
        "again.tar": (tar(entry("a.png", ok), first, entry("a.PNG", ok), entry("a.png", ok)), (*sound, *twice[:2])),
        "apple.tar": (between(entry("._ok1.png", b"\0\5\x16\7\0\2"), entry(".DS_Store", b"\0\0\0\1Bud1")), sound),
        "by_bytes.tar": (between(entry("b.jpg_large", ok)), (beside, beside, beside)),
        "gzip_inside.tar": (gzip.compress(fine, mtime=0), sound),
        "plain_inside.tgz": (fine, sound),
        "fine.tar.bz2": (bz2.compress(fine), sound),
        "fine.tar.xz": (lzma.compress(fine), sound),
        "cut.txz": (lzma.compress(fine)[:-9], (*sound, "shard: xz_truncated")),
        "huge.tar": (between(entry("b.png", bytes(3 << 20))), (beside, "read: too_many_bytes", beside)),
        "empty.tar": (tar(), ()),
        "zero_bytes.tar": (b"", ("shard: tar_no_end",)),
        "zero_bytes.tgz": (b"", ("shard: gzip_truncated",)),
        "cut.tgz": (gzip.compress(fine, mtime=0)[:-9], (beside, beside, "shard: gzip_truncated")),
        "no_end.tar": (fine[: 2 * 1024 + 512 * (len(ok) > 512) * 2], (beside, beside, "shard: tar_no_end")),
        "half.tar": (fine[:1300], (beside, "shard: tar_truncated")),
        "header.tar": (bytes(header), ("shard: tar_bad_header",)),
        "two.tar": (fine + fine, (beside, beside, "shard: tar_trailing_data")),
        "no_tar.tar": (b"not an archive at all" * 99, ("shard: tar_bad_header",)),
    }


# --- Parquet ---------------------------------------------------------------------------------------------------


def table(column: pa.Array, *names: str, beside: pa.Array | None = None) -> bytes:
    """A file with the column under these names (default: `image`), and another one `beside` them."""
    names = names or ("image",)
    more = [] if beside is None else [beside]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_arrays([*[column] * len(names), *more], [*names, *["beside"] * len(more)]), buffer)
    return buffer.getvalue()


@cache
def parquets() -> Shards:
    ok = saved(plain(8, 8), "PNG")
    structs = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    fine = table(pa.array([ok, ok], pa.binary()))
    corrupt = bytearray(fine)
    corrupt[4:40] = b"\xff" * 36
    schema, nulls = ("shard: parquet_schema",), ("read: null_image",) * 2
    paths = pa.array([{"bytes": None, "path": "/etc/passwd"}, {"bytes": ok, "path": "x.png"}], structs)
    return {
        "a_fine.parquet": (fine, (UNCHANGED, UNCHANGED)),
        "empty.parquet": (table(pa.array([], pa.binary())), ()),
        "nulls.parquet": (table(pa.array([ok, None], pa.binary())), (UNCHANGED, "read: null_image")),
        "all_null.parquet": (table(pa.array([None, None], pa.binary())), nulls),
        "not_images.parquet": (table(pa.array([b"", b"text"], pa.binary())), ("decode: empty", REFUSED)),
        "paths.parquet": (table(paths), ("read: path_only", UNCHANGED)),
        "types.parquet": (table(pa.array([1, 2])), ("shard: parquet_schema",)),
        "drift.parquet": (table(pa.array([ok], pa.binary()), "picture"), ("shard: parquet_schema",)),
        "drift_large.parquet": (table(pa.array([ok], pa.large_binary())), (UNCHANGED,)),
        "drift_view.parquet": (table(pa.array([ok], pa.binary_view())), (UNCHANGED,)),
        "drift_struct.parquet": (table(pa.array([{"bytes": ok, "path": None}], structs)), (UNCHANGED,)),
        "drift_more.parquet": (table(pa.array([ok], pa.binary()), beside=pa.array([7])), (UNCHANGED,)),
        "drift_text.parquet": (table(pa.array(["base64"])), schema),
        "drift_list.parquet": (table(pa.array([[ok, None], []], pa.list_(pa.binary()))), (UNCHANGED, *nulls)),
        "drift_fixed.parquet": (table(pa.array([ok], pa.binary(len(ok)))), (UNCHANGED,)),
        "drift_twice.parquet": (table(pa.array([ok], pa.binary()), "image", "image"), schema),
        "drift_case.parquet": (table(pa.array([ok], pa.binary()), "Image"), schema),
        "drift_no_bytes.parquet": (table(pa.array([{"path": "a.png"}])), schema),
        "drift_text_bytes.parquet": (table(pa.array([{"bytes": "text", "path": "a.png"}])), schema),
        "drift_null_type.parquet": (table(pa.nulls(1)), schema),
        "drift_packed.parquet": (table(pa.array([ok, ok], pa.binary()).dictionary_encode()), (UNCHANGED,) * 2),
        "footer.parquet": (fine[:-7], ("shard: parquet_unreadable",)),
        "zero_bytes.parquet": (b"", ("shard: parquet_unreadable",)),
        "corrupt.parquet": (bytes(corrupt), ("shard: parquet_corrupt",)),
    }
