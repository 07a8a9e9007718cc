"""Images assembled byte by byte: decompression bombs, directory loops, a gain map, headers with wrong sizes."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image

from tests.fakes.metadata_samples import SECRET, saved

Entry = tuple[int, int, int, int]
"""An entry of a TIFF directory: tag, type (4: 32 bits), count, value."""


def tiff(entries: Sequence[Entry], after: int = 0) -> bytes:
    """One little-endian directory at byte 8, the offset of the next one, and 64 bytes that may be pixels."""
    return b"II*\0" + struct.pack("<I", 8) + directory(entries, after) + b"\x80" * 64


def directory(entries: Sequence[Entry], after: int) -> bytes:
    body = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return struct.pack("<H", len(entries)) + body + struct.pack("<I", after)


def tiff_entries(width: int, height: int) -> list[Entry]:
    tags = [(256, width), (257, height), (258, 8), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, 64)]
    return [(tag, 4, 1, value) for tag, value in tags]


def tiff_picture(image: Image.Image, *, count: int | None, deflate: bool = False, more: Sequence[Entry] = ()) -> bytes:
    """RGB in one strip, little-endian. count: of its bytes, as declared (None: no such tag). more: entries besides; the
    value of one of fewer than four bytes a number holds them in order, the lowest first."""
    pixels = zlib.compress(image.tobytes()) if deflate else image.tobytes()
    tags = [
        (256, image.width),
        (257, image.height),
        (259, 8 if deflate else 1),
        (262, 2),
        (277, 3),
        (278, image.height),
    ]
    tags += [] if count is None else [(279, count)]
    entries = [*((tag, 4, 1, value) for tag, value in tags), (258, 3, 3, 0), (273, 4, 1, 0), *more]
    bits_at = 8 + len(directory(entries, 0))
    places = {258: bits_at, 273: bits_at + 6}
    placed = [(tag, kind, number, places.get(tag, value)) for tag, kind, number, value in entries]
    return b"II*\0" + struct.pack("<I", 8) + directory(placed, 0) + struct.pack("<3H", 8, 8, 8) + pixels


def tiff_ring(length: int) -> bytes:
    """`length` directories of 8 x 8 pixels; the last one points back to the first."""
    size = len(directory(tiff_entries(8, 8), 0))
    starts = [8 + number * size for number in range(length)]
    ring = b"".join(directory(tiff_entries(8, 8), starts[(number + 1) % length]) for number in range(length))
    return b"II*\0" + struct.pack("<I", 8) + ring + b"\x80" * 64


def tiff_inner_loop(tag: int) -> bytes:
    """A directory whose inner directory is itself. tag: 330 (SubIFDs), 34665 (Exif) or 34853 (GPS)."""
    return tiff([*tiff_entries(8, 8), (tag, 4, 1, 8)])


def gif_frame(image: Image.Image, side: int) -> bytes:
    """A GIF of the picture's size whose only frame declares a height and width of `side`."""
    data = bytearray(saved(image, "GIF"))
    at = data.index(b"\x2c\0\0\0\0") + 5  # image separator, left 0, top 0
    data[at : at + 4] = struct.pack("<HH", side, side)
    return bytes(data)


def webp_lossless(image: Image.Image, side: int) -> bytes:
    """VP8L whose header declares `side` (at most 16,384): 14 bits each, minus one, after the signature."""
    data = bytearray(saved(image, "WEBP", lossless=True))
    at = data.index(b"VP8L") + 9
    flags = int.from_bytes(data[at : at + 4], "little") & ~((1 << 28) - 1)
    data[at : at + 4] = (flags | (side - 1) | (side - 1) << 14).to_bytes(4, "little")
    return bytes(data)


def webp_lossy(image: Image.Image, side: int) -> bytes:
    """VP8 whose key frame declares `side` (at most 16,383): 14 bits each, after the start code."""
    data = bytearray(saved(image, "WEBP", quality=80))
    at = data.index(b"\x9d\x01\x2a") + 3
    data[at : at + 4] = struct.pack("<HH", side, side)
    return bytes(data)


def webp_canvas(image: Image.Image, side: int) -> bytes:
    """An animation of small frames on a canvas of `side` (24 bits each, minus one)."""
    data = bytearray(saved(image, "WEBP", save_all=True, append_images=[image.rotate(180)], duration=50))
    at = data.index(b"VP8X") + 12
    data[at : at + 6] = 2 * (side - 1).to_bytes(3, "little")
    return bytes(data)


def resized_jpeg(data: bytes, width: int, height: int) -> bytes:
    """The same compressed data under a header that declares another height and width."""
    at = next(data.index(mark) for mark in (b"\xff\xc0", b"\xff\xc2") if mark in data) + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]


def scan_by_scan(image: Image.Image, *, small_colours: bool = False, quality: int = 90) -> bytes:
    """A sequential JPEG with a scan for each of Y, Cb and Cr, as `jpegtran -scans` writes it: three grey JPEGs in one
    frame. small_colours: Cb and Cr of half the size (4:2:0)."""
    planes = list(image.convert("YCbCr").split())
    if small_colours:
        half = (-(-image.width // 2), -(-image.height // 2))
        planes[1:] = [plane.resize(half) for plane in planes[1:]]
    greys = [saved(plane, "JPEG", quality=quality) for plane in planes]
    frame_at, scan_at = (greys[0].index(mark) for mark in (b"\xff\xc0", b"\xff\xda"))
    frame = struct.pack(">BHHB", 8, image.height, image.width, 3)
    for number in (1, 2, 3):
        frame += bytes((number, 0x22 if small_colours and number == 1 else 0x11, 0))
    scans = b""
    for number, grey in enumerate(greys, 1):
        at = grey.index(b"\xff\xda")
        scans += grey[at : at + 5] + bytes((number,)) + grey[at + 6 : -2]
    tables = greys[0][frame_at + 13 : scan_at]
    return greys[0][:frame_at] + _segment(0xC0, frame) + tables + scans + b"\xff\xd9"


def _segment(code: int, body: bytes) -> bytes:
    return bytes((0xFF, code)) + (len(body) + 2).to_bytes(2, "big") + body


def ultra_hdr(image: Image.Image) -> bytes:
    """A JPEG with a gain map as phones write it (Ultra HDR 1.0): XMP that names the map, a multi-picture index (CIPA
    DC-007) and the map, a second JPEG with its own XMP, after the first."""
    hdr = b"xmlns:hdrgm='http://ns.adobe.com/hdr-gain-map/1.0/' hdrgm:Version=\"1.0\""
    xmp = b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:Description %s/></x:xmpmeta>"
    small = saved(image.convert("L").resize((image.width // 4, image.height // 4)), "JPEG")
    second = small[:2] + _segment(0xE1, xmp % (hdr + b" hdrgm:GainMapMax='2.3'")) + small[2:]
    first = saved(image, "JPEG")
    front = first[:2] + _segment(0xE1, xmp % hdr)
    base = len(front) + 8  # of the index's own offsets: behind the segment's marker, length and name
    total = len(front) + 4 + len(_index(0, 0)) + len(first) - 2
    return front + _segment(0xE2, _index(total, total - base, len(second))) + first[2:] + second


class AvifItem(NamedTuple):
    """kind: `av01`, `grid`, ... properties: (type, body) of each. links: (type of the reference, items it leads to)."""

    kind: bytes
    payload: bytes
    properties: Sequence[tuple[bytes, bytes]]
    links: Sequence[tuple[bytes, Sequence[int]]] = ()


def avif_item(image: Image.Image, *more: tuple[bytes, bytes]) -> AvifItem:
    """The coded picture of an opaque AVIF, and its properties with some more."""
    data = saved(image, "AVIF", quality=80, speed=8)
    properties = _avif_boxes(dict(_avif_boxes(dict(_avif_boxes(data))[b"meta"][4:]))[b"iprp"])
    return AvifItem(b"av01", dict(_avif_boxes(data))[b"mdat"], [*_avif_boxes(dict(properties)[b"ipco"]), *more])


def avif(*items: AvifItem, brands: bytes = b"avifmif1miafMA1B") -> bytes:
    """A container of items, numbered from 1 on; the first is the primary one. Names are planted, as encoders leave
    them."""
    numbers = range(1, len(items) + 1)
    pool = [one for item in items for one in item.properties]
    uses = b""
    for number, item in zip(numbers, items, strict=True):
        places = bytes(pool.index(one) + 1 | (0x80 if one[0] == b"av1C" else 0) for one in item.properties)
        uses += struct.pack(">HB", number, len(places)) + places
    links = b"".join(
        _avif_box(kind, struct.pack(f">HH{len(targets)}H", number, len(targets), *targets))
        for number, item in zip(numbers, items, strict=True)
        for kind, targets in item.links
    )

    def meta(start: int) -> bytes:
        places, at = b"", start
        for number, item in zip(numbers, items, strict=True):
            places += struct.pack(">HHHII", number, 0, 1, at, len(item.payload))
            at += len(item.payload)
        entries = b"".join(
            _avif_box(b"infe", struct.pack(">IHH4s", 2 << 24, number, 0, item.kind) + SECRET + b"\0")
            for number, item in zip(numbers, items, strict=True)
        )
        parts = (
            _avif_box(b"hdlr", bytes(8) + b"pict" + bytes(12) + SECRET + b"\0"),
            _avif_box(b"pitm", struct.pack(">IH", 0, 1)),
            _avif_box(b"iloc", struct.pack(">IBBH", 0, 0x44, 0, len(items)) + places),
            _avif_box(b"iinf", struct.pack(">IH", 0, len(items)) + entries),
            _avif_box(b"iref", bytes(4) + links),
            _avif_box(
                b"iprp",
                _avif_box(b"ipco", b"".join(_avif_box(*one) for one in pool))
                + _avif_box(b"ipma", struct.pack(">II", 0, len(items)) + uses),
            ),
        )
        return _avif_box(b"meta", bytes(4) + b"".join(parts))

    head = _avif_box(b"ftyp", b"avif" + bytes(4) + brands)
    start = len(head) + len(meta(0)) + 8
    return head + meta(start) + _avif_box(b"mdat", b"".join(item.payload for item in items))


def avif_gain_map(image: Image.Image) -> bytes:
    """A picture with a gain map as phones write it (ISO 21496-1): the map, and an item that joins both."""
    small = avif_item(image.resize((image.width // 2, image.height // 2)))
    size = (b"ispe", struct.pack(">III", 0, *image.size))
    joined = AvifItem(b"tmap", bytes(62) + SECRET, [size], [(b"dimg", (1, 2))])
    return avif(avif_item(image), small, joined, brands=b"avifmif1miafMA1Btmap")


def avif_premultiplied(image: Image.Image, alpha: Image.Image) -> bytes:
    urn = (b"auxC", bytes(4) + b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
    over = avif_item(alpha.convert("L"), urn)
    return avif(avif_item(image)._replace(links=[(b"prem", (2,))]), over._replace(links=[(b"auxl", (1,))]))


def avif_thumbnail(image: Image.Image) -> bytes:
    small = avif_item(image.resize((image.width // 2, image.height // 2)))
    return avif(avif_item(image), small._replace(links=[(b"thmb", (1,))]))


def avif_grid(tiles: Sequence[Image.Image], columns: int, *, alpha: Sequence[Image.Image] = ()) -> bytes:
    """A grid of pictures of one size, row by row, with the names of encoders; with alpha, a second grid."""
    rows = len(tiles) // columns
    width, height = tiles[0].width * columns, tiles[0].height * rows
    payload = struct.pack(">BBBBHH", 0, 0, rows - 1, columns - 1, width, height)
    size = (b"ispe", struct.pack(">III", 0, width, height))
    parts = [avif_item(tile) for tile in tiles]
    shared = [one for one in parts[0].properties if one[0] in (b"pixi", b"colr")]
    main = AvifItem(b"grid", payload, [size, *shared], [(b"dimg", range(2, 2 + len(parts)))])
    if not alpha:
        return avif(main, *parts)
    urn = (b"auxC", bytes(4) + b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0")
    number = 2 + len(parts)
    over = [avif_item(tile.convert("L"), urn) for tile in alpha]
    links = [(b"dimg", range(number + 1, number + 1 + len(over))), (b"auxl", (1,))]
    shared = [one for one in over[0].properties if one[0] == b"pixi"]
    return avif(main, *parts, AvifItem(b"grid", payload, [size, urn, *shared], links), *over)


def _avif_box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body


def _avif_boxes(data: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    while at + 8 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        found.append((data[at + 4 : at + 8], data[at + 8 : at + size]))
        at += size
    return found


def _index(size: int, offset: int, second: int = 0) -> bytes:
    """Version, number of pictures, their entries: attributes, size, offset, no dependants."""
    tags = struct.pack(">HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(">HHII", 0xB001, 4, 1, 2)
    tags += struct.pack(">HHII", 0xB002, 7, 32, 8 + 2 + 36 + 4)
    entries = struct.pack(">IIIHH", 0x030000, size, 0, 0, 0) + struct.pack(">IIIHH", 0, second, offset, 0, 0)
    return b"MPF\0MM\0*" + struct.pack(">IH", 8, 3) + tags + struct.pack(">I", 0) + entries
