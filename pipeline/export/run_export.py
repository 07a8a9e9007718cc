"""Exports the committed tables of an output: unit by unit into parts, then the documents, then `export.json`."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from pipeline import __version__, life
from pipeline.errors import ConfigError, RunError
from pipeline.export.choice import SPLITS, Choice, Split
from pipeline.export.colours import Palette, colours_of, read_table
from pipeline.export.formats.base import Format, Shape, Shown, Style, dumps
from pipeline.export.formats.coco import Coco
from pipeline.export.formats.coco_panoptic import CocoPanoptic
from pipeline.export.formats.cvat import Cvat
from pipeline.export.formats.fiftyone import FiftyOne
from pipeline.export.formats.hf import Hf
from pipeline.export.formats.label_maps import LabelMaps
from pipeline.export.formats.label_studio import LabelStudio
from pipeline.export.formats.masks_png import MasksPng
from pipeline.export.formats.yolo import Yolo
from pipeline.export.parts import Document, Part, Parts, Stream
from pipeline.export.pictures import Picture, Pictures, own_suffix, prepared, stem_of
from pipeline.export.tables import Place, Row, Tables
from pipeline.image.decode import Decoder
from pipeline.records import EncodedImage
from pipeline.spec import spec
from pipeline.storage.store import Store

FORMATS: Final[Mapping[str, Format]] = {
    "coco": Coco(),
    "coco_panoptic": CocoPanoptic(),
    "label_maps": LabelMaps(),
    "masks_png": MasksPng(),
    "yolo": Yolo(),
    "hf": Hf(),
    "label_studio": LabelStudio(),
    "cvat": Cvat(),
    "fiftyone": FiftyOne(),
}
FormatName = Literal[
    "coco", "coco_panoptic", "label_maps", "masks_png", "yolo", "hf", "label_studio", "cvat", "fiftyone"
]


@spec
class Export(Choice):
    """What is exported, and how."""

    format: FormatName = "coco"
    """coco: instances. coco_panoptic: JSON and id PNGs. label_maps: PNGs of class ids with a palette. masks_png: a PNG
    a segment. yolo: segmentation. hf: Parquet for Hugging Face datasets. label_studio: tasks with predictions. cvat:
    images XML 1.1. fiftyone: a folder that it imports."""
    shape: Literal["auto", "rle", "polygons"] = "auto"
    """rle: exact masks. polygons: outlines, within `tolerance`. auto: rle where the format has it."""
    tolerance: Annotated[float, Field(ge=0)] = 1.0
    """How far in pixels a polygon may run from the edge of its mask; 0: exact, with many points."""
    images: Literal["none", "name", "copy", "link"] = "name"
    """name: the URI of each image. copy: the images too; the filled ones of a run that published them. link: symbolic
    links to the source's files, into a folder only. none: neither."""
    palette: Palette = "own"
    """Colours by the names of the classes: own (those of overlays), voc, cityscapes."""
    colours: str = ""
    """A table of own colours, which come before the palette: a file of lines with a name, a tab, `#ff8000`, below the
    line `name<TAB>colour`."""
    stuff: tuple[str, ...] = ()
    """Labels that are no things (sky, road), for `isthing` of coco_panoptic."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.shape != "auto" and self.shape not in FORMATS[self.format].shapes:
            raise ConfigError(f"shape: format={self.format} holds {FORMATS[self.format].shapes[0]}, got {self.shape}")
        if self.images == "link" and FORMATS[self.format].embeds:
            raise ConfigError(f"images: format={self.format} holds the bytes of images; expected copy, name or none")

    def style(self, tables: Tables) -> Style:
        """Raises ConfigError for labels that the output does not have."""
        self.check(tables.classes)
        unknown = [label for label in self.stuff if label not in tables.classes]
        if unknown:
            raise ConfigError(f"stuff: this output has no {unknown[0]} (it has {', '.join(tables.classes)})")
        shape: Shape = FORMATS[self.format].shapes[0] if self.shape == "auto" else self.shape
        return Style(
            classes=tables.classes,
            colours=colours_of(tables.classes, self.palette, read_table(self.colours) if self.colours else {}),
            shape=shape,
            tolerance=self.tolerance,
            stuff=frozenset(self.stuff),
            copied=self.images in ("copy", "link"),
            about=f"segfill {tables.job or 'run'} {tables.digest[:12]}",
        )


@dataclass(frozen=True, kw_only=True)
class Exported:
    """The summary of a whole export: `export.json`. images: status or split -> number. segments: label -> split ->
    number. left_out: segments that the choice left out. lost: of polygons, mean and least IoU with their masks."""

    format: str
    classes: Sequence[Mapping[str, object]]
    images: Mapping[str, int]
    segments: Mapping[str, Mapping[str, int]]
    left_out: int
    hidden: int
    polygons: Mapping[str, float]
    limits: str
    documents: Mapping[str, str]
    identity: Mapping[str, object]

    def text(self, where: str) -> str:
        """The lines that the command prints."""
        total = sum(sum(each.values()) for each in self.segments.values())
        shown = [split for split in SPLITS if self.images.get(split)]
        lines = [
            f"{where}: {self.format}, {sum(self.images.get(split, 0) for split in SPLITS):,} images "
            f"({', '.join(f'{split} {self.images[split]:,}' for split in shown) or 'none'}), {total:,} segments; "
            f"{self.images.get('rejected', 0):,} rejected images are in rejected.jsonl"
        ]
        width = max((len(label) for label in self.segments), default=0)
        for label, counts in self.segments.items():
            lines.append(f"  {label:<{width}}  " + "  ".join(f"{split} {counts.get(split, 0):,}" for split in shown))
        if self.left_out:
            lines.append(f"{self.left_out:,} segments were left out by labels, min_score, min_area, or have no pixel")
        if self.hidden:
            lines.append(f"{self.hidden:,} segments are hidden by others and left out")
        if self.polygons:
            lines.append(
                f"polygons cover their masks with a mean IoU of {self.polygons['mean_iou']:.4f}, at least "
                f"{self.polygons['least_iou']:.4f} (tolerance {self.polygons['tolerance']:g} px)"
            )
        if self.limits:
            lines.append(f"{self.format}: {self.limits}")
        return "\n".join(lines)


@dataclass(frozen=True, kw_only=True)
class Exporter:
    """One export. store: where it goes. pictures: where their bytes come from."""

    settings: Export
    tables: Tables
    store: Store
    pictures: Pictures
    decoder: Decoder

    def run(self) -> Exported:
        """Export all units that have no part yet, join the documents, write the summary; a whole export is only read.

        Raises OutputError where something else lies, RunError where the output's tables or images do not fit.
        """
        parts, style = Parts(self.store), self.settings.style(self.tables)
        identity = self.identity(style)
        if parts.begin(identity):
            parts.tidy()
            whole = dict(parts.whole() or {})
            return Exported(**{field.name: whole[field.name] for field in fields(Exported)})
        done = parts.done()
        images = sum(place.record.counts.images for place in self.tables.places if place.unit_id in done)
        wanted = [place for place in self.tables.places if place.unit_id not in done]
        for place, encoded in self.pictures.units(self.tables, wanted):
            life.phase(f"exporting {images:,} of {self.tables.images:,} images")
            parts.put(place.unit_id, self._unit(place, encoded, style))
            images += place.record.counts.images
        return self._finish(parts, style, identity)

    def identity(self, style: Style) -> dict[str, object]:
        """All that the bytes of the export depend on."""
        settings = {**asdict(self.settings), "colours": style.colours}
        return {"run": self.tables.digest, "code": __version__, **json.loads(json.dumps(settings))}

    def _unit(self, place: Place, encoded: Mapping[str, EncodedImage], style: Style) -> Part:
        format_, counts = FORMATS[self.settings.format], Counter[str]()
        shown: list[Shown] = []
        rejected: list[str] = []
        for row in self.tables.rows(place):
            if row.rejected:
                counts["images/rejected"] += 1
                rejected.append(_rejected(row))
                continue
            chosen = self.settings.taken(row)
            each = self._shown(chosen, encoded)
            counts[f"images/{each.split}"] += 1
            counts["left out"] += len(row.found) - len(chosen.found)
            counts.update(f"segments/{each.split}/{found.segment.label}" for found in chosen.found)
            shown.append(each)
        made = format_.unit(place.unit_id, shown, style)
        if not format_.embeds:
            self._put_pictures(format_, shown)
        for path, data in made.files:
            self.store.put(path, data)
        counts["hidden"] += made.hidden
        return Part(
            lines={**made.lines, "rejected": rejected},
            counts={**counts, "polygons": made.loss.count, "iou": made.loss.total},
            least={"iou": made.loss.least},
        )

    def _shown(self, row: Row, encoded: Mapping[str, EncodedImage]) -> Shown:
        stem, picture = stem_of(row), None
        if self.settings.images in ("copy", "link"):
            if row.image_id not in encoded:
                raise RunError(f"{row.image_uri}: the image is not where the run read or put it; choose images=name")
            picture = prepared(row, encoded[row.image_id], self.decoder)
        return Shown(
            row=row,
            split=self.settings.split_of(row.image_id),
            stem=stem,
            name=stem + (picture.suffix if picture else own_suffix(row)),
            picture=picture,
            uri="" if self.settings.images == "none" else row.image_uri,
        )

    def _put_pictures(self, format_: Format, shown: Sequence[Shown]) -> None:
        for each in shown:
            if each.picture:
                self._put_picture(f"{format_.pictures.format(split=each.split)}/{each.name}", each.row, each.picture)

    def _put_picture(self, path: str, row: Row, picture: Picture) -> None:
        if self.settings.images == "copy" or not picture.same:
            self.store.put(path, picture.data)
            return
        if not row.image_uri.startswith("/") or "#" in row.image_uri:
            raise ConfigError(f"images=link: {row.image_uri} is no file of this machine; choose images=copy")
        self.store.link(path, row.image_uri)

    def _finish(self, parts: Parts, style: Style, identity: Mapping[str, object]) -> Exported:
        units = [place.unit_id for place in self.tables.places]
        counts, least = Counter[str](), 1.0
        for part in parts.each(units):
            counts.update(part.counts)
            least = min(least, part.least.get("iou", 1.0))
        splits: list[Split] = [split for split in SPLITS if counts[f"images/{split}"]]
        format_ = FORMATS[self.settings.format]
        documents = {}
        for document in self._documents(format_, style, splits):
            life.phase(f"joining {document.path}")
            documents[document.path] = parts.join(document, units)
        labels = [label for label in style.classes if not self.settings.labels or label in self.settings.labels]
        polygons = int(counts["polygons"])
        exported = Exported(
            format=self.settings.format,
            classes=[{"id": number, "name": label} for label, number in style.classes.items()],
            images={name: int(counts[f"images/{name}"]) for name in (*SPLITS, "rejected")},
            segments={label: {split: int(counts[f"segments/{split}/{label}"]) for split in SPLITS} for label in labels},
            left_out=int(counts["left out"]),
            hidden=int(counts["hidden"]),
            polygons={
                "mean_iou": round(counts["iou"] / polygons, 6),
                "least_iou": round(least, 6),
                "count": polygons,
                "tolerance": style.tolerance,
            }
            if polygons
            else {},
            limits=format_.limits,
            documents=documents,
            identity=identity,
        )
        parts.finish(_plain(exported))
        return exported

    def _documents(self, format_: Format, style: Style, splits: Sequence[Split]) -> Iterator[Document]:
        yield from format_.documents(style, splits)
        yield Document(path="rejected.jsonl", pieces=(Stream(name="rejected", between="\n"),))


def _plain(exported: Exported) -> dict[str, Any]:
    return {field.name: getattr(exported, field.name) for field in fields(Exported)}


def _rejected(row: Row) -> str:
    names = ("image_id", "key", "image_uri", "stage", "reason", "detail")
    return dumps({name: getattr(row, name) for name in names})


def digest_of(store: Store) -> str:
    """One hash over every object of an export: equal for equal exports. For tests and for people who compare."""
    found = {info.path: hashlib.sha256(store.read(info.path)).hexdigest() for info in store.list()}
    return hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()
