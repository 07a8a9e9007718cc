"""Kinds of files by their first bytes and by their suffix."""

from __future__ import annotations

import gzip
import io

import pytest
from PIL import Image

from pipeline.image.header import SUFFIX
from pipeline.image.kinds import IMAGE_SUFFIXES, KINDS, by_bytes, by_suffix, is_image, missing_extra


@pytest.mark.parametrize("kind", SUFFIX)
def test_each_format_that_is_decoded_is_told_by_its_bytes_and_its_suffix(kind: str) -> None:
    out = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(out, kind)
    found = by_bytes(out.getvalue())
    assert found is not None
    assert found.read
    assert found.name.upper() == kind
    assert SUFFIX[kind] in IMAGE_SUFFIXES
    assert by_suffix(f"a/b.{kind}{SUFFIX[kind].upper()}") == found
    assert is_image(out.getvalue())


def test_no_suffix_is_claimed_twice() -> None:
    suffixes = [suffix for kind in KINDS for suffix in kind.suffixes]
    assert len(set(suffixes)) == len(suffixes)


@pytest.mark.parametrize(
    ("head", "name"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypmp42", "video"),
        (b"II*\0\x10\0\0\0CR\2\0", "CR2"),
        (b"II*\0\x08\0\0\0", "TIFF"),
        (b"PK\3\4", "ZIP"),
        (bytes(257) + b"ustar\x0000", "tar"),
        (bytes(128) + b"DICM", "DICOM"),
        (bytes(344) + b"n+1\0", "NIfTI"),
        (gzip.compress(bytes(344) + b"n+1\0" + bytes(900), mtime=0)[:60], "NIfTI"),
        (gzip.compress(bytes(257) + b"ustar\x0000" + bytes(9000), mtime=0)[:60], "tar"),
    ],
)
def test_a_narrow_kind_is_told_from_a_wide_one(head: bytes, name: str) -> None:
    found = by_bytes(head)
    assert found is not None
    assert found.name == name


def test_text_and_nothing_are_no_kind() -> None:
    assert by_bytes(b"a caption") is None
    assert by_bytes(b"") is None
    assert by_bytes(gzip.compress(b"\xff\xd8\xff", mtime=0)) is None
    assert by_bytes(b"\x1f\x8b\x08 damaged") is None
    assert by_suffix("a/noext") is None
    assert by_suffix("a.dir/readme") is None


def test_a_kind_tells_which_extra_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    heic, png, dicom = (by_suffix(name) for name in ("a.heic", "a.png", "a.dcm"))
    assert heic is not None
    assert png is not None
    assert dicom is not None
    assert [missing_extra(kind) for kind in (heic, png, dicom)] == ["", "", ""]
    monkeypatch.setattr("pipeline.image.kinds.find_spec", lambda module: None)
    assert [missing_extra(kind) for kind in (heic, png, dicom)] == ["heif", "", "medical"]
