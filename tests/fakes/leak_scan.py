"""A scan of a published output for remains of originals, in every file, member, cell and inlined picture."""

from __future__ import annotations

import base64
import io
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

MAGIC = (b"\xff\xd8\xff", b"\x89PNG", b"RIFF", b"BM", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0")
INLINE = re.compile(rb"data:image/[a-z]+;base64,([A-Za-z0-9+/=]+)")


def blobs(root: Path) -> Iterator[tuple[str, bytes]]:
    """Name and bytes of every file under a folder and of everything inside containers."""
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name, data = path.relative_to(root).as_posix(), path.read_bytes()
        yield name, data
        yield from _inside(name, data)


def _inside(name: str, data: bytes) -> Iterator[tuple[str, bytes]]:
    if name.endswith(".tar"):
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            for member in tar:
                stream = tar.extractfile(member)
                yield f"{name}!{member.name}", stream.read() if stream else b""
    elif name.endswith(".parquet"):
        for row in pq.read_table(io.BytesIO(data)).to_pylist():
            yield from _cells(f"{name}!{row.get('key')}", row)
    elif name.endswith(".html"):
        for found in INLINE.finditer(data):
            yield f"{name}!inlined", base64.b64decode(found[1])


def _cells(name: str, value: object) -> Iterator[tuple[str, bytes]]:
    if isinstance(value, dict):
        for key, child in value.items():
            yield from _cells(f"{name}.{key}", child)
    elif isinstance(value, list):
        for child in value:
            yield from _cells(name, child)
    elif isinstance(value, (bytes, str)):
        yield name, value if isinstance(value, bytes) else value.encode()


def pictures(root: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Every published picture, HWC RGBA as stored: colours under alpha included."""
    for name, data in blobs(root):
        if data.startswith(MAGIC):
            with Image.open(io.BytesIO(data)) as image:
                yield name, np.asarray(image.convert("RGBA"))


def leaks(root: Path, secrets: tuple[bytes, ...], colour: tuple[int, int, int], tolerance: int = 40) -> list[str]:
    """Every place of a secret, and of pixels within `tolerance` of the planted colour in every channel."""
    found = [f"{name}: {secret[:16]!r}" for name, data in blobs(root) for secret in secrets if secret in data]
    for name, rgba in pictures(root):
        distance = np.abs(rgba[..., :3].astype(int) - np.array(colour)).max(axis=2)
        if (distance < tolerance).any():
            found.append(f"{name}: {int((distance < tolerance).sum())} pixels of {colour}")
    return found
