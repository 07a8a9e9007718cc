"""A slide with a caption, and the run that removes the caption."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from jobs.entry import main


def slide(path: Path, shade: int) -> np.ndarray:
    """Words on a slope of colours, PNG. shade: of their red channel, which finds them alike. -> where they are."""
    y, x = np.mgrid[:240, :400]
    image = Image.fromarray(np.stack([150 + 0.2 * x, 170 + 0.2 * y, 230 - 0.1 * x], -1).astype(np.uint8))
    written = Image.new("L", image.size)
    ImageDraw.Draw(written).text((60, 80), "REMOVE ME", font=ImageFont.load_default(56), fill=255)
    ink = np.asarray(written) > 127
    pixels = np.asarray(image).copy()
    pixels[ink] = (shade, 10, 20)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return ink


def run(job: str, source: Path, out: Path, *overrides: str) -> int:
    places = [f"source.uri={source}", f"sink.uri={out}", "sink=files", "execute=local", "max_reject_share=1"]
    if job == "anonymize":
        places += ["audit=none", "segment.faces.thorough=false"]
    return main(job, [*places, *overrides])
