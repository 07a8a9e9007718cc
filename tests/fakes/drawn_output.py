"""A finished output with exactly known segments, written by the real source, sink and ledger; only no model ran."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline import build
from pipeline.image import rle
from pipeline.ledger.ledger import Identity, Ledger
from pipeline.records import EncodedImage, Region, Rejected, Rendered, Segment, Segments
from pipeline.sink.dataset_card import notes
from pipeline.sink.unit_writer import build_unit
from pipeline.storage.store import Store, open_store
from tests.fakes.tar_samples import tar_of

CLASSES = {"cat": 1, "dog": 2, "sky": 3}


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """label, score and mask (HW bool) of one segment."""

    label: str
    score: float
    mask: np.ndarray


Pictures = Mapping[str, Sequence[Drawn] | str | tuple[int, int]]
"""Name of an image -> its segments, or its height and width without any, or the reason for which it is rejected."""


def mask(
    height: int, width: int, *boxes: tuple[int, int, int, int], holes: Sequence[tuple[int, int, int, int]] = ()
) -> np.ndarray:
    """HW bool: the boxes (x, y, width, height) without the holes."""
    out = np.zeros((height, width), bool)
    for value, some in ((True, boxes), (False, holes)):
        for x, y, w, h in some:
            out[y : y + h, x : x + w] = value
    return out


def pieces() -> dict[str, Sequence[Drawn] | str | tuple[int, int]]:
    """What people report that other exporters lose: four parts, holes, an island in a hole, one pixel, nothing, wide
    and high images, overlaps, keys with dots, two images of one stem, a rejected image."""
    four = mask(60, 90, (2, 2, 12, 12), (40, 3, 14, 9), (5, 40, 10, 15), (60, 35, 25, 20))
    ring = mask(90, 60, (5, 5, 50, 70), holes=[(15, 15, 30, 40)])
    island = ring | mask(90, 60, (25, 25, 10, 20))
    two_holes = mask(60, 90, (4, 4, 80, 50), holes=[(10, 10, 15, 30), (50, 12, 20, 25)])
    return {
        "a.png": [
            Drawn(label="cat", score=0.9, mask=four),
            Drawn(label="dog", score=0.3, mask=mask(60, 90, (0, 0, 1, 1))),
        ],
        "b.1.png": [Drawn(label="dog", score=0.8, mask=ring)],
        "b.2.png": [Drawn(label="dog", score=0.7, mask=island)],
        "c.jpg": "truncated",
        "d.png": [
            Drawn(label="sky", score=0.6, mask=two_holes),
            Drawn(label="cat", score=0.95, mask=mask(60, 90, (20, 20, 40, 30))),
            Drawn(label="cat", score=0.5, mask=mask(60, 90, (30, 25, 5, 5))),
        ],
        "e.png": (30, 70),
        "f.png": [
            Drawn(label="cat", score=0.4, mask=mask(30, 70)),
            Drawn(label="sky", score=0.5, mask=mask(30, 70, (0, 0, 70, 30))),
        ],
    }


def write(
    root: Path,
    pictures: Pictures,
    *,
    out: str = "",
    tar: bool = False,
    unit_images: int = 3,
    classes: Mapping[str, int] = CLASSES,
) -> Store:
    """Write `root/in`, pictures of the right sizes, and the output `out` (default `root/out`). tar: as one shard."""
    (root / "in").mkdir(parents=True, exist_ok=True)
    files = {name: _file(name, drawn) for name, drawn in pictures.items()}
    if tar:
        (root / "in" / "shard.tar").write_bytes(tar_of(sorted(files.items())))
    else:
        for name, data in files.items():
            (root / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (root / "in" / name).write_bytes(data)
    overrides = [f"source.uri={root / 'in'}", f"sink.uri={out or root / 'out'}", f"source.unit_images={unit_images}"]
    config = build.compose("annotate", [*overrides, "segment=[faces]", "execute=local"])
    job = build.build(config)
    ledger = Ledger(open_store(job.flow.sink.uri))
    shards = job.flow.source.shards()
    source = job.flow.source.resolve(shards)
    listing = {shard.path: f"{shard.size}:{shard.etag}" for shard in shards}
    ledger.begin(Identity(config=job.config, weights={}, code="test", source=listing), job.yaml)
    for shard in shards:
        for batch in source.units(shard, {}):
            items = [_item(image, pictures, classes) for image in batch.items if isinstance(image, EncodedImage)]
            assert len(items) == len(batch.items)
            ledger.publish(build_unit(job.flow.sink, batch.unit, job.flow.facts, tuple(items)), {})
    ledger.finish(notes("annotate", classes, ()))
    return ledger.store


def _file(name: str, drawn: Sequence[Drawn] | str | tuple[int, int]) -> bytes:
    height, width = _size(drawn)
    rng = np.random.default_rng(len(name) + height)
    out = io.BytesIO()
    kind = "JPEG" if name.endswith("jpg") else "PNG"
    Image.fromarray(rng.integers(0, 255, (height, width, 3), np.uint8)).save(out, kind)
    return out.getvalue()


def _size(drawn: Sequence[Drawn] | str | tuple[int, int]) -> tuple[int, int]:
    if isinstance(drawn, str):
        return 20, 20
    if isinstance(drawn, tuple):
        return drawn
    height, width = drawn[0].mask.shape
    return int(height), int(width)


def _item(image: EncodedImage, pictures: Pictures, classes: Mapping[str, int]) -> Rendered | Rejected:
    drawn = pictures[image.ref.member]
    if isinstance(drawn, str):
        return Rejected(ref=image.ref, stage="decode", reason=drawn, detail="3 bytes are missing")
    height, width = _size(drawn)
    found = () if isinstance(drawn, tuple) else tuple(_segment(each, classes) for each in drawn)
    return Rendered(
        ref=image.ref,
        status="unchanged",
        segments=Segments(image_id=image.ref.image_id, height=height, width=width, segments=found),
        region=Region(
            image_id=image.ref.image_id, height=height, width=width, rle=rle.empty(height, width), area=0, chosen=()
        ),
        seed=0,
        files=(),
        sidecars=(),
    )


def _segment(drawn: Drawn, classes: Mapping[str, int]) -> Segment:
    height, width = drawn.mask.shape
    code = rle.encode(drawn.mask)
    return Segment(
        label=drawn.label,
        class_id=classes[drawn.label],
        score=float(np.float32(drawn.score)),
        rle=code,
        box=rle.box(code, height, width),
        area=int(drawn.mask.sum()),
        model="drawn",
    )
