"""A segmenter as its yaml builds it, with its real weights, and what it finds in a picture."""

import functools
import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline import build
from pipeline.flow import Worker
from pipeline.image import rle
from pipeline.records import EncodedImage, ImageRef, Rgb, Segments
from tests.fakes.class_photos import at_hand


@functools.cache
def worker(choice: str, *overrides: str) -> Worker:
    """What a worker of `annotate` holds for this choice alone. Skips the test where its weights are not at hand."""
    command = ["source.uri=a", "sink.uri=b", f"segment=[{choice}]", "execute=local", *overrides]
    flow = build.build(build.compose("annotate", command)).flow
    for weights in flow.weights:
        at_hand(weights)
    return flow.load("cpu", 1)


def segments(rgb: Rgb, choice: str, *overrides: str) -> Segments:
    """What a choice finds in a picture, HWC uint8."""
    loaded = worker(choice, *overrides)
    png = io.BytesIO()
    Image.fromarray(rgb).save(png, "png")
    ref = ImageRef(image_id=f"{hash(rgb.tobytes()):x}", key="k", member="k.png")
    views = loaded.decoder.views(EncodedImage(ref=ref, data=png.getvalue()), [one.view for one in loaded.flow.segment])
    (found,) = loaded.segmenters[0](views)
    return found


def masks(found: Segments) -> dict[str, NDArray[np.bool_]]:
    """Union of the masks of each label, HW bool."""
    made: dict[str, NDArray[np.bool_]] = {}
    for one in found.segments:
        mask = rle.decode(one.rle, found.height, found.width)
        made[one.label] = made[one.label] | mask if one.label in made else mask
    return made
