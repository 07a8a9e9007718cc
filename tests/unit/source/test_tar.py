from __future__ import annotations

import io
import tarfile
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ShardError
from pipeline.source import names
from pipeline.source.tar import TarMember, TarReader
from tests.fakes.tar_samples import BytesStream, of_type, tar_of

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}
TWO = [("a.jpg", b"first" * 250), ("b.jpg", b"second" * 200)]


def walk(data: bytes) -> list[tuple[TarMember, bytes]]:
    reader = TarReader(BytesStream(data))
    found = []
    while (member := reader.next()) is not None:
        found.append((member, reader.read()))
    return found


def failure(data: bytes) -> tuple[str, int, int]:
    """Reason, offset, and how many members came before."""
    reader = TarReader(BytesStream(data))
    count = 0
    try:
        while reader.next() is not None:
            reader.read()
            count += 1
    except ShardError as error:
        return error.reason, error.offset, count
    return pytest.fail("read to its end without an error")


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=300)


@pytest.mark.parametrize("format", FORMATS.values(), ids=list(FORMATS))
@settings(max_examples=80, deadline=None)
@given(members=st.lists(st.tuples(NAMES, st.binary(max_size=1100)), max_size=4))
def test_names_and_data_come_back_as_the_stdlib_wrote_them(format: int, members: list[tuple[str, bytes]]) -> None:
    members = [(name.strip("/") or "x", data) for name, data in members]
    if format == tarfile.USTAR_FORMAT:  # its names are at most 255 bytes, split at a slash
        members = [(name[:20], data) for name, data in members]
    found = walk(tar_of(members, format))
    assert [(m.name, data) for m, data in found] == members
    assert {m.kind for m, _ in found} <= {"file"}


def test_long_ustar_names_use_the_prefix() -> None:
    name = "folder/" * 20 + "x.jpg"
    data = tar_of([(name, b"1")])
    assert data[345 : 345 + 6] == b"folder"
    assert [m.name for m, _ in walk(data)] == [name]


@pytest.mark.parametrize("format", FORMATS.values(), ids=list(FORMATS))
def test_long_links_are_followed_by_their_member(format: int) -> None:
    target = "t" * (90 if format == tarfile.USTAR_FORMAT else 400)
    found = walk(tar_of([of_type("link.jpg", tarfile.SYMTYPE, target), ("b.jpg", b"2")], format))
    assert [(m.name, m.kind) for m, _ in found] == [("link.jpg", "other"), ("b.jpg", "file")]


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("size", [8 * 2**30, 3 * 2**40 + 17])
def test_sizes_beyond_octal(format: Literal[1, 2], size: int) -> None:
    info = tarfile.TarInfo("big.jpg")
    info.size = size
    member = TarReader(BytesStream(info.tobuf(format))).next()
    assert member is not None
    assert (member.size, member.name) == (size, "big.jpg")


def test_offsets_are_those_of_the_first_header_of_a_member() -> None:
    data = tar_of([("n" * 200 + ".jpg", b"1"), ("b.jpg", b"2")], tarfile.PAX_FORMAT)
    first, second = (member for member, _ in walk(data))
    assert first.offset == 0
    stream = BytesStream(data)
    stream.skip_to(second.offset)
    assert TarReader(stream).next() == second


def test_kinds() -> None:
    types = [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
    found = walk(tar_of([of_type("d", tarfile.DIRTYPE), *(of_type(f"x{t.decode()}", t, "y") for t in types), *TWO]))
    assert [m.kind for m, _ in found] == ["folder", *["other"] * 5, "file", "file"]
    assert all(m.what for m, _ in found if m.kind == "other")
    assert [data for _, data in found][-2:] == [data for _, data in TWO]


def test_a_volume_label_is_skipped_like_a_folder() -> None:
    assert [m.kind for m, _ in walk(tar_of([of_type("label", b"V"), *TWO]))] == ["folder", "file", "file"]


def test_unknown_types_are_named_and_their_data_skipped() -> None:
    odd = tarfile.TarInfo("odd.jpg")
    odd.type, odd.size = b"Z", 700
    data = odd.tobuf(tarfile.USTAR_FORMAT) + bytes(range(256)) * 4 + tar_of(TWO)
    assert [(m.name, m.kind) for m, _ in walk(data)] == [("odd.jpg", "other"), ("a.jpg", "file"), ("b.jpg", "file")]


def test_gnu_sparse_files_with_a_long_map() -> None:
    info = tarfile.TarInfo("sparse.jpg")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[482] = 1  # one more block of the map follows
    block[148:156] = b"%06o\0 " % (sum(block[:148]) + 8 * 32 + sum(block[156:]))
    found = walk(bytes(block) + bytes(512) + b"d" * 512 + tar_of(TWO))
    assert next((m.name, m.kind, m.what) for m, _ in found) == ("sparse.jpg", "other", "a sparse file")
    assert len(found) == 3


def test_pax_sparse_files_have_their_real_name() -> None:
    info = tarfile.TarInfo("GNUSparseFile.1/x.jpg")
    info.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.name": "x.jpg"}
    (member, _), *_ = walk(tar_of([info, *TWO], tarfile.PAX_FORMAT))
    assert (member.name, member.kind) == ("x.jpg", "other")


def test_pax_path_and_size_override_the_header() -> None:
    def record(key: str, value: str) -> bytes:
        body = f" {key}={value}\n".encode()
        length = len(body) + 2
        return b"%d" % length + body

    info = tarfile.TarInfo("pax")
    info.type = b"x"
    payload = record("path", "new/name.jpg") + record("size", "3")
    info.size = len(payload)
    extension = info.tobuf(tarfile.USTAR_FORMAT) + payload.ljust(512, b"\0")
    member = tarfile.TarInfo("old.jpg").tobuf(tarfile.USTAR_FORMAT)  # says size 0
    ((found, data),) = walk(extension + member + b"abc".ljust(512, b"\0") + bytes(1024))
    assert (found.name, found.size, data) == ("new/name.jpg", 3, b"abc")


def test_names_that_are_not_utf8_keep_their_bytes_readable() -> None:
    info = tarfile.TarInfo("caf\udce9.jpg")
    data = info.tobuf(tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape") + bytes(1024)
    ((member, _),) = walk(data)
    assert member.name == r"caf\xe9.jpg"
    assert names.problem(member.name) == ""


@pytest.mark.parametrize("padding", [0, 512, 1, 10240, 70_001])
def test_zeros_after_the_end_are_fine(padding: int) -> None:
    bare_end = tar_of(TWO).rstrip(b"\0")
    body = bare_end + bytes(-len(bare_end) % 512)
    assert len(walk(body + bytes(1024 + padding))) == 2


def test_bad_ends_of_an_archive() -> None:
    data = tar_of(TWO)
    body_stop = 2 * (512 + 1536)
    assert data[body_stop:].count(0) == len(data) - body_stop
    body = data[:body_stop]
    assert failure(b"") == ("tar_no_end", 0, 0)
    assert failure(body) == ("tar_no_end", body_stop, 2)
    assert failure(body + bytes(512)) == ("tar_no_end", body_stop, 2)
    assert failure(body + bytes(1000)) == ("tar_no_end", body_stop, 2)
    assert failure(body + bytes(300)) == ("tar_truncated", body_stop, 2)
    assert failure(body[:-1]) == ("tar_truncated", 2048, 2)  # in the padding: the data was whole
    assert failure(body[:2600]) == ("tar_truncated", 2048, 1)
    assert failure(body[:2200]) == ("tar_truncated", 2048, 1)
    assert failure(body + bytes(512) + body + bytes(1024)) == ("tar_stray_zero", body_stop, 2)
    assert failure(data + data) == ("tar_trailing_data", len(data), 2)
    assert failure(data + b"x") == ("tar_trailing_data", len(data), 2)


def test_every_flipped_bit_of_a_header_is_found() -> None:
    data = tar_of(TWO)
    for position in range(2048, 2048 + 512):
        broken = bytearray(data)
        broken[position] ^= 0x04
        if position in (2048 + 154, 2048 + 155):
            continue  # the end of the checksum field carries no information
        assert failure(bytes(broken)) == ("tar_bad_header", 2048, 1), position


def test_the_stdlib_would_have_lost_data_silently() -> None:
    """The reason for a reader of our own."""
    data = tar_of(TWO)
    for broken in (data[:2048], data[:2300], data + data, data[:2048] + bytes(512) + data[2048:]):
        with tarfile.open(fileobj=io.BytesIO(broken)) as tar:
            assert len(tar.getnames()) <= 2
        with pytest.raises(ShardError):
            walk(broken)


def test_the_head_of_a_member_is_read_again_with_it() -> None:
    data = tar_of([("a.jpg", b"x" * 1000), ("b.jpg", b"short"), ("c.jpg", b""), ("d.jpg", b"y" * 600)])
    reader = TarReader(BytesStream(data))
    found = []
    while (member := reader.next()) is not None:
        assert reader.head(512) == reader.head(512)
        found.append((member.name, len(reader.head(512)), b"" if member.name == "b.jpg" else reader.read()))
    assert found == [("a.jpg", 512, b"x" * 1000), ("b.jpg", 5, b""), ("c.jpg", 0, b""), ("d.jpg", 512, b"y" * 600)]
    for cut in (512 + 100, 512 + 700):
        reader = TarReader(BytesStream(data[:cut]))
        reader.next()
        if cut > 1024:
            assert reader.head(512) == b"x" * 512
        with pytest.raises(ShardError, match=f"a member of 1000 bytes has only {cut - 512}"):
            reader.read() if cut > 1024 else reader.head(512)


def test_bad_extended_headers() -> None:
    def extension(flag: bytes, payload: bytes, size: int = -1) -> bytes:
        info = tarfile.TarInfo("ext")
        info.type, info.size = flag, len(payload) if size < 0 else size
        return info.tobuf(tarfile.USTAR_FORMAT) + payload + bytes(-len(payload) % 512)

    rest = tar_of(TWO)
    for payload in (b"5 a=b\n", b"nonsense", b"12 path=x", b"-7 a=b\n", b"6 ab1\n", b"99 path=x\n", b"0 a=b\n"):
        assert failure(extension(b"x", payload) + rest) == ("tar_bad_header", 0, 0), payload
    assert failure(extension(b"x", b"14 size=x1y2z\n") + rest)[0] == "tar_bad_header"
    assert failure(extension(b"L", b"", size=2**30) + rest) == ("tar_bad_header", 0, 0)
    assert failure(extension(b"L", b"name.jpg") + bytes(1024)) == ("tar_bad_header", 0, 0)
    assert failure(extension(b"L", b"name.jpg"))[0] == "tar_truncated"
    assert failure(extension(b"x", b"")[:300])[0] == "tar_truncated"


def test_global_headers_may_comment_but_not_rename() -> None:
    def with_global(key: str) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={key: "1"}) as tar:
            tar.addfile(tarfile.TarInfo("a.jpg"))
        return buffer.getvalue()

    assert [m.name for m, _ in walk(with_global("comment"))] == ["a.jpg"]
    assert failure(with_global("path")) == ("tar_global_header", 0, 0)
    assert failure(with_global("size")) == ("tar_global_header", 0, 0)


@settings(max_examples=150, deadline=None)
@given(data=st.binary(max_size=2000))
def test_noise_is_an_error_and_nothing_else(data: bytes) -> None:
    if data.count(0) == len(data) and len(data) >= 1024:
        assert walk(data) == []
    else:
        failure(data)
