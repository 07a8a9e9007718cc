"""Sends known faces through a run's own flow and counts those that are left. None of them is published.

canary.jpg is the head of the astronaut Eileen Collins, from her portrait by NASA (public domain).
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Final

import numpy as np
from PIL import Image

from pipeline.audit.inspect import Detector, boxes_in
from pipeline.audit.published import choose, contents
from pipeline.audit.receipt import Canaries
from pipeline.errors import ImageError, RunError
from pipeline.flow import Flow, commit_unit
from pipeline.image.decode import Decoder
from pipeline.records import EncodedImage, ImageRef
from pipeline.segment.shared.boxes import Detections, shared_area
from pipeline.source.files import Files
from pipeline.storage.store import open_store

_SIDE: Final = 640
_SAME: Final = 0.3
"""Intersection over union above which two boxes show one face."""
_PLACES: Final = (
    # picture, left, top, width of the head in pixels, mirrored, brightness
    (0, 20, 20, 260, False, 1.0),
    (0, 320, 40, 150, True, 1.0),
    (0, 500, 60, 100, False, 1.3),
    (0, 360, 330, 190, False, 0.6),
    (0, 60, 400, 70, True, 0.8),
    (1, 30, 30, 200, True, 1.2),
    (1, 300, 60, 120, False, 0.5),
    (1, 470, 250, 90, True, 1.0),
    (1, 100, 360, 170, False, 0.9),
    (1, 380, 430, 80, False, 1.1),
)


def plant(flow: Flow, detector: Detector, decoder: Decoder, score: float, own: str) -> Canaries:
    """Count the known faces that the detector finds before the run's own flow, and those that it still finds after it.

    score: minimum score of a detection. own: local path of a picture whose faces join the bundled ones; "" for none.
    Raises RunError.
    """
    if "face" not in (flow.select.labels or [label for part in flow.segment for label in part.labels]):
        return Canaries(note="none planted: the run removes no faces")
    with tempfile.TemporaryDirectory(prefix="segfill-canaries-") as folder:
        source, output = Path(folder, "in"), Path(folder, "out")
        source.mkdir()
        seen: dict[str, Detections] = {}
        for name, data in _pictures(own):
            (source / name).write_bytes(data)
            seen[PurePosixPath(name).stem] = _boxes(data, detector, decoder, score)
        _run(flow, source, output)
        store, left = open_store(str(output)), 0
        for name, data in contents(store, choose(store, 1.0).names):
            after = _boxes(data, detector, decoder, score)
            before = seen[PurePosixPath(name.rpartition("!")[2]).stem]
            for box in before:
                both, union = shared_area(box, after)
                left += bool((both > _SAME * union).any())
    return Canaries(planted=sum(map(len, seen.values())), left=left, note="")


def _run(flow: Flow, source: Path, output: Path) -> None:
    """Run the whole chain, including commit, on the canaries alone."""
    files = Files(uri=str(source))
    private = replace(
        flow, source=files, sink=replace(flow.sink, uri=str(output), images="tar", previews=0, single_writer=False)
    )
    worker = private.load("cpu", 1)
    for shard in files.shards():
        for batch in files.units(shard, {}):
            commit_unit(worker, batch)


def _pictures(own: str) -> Iterator[tuple[str, bytes]]:
    """Yield name and bytes of two pictures with one face many times, one of them stored on its side, and the user's
    own."""
    head = Image.open(io.BytesIO(resources.files("pipeline.audit").joinpath("canary.jpg").read_bytes()))
    ground = np.linspace(60, 200, _SIDE).astype(np.uint8)[:, None, None].repeat(_SIDE, 1).repeat(3, 2)
    sheets = [Image.fromarray(ground), Image.fromarray(255 - ground)]
    for sheet, left, top, width, mirrored, brightness in _PLACES:
        face = head.resize((width, round(width * head.height / head.width)), Image.Resampling.BICUBIC)
        face = face.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored else face
        sheets[sheet].paste(face.point([min(255, round(v * brightness)) for v in range(256)] * 3), (left, top))
    lying, out = Image.Exif(), [io.BytesIO(), io.BytesIO()]
    lying[0x0112] = 6
    sheets[0].transpose(Image.Transpose.ROTATE_90).save(out[0], "JPEG", quality=90, exif=lying)
    sheets[1].save(out[1], "PNG")
    yield "lying.jpg", out[0].getvalue()
    yield "upright.png", out[1].getvalue()
    if own:
        try:
            yield f"own{Path(own).suffix.lower()}", Path(own).read_bytes()
        except OSError as error:
            raise RunError(f"audit.canary={own}: {error.strerror or error}; give a local picture with faces") from error


def _boxes(data: bytes, detector: Detector, decoder: Decoder, score: float) -> Detections:
    ref = ImageRef(image_id="canary", key="canary", member="canary")
    try:
        found = boxes_in(decoder.full(EncodedImage(ref=ref, data=data)).rgb, detector, score)
    except ImageError as error:
        raise RunError(f"audit: a canary cannot be decoded: {error.reason}: {error.detail}") from error
    return np.array(found, np.float32).reshape(-1, 5)
