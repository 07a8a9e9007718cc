"""Lists of a JSON file one item at a time, wherever its pieces end."""

import io
import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluate import json_items
from pipeline.evaluate.json_items import items

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


def expected(value: Mapping[str, object]) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for key, each in value.items():
        found += [(key, item) for item in each] if isinstance(each, list) else [(key, each)]
    return found


class Dribble(io.BytesIO):
    """A stream that gives a few bytes at a time, as a network may."""

    def __init__(self, data: bytes, most: int) -> None:
        super().__init__(data)
        self.most = most

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(self.most)


@given(st.dictionaries(st.text(), VALUES, max_size=4), st.booleans(), st.integers(1, 7))
def test_it_is_what_json_loads_says(value: dict[str, object], ascii_: bool, most: int) -> None:
    text = json.dumps(value, ensure_ascii=ascii_, indent=1 if most % 2 else None)
    if any("\ud800" <= sign <= "\udfff" for sign in text):
        return
    assert list(items(Dribble(text.encode(), most))) == expected(value)


def test_a_large_item_is_not_decoded_again_for_every_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_items, "_PIECE", 64)
    value = {"a": [{"n": list(range(50_000))}]}
    stream = io.BytesIO(json.dumps(value).encode())
    assert list(items(stream)) == expected(value)


@pytest.mark.parametrize("text", ["", "[1]", '{"a": [1, 2', '{"a" 1}', '{"a": [1 2]', '{"a": 1 "b": 2}'])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"JSON|[Ee]xpect"):
        list(items(io.BytesIO(text.encode())))
