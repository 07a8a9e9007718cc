"""Builds all files of one unit in memory: masks, index, images, previews. Writes to no store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import Field

from pipeline.credentials import redact
from pipeline.image.kinds import by_suffix
from pipeline.records import Counts, OutputFile, Rejected, Rendered, Unit
from pipeline.sink.masks import masks
from pipeline.sink.rendered import FILLED, PUBLISH, Items, Published
from pipeline.sink.safe_names import addressed
from pipeline.sink.tables import IMAGES, PREVIEWS, parquet, table, utf8
from pipeline.spec import spec


@spec
class Sink:
    """Where a run writes, and in which form it publishes rendered images."""

    uri: Annotated[str, Field(min_length=1, pattern=r"\S")]
    """Root of the output: a path, or a URI such as s3://bucket/out (file:, s3:, gs:, az:)."""
    images: Literal["tar", "files", "parquet", "none"] = "tar"
    """tar: a WebDataset tar for each unit and kind. files: loose files under the names of the source. parquet: an image
    column. none: rendered images are not published."""
    single_writer: bool = False
    """Allow a store without conditional create. Set it only if nothing else ever writes to the output."""
    previews: Annotated[int, Field(ge=0, le=1000)] = 4
    """Maximum number of images with a segment that each unit contributes to the report's gallery; 0: none."""

    def writer(self, unit: Unit, facts: Facts) -> UnitWriter:
        return UnitWriter(self, unit, facts)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Values of the index that are the same for every image of a run.

    source: URI of the source root. models: names of the segmenters. fill: name of the method; empty when the flow fills
    nothing. reversible: as the fill declares.
    """

    source: str
    models: tuple[str, ...]
    fill: str
    reversible: bool


@dataclass(frozen=True, kw_only=True)
class UnitFiles:
    """All files of a unit. files: under content-addressed names, put before the commit. loose: under names of the
    source, put after the commit by its winner. staged: one tar of all loose files, put before the commit.

    rejects: (stage, reason, count). segments: (label, count), of images that were not rejected. Both are sorted.
    """

    unit: Unit
    files: tuple[OutputFile, ...]
    loose: tuple[OutputFile, ...]
    staged: tuple[OutputFile, ...]
    counts: Counts
    rejects: tuple[tuple[str, str, int], ...]
    segments: tuple[tuple[str, int], ...]


class UnitWriter:
    """Collects the images of one unit, some at a time, in source order. Holds encoded bytes, no pixels."""

    def __init__(self, sink: Sink, unit: Unit, facts: Facts) -> None:
        self._sink = sink
        self._unit = unit
        self._facts = facts
        self._items: list[Rendered | Rejected] = []

    def add(self, items: Iterable[Rendered | Rejected]) -> None:
        self._items.extend(items)

    def finish(self) -> UnitFiles:
        return build_unit(self._sink, self._unit, self._facts, tuple(self._items))


def build_unit(sink: Sink, unit: Unit, facts: Facts, items: Items) -> UnitFiles:
    """Return all files of one unit: the same bytes and names for the same items, and one index row for each item."""
    published = PUBLISH[sink.images](unit, items)
    index = [_index_row(unit, facts, published, position, item) for position, item in enumerate(items)]
    previews = _preview_rows(items, sink.previews)
    tables = [
        addressed("masks", unit.unit_id, ".parquet", parquet(masks(items))),
        addressed("images", unit.unit_id, ".parquet", parquet(table(IMAGES, index))),
    ]
    if previews:
        content = parquet(table(PREVIEWS, previews), compressed=False)
        tables.append(addressed("_previews", unit.unit_id, ".parquet", content))
    return UnitFiles(
        unit=unit,
        files=(*tables, *published.files),
        loose=published.loose,
        staged=published.staged,
        counts=_counts(items),
        rejects=_rejects(items),
        segments=_labels(items),
    )


def _counts(items: Items) -> Counts:
    status = Counter(item.status if isinstance(item, Rendered) else "rejected" for item in items)
    return Counts(
        images=len(items), written=status["written"], unchanged=status["unchanged"], rejected=status["rejected"]
    )


def _rejects(items: Items) -> tuple[tuple[str, str, int], ...]:
    found = Counter((item.stage, item.reason) for item in items if isinstance(item, Rejected))
    return tuple((stage, reason, count) for (stage, reason), count in sorted(found.items()))


def _labels(items: Items) -> tuple[tuple[str, int], ...]:
    found = Counter(s.label for item in items if isinstance(item, Rendered) for s in item.segments.segments)
    return tuple(sorted(found.items()))


# --- index -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class IndexRow:
    """One row of `tables.IMAGES`, one field a column. The defaults are the values where a column does not apply."""

    image_id: str
    key: str
    member: str
    image_uri: str
    source: str
    shard: str
    unit: str
    status: str
    stage: str = ""
    reason: str = ""
    detail: str = ""
    width: int
    height: int
    n_segments: int = 0
    filled_share: float = 0.0
    seam: float = 0.0
    input_sha256: str
    output_sha256: str = ""
    output: str = ""
    output_member: str = ""
    outputs: tuple[dict[str, str], ...] = ()
    sidecars: tuple[str, ...] = ()
    models: tuple[str, ...]
    fill: str = ""
    reversible: bool = False
    seed: int = 0


def _index_row(unit: Unit, facts: Facts, published: Published, position: int, item: Rendered | Rejected) -> IndexRow:
    ref = item.ref
    became = _rejected(item) if isinstance(item, Rejected) else _rendered(facts, published, position, item)
    return IndexRow(
        image_id=ref.image_id,
        key=utf8(ref.key),
        member=utf8(ref.member),
        image_uri=utf8(image_uri(unit, ref.member)),
        source=utf8(facts.source),
        shard=utf8(unit.shard),
        unit=unit.unit_id,
        input_sha256=ref.sha256,
        models=facts.models,
        **became,
    )


def _rejected(item: Rejected) -> dict[str, Any]:
    return {
        "status": "rejected",
        "stage": item.stage,
        "reason": item.reason,
        "detail": utf8(redact(item.detail)),  # it may quote a library or a plugin
        "width": item.width,
        "height": item.height,
    }


def _rendered(facts: Facts, published: Published, position: int, item: Rendered) -> dict[str, Any]:
    filled = bool(facts.fill) and item.region.area > 0
    outputs = _outputs(published, position, item)
    row = {
        "status": item.status,
        "width": item.segments.width,
        "height": item.segments.height,
        "n_segments": len(item.segments.segments),
        "filled_share": item.region.area / (item.region.height * item.region.width) if filled else 0.0,
        "seam": item.seam,
        "detail": utf8(redact(item.detail)),
        "outputs": outputs,
        "sidecars": tuple(map(utf8, published.sidecars.get(position, ()))),
        "fill": facts.fill if filled else "",
        "reversible": facts.reversible and filled,
        "seed": item.seed,
    }
    for output in sorted(outputs, key=lambda output: output["kind"] != FILLED)[:1]:
        row |= {"output": output["path"], "output_member": output["member"], "output_sha256": output["sha256"]}
    return row


def _outputs(published: Published, position: int, item: Rendered) -> tuple[dict[str, str], ...]:
    """Return kind, path, member and sha256 of every published file of an image, in the order of `render.outputs`."""
    places = ((file, published.places.get((position, file.kind))) for file in item.files)
    return tuple(
        {
            "kind": file.kind,
            "path": utf8(place.path),
            "member": utf8(place.member),
            "sha256": sha256(file.data).hexdigest(),
        }
        for file, place in places
        if place
    )


def image_uri(unit: Unit, member: str) -> str:
    """Return where the source image is: a file; `TAR#member`; `FILE#row=12` or `FILE#row=12&item=0` in a Parquet file,
    the shard alone for the row of its failure. Unescaped."""
    kind = by_suffix(unit.shard)
    if kind is None:  # a slice of a folder
        return f"{unit.uri.rstrip('/')}/{member}"
    if member.startswith(f"{unit.shard}@"):
        return unit.uri
    row, _, item = member.partition("#")
    if kind.name == "Parquet":
        return f"{unit.uri}#row={int(row)}" + (f"&item={item}" if item else "")
    return f"{unit.uri}#{member}"


# --- previews --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class PreviewRow:
    """One row of `tables.PREVIEWS`, one field a column."""

    image_id: str
    key: str
    before: bytes
    mask: bytes = b""
    after: bytes = b""


def _preview_rows(items: Items, most: int) -> list[PreviewRow]:
    """Return those of rejected images, and of `most` others, filled ones first; in source order."""
    made = [item for item in items if isinstance(item, Rendered) and item.previews]
    kept = {item.ref.image_id for item in sorted(made, key=lambda item: not item.region.area)[:most]}
    rows = []
    for item in items:
        named: dict[str, Any] = {"image_id": item.ref.image_id, "key": utf8(item.ref.key)}
        if isinstance(item, Rejected):
            rows += [PreviewRow(**named, before=item.preview)] if item.preview else []
        elif item.ref.image_id in kept:
            rows += [PreviewRow(**named, before=p.before, mask=p.mask, after=p.after) for p in item.previews]
    return rows
