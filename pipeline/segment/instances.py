"""Objects one by one: boxes of EfficientDet-Lite0, each made a mask by a promptable network.

`Instances` gives a segment a thing; `Panoptic` lays them over the classes of a described network, so that no two
segments share a pixel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from pipeline.image.view import Fit
from pipeline.models.weights import Weights
from pipeline.records import Device, Mask, Rgb, Segments, View
from pipeline.segment.onnx_model import OnnxClassifier, OnnxModel
from pipeline.segment.shared.class_map import FoundMask, fit, labels_of, mask_segments
from pipeline.segment.shared.efficientdet import BoxModel
from pipeline.segment.shared.fields import Names, check_suffix
from pipeline.segment.shared.masks import whole
from pipeline.segment.shared.promptable import SIDE, MaskModel
from pipeline.spec import FieldError, Share, spec


@spec
class Instances:
    """One segment per object, by boxes and a mask for each box."""

    boxes: Weights
    """The detector, an EfficientDet-Lite0 as a .tflite file."""
    encoder: Weights
    """Looks at the image once: an ONNX file."""
    decoder: Weights
    """Makes a mask of each box: an ONNX file."""
    names: Names
    """Of the detector's class 0, 1, ...; '' is never a segment."""
    score: Annotated[float, Field(ge=0.01, le=1)] = 0.4
    """Minimum probability of a box."""
    nms: Share = 0.5
    """Overlap (intersection over union) above which the less likely of two boxes of one class is dropped."""
    max_detections: Annotated[int, Field(ge=1, le=1000)] = 20
    """Maximum number of objects in an image, the most likely ones."""
    fit_score: Share = 0.5
    """Minimum intersection over union that the mask network gives its own mask; a worse one is no segment."""

    def __post_init__(self) -> None:
        check_suffix("boxes", self.boxes, ".tflite")
        check_suffix("encoder", self.encoder, ".onnx")
        check_suffix("decoder", self.decoder, ".onnx")

    @property
    def view(self) -> Fit:
        return Fit(side=SIDE, multiple=1, resample="area")

    @property
    def labels(self) -> tuple[str, ...]:
        return labels_of(self.names)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return (self.boxes, self.encoder, self.decoder)

    def load(self, device: Device, threads: int) -> InstancesModel:
        return InstancesModel(
            self, BoxModel(self.boxes, device, threads), MaskModel(self.encoder, self.decoder, device, threads)
        )


class InstancesModel:
    def __init__(self, spec: Instances, boxes: BoxModel, masks: MaskModel) -> None:
        self._spec, self._boxes, self._masks = spec, boxes, masks

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        spec = self._spec
        return [
            mask_segments(
                list(self.things(whole(view).pixels, fit(view.height, view.width))), view, spec.names, spec.boxes
            )
            for view in views
        ]

    def things(self, tile: Rgb, size: tuple[int, int]) -> Iterator[FoundMask]:
        """Yield the objects of a picture, the most likely first, with masks of `size` (height, width). The encoder runs
        only where there is a box. Raises ImageError (`nan_scores`)."""
        spec = self._spec
        rows, classes = self._boxes(tile, score=spec.score, nms=spec.nms, most=spec.max_detections)
        named = [(row, number) for row, number in zip(rows, classes, strict=True) if _name(spec.names, number)]
        embedding = self._masks.embedding(tile) if named else None
        for row, number in named:
            assert embedding is not None
            inside, likely = self._masks.mask(embedding, row, size)
            if likely >= spec.fit_score:
                yield FoundMask(inside=inside, class_id=number, score=float(row[4]))


@spec
class Panoptic:
    """One segment per object, and one per class of what is no object, without overlap: things over stuff."""

    things: Instances
    """The objects; at each pixel the most likely one."""
    stuff: OnnxModel
    """The classes of the rest: a network of logits or probabilities, not in a sliding window."""
    skip: tuple[str, ...] = ()
    """Classes of `stuff` that are no segment, because they are objects: `person`, `car`."""

    def __post_init__(self) -> None:
        if self.stuff.result not in ("logits", "probabilities") or not self.stuff.sliding_window.plain:
            raise FieldError("stuff", ": expected result=logits or probabilities, and no sliding window")
        for name in self.skip:
            if name not in self.stuff.names:
                raise FieldError("skip", f": expected classes of stuff, got {name!r}")

    @property
    def view(self) -> Fit:
        return self.things.view

    @property
    def names(self) -> tuple[str, ...]:
        """Of both: those of the objects first."""
        return (*self.things.names, *("" if name in self.skip else name for name in self.stuff.names))

    @property
    def labels(self) -> tuple[str, ...]:
        return labels_of(self.names)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return (*self.things.weights, *self.stuff.weights)

    def check(self) -> None:
        """Raise ConfigError when the file of `stuff` is not as its config says."""
        self.stuff.check()

    def load(self, device: Device, threads: int) -> PanopticModel:
        stuff = self.stuff.load(device, threads)
        assert isinstance(stuff, OnnxClassifier)
        return PanopticModel(self, self.things.load(device, threads), stuff)


class PanopticModel:
    def __init__(self, spec: Panoptic, things: InstancesModel, stuff: OnnxClassifier) -> None:
        self._spec, self._things, self._stuff = spec, things, stuff

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        return [self._one(view) for view in views]

    def _one(self, view: View) -> Segments:
        spec, tile, size = self._spec, whole(view).pixels, fit(view.height, view.width)
        free = np.ones(size, np.bool_)
        things = []
        for thing in self._things.things(tile, size):
            things.append(replace(thing, inside=thing.inside & free))
            free &= ~thing.inside
        above = mask_segments(things, view, spec.names, spec.things.boxes)
        below = mask_segments(list(self._rest(tile, view, free)), view, spec.names, spec.stuff.model)
        return replace(above, segments=above.segments + below.segments)

    def _rest(self, tile: Rgb, view: View, free: Mask) -> Iterator[FoundMask]:
        """Yield the classes of the pixels that are `free`."""
        found = self._stuff.classes(self._seen(tile, view), (free.shape[0], free.shape[1]))
        first = len(self._spec.things.names)
        for number in np.unique(found.ids).tolist():
            inside = (found.ids == number) & free
            if inside.any():
                yield FoundMask(inside=inside, class_id=first + number, score=float(found.scores[inside].mean()))

    def _seen(self, tile: Rgb, view: View) -> Rgb:
        """What the network of classes sees, out of what the objects' networks see."""
        (window,) = self._spec.stuff.view.windows(view.height, view.width)
        shrinks = window.height * window.width < tile.shape[0] * tile.shape[1]
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        return np.asarray(cv2.resize(tile, (window.width, window.height), interpolation=method), np.uint8)


def _name(names: Sequence[str], number: int) -> str:
    return names[number] if number < len(names) else ""
