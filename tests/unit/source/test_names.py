import pytest

from pipeline.source import names


@pytest.mark.parametrize(
    ("name", "key", "extension"),
    [
        ("a.jpg", "a", "jpg"),
        ("x/y.z/a.seg.png", "x/y.z/a", "seg.png"),
        ("x/README", "x/README", ""),
        ("x/._a.jpg", "x/._a", "jpg"),
        (".jpg", ".jpg", ""),
        ("a..jpg", "a", ".jpg"),
    ],
)
def test_split(name: str, key: str, extension: str) -> None:
    assert names.split(name) == (key, extension)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.jpg", "a"),
        ("x/y.z/v1.0.cat.jpg", "x/y.z/v1.0.cat"),
        ("x.y/README", "x.y/README"),
        (".jpg", ".jpg"),
        ("..a.jpg", "..a"),
        ("a..jpg", "a."),
    ],
)
def test_a_stem_lacks_the_last_suffix_only(name: str, stem: str) -> None:
    assert names.stem(name) == stem


def test_clutter_of_systems() -> None:
    clutter = ["._a.jpg", "d/._a", ".DS_Store", "d/.ds_store", "__MACOSX/d/a.jpg", "Thumbs.db", "d/DESKTOP.INI"]
    assert all(names.clutter(name) for name in clutter)
    assert not any(names.clutter(name) for name in [".a.jpg", "a._b.jpg", "DS_Store", "macosx/a.jpg", "thumbs.dbx"])


def test_the_last_suffix_decides_what_is_an_image() -> None:
    suffixes = (".jpg", ".png")
    assert [
        n
        for n in ("a.jpg", "a.JPG", "a.x.png", "a..jpg", "a.jpg.txt", "jpg", ".jpg", "a.")
        if names.is_image(n, suffixes)
    ] == [
        "a.jpg",
        "a.JPG",
        "a.x.png",
        "a..jpg",
    ]


def test_tidy() -> None:
    assert [names.tidy(n) for n in ("./a//b/./c.jpg", "/a.jpg", "//a", "a/", "./", "a/../b")] == [
        "a/b/c.jpg",
        "/a.jpg",
        "/a",
        "a",
        "",
        "a/../b",
    ]


def test_what_cannot_be_a_relative_path() -> None:
    bad = ["", "/a", "..", "a/../b", "a\0b", "a\nb", "\x7f", "x" * 256, "x/" * 600 + "y", "é" * 128]
    assert all(names.problem(name) for name in bad)
    assert not any(names.problem(name) for name in ["a", "a..b", "...", "x" * 255, "a b/ü.jpg", "a\\b", "é" * 127])


def test_bytes_that_are_not_utf8_become_text() -> None:
    assert names.text(b"caf\xe9") == r"caf\xe9"
    assert names.text("café".encode()) == "café"
