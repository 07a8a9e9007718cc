"""Reads a large JSON object piece by piece: the items of its lists one at a time, in the memory of one item."""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any, Final, Protocol

_PIECE: Final = 2**18
_SPACE: Final = " \t\r\n"
_ENDS: Final = (*_SPACE, ",", "]", "}")


class Stream(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...


def items(stream: Stream) -> Iterator[tuple[str, Any]]:
    """Yield (key, item) for each item of each list of the outermost object, and (key, value) for each other value.

    Raises ValueError for what is no JSON object.
    """
    reader = _Reader(stream)
    reader.expect("{")
    if reader.peek() == "}":
        return
    while True:
        key = str(reader.value())
        reader.expect(":")
        if reader.peek() == "[":
            reader.expect("[")
            while reader.peek() != "]":
                yield key, reader.value()
                if reader.peek() == ",":
                    reader.expect(",")
            reader.expect("]")
        else:
            yield key, reader.value()
        if reader.peek() == "}":
            return
        reader.expect(",")


class _Reader:
    """Decodes values at the front of a text that grows as it is read."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._text, self._at = "", 0
        self._decoder = json.JSONDecoder()
        self._letters = codecs.getincrementaldecoder("utf-8")()

    def peek(self) -> str:
        """The next sign that is no space."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in _SPACE:
                self._at += 1
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._more():
                raise ValueError("the file ends within its JSON")

    def expect(self, sign: str) -> None:
        if (found := self.peek()) != sign:
            raise ValueError(f"expected {sign!r} in the JSON, got {found!r}")
        self._at += 1

    def value(self) -> Any:
        self.peek()
        while True:
            try:
                value, stop = self._decoder.raw_decode(self._text, self._at)
            except ValueError:
                if not self._more():
                    raise
                continue
            ended = self._text[stop : stop + 1] in _ENDS or not isinstance(value, int | float)
            if not ended and self._more():  # `0` may become `0.5`
                continue
            self._at = stop
            return value

    def _more(self) -> bool:
        size = max(_PIECE, len(self._text) - self._at)  # doubles for a long item, so that it is not decoded too often
        piece = self._stream.read(size)
        self._text, self._at = self._text[self._at :] + self._letters.decode(piece, final=not piece), 0
        return bool(piece)
