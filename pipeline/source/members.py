"""Decide what a member of a sample is: an image with a row of its own, or a sidecar that travels with images."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Annotated, Final, Literal, TypeAlias

from pydantic import Field

from pipeline.image.kinds import IMAGE_SUFFIXES, Kind, by_suffix
from pipeline.source import names
from pipeline.source.unit import Suffix, UnitLimits
from pipeline.source.unread import bytes_tell
from pipeline.spec import spec

What: TypeAlias = Literal["image", "unread", "sidecar", "clutter"]
"""unread: an image of a kind that cannot be read. clutter: a file of the system, see `names.clutter`."""

MemberField = Annotated[str, Field(pattern=r"^[^./\s][^/]*$", description="a field without its first dot: seg.png")]

_ALL: Final = tuple(sorted(IMAGE_SUFFIXES))


@spec
class SampleMembers(UnitLimits):
    """Base of sources with files: which of them are images. By default every image is one, with a row and an output.

    A field is what follows the first dot of a base name: `seg.png` of `0001.seg.png`. It is named whole or by its last
    parts, in any case: `seg.png` also names `0001.left.seg.png`, and `png` names every PNG.
    """

    image_suffixes: tuple[Suffix, ...] = ()
    """Suffixes that make a file an image; empty: those of all formats that are read. A file whose first bytes are those
    of an image is one under any name."""
    image_members: tuple[MemberField, ...] = ()
    """Fields that are images, such as jpg; every other member travels with them as a sidecar. Empty: all images are."""
    sidecar_members: tuple[MemberField, ...] = ()
    """Fields that are no images of their own (label maps, depth, second views), such as seg.png: they travel with the
    images of their sample and are never looked at. A private run does not publish them."""

    @property
    def suffixes(self) -> tuple[str, ...]:
        return self.image_suffixes or _ALL

    def what(self, name: str, head: bytes) -> What:
        """Decide by a tidy name and the first bytes (`kinds.HEAD_BYTES`); empty when they cannot be read."""
        kind = bytes_tell(name, head)
        readable = kind is not None and kind.read
        if names.clutter(name) and not readable:
            return "clutter"
        if self.is_sidecar(name):
            return "sidecar"
        if self.image_members or readable or names.is_image(name, self.suffixes):
            return "image"
        return "unread" if self._unread(name, head) else "sidecar"

    def is_sidecar(self, name: str) -> bool:
        """Whether `sidecar_members` or `image_members` make a name a sidecar, whatever its bytes are."""
        field = names.split(name)[1]
        if self.image_members and not _among(field, self.image_members):
            return True
        return _among(field, self.sidecar_members)

    def refusal(self, name: str, head: bytes) -> str:
        """Say why a member that is `unread` is rejected."""
        kind = self._unread(name, head)
        field = names.split(name)[1] or "FIELD"
        return f"{kind.name if kind else 'it'} is not read: convert it, or carry it by source.sidecar_members=[{field}]"

    def _unread(self, name: str, head: bytes) -> Kind | None:
        kinds = (bytes_tell(name, head), by_suffix(name))
        return next((kind for kind in kinds if kind and kind.holds == "image" and not kind.read), None)


def owners(sidecar: str, images: Sequence[str]) -> list[int]:
    """Return the positions of the images that a sidecar of the same sample travels with: those that share the most
    leading parts with it, suffixes left out.

    `v1.0.cat.txt` goes with `v1.0.cat.jpg` and not with `v1.0.dog.jpg`; `1.txt` with both `1.left.jpg` and
    `1.right.jpg`.
    """
    own = names.stem(sidecar).split(".")
    shared = [_shared(own, names.stem(image).split(".")) for image in images]
    return [position for position, parts in enumerate(shared) if parts == max(shared)]


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def _among(field: str, chosen: Collection[str]) -> bool:
    return any(f".{field.lower()}".endswith(f".{one.lower()}") for one in chosen)
