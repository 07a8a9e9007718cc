from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.image.kinds import IMAGE_SUFFIXES
from pipeline.source.members import SampleMembers, owners

JPEG, DOUBLE, TIFF = b"\xff\xd8\xff\xe0\0", b"\0\x05\x16\x07\0\x02", b"II*\0\x08\0\0\0"


@pytest.mark.parametrize(
    ("name", "head", "expected"),
    [
        ("a.jpg", b"", "image"),
        ("a.JPG", b"not an image at all", "image"),
        ("a.left.png", b"\0", "image"),
        ("a.txt", JPEG, "image"),
        ("a", JPEG, "image"),
        ("._a.jpg", DOUBLE, "clutter"),
        ("._a.jpg", JPEG, "image"),
        ("d/.DS_Store", b"\0\0\0\1Bud1", "clutter"),
        ("__MACOSX/a.jpg", DOUBLE, "clutter"),
        ("a.tif", TIFF, "image"),
        ("a.nef", TIFF, "unread"),
        ("a.dng", TIFF, "unread"),
        ("a.psd", b"", "unread"),
        ("a.bin", b"8BPS\0\1", "unread"),
        ("a.txt", b"BMW, parked by a CRT", "sidecar"),
        ("a.txt", "a large CR \u00fc".encode()[:-1], "sidecar"),  # cut within a letter
        ("a.json", b"{}", "sidecar"),
        ("a.npy", b"\x93NUMPY\1\0", "sidecar"),
        ("a.mp4", b"\0\0\0\x18ftypmp42", "sidecar"),
        ("a.cls", b"", "sidecar"),
    ],
)
def test_what_a_member_is(name: str, head: bytes, expected: str) -> None:
    assert SampleMembers(uri="x").what(name, head) == expected


def test_fields_that_are_named_decide_before_bytes_and_suffixes() -> None:
    named = SampleMembers(uri="x", sidecar_members=("seg.png", "raw"))
    assert [named.what(n, JPEG) for n in ("a.seg.png", "a.x.SEG.PNG", "a.raw", "a.png", "a.xseg.png", "seg.png")] == [
        *("sidecar", "sidecar", "sidecar", "image", "image", "image"),
    ]
    chosen = SampleMembers(uri="x", image_members=("jpg",), sidecar_members=("left.jpg",))
    names = ("a.jpg", "a.right.JPG", "a.left.jpg", "a.png", "a.dng", "a")
    assert [chosen.what(n, b"") for n in names] == ["image", "image", "sidecar", "sidecar", "sidecar", "sidecar"]


def test_suffixes_of_ones_own() -> None:
    own = SampleMembers(uri="x", image_suffixes=(".img",))
    assert [own.what(name, b"text") for name in ("a.img", "a.png", "a.IMG")] == ["image", "sidecar", "image"]
    assert own.what("a.png", JPEG) == "image"
    assert own.suffixes == (".img",)
    assert set(SampleMembers(uri="x").suffixes) == IMAGE_SUFFIXES


@pytest.mark.parametrize(
    ("sidecar", "images", "expected"),
    [
        ("1.txt", ["1.jpg"], [0]),
        ("1.json", ["1.left.jpg", "1.right.jpg"], [0, 1]),
        ("1.left.npy", ["1.left.jpg", "1.right.jpg"], [0]),
        ("1.seg.png", ["1.jpg", "1.right.jpg"], [0, 1]),
        ("1.txt", ["1.jpg", "1.mask.png"], [0, 1]),
        ("d.e/v1.0.cat.txt", ["d.e/v1.0.cat.jpg", "d.e/v1.0.dog.jpg", "d.e/v1.0.cat.b.jpg"], [0, 2]),
        ("1.txt", [], []),
    ],
)
def test_a_sidecar_goes_with_the_images_that_share_most_of_its_name(
    sidecar: str, images: list[str], expected: list[int]
) -> None:
    assert owners(sidecar, images) == expected


PART = st.sampled_from(["0", "1", "left", "x"])


@given(st.lists(PART, max_size=3), st.lists(st.lists(PART, max_size=3), min_size=1, max_size=6))
def test_every_sidecar_has_an_image_and_its_twin_is_one_of_them(own: list[str], others: list[list[str]]) -> None:
    images = [".".join(["1", *parts, "jpg"]) for parts in others]
    chosen = owners(".".join(["1", *own, "txt"]), images)
    assert chosen
    twin = PurePosixPath(".".join(["1", *own, "txt"])).with_suffix(".jpg").name
    assert not (set(range(len(images))) - set(chosen)) & {i for i, name in enumerate(images) if name == twin}
