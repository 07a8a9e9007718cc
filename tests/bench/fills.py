"""`python -m tests.bench.fills --data PHOTOS --out FOLDER`: compares fills on photographs with known holes.

PHOTOS is what the generative fill was trained from: the photographs that it has held out (the 200 of the least sha256)
are cut to their middle 256x256 pixels, and three kinds of holes are drawn into each, from fixed seeds. Every fill sees
the same ones, through the same crops as in a job. Slow methods see the first photographs only. Every row gives
its number of photographs; --few adds the others' figures over the same ones.

Writes FOLDER/fills.json and FOLDER/fills.jpg (by kind the two worst, two middling and two best by HaarPSI of the first
method), and prints the table.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline import build
from pipeline.contracts import Fill, FillModel
from pipeline.fill.generative.train import holes
from pipeline.fill.generative.train.photos import Collection, PhotoDecoder, gather
from pipeline.fill.shared.crops import cut
from pipeline.image import rle
from pipeline.records import Mask, Pixels, Region, Rgb
from pipeline.source.auto import Auto
from tests.bench import likeness

SIDE = 256
SHOWN = 176
"""Of a picture on the sheet."""
METHODS: Mapping[str, Sequence[str]] = {
    "generative": ["fill=generative"],
    "telea": ["fill=diffuse", "fill.method=telea"],
    "ns": ["fill=diffuse", "fill.method=ns"],
    "telea, plain": ["fill=diffuse", "fill.method=telea", "fill.soften=0"],
    "ns, plain": ["fill=diffuse", "fill.method=ns", "fill.soften=0"],
    "exemplar": ["fill=exemplar"],
}
SLOW = ("exemplar",)
COLUMNS = ("psnr", "ssim", "haarpsi", "frechet", "sliced", "seconds")
HEADS = ("PSNR dB", "SSIM", "HaarPSI", "Frechet", "sliced W.", "s a fill")


@dataclass
class Case:
    """A photograph with a hole. real: (256, 256, 3)."""

    kind: str
    real: Rgb
    mask: Mask
    seed: str


@dataclass
class Score:
    """Of one method and kind of hole: one entry a case."""

    psnr: list[float] = field(default_factory=list)
    ssim: list[float] = field(default_factory=list)
    haarpsi: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    real: list[likeness.Doubles] = field(default_factory=list)
    filled: list[likeness.Doubles] = field(default_factory=list)
    shown: list[Rgb] = field(default_factory=list)

    def row(self, first: int) -> dict[str, float]:
        """Means over the first cases."""
        found = {name: float(np.mean(getattr(self, name)[:first])) for name in ("psnr", "ssim", "haarpsi", "seconds")}
        real, filled = np.concatenate(self.real[:first]), np.concatenate(self.filled[:first])
        found["frechet"] = likeness.frechet(real, filled)
        found["sliced"] = likeness.sliced_wasserstein(real, filled)
        return {name: found[name] for name in COLUMNS}


def text(rng: np.random.Generator, side: int) -> Mask:
    return _until(lambda: holes.text(rng, side), 0.01, 0.25)


def shapes(rng: np.random.Generator, side: int) -> Mask:
    """Ellipses and boxes of 5 to 25 % of the picture."""
    draw = holes.ellipse if rng.random() < 0.5 else holes.block
    return _until(lambda: draw(rng, side), 0.05, 0.25)


def free(rng: np.random.Generator, side: int) -> Mask:
    """Brush strokes and silhouettes."""
    draw = holes.strokes if rng.random() < 0.5 else holes.silhouette
    return _until(lambda: draw(rng, side), 0.05, 0.35)


KINDS: Mapping[str, Callable[[np.random.Generator, int], Mask]] = {
    "text strokes": text,
    "ellipses, boxes": shapes,
    "free-form": free,
}


def _until(draw: Callable[[], Mask], least: float, most: float) -> Mask:
    while not least <= (mask := draw()).mean() <= most:
        pass
    return mask


def cases(real: Sequence[Rgb]) -> dict[str, list[Case]]:
    """Kind -> one case a photograph; with other seeds than the training's."""
    return {
        kind: [
            Case(kind=kind, real=rgb, mask=draw(np.random.default_rng((5, number, at)), SIDE), seed=f"{kind}{at}")
            for at, rgb in enumerate(real)
        ]
        for number, (kind, draw) in enumerate(KINDS.items())
    }


def middle(rgb: Rgb) -> Rgb:
    """The middle square, 256 pixels a side."""
    side = min(rgb.shape[:2])
    top, left = ((size - side) // 2 for size in rgb.shape[:2])
    square = rgb[top : top + side, left : left + side]
    return square if side == SIDE else np.asarray(cv2.resize(square, (SIDE, SIDE), interpolation=cv2.INTER_AREA))


def filled(case: Case, fill: Fill, loaded: FillModel) -> Rgb:
    """Crop, fill and paste, as flow.py does."""
    region = Region(
        image_id=case.seed, height=SIDE, width=SIDE, rle=rle.encode(case.mask), area=int(case.mask.sum()), chosen=(0,)
    )
    result = case.real.copy()
    for patch in loaded(cut(Pixels(rgb=case.real, alpha=np.zeros((0, 0), np.uint8)), region, fill)):
        height, width = patch.mask.shape
        result[patch.y : patch.y + height, patch.x : patch.x + width][patch.mask] = patch.pixels[patch.mask]
    return result


def measure(listed: Sequence[Case], fill: Fill, features: likeness.Features) -> Score:
    loaded, score = fill.load("cpu", 1), Score()
    filled(listed[0], fill, loaded)  # the first call is slower
    for case in listed:
        began = time.process_time()
        made = filled(case, fill, loaded)
        score.seconds.append(time.process_time() - began)
        score.psnr.append(likeness.psnr(made, case.real, case.mask))
        score.ssim.append(likeness.ssim(made, case.real, case.mask))
        score.haarpsi.append(likeness.haarpsi(made, case.real))
        score.real.append(features(case.real, case.mask))
        score.filled.append(features(made, case.mask))
        score.shown.append(made)
    return score


def table(scores: Mapping[str, Mapping[str, Score]], few: int) -> tuple[str, dict[str, Any]]:
    """kind -> method -> score, to Markdown and to plain numbers: over all cases, and over the first `few`."""
    lines, plain = [], dict[str, Any]()
    for kind, methods in scores.items():
        count = max(len(score.psnr) for score in methods.values())
        for first in dict.fromkeys((count, few)):
            heads = " | ".join(HEADS)
            lines += [
                f"\n{kind}, {min(first, count)} photographs\n",
                f"| fill | {heads} |",
                "| --- |" + " ---: |" * len(HEADS),
            ]
            for name, score in methods.items():
                if len(score.psnr) < min(first, count):
                    continue
                row = score.row(first)
                plain[f"{kind}/{min(first, count)}/{name}"] = row
                digits = (2, 3, 3, 2, 3, 3)
                cells = " | ".join(f"{value:.{n}f}" for value, n in zip(row.values(), digits, strict=True))
                lines.append(f"| {name} | {cells} |")
    return "\n".join(lines), plain


def sheet(listed: Mapping[str, Sequence[Case]], scores: Mapping[str, Mapping[str, Score]], by: str, few: int) -> Rgb:
    """A row a picture: hole, each fill, real. By kind the two worst, two middling and two best by `by`'s HaarPSI."""
    rows = []
    for kind, kept in listed.items():
        order = np.argsort(scores[kind][by].haarpsi[:few])
        half = len(order) // 2
        for at in dict.fromkeys([*order[:2], *order[half : half + 2], *order[-2:]]):
            case, blank = kept[at], kept[at].real.copy()
            blank[case.mask] = 255
            made = [score.shown[at] for score in scores[kind].values()]
            rows.append(np.concatenate([blank, *made, case.real], axis=1))
    return np.concatenate(rows, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--held-out", type=int, default=200)
    parser.add_argument("--few", type=int, default=20, help="photographs for slow methods and the sheet")
    parser.add_argument("--methods", nargs="+", default=["generative", "telea", "ns", "exemplar"])
    parser.add_argument("--set", nargs="*", default=[], help="overrides for fill=generative")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    photos, _ = gather([Collection(uri=args.data, licence="as in training")], 1, lambda uri: Auto(uri=uri))
    decoded = PhotoDecoder()
    by_kind, features = cases([middle(decoded(photo)) for photo in photos[: args.held_out]]), likeness.Features()
    scores: dict[str, dict[str, Score]] = {kind: {} for kind in by_kind}
    for name in args.methods:
        more = args.set if name == "generative" else []
        job = build.build(build.compose("clean", ["source.uri=in", "sink.uri=out", *METHODS[name], *more]))
        for kind, listed in by_kind.items():
            scores[kind][name] = measure(listed[: args.few] if name in SLOW else listed, job.flow.fill, features)
            print(f"{name}, {kind}: {np.mean(scores[kind][name].seconds):.3f} s a fill", flush=True)
    text_of, plain = table(scores, args.few)
    (args.out / "fills.json").write_text(json.dumps(plain, indent=1))
    whole = sheet(by_kind, scores, args.methods[0], args.few)
    shown = cv2.resize(whole, None, fx=SHOWN / SIDE, fy=SHOWN / SIDE, interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(args.out / "fills.jpg"), shown[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])
    print(text_of)


if __name__ == "__main__":
    main()
