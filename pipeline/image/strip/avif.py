"""Keep the items of an AVIF that are its picture (ISO 14496-12, ISO 23008-12, AV1-ISOBMFF, AVIF 1.1).

The container is built anew around one picture and its alpha, if it has one, each of them coded whole or as a grid of
tiles: the layouts that libavif writes for a still. Gain maps, thumbnails, depth and other pictures are left out like
metadata. Other derived pictures, premultiplied alpha and sequences are refused.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from pipeline.image.boxes import iso_boxes
from pipeline.image.strip.problems import CannotStrip, malformed

_BRANDS: Final = (b"avif", b"mif1", b"miaf", b"MA1A", b"MA1B")
_ALPHA_URNS: Final = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha", b"urn:mpeg:hevc:2015:auxid:1")
_PROPERTIES: Final = (b"ispe", b"pixi", b"av1C", b"colr", b"auxC", b"irot", b"imir", b"clap", b"pasp", b"clli", b"mdcv")
_PICTURE_UNITS: Final = (1, 2, 3, 4, 6, 7)
"""OBU types: sequence header, temporal delimiter, frame header, tile group, frame, redundant frame header.
The others (metadata 5, padding 15, ...) may hold anything."""
Property = tuple[bytes, bytes, bool]
"""Type, body, and whether a reader must understand it."""


@dataclass(frozen=True, kw_only=True)
class _Item:
    """A picture: coded (av01), or a grid of the `tiles`."""

    kind: bytes
    payload: bytes
    properties: tuple[Property, ...]
    tiles: tuple[_Item, ...] = ()


def strip(data: bytes, *, keep_icc: bool) -> bytes:
    """Keep one still with its alpha, not EXIF and XMP items, item names, user descriptions or AV1 metadata units."""
    boxes = dict(_boxes(data))
    if b"moov" in boxes:
        raise CannotStrip("AVIF image sequence")
    if b"ftyp" not in boxes or b"meta" not in boxes:
        raise malformed("avif", f"expected the boxes ftyp and meta, got {sorted(boxes)}")
    try:
        pictures = _pictures(data, boxes[b"meta"], keep_icc=keep_icc)
    except (struct.error, IndexError, KeyError) as error:
        raise malformed("avif", f"its meta box contradicts itself ({type(error).__name__}: {error})") from error
    return _write(boxes[b"ftyp"], pictures)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield (type, body) of the boxes in `data`; bytes behind the last whole box are dropped."""
    return ((kind, body) for kind, body, missing in iso_boxes(data) if not missing)


def _pictures(data: bytes, meta: bytes, *, keep_icc: bool) -> list[_Item]:
    """The primary picture, then its alpha if it has one."""
    boxes = dict(_boxes(meta[4:]))
    primary_box = boxes[b"pitm"]
    primary = int.from_bytes(primary_box[4:8] if primary_box[0] else primary_box[4:6], "big")
    kinds = _kinds(boxes[b"iinf"])
    properties = _properties(boxes[b"iprp"], keep_icc=keep_icc)
    references = list(_references(boxes.get(b"iref", b"")))
    alphas = [
        source
        for kind, source, targets in references
        if kind == b"auxl" and targets == [primary] and _is_alpha(properties.get(source, ()))
    ]
    if len(alphas) > 1:
        raise CannotStrip(f"AVIF with {len(alphas)} pictures of alpha")
    if any(kind == b"prem" for kind, _, _ in references):
        raise CannotStrip("AVIF with premultiplied alpha")
    wanted = [primary, *alphas]
    tiles = {
        number: [
            tile for kind, source, targets in references if (kind, source) == (b"dimg", number) for tile in targets
        ]
        for number in wanted
        if kinds[number] == b"grid"
    }
    coded = {number for number in wanted if number not in tiles}.union(*tiles.values())
    if foreign := {kinds[number] for number in coded} - {b"av01"}:
        raise CannotStrip(f"AVIF with items of type {sorted(foreign)}")
    payloads = _payloads(data, boxes[b"iloc"], boxes.get(b"idat", b""), {*wanted, *coded})

    def item(number: int) -> _Item:
        payload = payloads[number]
        return _Item(
            kind=kinds[number],
            payload=_grid(payload, len(tiles[number])) if number in tiles else _picture_units(payload),
            properties=properties.get(number, ()),
            tiles=tuple(item(tile) for tile in tiles.get(number, ())),
        )

    return [item(number) for number in wanted]


def _grid(payload: bytes, tiles: int) -> bytes:
    """Version, flags (bit 0: sizes of 32 bits), rows and columns minus one, width and height: no more."""
    length = 12 if payload[1] & 1 else 8
    if len(payload) < length or (payload[2] + 1) * (payload[3] + 1) != tiles:
        raise malformed("avif", f"a grid of {len(payload)} bytes with {tiles} tiles")
    return payload[:length]


def _kinds(iinf: bytes) -> dict[int, bytes]:
    kinds = {}
    for kind, body in _boxes(iinf[8:] if iinf[0] else iinf[6:]):
        version = body[0]
        if kind != b"infe" or version not in (2, 3):
            raise CannotStrip(f"AVIF item entry {kind!r} of version {version}")
        width = 2 if version == 2 else 4
        number = int.from_bytes(body[4 : 4 + width], "big")
        if int.from_bytes(body[4 + width : 6 + width], "big"):
            raise CannotStrip("AVIF with protected items")
        kinds[number] = body[6 + width : 10 + width]
    return kinds


def _references(iref: bytes) -> Iterator[tuple[bytes, int, list[int]]]:
    """Yield (type, from item, to items)."""
    if not iref:
        return
    form = "H" if iref[0] == 0 else "I"
    for kind, body in _boxes(iref[4:]):
        width = struct.calcsize(form)
        source, count = struct.unpack_from(f">{form}H", body, 0)
        yield kind, source, list(struct.unpack_from(f">{count}{form}", body, width + 2))


def _properties(iprp: bytes, *, keep_icc: bool) -> dict[int, tuple[Property, ...]]:
    """Item -> its properties that are needed to show it."""
    container, found = b"", {}
    for kind, body in _boxes(iprp):
        if kind == b"ipco":
            container = body
    known = list(_boxes(container))
    for kind, ipma in _boxes(iprp):
        if kind != b"ipma":
            continue
        wide_items, wide_indices = ipma[0] >= 1, ipma[3] & 1
        (entries,) = struct.unpack_from(">I", ipma, 4)
        at = 8
        for _ in range(entries):
            width = 4 if wide_items else 2
            number, count = int.from_bytes(ipma[at : at + width], "big"), ipma[at + width]
            at += width + 1
            step = 2 if wide_indices else 1
            kept = []
            for start in range(at, at + count * step, step):
                value = int.from_bytes(ipma[start : start + step], "big")
                essential, index = bool(value >> (8 * step - 1)), value & ((1 << (8 * step - 1)) - 1)
                if index:
                    kept += _kept(*known[index - 1], essential=essential, keep_icc=keep_icc)
            at += count * step
            found[number] = tuple(kept)
    return found


def _kept(kind: bytes, body: bytes, *, essential: bool, keep_icc: bool) -> list[Property]:
    if kind not in _PROPERTIES:
        if essential:
            raise CannotStrip(f"AVIF with the essential property {kind!r}")
        return []
    if kind == b"colr" and body[:4] != b"nclx" and not keep_icc:
        return []
    if kind == b"auxC":
        body = body[: 4 + body[4:].index(b"\0") + 1] if b"\0" in body[4:] else body
    if kind == b"av1C":
        body = body[:4] + _picture_units(body[4:])
    return [(kind, body, essential)]


def _is_alpha(properties: tuple[Property, ...]) -> bool:
    return any(kind == b"auxC" and body[4:].rstrip(b"\0") in _ALPHA_URNS for kind, body, _ in properties)


def _payloads(data: bytes, iloc: bytes, idat: bytes, wanted: set[int]) -> dict[int, bytes]:
    """Item -> its bytes, extents joined, for the wanted items."""
    version = iloc[0]
    sizes = iloc[4] >> 4, iloc[4] & 15, iloc[5] >> 4, iloc[5] & 15 if version else 0
    at = 6

    def number(width: int) -> int:
        nonlocal at
        if at + width > len(iloc):
            raise malformed("avif", "its item locations end too early")
        at += width
        return int.from_bytes(iloc[at - width : at], "big")

    found = {}
    wide = 4 if version == 2 else 2
    for _ in range(number(wide)):
        item = number(wide)
        method = number(2) & 15 if version else 0
        foreign = number(2)
        base = number(sizes[2])
        parts = []
        for _ in range(number(2)):
            number(sizes[3])
            start, length = base + number(sizes[0]), number(sizes[1])
            if item not in wanted:
                continue
            if foreign or method not in (0, 1):
                raise CannotStrip(f"AVIF item in another file or by construction method {method}")
            place = idat if method else data
            if length == 0 or start + length > len(place):
                raise malformed("avif", f"item {item} wants bytes {start} to {start + length} of {len(place)}")
            parts.append(place[start : start + length])
        found[item] = b"".join(parts)
    return found


def _picture_units(payload: bytes) -> bytes:
    """Keep the AV1 open bitstream units that code the picture (AV1 specification, 5.3)."""
    kept, at = [], 0
    while at < len(payload):
        start, head = at, payload[at]
        at += 2 if head & 4 else 1
        if head & 2:
            size = shift = 0
            while True:
                byte = payload[at]
                size |= (byte & 127) << shift
                at, shift = at + 1, shift + 7
                if byte < 128:
                    break
        else:
            size = len(payload) - at
        at += size
        if at > len(payload):
            raise malformed("avif", f"an AV1 unit of {size} bytes runs over the end of its item")
        if head >> 3 & 15 in _PICTURE_UNITS:
            kept.append(payload[start:at])
    return b"".join(kept)


# --- writing ---------------------------------------------------------------------------------------------------


def _write(ftyp: bytes, pictures: list[_Item]) -> bytes:
    """Write a container. pictures: the primary one, then its alpha."""
    brands = [brand for brand in _BRANDS if brand in [ftyp[at : at + 4] for at in range(8, len(ftyp), 4)]]
    head = _box(b"ftyp", b"avif" + bytes(4) + b"".join(brands or _BRANDS[:3]))
    items = [item for picture in pictures for item in (picture, *picture.tiles)]
    links = _links(pictures)
    draft = head + _meta(items, links, [0] * len(items))
    offsets, at = [], len(draft) + 8
    for item in items:
        offsets.append(at)
        at += len(item.payload)
    return head + _meta(items, links, offsets) + _box(b"mdat", b"".join(item.payload for item in items))


def _links(pictures: list[_Item]) -> bytes:
    """References by the numbers of the items, from 1 on: a grid to its tiles, alpha to its picture."""
    made, number = b"", 1
    for picture in pictures:
        for kind, targets in (
            (b"dimg", range(number + 1, number + 1 + len(picture.tiles))),
            (b"auxl", range(1, 2) if number > 1 else ()),
        ):
            if targets:
                made += _box(kind, struct.pack(f">HH{len(targets)}H", number, len(targets), *targets))
        number += 1 + len(picture.tiles)
    return made


def _meta(items: list[_Item], links: bytes, offsets: list[int]) -> bytes:
    numbers = range(1, len(items) + 1)
    locations = b"".join(
        struct.pack(">HHHII", number, 0, 1, offset, len(item.payload))
        for number, item, offset in zip(numbers, items, offsets, strict=True)
    )
    entries = b"".join(
        _box(b"infe", struct.pack(">IHH4sB", 2 << 24, number, 0, item.kind, 0))
        for number, item in zip(numbers, items, strict=True)
    )
    pool: list[tuple[bytes, bytes]] = []
    uses = b""
    for number, item in zip(numbers, items, strict=True):
        uses += struct.pack(">HB", number, len(item.properties))
        for kind, body, essential in item.properties:
            if (kind, body) not in pool:
                pool.append((kind, body))
            uses += bytes((essential << 7 | pool.index((kind, body)) + 1,))
    if len(pool) > 127:
        raise CannotStrip(f"AVIF with {len(pool)} properties")
    container = _box(b"ipco", b"".join(_box(kind, body) for kind, body in pool))
    parts = [
        _box(b"hdlr", bytes(8) + b"pict" + bytes(13)),
        _box(b"pitm", struct.pack(">IH", 0, 1)),
        _box(b"iloc", struct.pack(">IBBH", 0, 0x44, 0, len(items)) + locations),
        _box(b"iinf", struct.pack(">IH", 0, len(items)) + entries),
        *([_box(b"iref", bytes(4) + links)] if links else []),
        _box(b"iprp", container + _box(b"ipma", struct.pack(">II", 0, len(items)) + uses)),
    ]
    return _box(b"meta", bytes(4) + b"".join(parts))


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), kind) + body
