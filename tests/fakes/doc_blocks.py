"""The code blocks of a page of documentation, and what the comments above them ask for (docs/README.md says which)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_FENCE = re.compile(r"^```(\w*)$")
_COMMENT = re.compile(r"<!-- (file|exits|composed|not run): (.+?) -->")


@dataclass(frozen=True, kw_only=True)
class Block:
    """line: of the opening fence, from 1. language: empty for none. asks: kind of comment -> what it says."""

    line: int
    language: str
    text: str
    asks: dict[str, str] = field(default_factory=dict)

    @property
    def commands(self) -> list[str]:
        """Of a shell block, line by line, those that are continued joined."""
        return [line for line in self.text.replace("\\\n", " ").splitlines() if line.strip()]


def blocks(page: Path) -> list[Block]:
    """Raises AssertionError for a fence that is not closed or a comment that asks for nothing."""
    found, asks, opened, body = [], dict[str, str](), 0, list[str]()
    language = ""
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if opened and line == "```":
            found.append(Block(line=opened, language=language, text="\n".join(body) + "\n", asks=asks))
            opened, asks, body = 0, {}, []
        elif opened:
            body.append(line)
        elif fence:
            opened, language = number, fence[1]
        elif comment := _COMMENT.fullmatch(line):
            asks = {**asks, comment[1]: comment[2]}
        else:
            assert not asks, f"{page.name}:{number}: a comment that asks for something stands directly above a block"
    assert not opened, f"{page.name}:{opened}: the block is not closed"
    return found
