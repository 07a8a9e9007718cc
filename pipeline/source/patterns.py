"""Understand the pattern of a URI: brace ranges and globs.

data/**/train-*.tar         `*` and `?` stay within a folder, `**/` crosses folders, `[ab]` is one of its letters
s3://b/{00000..00012}.tar   every number, zeros kept; `{a,b}` is a list
"""

from __future__ import annotations

import itertools
import re

from pipeline.errors import ConfigError

_SPECIAL = re.compile(r"[*?\[{]")
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")
_MAX_EXPANDED = 1_000_000


def is_pattern(uri: str) -> bool:
    return _SPECIAL.search(uri) is not None


def split_pattern(uri: str) -> tuple[str, str]:
    """Split a URI into the folders before the first special character, and the rest."""
    special = _SPECIAL.search(uri)
    cut = uri.rfind("/", 0, special.start() if special else len(uri))
    return (uri[:cut] or "/", uri[cut + 1 :]) if cut >= 0 else (".", uri)


def expand(pattern: str) -> list[str]:
    """Expand every pair of braces, in order. Raises ConfigError for braces that are neither a range nor a list."""
    pieces: list[list[str]] = []
    end, count = 0, 1
    for braces in _BRACES.finditer(pattern):
        choices = _choices(braces[1], pattern)
        count *= len(choices)
        if count > _MAX_EXPANDED:
            raise ConfigError(
                f"source.uri: the braces in {pattern!r} name more than {_MAX_EXPANDED} objects; use a * instead"
            )
        pieces += [[pattern[end : braces.start()]], choices]
        end = braces.end()
    rest = pattern[end:]
    if any(c in "{}" for piece in pieces for c in piece[0]) or "{" in rest or "}" in rest:
        raise ConfigError(
            f"source.uri: unmatched or nested braces in {pattern!r}; expected {{00000..00012}} or {{a,b}}"
        )
    return ["".join(parts) for parts in itertools.product(*pieces, [rest])]


def _choices(inside: str, pattern: str) -> list[str]:
    numbers = _RANGE.fullmatch(inside)
    if not numbers:
        if "," in inside:
            return inside.split(",")
        raise ConfigError(f"source.uri: {{{inside}}} in {pattern!r} is no range; expected {{00000..00012}} or {{a,b}}")
    low, high = numbers[1], numbers[2]
    if int(low) > int(high) or int(high) - int(low) >= _MAX_EXPANDED:
        raise ConfigError(f"source.uri: the range {{{inside}}} must rise and name at most {_MAX_EXPANDED} objects")
    width = max(len(low), len(high)) if low.startswith("0") and len(low) > 1 else 0
    return [f"{n:0{width}d}" for n in range(int(low), int(high) + 1)]


def regex(pattern: str) -> re.Pattern[str]:
    """Translate a glob to an expression for whole relative paths: `glob.translate` comes with Python 3.13."""
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        if pattern.startswith("**/", at):
            parts.append("(?:[^/]+/)*")
            at += 3
        elif pattern.startswith("**", at):
            parts.append(".*")
            at += 2
        elif pattern[at] in "*?":
            parts.append("[^/]*" if pattern[at] == "*" else "[^/]")
            at += 1
        elif pattern[at] == "[" and (end := pattern.find("]", at + 2)) > 0:
            inside = pattern[at + 1 : end].replace("\\", "\\\\").replace("[", "\\[")
            parts.append(f"(?!/)[{'^' + inside[1:] if inside[0] == '!' else inside}]")
            at = end + 1
        else:
            parts.append(re.escape(pattern[at]))
            at += 1
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as error:
        raise ConfigError(f"source.uri: {pattern!r} is not a valid glob: {error}") from error
