"""Classes of pixels by any exported ONNX or TensorFlow Lite network: the config describes it, a new one needs no code.

The description is compared with the file's own inputs and outputs before a run begins, and where the file leaves sizes
open, with its first answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

import numpy as np
import onnx
from onnx import TensorProto
from pydantic import Field

from pipeline.contracts import SegmentModel
from pipeline.errors import ConfigError
from pipeline.image.view import Exact, Fit, Resample, Tiles, round_up
from pipeline.models.tflite_graph import load_tflite
from pipeline.records import Device, Floats, Rgb, Segments, View
from pipeline.segment.shared.class_map import ClassMap, OneFile, class_segments, fit, resized, winners
from pipeline.segment.shared.fields import Batch
from pipeline.segment.shared.masks import check_finite, whole
from pipeline.segment.shared.onnx_runner import Model
from pipeline.segment.shared.onnx_scorer import OnnxScorer
from pipeline.segment.shared.sliding_window import SlidingWindow
from pipeline.segment.shared.sliding_window_run import SlidingWindowModel
from pipeline.spec import FieldError, Share, spec

_Pixels = Annotated[int, Field(ge=1, le=1 << 14)]
_Mean = Annotated[float, Field(ge=-1e6, le=1e6)]
_Std = Annotated[float, Field(ge=1e-6, le=1e6)]
_NUMBERS: Final = {TensorProto.FLOAT: np.float32, TensorProto.INT64: np.int64, TensorProto.INT32: np.int32}


@spec
class OnnxModel(OneFile):
    """One segment for each class present, by an exported network (.onnx, .tflite) that the config describes. A .tflite
    file becomes an ONNX graph when it is loaded: layout=nchw, and any height and width."""

    result: Literal["logits", "probabilities", "binary", "label_map"]
    """Content of the output: logits or probabilities of each class, (n, classes, h, w) or with layout=nhwc
    (n, h, w, classes); binary: (n, 1, h, w) or (n, h, w), probability of names[0]; label_map: (n, h, w) or (n, 1, h, w)
    class numbers, whose segments have score 1."""
    height: _Pixels
    """Height of the network's input in pixels; the image is stretched to it."""
    width: _Pixels
    """Width of the network's input in pixels."""
    layout: Literal["nchw", "nhwc"] = "nchw"
    """Order of the input's axes: batch, channels, height, width."""
    keep_aspect: bool = False
    """Stretch nothing: shrink the image's longer side to `height`, which must equal `width`."""
    multiple: Annotated[int, Field(ge=1, le=1024)] = 32
    """With keep_aspect, sides are rounded up to a multiple of this many pixels."""
    extra: Annotated[int, Field(ge=0, le=1024)] = 0
    """With keep_aspect, pixels that each side has beyond a multiple: 1 for networks that want 16 n + 1."""
    resample: Resample = "bilinear"
    """How the image is resized."""
    colour: Literal["rgb", "bgr"] = "rgb"
    """Order of the input's channels."""
    scale: Annotated[float, Field(ge=1e-6, le=1e6)] = 255.0
    """Pixels are divided by this first."""
    mean: tuple[_Mean, _Mean, _Mean] = (0.0, 0.0, 0.0)
    """Subtracted next, per channel in the order of `colour`."""
    std: tuple[_Std, _Std, _Std] = (1.0, 1.0, 1.0)
    """Divisor of the rest, per channel in the order of `colour`."""
    output: str = ""
    """Name of the output; '' when the file has a single one. Of a .tflite file any tensor, such as the scores
    before ARG_MAX."""
    threshold: Share = 0.5
    """With result=binary, minimum probability of a pixel inside."""
    sliding_window: SlidingWindow = field(default_factory=SlidingWindow)
    """Tiles, scales, mirror images; not with label_map, which has no scores. The side of a tile is `height`, which must
    equal `width`; scales need a file that takes any size."""
    batch: Batch = 1
    """Images in one call; more than 1 pays on a GPU only."""

    suffixes: ClassVar = (".onnx", ".tflite")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep_aspect and self.height != self.width:
            raise FieldError("height", f": expected the same as width={self.width} with keep_aspect, got {self.height}")
        if self.result == "binary" and len(self.names) != 1:
            raise FieldError("names", f": expected one with result=binary, got {len(self.names)}")
        if self.result == "label_map" and not self.sliding_window.plain:
            raise FieldError("sliding_window", ": a label_map has no scores to average; export the logits")
        if self.sliding_window.overlap and self.height != self.width:
            raise FieldError(
                "sliding_window.overlap",
                f": tiles are square: expected the same height and width, got {self.height} and {self.width}",
            )
        _ = self.view

    @property
    def view(self) -> Exact | Fit | Tiles:
        if self.sliding_window.overlap:
            return self.sliding_window.view(self.height, self.multiple if self.keep_aspect else 1, "height", self.extra)
        if self.keep_aspect:
            return Fit(side=self.height, multiple=self.multiple, extra=self.extra, resample=self.resample)
        return Exact(height=self.height, width=self.width, resample=self.resample)

    def check(self) -> None:
        """Raise ConfigError when the file's input or output is not as this config says."""
        _checked_graph(self, self.model.fetch())

    def load(self, device: Device, threads: int) -> SegmentModel:
        graph, output = _checked_graph(self, self.model.fetch())
        model = Model(graph, (output,), device, threads)
        loaded = OnnxClassifier(self, model)
        if self.sliding_window.plain:
            return loaded
        scorer = OnnxScorer(
            model, size=self.input_size, prepare=loaded.prepare, planes=loaded.planes, best=loaded.best,
            sliding_window=self.sliding_window,
            batch=self.batch,
        )  # fmt: skip
        return SlidingWindowModel(scorer, self.sliding_window, self.names, self.model)

    def input_size(self, height: int, width: int, scale: float) -> tuple[int, int]:
        """Height and width of the network's input for a tile of that height and width at a scale."""
        if not self.keep_aspect:
            height, width = self.height, self.width
        if scale == 1 and not self.keep_aspect:
            return height, width
        high, wide = (round_up(round(side * scale), self.multiple, self.extra) for side in (height, width))
        return high, wide


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

    def classes(self, tile: Rgb, size: tuple[int, int]) -> ClassMap:
        """The class of each pixel of `size` (height, width), by logits or probabilities of one tile."""
        ((_, (answer,)),) = self._model.each([tile], self.prepare, 1)
        return self.best(self.planes(answer), size)

    @cached_property
    def _normal(self) -> tuple[Floats, Floats]:
        return np.array(self._spec.mean, np.float32), np.array(self._spec.std, np.float32)

    def prepare(self, tile: Rgb) -> Floats:
        """The network's input for one tile, in its layout, float32."""
        pixels = tile if self._spec.colour == "rgb" else tile[:, :, ::-1]
        mean, std = self._normal
        scaled: Floats = (pixels.astype(np.float32) / np.float32(self._spec.scale) - mean) / std
        return scaled.transpose(2, 0, 1) if self._spec.layout == "nchw" else scaled

    def planes(self, answer: Floats) -> Floats:
        """The answer for one image as (classes, h, w); (1, h, w) for `binary` and `label_map`."""
        spec = self._spec
        planes = answer[None] if answer.ndim == 2 else answer if spec.layout == "nchw" else answer.transpose(2, 0, 1)
        count = len(spec.names) if spec.result in ("logits", "probabilities") else 1
        if len(planes) != count:
            raise ConfigError(_expected(spec, f"{count} classes (names)", f"{len(planes)}"))
        return planes

    def best(self, planes: Floats, size: tuple[int, int]) -> ClassMap:
        """The class of each pixel of `size` by logits, probabilities or the one probability of `binary`."""
        if self._spec.result != "binary":
            return winners(np.ascontiguousarray(planes), size, logits=self._spec.result == "logits")
        likely = resized(planes[0], size)
        return ClassMap(ids=np.where(likely >= self._spec.threshold, 0, -1).astype(np.int32), scores=likely)

    def _map(self, answer: Floats, view: View) -> ClassMap:
        """The class of each pixel by the answer for one image."""
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


def _checked_graph(spec: OnnxModel, file: Path) -> tuple[onnx.ModelProto, str]:
    """The graph reduced to one output, and that output's name. Raises ConfigError when it does not fit the config."""
    tflite = file.suffix.lower() == ".tflite"
    model = load_tflite(file, (spec.output,) if spec.output else ()) if tflite else onnx.load(file)
    graph = model.graph
    held = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in held]
    if len(inputs) != 1:
        raise ConfigError(_expected(spec, "one input", f"{len(inputs)}: {', '.join(v.name for v in inputs)}"))
    _check_input(spec, inputs[0])
    outputs = {value.name: value for value in graph.output}
    name = spec.output or next(iter(outputs))
    if name not in outputs or (not spec.output and len(outputs) > 1):
        wanted = f"an output {spec.output!r}" if spec.output else "one output, or its name in output="
        raise ConfigError(_expected(spec, wanted, f"{', '.join(outputs)}"))
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
            _expected(
                spec, f"an input {value.name!r} of {_shape(wanted)} ({spec.layout}, height, width)", _shape(shape)
            )
        )
    fixed = any(shape[axis] for axis in ((2, 3) if spec.layout == "nchw" else (1, 2)))
    for key, free in (
        ("keep_aspect", spec.keep_aspect),
        ("sliding_window.scales", spec.sliding_window.scales != (1.0,)),
    ):
        if free and fixed:
            raise ConfigError(_expected(spec, f"an input of any size ({key})", _shape(shape)))
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
        other = "" if many else f" or {_shape((0, 0, 0))}"
        raise ConfigError(_expected(spec, f"an output {value.name!r} of {_shape(wanted)}{other}", _shape(shape)))


def _type(value: onnx.ValueInfoProto) -> tuple[int, tuple[int, ...]]:
    """The element type and the sizes, 0 for a size that the file leaves open."""
    tensor = value.type.tensor_type
    return tensor.elem_type, tuple(max(0, dim.dim_value) for dim in tensor.shape.dim)


def _shape(shape: Sequence[int]) -> str:
    return "x".join(str(size or "?") for size in shape)


def _expected(spec: OnnxModel, expected: str, got: str) -> str:
    return f"segment: {spec.model.path.name} does not fit this config: expected {expected}, got {got}"
