"""Boxes of an ISO base media file: sizes in 32 and 64 bits, to the end of the file, and cut ones."""

from __future__ import annotations

import struct

from pipeline.image.boxes import iso_boxes


def test_each_way_to_say_a_size() -> None:
    data = struct.pack(">I4s", 11, b"ftyp") + b"abc" + struct.pack(">I4sQ", 1, b"meta", 18) + b"de"
    data += struct.pack(">I4s", 0, b"mdat") + b"rest"
    assert list(iso_boxes(data)) == [(b"ftyp", b"abc", 0), (b"meta", b"de", 0), (b"mdat", b"rest", 0)]


def test_a_cut_box_says_what_is_missing_and_a_box_below_its_head_ends_the_walk() -> None:
    assert list(iso_boxes(struct.pack(">I4s", 20, b"mdat") + b"12345")) == [(b"mdat", b"12345", 7)]
    assert list(iso_boxes(struct.pack(">I4s", 7, b"mdat") + b"12345")) == []
    assert list(iso_boxes(b"short")) == []
