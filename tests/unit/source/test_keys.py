import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.records import Shard, image_id
from pipeline.source.keys import Keys, packed


def rows(members: list[str], keys: Keys | None = None) -> list[str]:
    keys = keys or Keys()
    return [keys.row(member, image_id("s", f"{member}@{i}")) for i, member in enumerate(members)]


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        (["d/v1.0.cat.jpg", "d/v1.0.dog.jpg", "README"], ["d/v1.0.cat", "d/v1.0.dog", "README"]),
        (["a.jpg", "a.png", "A.jpg", "a.b/c.jpg", "a..jpg", ".jpg"], ["a", "a.png", "A", "a.b/c", "a.", ".jpg"]),
    ],
)
def test_a_key_is_the_name_without_its_last_suffix_or_the_whole_name(members: list[str], expected: list[str]) -> None:
    assert rows(members) == expected


def test_a_key_has_a_part_of_the_id_where_the_whole_name_is_taken_too() -> None:
    first, second, third, fourth = rows(["a.jpg", "a.jpg.png", "a.jpg", "a.jpg"])
    assert (first, second) == ("a", "a.jpg")
    assert third == f"a.jpg~{image_id('s', 'a.jpg@2')[:8]}"
    assert fourth == f"a.jpg~{image_id('s', 'a.jpg@3')[:8]}"


def test_images_of_one_name_once_the_suffix_is_added_get_keys_that_say_so() -> None:
    """`a` is written as `a.jpg`, which would be the other's name."""
    for members in (["a", "a.jpg"], ["a.jpg", "a"], ["a.jpg_large", "a.jpg_large.jpg"]):
        first, second = rows(members)
        assert first == "a"
        assert second == f"{members[1]}~{image_id('s', members[1] + '@1')[:8]}"


NAMES = st.lists(st.from_regex(r"([ab]/)?[abA]{1,2}(\.[ab])?(\.jpg|\.png|\.txt)?", fullmatch=True), max_size=20)


@given(NAMES)
def test_no_two_rows_share_a_key(members: list[str]) -> None:
    assert len(set(rows(members))) == len(members)


@given(NAMES, st.integers(0, 19))
def test_a_reader_that_skips_rows_gives_the_others_the_same_keys(members: list[str], cut: int) -> None:
    whole = rows(members)
    met = packed(zip(whole[:cut], members[:cut], strict=True))
    keys = Keys(Shard(path="s", uri="s", size=1, etag="e", keys=((0, met), (99, packed([("x", "x")])))))
    keys.skip(0, 1)
    late = [keys.row(member, image_id("s", f"{member}@{i}")) for i, member in enumerate(members) if i >= cut]
    assert late == whole[cut:]
    assert all(keys.has_member(member) for member in members)
    assert all(keys.has_sample(re.sub(r"\.[^/]*$", "", member)) for member in members)
    assert not keys.has_member("x")
    assert not keys.has_sample("x")
