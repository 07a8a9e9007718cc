"""Segfill: segment, fill and rewrite large image datasets. Start reading at `pipeline/flow.py`.

The names below are public: a plugin imports them from here and nothing else of Segfill. They come from contracts.py
(what a source, segmenter or fill promises), records.py (what travels between stages), errors.py (what may be raised),
and from what a model declares: its view, its weights, a mask as a segment. Everything else may change in any release.
docs/plugins.md shows one. They are imported when they are first used, so `import pipeline` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.contracts import Checked, Fill, FillModel, Segmenter, SegmentModel, Source
    from pipeline.errors import (
        ConfigError,
        DeviceError,
        ImageError,
        OutputError,
        RefusedError,
        RunError,
        SegfillError,
        ShardError,
        SourceError,
        TooManyRejected,
        WeightsError,
    )
    from pipeline.image.view import AtLeast, Exact, Fit, Square, Tiles
    from pipeline.models.weights import Weights
    from pipeline.records import (
        Box,
        Crop,
        Device,
        EncodedImage,
        ImageRef,
        Mask,
        Member,
        Patch,
        Rejected,
        Rgb,
        Segment,
        Segments,
        Shard,
        Sidecar,
        Tile,
        Unit,
        UnitBatch,
        View,
        image_id,
        seed_of,
        unit_id,
    )
    from pipeline.segment.shared.masks import segment as make_segment

__version__ = "0.1.0"

__all__ = [
    "AtLeast",
    "Box",
    "Checked",
    "ConfigError",
    "Crop",
    "Device",
    "DeviceError",
    "EncodedImage",
    "Exact",
    "Fill",
    "FillModel",
    "Fit",
    "ImageError",
    "ImageRef",
    "Mask",
    "Member",
    "OutputError",
    "Patch",
    "RefusedError",
    "Rejected",
    "Rgb",
    "RunError",
    "SegfillError",
    "Segment",
    "SegmentModel",
    "Segmenter",
    "Segments",
    "Shard",
    "ShardError",
    "Sidecar",
    "Source",
    "SourceError",
    "Square",
    "Tile",
    "Tiles",
    "TooManyRejected",
    "Unit",
    "UnitBatch",
    "View",
    "Weights",
    "WeightsError",
    "image_id",
    "make_segment",
    "seed_of",
    "unit_id",
]

_HOMES = ("contracts", "records", "errors", "image.view", "models.weights")


def __getattr__(name: str) -> object:
    if name == "make_segment":
        return importlib.import_module("pipeline.segment.shared.masks").segment
    if name in __all__:
        for home in _HOMES:
            found = getattr(importlib.import_module(f"pipeline.{home}"), name, None)
            if found is not None:
                return found
    raise AttributeError(f"module 'pipeline' has no attribute {name!r}")
