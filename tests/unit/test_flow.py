"""How many images of a unit are decoded at one time; when models are loaded; which images get a preview."""

import faulthandler
import io
import time
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

from pipeline import build
from pipeline.contracts import SegmentModel
from pipeline.errors import RunError
from pipeline.flow import STAGES, Worker, _portions, decode, process, segment
from pipeline.image import rle
from pipeline.image.view import Fit
from pipeline.models.weights import Weights
from pipeline.records import (
    Cropped,
    Device,
    EncodedImage,
    Filled,
    ImageRef,
    Region,
    Rejected,
    Rendered,
    Segment,
    Segmented,
    Segments,
    Unit,
    UnitBatch,
)
from pipeline.segment.faces import Faces
from pipeline.stage import watching

WEIGHTS = ["model.uri=file:/away.safetensors", f"model.sha256={'0' * 64}", "model.licence=MIT", "names=[disc]"]


def worker(*overrides: str) -> Worker:
    """Of a flow with a network of ours, whose weights are never looked at."""
    net = ["segment=[unet]", *(f"segment.unet.{value}" for value in WEIGHTS)]
    config = build.compose("annotate", ["source.uri=/in", "sink.uri=/out", "execute=local", *net, *overrides])
    return build.build(config).flow.load("cpu", 1)


def items(width: int, height: int, count: int) -> tuple[EncodedImage | Rejected, ...]:
    out = io.BytesIO()
    Image.new("1", (width, height)).save(out, "PNG")
    refs = [ImageRef(image_id=str(number), key="k", member="k.png") for number in range(count)]
    return tuple(EncodedImage(ref=ref, data=out.getvalue()) for ref in refs)


@pytest.mark.parametrize(
    ("overrides", "size", "expected"),
    [
        (["chunk=3"], (5000, 4000), [3, 3, 1]),
        (["chunk=3", "segment.unet.sliding_window.overlap=64"], (5000, 4000), [1] * 7),
        (["chunk=3", "segment.unet.sliding_window.overlap=64"], (4000, 4000), [2, 2, 2, 1]),
        (["chunk=3", "segment.unet.sliding_window.overlap=64"], (400, 400), [3, 3, 1]),
    ],
)
def test_large_images_go_in_smaller_portions_where_tiles_hold_all_their_pixels(
    overrides: list[str], size: tuple[int, int], expected: list[int]
) -> None:
    images = items(*size, 7)
    portions = list(_portions(worker(*overrides), images))
    assert [len(portion) for portion in portions] == expected
    assert sum(portions, ()) == images


def test_what_cannot_be_read_is_no_obstacle() -> None:
    ref = ImageRef(image_id="0", key="k", member="k.png")
    bad = (EncodedImage(ref=ref, data=b"no image"), Rejected(ref=ref, stage="read", reason="empty", detail=""))
    assert list(_portions(worker("segment.unet.sliding_window.overlap=64"), bad)) == [bad]
    assert list(_portions(worker(), ())) == []


@dataclass(frozen=True, kw_only=True)
class LateFaces(Faces):
    """Takes a second to load, or cannot be loaded; finds nothing."""

    broken: bool = False

    def load(self, device: Device, threads: int) -> SegmentModel:  # type: ignore[override]
        if self.broken:
            raise RuntimeError("CUDA error:\nout of memory")
        time.sleep(1)
        return lambda views: [
            Segments(image_id=view.image_id, height=view.height, width=view.width, segments=()) for view in views
        ]


def with_late_faces(*, broken: bool) -> tuple[Worker, UnitBatch[EncodedImage]]:
    flow = build.build(
        build.compose("annotate", ["source.uri=/in", "sink.uri=/out", "execute=local", "segment=[faces]"])
    ).flow
    (faces,) = flow.segment
    late = LateFaces(model=faces.weights[0], broken=broken)
    unit = Unit(unit_id="u", shard="s", uri="/in/s", etag="", start=0, stop=1, last=True)
    return replace(flow, segment=(late,)).load("cpu", 1), UnitBatch(unit=unit, items=items(8, 8, 1), seconds={})


def test_a_model_may_take_longer_to_load_than_an_image_may(monkeypatch: pytest.MonkeyPatch) -> None:
    watched: list[float] = []
    monkeypatch.setattr(faulthandler, "dump_traceback_later", lambda seconds, **_: watched.append(time.monotonic()))
    one, batch = with_late_faces(broken=False)
    with watching(0.5):
        decoded = decode(one, batch)
        started = time.monotonic()
        found = segment(one, decoded)
    assert isinstance(found.items[0], Segmented)
    assert watched[-1] - started >= 1  # the watch over the image began when the model was there


def test_a_model_that_cannot_be_loaded_stops_the_run_and_blames_no_image() -> None:
    one, batch = with_late_faces(broken=True)
    expected = r"segment: its model cannot be loaded \(RuntimeError: CUDA error: out of memory\)"
    with pytest.raises(RunError, match=expected):
        segment(one, decode(one, batch))


def two_models(*labels: str) -> Worker:
    """Of a flow whose two models each count their own classes from 0."""
    flow = worker().flow
    one = Drawn(labels=("sky", "person"), found=(("person", 1),))
    other = Drawn(labels=("person", "dog"), found=(("dog", 1), ("person", 0)))
    return replace(flow, segment=(one, other), render=replace(flow.render, labels=labels)).load("cpu", 1)


FIT = Fit(side=8)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """Gives each image an empty segment of every found label. found: label and class id."""

    labels: tuple[str, ...]
    found: tuple[tuple[str, int], ...]
    view: Fit = FIT
    weights: tuple[Weights, ...] = ()

    def load(self, device: Device, threads: int) -> SegmentModel:
        return lambda views: [
            Segments(
                image_id=view.image_id,
                height=view.height,
                width=view.width,
                segments=tuple(
                    Segment(
                        label=label,
                        class_id=number,
                        score=1.0,
                        rle=rle.empty(8, 8),
                        box=(0, 0, 0, 0),
                        area=0,
                        model="m",
                    )
                    for label, number in self.found
                ),
            )
            for view in views
        ]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ((), {"sky": 1, "person": 2, "dog": 3}),
        (("dog",), {"dog": 1, "sky": 2, "person": 3}),
        (("plate", "person"), {"plate": 1, "person": 2, "sky": 3, "dog": 4}),
    ],
)
def test_all_models_of_a_flow_share_class_ids_from_1(labels: tuple[str, ...], classes: dict[str, int]) -> None:
    one = two_models(*labels)
    assert one.flow.classes == classes
    unit = Unit(unit_id="u", shard="s", uri="/in/s", etag="", start=0, stop=1, last=True)
    (found,) = segment(one, decode(one, UnitBatch(unit=unit, items=items(8, 8, 1), seconds={}))).items
    assert isinstance(found, Segmented)
    assert [(s.label, s.class_id) for s in found.segments.segments] == [
        (label, classes[label]) for label in ("person", "dog", "person")
    ]


def test_a_label_that_its_model_does_not_declare_rejects_the_image() -> None:
    flow = worker().flow
    one = replace(flow, segment=(Drawn(labels=("sky",), found=(("person", 0),)),)).load("cpu", 1)
    unit = Unit(unit_id="u", shard="s", uri="/in/s", etag="", start=0, stop=1, last=True)
    (found,) = segment(one, decode(one, UnitBatch(unit=unit, items=items(8, 8, 1), seconds={}))).items
    assert isinstance(found, Rejected)
    assert (found.stage, found.reason) == ("segment", "unknown_label")
    assert found.detail == "m gave 'person', expected one of its labels"


_, _, _, _, FILL, RENDER = STAGES


def cropped(image: EncodedImage | Rejected, label: str) -> Cropped:
    """An image with one segment, or none without a label, and nothing to fill."""
    assert isinstance(image, EncodedImage)
    empty, box = rle.empty(8, 8), (0.0, 0.0, 0.0, 0.0)
    found = [Segment(label=label, class_id=0, score=0.5, rle=empty, box=box, area=0, model="m")] if label else []
    return Cropped(
        image=image,
        segments=Segments(image_id=image.ref.image_id, height=8, width=8, segments=tuple(found)),
        region=Region(image_id=image.ref.image_id, height=8, width=8, rle=empty, area=0, chosen=()),
        crops=(),
    )


def test_a_flow_that_fills_keeps_previews_for_filled_images() -> None:
    one = worker("render=none", "fill=solid", "sink.previews=2")
    assert one.flow.previews == 3
    drawn = np.zeros((8, 8), np.bool_)
    drawn[2:4, 2:4] = True
    region = Region(image_id="", height=8, width=8, rle=rle.encode(drawn), area=4, chosen=(0,))
    given = [cropped(image, "face") for image in items(8, 8, 6)]
    filled = [
        Filled(image=c.image, segments=c.segments, region=region if at in (2, 4, 5) else c.region, patches=())
        for at, c in enumerate(given)
    ]
    unit = Unit(unit_id="u", shard="s", uri="/in/s", etag="", start=0, stop=6, last=True)
    batch = UnitBatch(unit=unit, items=tuple(filled), seconds={}, previews=one.flow.previews)
    done = process(one, batch, (RENDER,))
    shown = [bool(item.previews) for item in done.items if isinstance(item, Rendered)]
    assert shown == [True, False, True, False, True, False]


def test_the_first_images_with_a_segment_get_a_preview() -> None:
    labels = ["", "face", "", "text", "face"]
    unit = Unit(unit_id="u", shard="s", uri="/in/s", etag="", start=0, stop=5, last=True)
    given = tuple(map(cropped, items(8, 8, 5), labels))
    one = worker("render=none")
    first = process(one, UnitBatch(unit=unit, items=given[:2], seconds={}, previews=2), (FILL, RENDER))
    second = process(one, UnitBatch(unit=unit, items=given[2:], seconds={}, previews=first.previews), (FILL, RENDER))
    assert (first.previews, second.previews) == (1, 0)
    shown = [bool(item.previews) for item in (*first.items, *second.items) if isinstance(item, Rendered)]
    assert shown == [False, True, False, True, False]
