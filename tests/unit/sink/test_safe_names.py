"""Names that strangers chose become names that are safe, stable and never shared."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import ImageRef, image_id
from pipeline.sink.safe_names import Into, Names, addressed, field_of, folder_of, safe
from pipeline.source.keys import Keys

FOLDER, TAR, TABLE = "files-000000", "a/train.tar", "train.parquet"


def refs(members: list[str]) -> list[ImageRef]:
    """As a source gives them out."""
    keys = Keys()
    ids = [image_id("s", member) for member in members]
    return [
        ImageRef(image_id=image, key=keys.row(member, image), member=member)
        for member, image in zip(members, ids, strict=True)
    ]


def named(members: list[str], suffix: str, *, into: Into, shard: str = FOLDER, derived: bool = False) -> list[str]:
    names = Names(shard, into=into, derived=derived)
    return [names.image(ref, suffix) for ref in refs(members)]


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


WAYS = st.tuples(st.sampled_from([FOLDER, TAR]), st.sampled_from(["tar", "files", "parquet"]))


@given(st.binary(max_size=40).map(lambda raw: raw.decode("utf-8", "surrogateescape")), WAYS)
def test_any_name_gives_a_path_that_stays_inside(member: str, way: tuple[str, Into]) -> None:
    (name,) = named([member], ".jpg", shard=way[0], into=way[1])
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
    st.from_regex(r"[aAb./]{0,3}(\.jpg|\.png|\.JPG|\.jpeg|\.tif|\.x)*[ab]?", fullmatch=True).filter(bool),
    unique=True,
    max_size=12,
)


@given(LISTS, st.sampled_from([".jpg", ".png"]), WAYS)
def test_no_two_images_of_a_unit_share_a_name(members: list[str], suffix: str, way: tuple[str, Into]) -> None:
    names = named(members, suffix, shard=way[0], into=way[1])
    compared = [name.casefold() for name in names] if way[1] == "files" else names
    assert len(set(compared)) == len(members)


@given(LISTS, st.sampled_from([".jpg", ".png"]), st.sampled_from([FOLDER, TAR]))
def test_no_two_images_share_a_name_as_files_even_in_two_units(members: list[str], suffix: str, shard: str) -> None:
    apart = [Names(shard, into="files").image(ref, suffix) for ref in refs(members)]
    assert len(set(apart)) == len(members)


SAMPLES = st.lists(
    st.tuples(st.from_regex(r"[aA](\.[bB])?(\.c)?", fullmatch=True), st.sampled_from([".jpg", ".png", ""])),
    unique=True,
    max_size=8,
)


@given(SAMPLES, WAYS)
def test_no_two_files_of_a_unit_share_a_name_and_each_text_stands_by_its_image(
    samples: list[tuple[str, str]], way: tuple[str, Into]
) -> None:
    """Each stem has a text of its own; images that share it share the text."""
    names = Names(way[0], into=way[1])
    images: dict[str, str] = {}
    texts: dict[str, str] = {}
    for ref in refs([stem + suffix for stem, suffix in samples]):
        images[ref.member] = names.image(ref, ".jpg")
        stem = ref.member.removesuffix(".jpg").removesuffix(".png")
        stem = stem if stem != ref.member else stem.rpartition(".")[0] or stem
        field = f"{stem}.txt".partition(".")[2]
        if name := names.sidecar(ref, field, stem.encode()):
            assert texts.setdefault(name, stem) == stem
    every = [*images.values(), *texts]
    compared = [name.casefold() for name in every] if way[1] == "files" else every
    assert len(set(compared)) == len(every)


def test_a_suffix_is_kept_added_or_replaced() -> None:
    members = ["d/a.jpg", "d/b.JPEG", "d/c.png", "d/e.left.jpg", "17", "f.jpg_large", "g.jpg.jpg"]
    loose = ["d/a.jpg", "d/b.JPEG", "d/c.png.jpg", "d/e.left.jpg", "17.jpg", "f.jpg_large.jpg", "g.jpg.jpg"]
    assert named(members, ".jpg", into="files") == named(members, ".jpg", into="files", shard=TAR) == loose
    packed = ["d/a.jpg", "d/b.JPEG", "d/c.jpg", "d/e.left.jpg", "17.jpg", "f.jpg_large.jpg", "g.jpg.jpg"]
    assert named(members, ".jpg", into="tar", shard=TAR) == named(members, ".jpg", into="parquet") == packed
    assert named(["d/c.png.jpg", "d/c.png.jpg.jpg"], ".jpg", into="files") == ["d/c.png.jpg.jpg", "d/c.png.jpg.jpg.jpg"]


def test_a_label_map_is_called_by_its_key_not_after_two_suffixes() -> None:
    members = ["d/x.jpg", "d/x.png", "d/y.left.jpg", "v1.0.cat.webp", "17", "x.png.jpg"]
    maps = ["d/x.png", "d/x.png.png", "d/y.left.png", "v1.0.cat.png", "17.png", "x.png.png"]
    assert [ref.key for ref in refs(members)] == [name.removesuffix(".png") for name in maps]
    for shard in (FOLDER, TAR):
        assert named(members, ".png", into="files", shard=shard, derived=True) == maps


def test_dots_of_a_file_end_no_key_of_a_tar() -> None:
    members = ["v.1/v1.0.cat.jpg", "v.1/v1_0.cat.jpg", "v.1/v1.0.dog.png", "plain.jpg"]
    first, second, third, fourth = named(members, ".jpg", into="tar")
    assert (first, third, fourth) == ("v.1/v1_0_cat.jpg", "v.1/v1_0_dog.jpg", "plain.jpg")
    assert re.fullmatch(r"v\.1/v1_0_cat~[0-9a-f]{8}\.jpg", second)
    assert named(members[:1], ".jpg", into="tar", shard=TAR) == members[:1]


def test_two_images_of_one_sample_stay_in_it_under_two_names() -> None:
    assert named(["a.jpg", "a.png"], ".png", into="tar", shard=TAR) == ["a.png", "a.png.png"]
    assert named(["a.jpg", "a.png"], ".png", into="files", shard=TAR) == ["a.jpg.png", "a.png"]
    assert named(["a.left.jpg", "a.right.jpg"], ".png", into="tar", shard=TAR) == ["a.left.png", "a.right.png"]


def test_names_that_differ_by_case_are_told_apart_as_files_only() -> None:
    first, second = named(["A/x.jpg", "a/X.jpg"], ".jpg", into="files")
    assert first == "A/x.jpg"
    assert re.fullmatch(r"a/X~[0-9a-f]{8}\.jpg", second)
    assert named(["A/x.jpg", "a/X.jpg"], ".jpg", into="tar", shard=TAR) == ["A/x.jpg", "a/X.jpg"]


def test_sidecars_follow_their_sample() -> None:
    names = Names(TAR, into="tar")
    image, other = refs(["d/a.jpg", "d/a.seg.png"])
    assert names.sidecar(image, "txt", b"a caption") == "d/a.txt"
    assert names.sidecar(image, "txt", b"a caption") == "d/a.txt"  # of another image of the sample
    assert re.fullmatch(r"d/a\.[0-9a-f]{8}\.txt", names.sidecar(image, "txt", b"another"))
    names.image(other, ".png")
    assert re.fullmatch(r"d/a\.[0-9a-f]{8}\.seg\.png", names.sidecar(image, "seg.png", b"labels"))


@pytest.mark.parametrize(
    ("shard", "into", "own", "shared"),
    [
        (FOLDER, "files", "d/v1.0.cat.txt", "d/v1.json"),
        (TAR, "files", "d/v1.0.cat.txt", "d/v1.json"),
        (TAR, "tar", "d/v1.0.cat.txt", "d/v1.json"),
        (FOLDER, "tar", "d/v1_0_cat.txt", "d/v1_0_cat.json"),
    ],
)
def test_a_caption_keeps_the_name_of_its_image_and_a_text_of_the_sample_its_own(
    shard: str, into: Into, own: str, shared: str
) -> None:
    names = Names(shard, into=into)
    (ref,) = refs(["d/v1.0.cat.jpg"])
    assert names.image(ref, ".jpg") == own.replace("txt", "jpg")
    assert names.sidecar(ref, "0.cat.txt", b"a caption") == own
    assert names.sidecar(ref, "json", b"{}") == shared


def test_a_sidecar_has_its_own_field_in_a_table() -> None:
    cat, left, plain = refs(["d/v1.0.cat.jpg", "d/1.left.jpg", "d/2.jpg"])
    assert [field_of(cat, name) for name in ("0.cat.txt", "0.txt", "json")] == ["txt", "0.txt", "json"]
    assert [field_of(left, name) for name in ("left.txt", "json")] == ["txt", "json"]
    assert field_of(plain, "seg.png") == "seg.png"


def rows(keys: list[str], suffix: str, *, into: Into) -> list[str]:
    """Rows of a Parquet file with a key column: the member is the row number."""
    names = Names(TABLE, into=into)
    refs = [ImageRef(image_id=image_id("s", f"{i:09d}"), key=key, member=f"{i:09d}") for i, key in enumerate(keys)]
    return [names.image(ref, suffix) for ref in refs]


def test_keys_of_a_column_become_names() -> None:
    keys = ["0", "d/cat", "d/dog.jpg", "d/dog.png", "v1.2"]
    assert rows(keys, ".jpg", into="files") == ["0.jpg", "d/cat.jpg", "d/dog.jpg", "d/dog.png.jpg", "v1.2.jpg"]
    assert rows(["000000000", "v1.2"], ".jpg", into="parquet") == ["000000000.jpg", "v1.2.jpg"]


def test_a_key_of_a_column_stays_one_sample_of_a_tar() -> None:
    first, second, third, fourth = rows(["v1.2/a.b", "v1.2/a.c", "cat.jpg", "cat.png"], ".jpg", into="tar")
    assert (first, second, third) == ("v1.2/a_b.jpg", "v1.2/a_c.jpg", "cat.jpg")
    assert re.fullmatch(r"cat~[0-9a-f]{8}\.jpg", fourth)


def test_the_folder_of_a_shard() -> None:
    assert folder_of("train/000.tar") == "train/000.tar/"
    assert folder_of("train/000.tar.gz") == "train/000.tar.gz/"
    assert folder_of("train/000.TAR.ZST") == "train/000.TAR.ZST/"
    assert folder_of("part.parquet") == "part.parquet/"
    assert folder_of("photos") == ""


def test_other_bytes_other_name() -> None:
    file = addressed("masks", "u-1", ".parquet", b"abc")
    assert file.path == "masks/u-1-ba7816bf8f01.parquet"
    assert file.sha256.startswith("ba7816bf8f01")
    assert addressed("masks", "u-1", ".parquet", b"abd").path != file.path
