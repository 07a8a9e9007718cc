"""Which class is each pixel? Any exported ONNX network, described in yaml: no code for a new one.

What the yaml says is compared with the file's own inputs and outputs before a run begins; what the file leaves open
(symbolic sizes), with its first answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final, Literal

import numpy as np
import onnx
from onnx import TensorProto

from pipeline.contracts import SegmentModel
from pipeline.errors import ConfigError
from pipeline.image.view import Exact, Fit, Resample, Tiles
from pipeline.records import Device, Rgb, Segments, View
from pipeline.segment.shared.class_map import ClassMap, Floats, OneFile, class_segments, fit, resized, winners
from pipeline.segment.shared.fields import check_finite, check_flag, check_number, check_whole, whole
from pipeline.segment.shared.onnx_runner import Model
from pipeline.segment.shared.onnx_scorer import OnnxScorer
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.segment.shared.sliding_window_run import SlidingWindowModel

_NUMBERS: Final = {TensorProto.FLOAT: np.float32, TensorProto.INT64: np.int64, TensorProto.INT32: np.int32}


@dataclass(frozen=True, kw_only=True)
class OnnxModel(OneFile):
    """One segment for each class present.

    model: the weights. names: of class 0, 1, ...; "" is never a segment (a background). layout: of the input.
    height, width: what the network sees: the image stretched to that, or, with keep_aspect, its longer side shrunk to
    `height` (which must equal width), sides rounded up to `multiple`. colour: order of the channels. Pixels are divided
    by `scale`, then `mean` is subtracted and the rest divided by `deviation`, each of three channels in `colour` order.
    result: `logits` or `probabilities` of each class, (n, classes, h, w) or in the layout nhwc (n, h, w, classes);
    `binary`: (n, 1, h, w) or (n, h, w), probability of names[0]; `label_map`: (n, h, w) or (n, 1, h, w) numbers of
    classes, whose segments have score 1. output: the name of that output, needed when there are several.
    threshold: binary only: from this probability on a pixel is inside. batch: images in one call; more pays on a GPU.
    look: tiles, sizes, mirror images, the scores averaged; a tile has the side `height`, which must equal width.
    """

    result: Literal["logits", "probabilities", "binary", "label_map"]
    height: int
    width: int
    layout: Literal["nchw", "nhwc"] = "nchw"
    keep_aspect: bool = False
    multiple: int = 32
    resample: Resample = "bilinear"
    colour: Literal["rgb", "bgr"] = "rgb"
    scale: float = 255.0
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)
    output: str = ""
    threshold: float = 0.5
    batch: int = 1
    sliding_window: SlidingWindow = field(default_factory=SlidingWindow)

    def __post_init__(self) -> None:
        self.check_parts("onnx_model", ".onnx")
        for key, known in (
            ("result", ("logits", "probabilities", "binary", "label_map")),
            ("layout", ("nchw", "nhwc")),
            ("resample", ("bilinear", "area", "lanczos")),
            ("colour", ("rgb", "bgr")),
        ):
            if getattr(self, key) not in known:
                raise ConfigError(
                    f"segment.onnx_model.{key}: expected {' or '.join(known)}, got {getattr(self, key)!r}"
                )
        for key in ("height", "width"):
            check_whole(f"onnx_model.{key}", getattr(self, key), 1, 1 << 14)
        check_flag("onnx_model.keep_aspect", self.keep_aspect)
        check_whole("onnx_model.multiple", self.multiple, 1, 1024)
        check_number("onnx_model.scale", self.scale, 1e-6, 1e6)
        check_number("onnx_model.threshold", self.threshold, 0, 1)
        check_whole("onnx_model.batch", self.batch, 1, 1024)
        for key, low in (("mean", -1e6), ("std", 1e-6)):
            values = getattr(self, key)
            if not isinstance(values, tuple) or len(values) != 3:
                raise ConfigError(f"segment.onnx_model.{key}: expected three numbers, got {values!r}")
            for value in values:
                check_number(f"onnx_model.{key}", value, low, 1e6)
        if self.keep_aspect and self.height != self.width:
            raise ConfigError(
                "segment.onnx_model.height: expected the same as width with keep_aspect, "
                f"got {self.height} and {self.width}"
            )
        if self.result == "binary" and len(self.names) != 1:
            raise ConfigError(f"segment.onnx_model.names: expected one with result=binary, got {len(self.names)}")
        if self.result == "label_map" and not self.sliding_window.plain:
            raise ConfigError(
                "segment.onnx_model.sliding_window: a label_map has no scores to average; export the logits"
            )
        if self.sliding_window.overlap and self.height != self.width:
            raise ConfigError(
                f"segment.onnx_model.sliding_window.overlap: tiles are square: expected the same height and width, got "
                f"{self.height} and {self.width}"
            )
        _ = self.view

    @property
    def view(self) -> Exact | Fit | Tiles:
        if self.sliding_window.overlap:
            return self.sliding_window.view(self.height, self.multiple if self.keep_aspect else 1)
        if self.keep_aspect:
            return Fit(side=self.height, multiple=self.multiple, resample=self.resample)
        return Exact(height=self.height, width=self.width, resample=self.resample)

    def check(self) -> None:
        """Raises ConfigError when the file's input or output is not what this config says."""
        _described(self, self.model.fetch())

    def load(self, device: Device, threads: int) -> SegmentModel:
        graph, output = _described(self, self.model.fetch())
        model = Model(graph, (output,), device, threads)
        loaded = OnnxClassifier(self, model)
        if self.sliding_window.plain:
            return loaded
        scorer = OnnxScorer(
            model, size=self.seen, prepare=loaded.prepare, planes=loaded.planes, best=loaded.best,
            sliding_window=self.sliding_window,
            batch=self.batch,
        )  # fmt: skip
        return SlidingWindowModel(scorer, self.sliding_window, self.names, self.model)

    def seen(self, height: int, width: int, scale: float) -> tuple[int, int]:
        """What the network sees of a tile of that height and width, at a scale."""
        if not self.keep_aspect:
            height, width = self.height, self.width
        if scale == 1 and not self.keep_aspect:
            return height, width
        high, wide = (-(-round(side * scale) // self.multiple) * self.multiple for side in (height, width))
        return max(self.multiple, high), max(self.multiple, wide)


class OnnxClassifier:
    def __init__(self, spec: OnnxModel, model: Model) -> None:
        self._spec, self._model = spec, model

    def __call__(self, views: Sequence[View]) -> list[Segments]:
        tiles = [whole(view).pixels for view in views]
        found: dict[int, Segments] = {}
        for position, (answer,) in self._model.each(tiles, self.prepare, self._spec.batch):
            view = views[position]
            found[position] = class_segments(self._map(answer, view), view, self._spec.names, self._spec.model)
        return [found[position] for position in range(len(views))]

    @cached_property
    def _normal(self) -> tuple[Floats, Floats]:
        return np.array(self._spec.mean, np.float32), np.array(self._spec.std, np.float32)

    def prepare(self, tile: Rgb) -> Floats:
        """The network's input for one tile."""
        pixels = tile if self._spec.colour == "rgb" else tile[:, :, ::-1]
        mean, std = self._normal
        scaled: Floats = (pixels.astype(np.float32) / np.float32(self._spec.scale) - mean) / std
        return scaled.transpose(2, 0, 1) if self._spec.layout == "nchw" else scaled

    def planes(self, answer: Floats) -> Floats:
        """(classes, h, w) of the answer for one image, (1, h, w) for `binary` and `label_map`."""
        spec = self._spec
        planes = answer[None] if answer.ndim == 2 else answer if spec.layout == "nchw" else answer.transpose(2, 0, 1)
        count = len(spec.names) if spec.result in ("logits", "probabilities") else 1
        if len(planes) != count:
            raise ConfigError(_expected(spec, f"{count} classes (names)", f"{len(planes)}"))
        return planes

    def best(self, planes: Floats, size: tuple[int, int]) -> ClassMap:
        """What logits, probabilities or the one probability of `binary` say at each pixel of `size`."""
        if self._spec.result != "binary":
            return winners(np.ascontiguousarray(planes), size, logits=self._spec.result == "logits")
        likely = resized(planes[0], size)
        return ClassMap(ids=np.where(likely >= self._spec.threshold, 0, -1).astype(np.int32), scores=likely)

    def _map(self, answer: Floats, view: View) -> ClassMap:
        """answer: of one image, as `OnnxModel.result` describes it."""
        spec, planes = self._spec, self.planes(answer)
        check_finite(planes)
        if spec.result != "label_map":
            return self.best(planes, fit(view.height, view.width))
        (plane,) = planes
        if plane.min() < 0 or plane.max() >= len(spec.names):
            raise ConfigError(
                _expected(spec, f"classes 0..{len(spec.names) - 1} (names)", f"{plane.min()}..{plane.max()}")
            )
        return ClassMap(ids=plane.astype(np.int32), scores=np.ones(plane.shape, np.float32))


def _described(spec: OnnxModel, file: Path) -> tuple[onnx.ModelProto, str]:
    """The graph with only the output that is wanted, and its name. Raises ConfigError for what does not fit."""
    model = onnx.load(file)
    graph = model.graph
    held = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in held]
    if len(inputs) != 1:
        raise ConfigError(_expected(spec, "one input", f"{len(inputs)}: {', '.join(v.name for v in inputs)}"))
    _check_input(spec, inputs[0])
    outputs = {value.name: value for value in graph.output}
    name = spec.output or next(iter(outputs))
    if name not in outputs or (not spec.output and len(outputs) > 1):
        asked = f"an output {spec.output!r}" if spec.output else "one output, or its name in output="
        raise ConfigError(_expected(spec, asked, f"{', '.join(outputs)}"))
    _check_output(spec, outputs[name])
    kept = [outputs[name]]
    del graph.input[:], graph.output[:]
    graph.input.extend(inputs)
    graph.output.extend(kept)
    return model, name


def _check_input(spec: OnnxModel, value: onnx.ValueInfoProto) -> None:
    kind, shape = _type(value)
    height, width = (0, 0) if spec.keep_aspect else (spec.height, spec.width)
    wanted = (0, 3, height, width) if spec.layout == "nchw" else (0, height, width, 3)
    if kind != TensorProto.FLOAT:
        raise ConfigError(_expected(spec, f"an input {value.name!r} of float32", TensorProto.DataType.Name(kind)))
    fits = len(shape) == 4 and all(
        not real or not want or real == want for real, want in zip(shape, wanted, strict=True)
    )
    if not fits:
        raise ConfigError(
            _expected(spec, f"an input {value.name!r} of {_say(wanted)} ({spec.layout}, height, width)", _say(shape))
        )
    fixed = any(shape[axis] for axis in ((2, 3) if spec.layout == "nchw" else (1, 2)))
    for key, free in (
        ("keep_aspect", spec.keep_aspect),
        ("sliding_window.scales", spec.sliding_window.scales != (1.0,)),
    ):
        if free and fixed:
            raise ConfigError(_expected(spec, f"an input of any size ({key})", _say(shape)))
    if shape[0] and not shape[0] == spec.batch == 1:  # the last batch of a unit may be smaller
        raise ConfigError(_expected(spec, f"batches of up to {spec.batch} (batch)", f"a file made for {shape[0]}"))


def _check_output(spec: OnnxModel, value: onnx.ValueInfoProto) -> None:
    kind, shape = _type(value)
    if kind not in _NUMBERS or (kind != TensorProto.FLOAT and spec.result != "label_map"):
        raise ConfigError(_expected(spec, f"an output {value.name!r} of float32", TensorProto.DataType.Name(kind)))
    many = spec.result in ("logits", "probabilities")
    count = len(spec.names) if many else 1
    channel = 1 if spec.layout == "nchw" else 3
    fits = (len(shape) == 4 and shape[channel] in (0, count)) or (len(shape) == 3 and not many)
    if shape and not fits:
        wanted = (0, count, 0, 0) if spec.layout == "nchw" else (0, 0, 0, count)
        other = "" if many else f" or {_say((0, 0, 0))}"
        raise ConfigError(_expected(spec, f"an output {value.name!r} of {_say(wanted)}{other}", _say(shape)))


def _type(value: onnx.ValueInfoProto) -> tuple[int, tuple[int, ...]]:
    """The kind of numbers and the sizes, 0 for what the file leaves open."""
    tensor = value.type.tensor_type
    return tensor.elem_type, tuple(max(0, dim.dim_value) for dim in tensor.shape.dim)


def _say(shape: Sequence[int]) -> str:
    return "x".join(str(size or "?") for size in shape)


def _expected(spec: OnnxModel, expected: str, got: str) -> str:
    return f"segment.onnx_model: {spec.model.path.name} does not fit this config: expected {expected}, got {got}"
