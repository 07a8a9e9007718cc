from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.source import unread
from pipeline.source.listing import find

JPEG = b"\xff\xd8\xff\xe0 and so on"
TIFF = b"II*\0\x08\0\0\0"


def put(folder: Path, files: dict[str, bytes]) -> str:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return str(folder)


def test_every_file_is_found_a_sidecar_or_counted(tmp_path: Path) -> None:
    uri = put(
        tmp_path,
        {
            "a.jpg": JPEG,
            "a.txt": b"a caption",
            "noext": JPEG,
            "noext.json": b"{}",
            "tweet.jpg_large": JPEG,
            "download.jpg?w=600": JPEG,
            "old.jpeg.bak": JPEG,
            "really.psd": JPEG,
            "drawn.PSD": b"8BPS",
            "raw.NEF": TIFF,
            "raw.dng": TIFF,
            "noext2": TIFF,
            "zipped": b"PK\3\4",
            "clip.mp4": b"",
            "alone.txt": b"BM is no bitmap here",
            "labels.csv": b"a,b",
            "Makefile": b"all:",
            "x.dat": b"\0\1\2",
        },
    )
    listing = find(uri, [".jpg"], images=True)
    assert [o.path for o in listing.found] == [
        *("a.jpg", "download.jpg?w=600", "noext", "noext2", "old.jpeg.bak", "really.psd", "tweet.jpg_large")
    ]
    told = listing.unread
    assert told.images == (("DNG", 1), ("PSD", 1), ("ZIP", 1), ("camera raw", 1), ("video", 1))
    assert told.others == (("other (.csv)", 1), ("other (.dat)", 1), ("other (.txt)", 1), ("other (no suffix)", 1))
    assert told.text() == (
        "9 files not read: DNG 1, PSD 1, ZIP 1, camera raw 1, video 1, other (.csv) 1, other (.dat) 1, "
        "other (.txt) 1, 1 more kinds"
    )
    assert {o.path for o in listing.found} | {o.path for o in listing.others} == {
        str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()
    }


def test_a_source_of_shards_counts_the_images_beside_them(tmp_path: Path) -> None:
    uri = put(tmp_path, {"a.tar": b"", "a.txt": b"", "b.jpg": JPEG, "c": JPEG, "d.zip": b"", "e.parq": b""})
    told = find(uri, [".tar"]).unread
    assert told.images == (("JPEG", 2), ("Parquet", 1), ("ZIP", 1))
    assert told.others == (("other (.txt)", 1),)


def test_a_pattern_is_answered_for_what_it_names(tmp_path: Path) -> None:
    uri = put(tmp_path, {"a.jpg": JPEG, "b.zip": b"", "d/c.zip": b"", "d/c": JPEG})
    assert find(f"{uri}/*.jpg", [".jpg"], images=True).unread.files == 0
    listing = find(f"{uri}/d/*", [".jpg"], images=True)
    assert ([o.path for o in listing.found], listing.unread.images) == (["c"], (("ZIP", 1),))


def test_a_large_group_without_an_image_is_not_looked_at_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unread, "LOOKED_AT", 3)
    uri = put(tmp_path, {f"{i}.dat": b"data" for i in range(5)} | {f"{i}.img": JPEG for i in range(5)} | {"a.jpg": b""})
    listing = find(uri, [".jpg"], images=True)
    assert [o.path for o in listing.found] == [*(f"{i}.img" for i in range(5)), "a.jpg"]
    assert listing.unread.others == (("other (.dat)", 3), ("not looked at (.dat)", 2))


def test_a_file_that_cannot_be_opened_may_be_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri = put(tmp_path, {"a.jpg": JPEG, "closed": JPEG, "closed.txt": b"", "lost.jpeg.bak": JPEG})
    monkeypatch.setattr("os.access", lambda path, *_, **__: not str(path).rpartition("/")[2].startswith("closed"))
    look_at = unread._look_at
    monkeypatch.setattr(
        unread, "_look_at", lambda store, o: unread._CLOSED if o.path == "lost.jpeg.bak" else look_at(store, o)
    )
    listing = find(uri, [".jpg"], images=True)
    assert [o.path for o in listing.found] == ["a.jpg"]
    assert (listing.unread.images, listing.unread.others) == ((("cannot be opened", 2),), (("other (.txt)", 1),))
