"""Exports opened by tools whose packages do not fit beside ours: each in an environment of its own, made once.

fiftyone is a gigabyte; it is tried where SEGFILL_FIFTYONE names a Python that has it.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from jobs import export
from tests.bench.environments import python_of
from tests.fakes.drawn_output import Drawn, pieces, write

pytestmark = pytest.mark.chaos

ROOT = Path(__file__).parents[2]
LEAST = {"brush": 1.0, "coco": 1.0, "fiftyone": 0.99, "yolo": 0.24}
"""IoU. supervision rounds the points of a polygon: a mask of one pixel becomes four."""
PINS = ("supervision==0.31.2", "label-studio-sdk==2.1.2")
FORMAT = {"brush": "label_studio"}


@pytest.mark.parametrize("reader", LEAST)
def test_every_image_and_segment_comes_back(reader: str, tmp_path: Path) -> None:
    if reader != "fiftyone":
        try:
            python = python_of("exports", ROOT / ".bench", PINS)
        except subprocess.CalledProcessError:
            pytest.skip("the package index is out of reach")
    elif not (given := os.environ.get("SEGFILL_FIFTYONE")):
        pytest.skip("SEGFILL_FIFTYONE names no Python that has fiftyone")
    else:
        python = Path(given)
    output = write(tmp_path, pieces())
    name = FORMAT.get(reader, reader)
    assert export.main([f"uri={output.uri}", f"to={tmp_path / 'to'}", f"format={name}", "images=copy"]) == 0
    (tmp_path / "masks").mkdir()
    for image, found in pieces().items():
        for at, each in enumerate(found if isinstance(found, list) else []):
            assert isinstance(each, Drawn)
            if each.mask.any():
                np.save(tmp_path / f"masks/{image}-{at}.npy", each.mask)
    script = [str(python), str(ROOT / "tests/fakes/peer_readers.py"), reader, str(tmp_path / "to")]
    environment = {**os.environ, "FIFTYONE_DO_NOT_TRACK": "true", "FIFTYONE_REQUIREMENT_ERROR_LEVEL": "2"}
    done = subprocess.run(
        [*script, str(tmp_path / "masks")], capture_output=True, text=True, env=environment, timeout=240, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert (told["images"], told["segments"]) == (6, 8)
    assert told["least"] >= LEAST[reader]
