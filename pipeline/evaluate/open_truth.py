"""Opens a truth of any kind: COCO instances, COCO panoptic, a folder of label maps, or another output of ours."""

from __future__ import annotations

import csv
import io
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.errors import ConfigError, one_line
from pipeline.evaluate import truth as truths
from pipeline.evaluate.json_items import items
from pipeline.evaluate.truth import IGNORED, Classes, Entry, Kind, TrueImage, TrueSegment, counts_of, painted
from pipeline.export.tables import Tables, is_output, open_tables
from pipeline.image import rle
from pipeline.storage.store import Store, open_store

_PNG: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, kw_only=True)
class Truth:
    """classes: name -> its own class id. things: names of classes whose segments are single objects. folder: of the
    pictures of panoptic ids or label maps. ignore: value of a label map of which nothing is known."""

    kind: Kind
    found: truths.Store
    classes: Mapping[str, int]
    things: frozenset[str]
    folder: Store
    ignore: int = 255
    paths: Mapping[int, str] = field(default_factory=dict)

    @property
    def has_segments(self) -> bool:
        return self.kind != "label_maps"

    def image(self, entry: Entry, classes: Classes) -> TrueImage:
        """The truth of one image."""
        if self.kind == "label_maps":
            return self._label_map(entry, classes)
        if self.kind == "coco_panoptic":
            return self._panoptic(entry, classes)
        segments = tuple(
            TrueSegment(
                label=classes.theirs[label],
                rle=code,
                area=area or rle.area(code, entry.height, entry.width),
                crowd=crowd,
            )
            for label, crowd, area, shape in self.found.segments(entry.number)
            if label in classes.theirs
            for code in (counts_of(shape, entry.height, entry.width),)
        )
        order = list(range(len(segments)))
        if self.kind == "coco":  # crowds lie below, then the large ones: a cup stands before its table
            order.sort(key=lambda at: (not segments[at].crowd, -segments[at].area))
        ids = painted([(at + 1, segments[at]) for at in order], entry.height, entry.width)
        labels = np.array([0, *(segment.label for segment in segments)], np.int64)[ids]
        return TrueImage(name=entry.name, labels=labels, segments=segments, ids=ids)

    def _label_map(self, entry: Entry, classes: Classes) -> TrueImage:
        values = _label_values(self.folder.read(entry.name), self.folder.join(entry.name))
        if odd := sorted(set(np.unique(values).tolist()) - {0, self.ignore, *self.classes.values()}):
            raise ConfigError(
                f"truth: {self.folder.join(entry.name)} has values that no class has: {', '.join(map(str, odd[:3]))}; "
                "name them in classes=TABLE, or what is not known with ignore=VALUE"
            )
        labels = np.zeros(values.shape, np.int64)
        for own, index in classes.theirs.items():
            labels[values == own] = index
        labels[values == self.ignore] = IGNORED
        return TrueImage(name=entry.name, labels=labels, segments=(), ids=np.zeros(values.shape, np.int64))

    def _panoptic(self, entry: Entry, classes: Classes) -> TrueImage:
        (_, _, _, text), *_ = self.found.segments(entry.number) or [(0, False, 0.0, "null")]
        one = json.loads(text)
        if one is None:
            raise ConfigError(f"truth: {entry.name} has no entry in `annotations`")
        colours = np.asarray(Image.open(io.BytesIO(self.folder.read(one["file_name"]))).convert("RGB"), np.int64)
        values = colours @ np.array([1, 256, 65536])
        if values.shape != (entry.height, entry.width):
            raise ConfigError(f"truth: {one['file_name']} is {values.shape}, its image {(entry.height, entry.width)}")
        ids = np.zeros(values.shape, np.int64)
        labels = np.full(values.shape, IGNORED, np.int64)
        segments = []
        for each in one["segments_info"]:
            inside = values == each["id"]
            labels[inside] = classes.theirs.get(each["category_id"], 0)
            if each["category_id"] in classes.theirs:
                label, crowd = classes.theirs[each["category_id"]], bool(each.get("iscrowd"))
                code = rle.encode(inside)
                segments.append(TrueSegment(label=label, rle=code, area=int(inside.sum()), crowd=crowd))
                ids[inside] = len(segments)
        return TrueImage(name=entry.name, labels=labels, segments=tuple(segments), ids=ids)


def open_truth(uri: str, *, classes: str = "", folder: str = "", ignore: int = 255) -> Truth:
    """Open the truth at a URI. classes: a table of `id` and `name`; it replaces the names of a COCO file, and a folder
    of label maps needs it. folder: of the PNGs of a panoptic file, if not the one of its name beside it.

    Raises ConfigError for what is no truth.
    """
    table = _table(classes) if classes else {}
    try:
        if uri.endswith(".json"):
            return _coco(uri, table, folder)
        store = open_store(uri)
        return _output(store) if is_output(store) else _label_maps(store, table, ignore)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"truth={uri}: expected COCO JSON, COCO panoptic JSON, a folder of PNG label maps or an output of ours: "
            f"{type(error).__name__}: {one_line(error)}"
        ) from error


def _coco(uri: str, table: Mapping[str, int], folder: str) -> Truth:
    above, _, name = uri.rpartition("/")
    store, found = open_store(above or ("/" if uri.startswith("/") else ".")), truths.Store()
    categories: dict[str, int] = {}
    stuff: set[str] = set()
    panoptic = False
    with store.open(name) as stream:
        for key, item in items(stream):
            if key == "images":
                found.add_image(item["id"], item["file_name"], item["height"], item["width"])
            elif key == "categories":
                categories[item["name"]] = item["id"]
                if not item.get("isthing", 1):
                    stuff.add(item["name"])
            elif key == "annotations" and "segments_info" in item:
                panoptic = True
                found.add_segment(item["image_id"], 0, json.dumps(item))
            elif key == "annotations":
                shape = json.dumps(item["segmentation"])
                found.add_segment(
                    item["image_id"], item["category_id"], shape, crowd=bool(item.get("iscrowd")), area=item["area"]
                )
    found.ready()
    if not categories:
        raise ValueError("the JSON has no `categories`")
    if odd := [] if panoptic else found.classes() - set(categories.values()):
        raise ValueError(f"annotations of categories that are not there: {', '.join(map(str, sorted(odd)[:3]))}")
    given = {label: number for label, number in table.items() if number in categories.values()} or categories
    pictures = open_store(folder or f"{store.uri}/{name.removesuffix('.json')}") if panoptic else store
    if panoptic and not folder and not _exists(pictures):
        pictures = open_store(f"{store.uri.rpartition('/')[0]}/{name.removesuffix('.json')}")
    kind: Kind = "coco_panoptic" if panoptic else "coco"
    return Truth(kind=kind, found=found, classes=given, things=frozenset(set(given) - stuff), folder=pictures)


def _exists(store: Store) -> bool:
    try:
        return bool(store.list(limit=1))
    except OSError:
        return False


def _output(store: Store) -> Truth:
    tables, found = open_tables(store), truths.Store()
    for place in tables.places:
        for row in tables.rows(place):
            if row.rejected:
                continue
            found.add_image(row.number, row.image_id, row.height, row.width)
            # In the order of our label maps, the highest score on top. Nobody can find what has no pixel.
            for segment in sorted((each.segment for each in row.found if each.segment.area), key=lambda s: s.score):
                shape = {"size": [row.height, row.width], "counts": segment.rle.decode()}
                found.add_segment(row.number, segment.class_id, json.dumps(shape), area=segment.area)
    found.ready()
    return Truth(
        kind="output", found=found, classes=tables.classes, things=frozenset(tables.classes), folder=tables.store
    )


def _label_maps(store: Store, table: Mapping[str, int], ignore: int) -> Truth:
    found, names = truths.Store(), []
    for info in store.list():
        if info.path.lower().endswith(".png"):
            names.append(info.path)
            head = store.read_range(info.path, 0, 24)
            if head[:8] != _PNG:
                raise ConfigError(f"truth: {store.join(info.path)} is no PNG")
            width, height = struct.unpack(">II", head[16:24])
            found.add_image(len(names), info.path, height, width)
    found.ready()
    if not names:
        raise ConfigError(f"truth={store.uri}: no PNG there")
    if not table:
        raise ConfigError(f"truth={store.uri}: label maps need a table of classes: classes=TABLE with `id` and `name`")
    return Truth(kind="label_maps", found=found, classes=table, things=frozenset(), folder=store, ignore=ignore)


def _label_values(data: bytes, where: str) -> NDArray[np.int64]:
    picture = Image.open(io.BytesIO(data))
    if picture.mode not in ("P", "L", "I", "I;16", "1"):
        raise ConfigError(f"truth: {where}: expected a PNG of class ids (palette or grey), got mode {picture.mode}")
    return np.asarray(picture).astype(np.int64)


def _table(uri: str) -> dict[str, int]:
    """Read `id<TAB>name` lines below a line that names the columns, as `classes.tsv` has them, or `classes.json`."""
    above, _, name = uri.rpartition("/")
    try:
        text = open_store(above or ("/" if uri.startswith("/") else ".")).read(name).decode()
        rows: Sequence[Mapping[str, str]] = (
            json.loads(text)
            if name.endswith(".json")
            else list(csv.DictReader(io.StringIO(text), delimiter="," if name.endswith(".csv") else "\t"))
        )
        return {str(row["name"]): int(row["id"]) for row in rows if row["name"] != truths.BACKGROUND}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"classes={uri}: expected a table with the columns id and name: {one_line(error)}") from error


def fitted(tables: Tables, truth: Truth, labels: Sequence[str]) -> Classes:
    """The classes that both have. labels: only these. Raises ConfigError naming the first three that do not fit."""
    wanted = list(labels) or list(tables.classes)
    odd = [f"{label} (not in the truth)" for label in wanted if label not in truth.classes]
    odd += [f"{label} (not in the output)" for label in wanted if label not in tables.classes]
    if not labels:
        odd += [f"{label} (not in the output)" for label in truth.classes if label not in tables.classes]
    if odd:
        more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
        raise ConfigError(
            f"the classes do not fit: {', '.join(odd[:3])}{more}; measure some with labels=[...], or name those of the "
            "truth with classes=TABLE"
        )
    return Classes(
        names=(truths.BACKGROUND, *wanted),
        ours={tables.classes[label]: index for index, label in enumerate(wanted, 1)},
        theirs={truth.classes[label]: index for index, label in enumerate(wanted, 1)},
        things=frozenset(index for index, label in enumerate(wanted, 1) if label in truth.things),
    )
