"""Read a path from the command line as it is typed: no grammar has a say in what a folder is called.

Hydra's own grammar has other uses for `=`, `,`, `(`, `[` and `{`, and none for `#` or letters beyond ASCII. Only four
things are more than themselves: quotes around the whole value, `${key}` where the config has that key, `~` for the home
folder, and for a source a list `[a,b]`; what exists under the very name that was typed is that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Container, Iterator, Sequence
from typing import Final, TypeAlias

PATHS: Final = ("uri", "folder", "sheet", "canary", "start")
"""Last parts of the keys whose values are paths."""
LISTS: Final = ("source.uri",)
"""Those that also take a list of paths."""

Known: TypeAlias = Callable[[str], bool]
"""Whether a config has a dotted key."""

_PATH: Final = re.compile(rf"(?P<key>(?:[A-Za-z_]\w*\.)*(?:{'|'.join(PATHS)}))=(?P<value>.*)", re.DOTALL)
_KEY: Final = re.compile(
    r"(?:\+\+?|~)?(?P<top>[A-Za-z_][\w.]*)(?P<below>(?:/[\w.]+)*)(?:@[\w.]*)?=|~[A-Za-z_][\w./@]*$"
)
_REFERENCE: Final = re.compile(r"(?P<slashes>\\*)\$\{(?P<rest>(?P<key>[\w.\[\]]+)\})?")
_QUOTES: Final = ("'", '"')


def path_of(override: str) -> tuple[str, str] | None:
    """Key and value of `key=value` where the value is a path; None for any other override."""
    match = _PATH.fullmatch(override)
    return (match["key"], match["value"]) if match else None


def is_word(argument: str, groups: Container[str]) -> bool:
    """Whether an argument is a bare word, such as a path, and no `key=value`. A path may hold a `=` of its own. groups:
    what may stand before a `/` in a key."""
    match = _KEY.match(argument)
    if not match or (match["below"] and match["top"] not in groups):
        return True
    return "=" in argument and path_of(argument) is None and os.path.lexists(argument)


def value_of(key: str, text: str, known: Known) -> str | list[str]:
    """The value of a path key as OmegaConf takes it. known: the keys that `${...}` may refer to."""
    if os.path.lexists(text):
        return _literal(text, lambda _: False)
    if key in LISTS and text.startswith("[") and text.endswith("]"):
        parts = list(_parts(text[1:-1]))
        if len(parts) > 1 or "://" in text:
            return [str(value_of("", part, known)) for part in parts]
    if len(text) > 1 and text[0] in _QUOTES and re.fullmatch(r"(?s)(?:[^\\Q]|\\.)*".replace("Q", text[0]), text[1:-1]):
        return _unquoted(text) if text[-1] == text[0] else _literal(text, known)
    return _literal(os.path.expanduser(text), known)


def listed(parts: Sequence[str]) -> str:
    """A list as one value, which `parts_of` takes apart again."""
    return f"[{','.join(_quoted(part) for part in parts)}]"


def parts_of(text: str) -> list[str]:
    """The parts of what `listed` made, or of a list that somebody typed into a file; empty ones are left out."""
    return [
        _unquoted(part) if len(part) > 1 and part[0] in _QUOTES and part[-1] == part[0] else part
        for part in _parts(text[1:-1])
        if part
    ]


def _quoted(part: str) -> str:
    """In single quotes, where it needs them: a backslash before a quote, or at the end, is doubled."""
    if not part[:1].isspace() and not part[-1:].isspace() and not set(part) & {",", "{", *_QUOTES}:
        return part
    return "'" + re.sub(r"(\\*)('|$)", lambda m: m[1] * 2 + ("\\'" if m[2] else ""), part) + "'"


def _parts(text: str) -> Iterator[str]:
    """Split at the commas that are outside of braces and quotes."""
    part, depth, quote = "", 0, ""
    for sign in text:
        if sign == "," and not depth and not quote:
            yield part.strip()
            part = ""
            continue
        part += sign
        if quote:
            quote = "" if sign == quote else quote
        elif sign in _QUOTES and not part[:-1].strip():
            quote = sign
        else:
            depth = max(0, depth + (sign == "{") - (sign == "}"))
    yield part.strip()


def _unquoted(text: str) -> str:
    """As Hydra reads quotes: a backslash escapes the quote and a backslash before it, and is itself elsewhere."""
    escaped = re.compile(rf"(\\+)(?={text[0]}|$)")
    return escaped.sub(lambda match: match[1][: len(match[1]) // 2], text[1:-1])


def _literal(text: str, known: Known) -> str:
    """Escape every `${` that begins no reference."""

    def one(match: re.Match[str]) -> str:
        if match["key"] and not match["slashes"] and known(match["key"]):
            return match[0]
        return match["slashes"] * 2 + r"\${" + (match["rest"] or "")

    return _REFERENCE.sub(one, text)
