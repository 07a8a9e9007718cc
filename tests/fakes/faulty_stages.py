"""Stages that fail in a chosen way.

`plugins=[tests]` and `_target_: tests.fakes.faulty_stages.NAME` put one into a run.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from pipeline.fill.solid import Solid
from pipeline.image.decode import Decode, Decoder
from pipeline.image.view import ViewSpec
from pipeline.records import (
    Crop,
    Device,
    EncodedImage,
    Filled,
    Patch,
    Pixels,
    Region,
    Rejected,
    Rendered,
    Segments,
    Tile,
    Unit,
    View,
)
from pipeline.render.render import Render
from pipeline.segment.faces import Faces, FacesModel
from pipeline.select import Select
from pipeline.sink.unit_writer import Facts, Sink, UnitFiles, UnitWriter
from pipeline.spec import spec


class BrokeOnPurpose(Exception):
    """An exception of a driver, a codec or a model, which the pipeline does not know."""


def hang() -> NoReturn:
    while True:
        time.sleep(1)


# --- decode ----------------------------------------------------------------------------------------------------


@spec
class BrokenDecode(Decode):
    """how: `raise_views`, `raise_full`, `hang_views`, `hang_full`, `no_views`, `other_size_views`, `other_size_full`,
    `float_full`."""

    how: str

    def load(self) -> Decoder:
        return _BrokenDecoder(self)


class _BrokenDecoder(Decoder):
    def __init__(self, cold: BrokenDecode) -> None:
        super().__init__(cold)
        self._how = cold.how

    def views(self, image: EncodedImage, specs: Sequence[ViewSpec]) -> tuple[View, ...]:
        views = super().views(image, specs)
        match self._how:
            case "raise_views":
                raise BrokeOnPurpose("views")
            case "hang_views":
                hang()
            case "no_views":
                return ()
            case "other_size_views":
                return tuple(replace(view, height=view.height // 2) for view in views)
            case _:
                return views

    def full(self, image: EncodedImage) -> Pixels:
        pixels = super().full(image)
        match self._how:
            case "raise_full":
                raise BrokeOnPurpose("full")
            case "hang_full":
                hang()
            case "other_size_full":
                return replace(pixels, rgb=pixels.rgb[::2])
            case "float_full":
                return replace(pixels, rgb=pixels.rgb.astype(np.float32))
            case _:
                return pixels


# --- segment ---------------------------------------------------------------------------------------------------


@spec
class BrokenFaces(Faces):
    """The real detector, whose answer is then corrupted. how: `raise`, `hang`, `no_answers`, `too_many`, `nan_pixels`,
    `nan_score`, `nan_box`, `wrong_size`, `other_image`, `bad_rle`, `short_rle`."""

    how: str

    def load(self, device: Device, threads: int) -> _BrokenFaces:  # type: ignore[override]
        return _BrokenFaces(super().load(device, threads), self.how)


@dataclass(frozen=True)
class _BrokenFaces:
    loaded: FacesModel
    how: str

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        if self.how == "nan_pixels":  # a model fed with NaN answers with NaN
            views = [replace(view, tiles=tuple(_nan(tile) for tile in view.tiles)) for view in views]
        return _spoilt(self.how, self.loaded(views))


def _nan(tile: Tile) -> Tile:
    return replace(tile, pixels=np.full(tile.pixels.shape, np.nan, np.float32))


def _spoilt(how: str, found: list[Segments]) -> list[Segments]:
    match how:
        case "raise":
            raise BrokeOnPurpose("segment")
        case "hang":
            hang()
        case "no_answers":
            return []
        case "too_many":
            return [*found, *found]
        case "wrong_size":
            return [replace(one, height=one.height // 2, width=one.width // 2) for one in found]
        case "other_image":
            return [replace(one, image_id="another") for one in found]
    change: dict[str, dict[str, object]] = {
        "nan_score": {"score": float("nan")},
        "nan_box": {"box": (0.0, 0.0, float("nan"), float("nan"))},
        "bad_rle": {"rle": b"\xff\x00\xff"},
        "short_rle": {"rle": b""},
    }
    return [
        replace(one, segments=tuple(replace(s, **change[how]) for s in one.segments))  # type: ignore[arg-type]
        for one in found
    ]


# --- select ----------------------------------------------------------------------------------------------------


@spec
class BrokenSelect(Select):
    """how: `raise`, `hang`, `wrong_size`, `bad_rle`, `lying_area`."""

    how: str = "raise"

    def __call__(self, segments: Segments) -> Region:
        region = super().__call__(segments)
        match self.how:
            case "raise":
                raise BrokeOnPurpose("select")
            case "hang":
                hang()
            case "wrong_size":
                return replace(region, height=region.height // 2)
            case "bad_rle":
                return replace(region, rle=b"\xff\x00\xff")
            case _:
                return replace(region, area=region.area // 2)


# --- fill ------------------------------------------------------------------------------------------------------


@spec
class BrokenFill(Solid):
    """how: `raise`, `hang`, `no_patches`, `too_many`, `not_finite`, `wrong_shape`, `empty_mask`, `half_mask`,
    `outside`, or `echo`: returns the whole crop as it came, declared as filled."""

    how: str

    def load(self, device: Device, threads: int) -> _BrokenFill:
        return _BrokenFill(self.how)


@dataclass(frozen=True)
class _BrokenFill:
    how: str

    def __call__(self, crops: Sequence[Crop]) -> list[Patch]:
        good = [Patch(x=c.x, y=c.y, pixels=np.full_like(c.pixels, 90), mask=c.mask) for c in crops]
        match self.how:
            case "raise":
                raise BrokeOnPurpose("fill")
            case "hang":
                hang()
            case "no_patches":
                return []
            case "too_many":
                return [*good, *good]
            case "not_finite":
                return [replace(p, pixels=np.full(p.pixels.shape, np.nan, np.float32)) for p in good]
            case "wrong_shape":
                return [replace(p, pixels=p.pixels[:-1]) for p in good]
            case "empty_mask":
                return [replace(p, mask=np.zeros_like(p.mask)) for p in good]
            case "half_mask":
                halves = [p.mask & (np.arange(p.mask.shape[1]) < p.mask.shape[1] // 2) for p in good]
                return [replace(p, mask=half) for p, half in zip(good, halves, strict=True)]
            case "outside":
                return [replace(p, x=-5) for p in good]
            case _:
                return [Patch(x=c.x, y=c.y, pixels=c.pixels.copy(), mask=np.ones_like(c.mask)) for c in crops]


# --- render and sink -------------------------------------------------------------------------------------------


@spec
class BrokenRender(Render):
    """Raises after the picture is rendered."""

    def __call__(self, filled: Filled, decoder: Decoder, *, preview: bool = False) -> Rendered:  # type: ignore[override]
        super().__call__(filled, decoder, preview=preview)
        raise BrokeOnPurpose("render")


@spec
class HangingRender(Render):
    """Never returns the picture that it rendered."""

    def __call__(self, filled: Filled, decoder: Decoder, *, preview: bool = False) -> Rendered:  # type: ignore[override]
        super().__call__(filled, decoder, preview=preview)
        hang()


@spec
class BrokenSink(Sink):
    """how: `raise_add`, `raise_finish`."""

    how: str = "raise_add"

    def writer(self, unit: Unit, facts: Facts) -> UnitWriter:
        return _BrokenWriter(self, unit, facts)


class _BrokenWriter(UnitWriter):
    def __init__(self, sink: BrokenSink, unit: Unit, facts: Facts) -> None:
        super().__init__(sink, unit, facts)
        self._how = sink.how

    def add(self, items: Sequence[Rendered | Rejected]) -> None:  # type: ignore[override]
        super().add(items)
        if self._how == "raise_add":
            raise BrokeOnPurpose("add")

    def finish(self) -> UnitFiles:
        raise BrokeOnPurpose("finish")
