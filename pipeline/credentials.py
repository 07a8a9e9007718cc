"""Detect secrets: to refuse them in a config, and to redact them in a message.

Credentials come from the ambient environment only (variables, profile, role). So no config, message or file of Segfill
has a reason to hold one. Messages also quote text from strangers (names of shards and images, errors of libraries),
which could steer a terminal: its control characters are escaped.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final

_KEY: Final = (
    r"secret|passw(or)?d|passphrase|(?<![a-z])pwd(?![a-z])|tokens?(?![a-z])|credential|signature(?![a-z])"
    r"|(?<![a-z])auth(entication|orization)?(?![\w-])|bearer|connection_?string"
    r"|(access|api|private|account|signing|encryption|shared|storage)[_-]?key"
)
_NAME: Final = re.compile(_KEY, re.IGNORECASE)
_ASSIGNED: Final = re.compile(
    rf"""(?P<key>[\w.-]*(?:{_KEY})[\w.-]*["']?\s*[:=]\s*["']?)(?P<value>(?:bearer\s+|basic\s+)?[^\s"',}}&]+)""",
    re.IGNORECASE,
)
_IN_URI: Final = re.compile(r"(?P<key>://)(?P<value>[^\s/:@]*(?::\S*)?)(?=@)")
_SIGNED: Final = re.compile(
    r"(?P<key>[?&;](?:X-(?:Amz|Goog)-[A-Za-z-]+|AWSAccessKeyId|GoogleAccessId|Signature|sig|[a-z_-]*token|key|api_?key"
    r"|password|secret)=)(?P<value>[^&\s\"']+)",
    re.IGNORECASE,
)
_SHAPES: Final = re.compile(
    r"(?P<key>)(?P<value>\b(?:AKIA|ASIA)[A-Z0-9]{16}\b|\bgh[pousr]_[A-Za-z0-9]{30,}|\bhf_[A-Za-z0-9]{30,}"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*)"
)
_AMBIENT: Final = re.compile(r"SECRET|PASSW|TOKEN|CREDENTIAL|(ACCESS|API|PRIVATE|ACCOUNT|STORAGE)_?KEY", re.IGNORECASE)
_NO_SECRET: Final = re.compile(r"(FILE|PATH|DIR|MODE|URL|URI|ARN|APPLICATION_CREDENTIALS)$", re.IGNORECASE)
_MIN_LENGTH: Final = 8
"""Minimum length of a variable's value that counts as a secret; `true` and `none` do not."""
_REDACTED: Final = "***"
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def is_credential(key: str) -> bool:
    """Whether any part of a dotted key names a credential."""
    return bool(_NAME.search(key))


def carries(text: str) -> bool:
    """Whether a value holds a secret: user or password in a URI, a signature, a key of a known form, an ambient one."""
    return any(pattern.search(text) for pattern in (_IN_URI, _SIGNED, _SHAPES)) or any(
        secret in text for secret in _ambient()
    )


def assigns(text: str) -> bool:
    """Whether a text, such as an override with a nested value, sets a key that names a credential."""
    return any(match["value"] not in ("null", "''", '""') for match in _ASSIGNED.finditer(text))


def redact(text: str) -> str:
    """Replace every secret that can be detected in a text by ***, and escape its control characters."""
    for secret in _ambient():
        text = text.replace(secret, _REDACTED)
    for pattern in (_IN_URI, _SIGNED, _SHAPES, _ASSIGNED):
        text = pattern.sub(rf"\g<key>{_REDACTED}", text)
    return _CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def printable(line: str) -> str:
    """Replace control characters by `?`: a name from the data neither starts a new line nor steers the terminal."""
    return "".join(c if c.isprintable() else "?" for c in line).rstrip()


def _ambient() -> Iterator[str]:
    """Values of variables that hold credentials, the longest first: one may be a part of another."""
    values = (value for name, value in os.environ.items() if _AMBIENT.search(name) and not _NO_SECRET.search(name))
    yield from sorted((value for value in values if len(value) >= _MIN_LENGTH), key=len, reverse=True)
