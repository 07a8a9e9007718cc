"""Names that strangers chose become names that are safe, stable and never shared."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import ImageRef, image_id
from pipeline.sink.safe_names import Names, addressed, folder_of, safe


def ref(member: str) -> ImageRef:
    folder, slash, base = member.rpartition("/")
    return ImageRef(image_id=image_id("s", member), key=folder + slash + base.split(".")[0], member=member)


def named(members: list[str], suffix: str, *, loose: bool) -> list[str]:
    names = Names(loose=loose)
    return [names.image(names.stem(r), r, suffix) for r in map(ref, members)]


@pytest.mark.parametrize("name", ["a", "a/b c/ünï-日本", "..a/b..", "x" * 180, ".hidden", "100% (1) [ok]"])
def test_a_safe_name_stays(name: str) -> None:
    assert safe(name) == name


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("../../etc/passwd", r"_/_/etc/passwd~[0-9a-f]{8}"),
        ("/etc/passwd", r"_/etc/passwd~[0-9a-f]{8}"),
        ("a//b", r"a/_/b~[0-9a-f]{8}"),
        ("a/./b", r"a/_/b~[0-9a-f]{8}"),
        ("a\x00b\nc", r"a_b_c~[0-9a-f]{8}"),
        ("..\\..\\boot", r"\.\._\.\._boot~[0-9a-f]{8}"),
        ("caf\udce9", r"caf_~[0-9a-f]{8}"),
        ("C:\\boot.ini", r"C__boot\.ini~[0-9a-f]{8}"),
        ("c:evil", r"c_evil~[0-9a-f]{8}"),
        ("photo\u202egpj.exe", r"photo_gpj\.exe~[0-9a-f]{8}"),
        ("a/.segfill-0123456789abcdef.tmp", r"a/_segfill-0123456789abcdef\.tmp~[0-9a-f]{8}"),
        ("", r"_~[0-9a-f]{8}"),
        ("ü" * 300, r"ü{90}~[0-9a-f]{8}"),
    ],
)
def test_an_unsafe_name_is_cleaned_and_marked(name: str, pattern: str) -> None:
    assert re.fullmatch(pattern, safe(name))


@given(st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape")), st.sampled_from([True, False]))
def test_any_name_gives_a_path_that_stays_inside(member: str, loose: bool) -> None:
    (name,) = named([member], ".jpg", loose=loose)
    parts = name.split("/")
    assert not {"", ".", ".."} & set(parts)
    assert all(len(part.encode()) <= 255 for part in parts)
    assert name.isprintable() or not re.search(r"[\x00-\x1f\x7f]", name)
    assert name.lower().endswith((".jpg", ".jpeg", ".jpe", ".jfif"))


def test_long_paths_fit_any_store() -> None:
    deep = "/".join(["folder-" + "x" * 90] * 20) + "/a"
    assert len(safe(deep).encode()) <= 255
    assert safe(deep) != safe(deep + "b")


LISTS = st.lists(
    st.from_regex(r"[aAb./]{0,3}(\.jpg|\.png|\.JPG|\.jpeg|\.tif){1,3}", fullmatch=True), unique=True, max_size=12
)


@given(LISTS, st.sampled_from([".jpg", ".png"]), st.sampled_from([True, False]))
def test_no_two_images_of_a_unit_share_a_name(members: list[str], suffix: str, loose: bool) -> None:
    names = named(members, suffix, loose=loose)
    compared = [name.casefold() for name in names] if loose else names
    assert len(set(compared)) == len(members)


@given(LISTS, st.sampled_from([".jpg", ".png"]))
def test_no_two_loose_images_share_a_name_even_in_two_units(members: list[str], suffix: str) -> None:
    apart = [named([member], suffix, loose=True)[0] for member in members]
    assert len(set(apart)) == len(members)


def test_a_suffix_is_kept_added_or_replaced() -> None:
    members = ["d/a.jpg", "d/b.JPEG", "d/c.png", "d/e.left.jpg", "17"]
    assert named(members, ".jpg", loose=True) == ["d/a.jpg", "d/b.JPEG", "d/c.png.jpg", "d/e.left.jpg", "17.jpg"]
    assert named(members, ".jpg", loose=False) == ["d/a.jpg", "d/b.JPEG", "d/c.jpg", "d/e.left.jpg", "17.jpg"]


def test_two_images_of_one_sample_stay_in_it_under_two_names() -> None:
    assert named(["a.jpg", "a.png"], ".png", loose=False) == ["a.png", "a.png.png"]
    assert named(["a.jpg", "a.png"], ".png", loose=True) == ["a.jpg.png", "a.png"]
    assert named(["a.left.jpg", "a.right.jpg"], ".png", loose=False) == ["a.left.png", "a.right.png"]


def test_names_that_differ_by_case_are_told_apart_as_files_only() -> None:
    first, second = named(["A/x.jpg", "a/X.jpg"], ".jpg", loose=True)
    assert first == "A/x.jpg"
    assert re.fullmatch(r"a/X~[0-9a-f]{8}\.jpg", second)
    assert named(["A/x.jpg", "a/X.jpg"], ".jpg", loose=False) == ["A/x.jpg", "a/X.jpg"]


def test_sidecars_follow_their_sample() -> None:
    names = Names(loose=False)
    stem = names.stem(ref("d/a.jpg"))
    assert names.sidecar(stem, "txt", b"a caption") == "d/a.txt"
    assert names.sidecar(stem, "txt", b"a caption") == ""
    assert re.fullmatch(r"d/a\.[0-9a-f]{8}\.txt", names.sidecar(stem, "txt", b"another"))
    names.image(stem, ref("d/a.seg.png"), ".png")
    assert re.fullmatch(r"d/a\.[0-9a-f]{8}\.seg\.png", names.sidecar(stem, "seg.png", b"labels"))


def rows(keys: list[str], suffix: str, *, loose: bool) -> list[str]:
    """Rows of a Parquet file with a key column: the member is the row number."""
    names = Names(loose=loose)
    refs = [ImageRef(image_id=image_id("s", f"{i:09d}"), key=key, member=f"{i:09d}") for i, key in enumerate(keys)]
    return [names.image(names.stem(r), r, suffix) for r in refs]


def test_keys_of_a_column_become_names() -> None:
    keys = ["0", "d/cat", "d/dog.jpg", "d/dog.png"]
    assert rows(keys, ".jpg", loose=True) == ["0.jpg", "d/cat.jpg", "d/dog.jpg", "d/dog.png.jpg"]
    assert rows(["000000000"], ".jpg", loose=False) == ["000000000.jpg"]


def test_a_key_of_a_column_stays_one_sample_of_a_tar() -> None:
    first, second, third, fourth = rows(["v1.2/a.b", "v1.2/a.c", "cat.jpg", "cat.png"], ".jpg", loose=False)
    assert (first, second, third) == ("v1.2/a_b.jpg", "v1.2/a_c.jpg", "cat.jpg")
    assert re.fullmatch(r"cat~[0-9a-f]{8}\.jpg", fourth)


def test_the_folder_of_a_shard() -> None:
    assert folder_of("train/000.tar") == "train/000.tar/"
    assert folder_of("train/000.tar.gz") == "train/000.tar.gz/"
    assert folder_of("part.parquet") == "part.parquet/"
    assert folder_of("photos") == ""


def test_other_bytes_other_name() -> None:
    file = addressed("masks", "u-1", ".parquet", b"abc")
    assert file.path == "masks/u-1-ba7816bf8f01.parquet"
    assert file.sha256.startswith("ba7816bf8f01")
    assert addressed("masks", "u-1", ".parquet", b"abd").path != file.path
