"""What do the demo and the benchmark run on: real photographs, as shards of every kind that Segfill reads.

The photographs are read from the installed scikit-image wheel; none is stored here and nothing is downloaded.
Their licences, as scikit-image states them: astronaut, hubble_deep_field (NASA), rocket (SpaceX), text: public domain;
retina, chelsea, coffee, camera, brick, grass, gravel: CC0; coins: no known restrictions. It states none for page and
for motorcycle_left and _right (of the Middlebury 2014 stereo benchmark): they are only varied on your own disk.
Same installed versions, same bytes: file times, seeds and codec options are fixed.

    python -m jobs.demo_shards OUT            the 36 demo images: OUT/webdataset, OUT/parquet, OUT/folder
    python -m jobs.demo_shards OUT --bench N  N images of 1.4 megapixels: OUT/shards (tars of 125) and OUT/files
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import random
import tarfile
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageDraw, ImageEnhance, ImageFont

Corner = Literal["top", "middle", "bottom"]
Whole = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class Caption:
    """Text that is drawn over a photograph. size: letter height as a share of the image's width."""

    text: str
    colour: str = "white"
    place: Corner = "bottom"
    size: float = 0.07


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One demo image. crop: left, top, right, bottom as shares of the photograph. title: what its sidecar says.

    suffix chooses the format. quirk: what makes this file awkward on purpose.
    """

    name: str
    photo: str
    title: str
    crop: tuple[float, float, float, float] = Whole
    mirror: bool = False
    brightness: float = 1.0
    caption: Caption | None = None
    suffix: Literal[".jpg", ".png", ".webp"] = ".jpg"
    quirk: Literal["", "turned", "located", "cmyk", "truncated"] = ""


PORTRAIT: Final = (0.1, 0.0, 0.8, 0.62)
SAMPLE: Final = Caption(text="SAMPLE 2026")
SITE: Final = Caption(text="www.example.com", colour="yellow", place="top", size=0.06)
DRAFT: Final = Caption(text="DRAFT COPY", colour="black", place="middle", size=0.1)
RED: Final = Caption(text="NOT FOR SALE", colour="red", place="top", size=0.08)

WEBDATASET: Final = (
    (
        Shot(name="astronaut", photo="astronaut.png", title="an astronaut in an orange suit"),
        Shot(name="cat", photo="chelsea.png", title="a cat looks up", caption=SAMPLE),
        Shot(name="coffee", photo="coffee.png", title="a cup of coffee on a table"),
        Shot(name="portrait", photo="astronaut.png", title="a portrait", crop=PORTRAIT, mirror=True, brightness=1.15),
        Shot(name="rocket", photo="rocket.jpg", title="a rocket on its pad", caption=SITE),
        Shot(name="stars", photo="hubble_deep_field.jpg", title="galaxies"),
    ),
    (
        Shot(name="astronaut-dim", photo="astronaut.png", title="the astronaut, dim", brightness=0.6),
        Shot(name="motorcycle", photo="motorcycle_left.png", title="a motorcycle in a garage"),
        Shot(name="page", photo="page.png", title="a page of a book", suffix=".png"),
        Shot(
            name="close", photo="astronaut.png", title="a face up close", crop=(0.28, 0.02, 0.62, 0.46), suffix=".webp"
        ),
        Shot(name="coins", photo="coins.png", title="old coins", suffix=".png"),
        Shot(name="cut-off", photo="astronaut.png", title="a file that was cut off", quirk="truncated"),
    ),
)
PARQUET: Final = (
    Shot(name="person", photo="astronaut.png", title="a person smiles", crop=(0.0, 0.0, 1.0, 0.75)),
    Shot(name="cat-left", photo="chelsea.png", title="a cat, the other way round", mirror=True),
    Shot(name="cup", photo="coffee.png", title="coffee for sale", caption=RED),
    Shot(name="launch", photo="rocket.jpg", title="a launch", mirror=True, caption=SAMPLE),
    Shot(name="garage", photo="motorcycle_right.png", title="a garage", brightness=1.2),
    Shot(name="handwriting", photo="text.png", title="words on paper", suffix=".png"),
    Shot(name="cameraman", photo="camera.png", title="a man with a camera", suffix=".png"),
    Shot(name="bright", photo="astronaut.png", title="a person in bright light", crop=PORTRAIT, brightness=1.4),
    Shot(name="kitten", photo="chelsea.png", title="a cat up close", crop=(0.15, 0.05, 0.85, 0.9), suffix=".webp"),
    Shot(name="retina", photo="retina.jpg", title="the back of an eye"),
    Shot(name="table", photo="coffee.png", title="a table", crop=(0.0, 0.2, 0.8, 1.0), mirror=True),
    Shot(name="signed", photo="astronaut.png", title="a portrait with a caption", mirror=True, caption=SITE),
)
FOLDER: Final = (
    Shot(name="people/astronaut", photo="astronaut.png", title="", caption=SAMPLE),
    Shot(name="people/turned", photo="astronaut.png", title="", crop=(0.0, 0.0, 1.0, 0.75), quirk="turned"),
    Shot(name="people/print", photo="astronaut.png", title="", crop=PORTRAIT, quirk="cmyk"),
    Shot(name="people/2026/mirrored", photo="astronaut.png", title="", mirror=True, suffix=".webp"),
    Shot(name="animals/cat", photo="chelsea.png", title="", caption=SITE, suffix=".png"),
    Shot(name="animals/cat-dim", photo="chelsea.png", title="", brightness=0.7, suffix=".webp"),
    Shot(name="things/coffee", photo="coffee.png", title="", caption=DRAFT, quirk="located"),
    Shot(name="things/rocket", photo="rocket.jpg", title="", caption=RED),
    Shot(name="things/motorcycle", photo="motorcycle_left.png", title="", mirror=True, suffix=".png"),
    Shot(name="things/gravel", photo="gravel.png", title=""),
    Shot(name="papers/page", photo="page.png", title="", suffix=".png"),
    Shot(name="papers/broken", photo="coffee.png", title="", quirk="truncated"),
)


def build(folder: Path) -> None:
    """Write the demo: 36 images, 2 of them cut off on purpose. Existing files of the same names are replaced.

    `webdataset/demo-00000N.tar` with .json and .txt sidecars, `parquet/demo.parquet` with two row groups, an image
    struct as Hugging Face writes it and a caption column, `folder/` with nested paths.
    """
    for index, shots in enumerate(WEBDATASET):
        members = ((f"{shot.name}{ending}", data) for shot in shots for ending, data in _sample(shot))
        _write_tar(folder / "webdataset" / f"demo-{index:06d}.tar", members)
    _write_parquet(folder / "parquet" / "demo.parquet", PARQUET)
    for shot in FOLDER:
        _write(folder / "folder" / f"{shot.name}{shot.suffix}", encode(shot))


def encode(shot: Shot) -> bytes:
    """The file of one demo image."""
    picture = draw(shot)
    out = io.BytesIO()
    if shot.suffix == ".png":
        picture.save(out, "PNG")
    elif shot.suffix == ".webp":
        picture.save(out, "WEBP", quality=90, method=2)
    elif shot.quirk == "cmyk":
        picture.convert("CMYK").save(out, "JPEG", quality=92)
    else:
        exif = Image.Exif()
        if shot.quirk == "turned":
            exif[0x0112] = 6  # as a phone held upright stores it: turn right by 90 degrees to look at it
            picture = picture.transpose(Image.Transpose.ROTATE_90)
        if shot.quirk == "located":
            exif[0x010F] = "Demo Camera"
            exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 51.0, 24.0), 3: "E", 4: (2.0, 21.0, 7.0)})
        comment = b"a comment that must not be published" if shot.quirk == "located" else b""
        picture.convert("RGB").save(out, "JPEG", quality=90, exif=exif, comment=comment)
    data = out.getvalue()
    return data[: len(data) * 3 // 5] if shot.quirk == "truncated" else data


def draw(shot: Shot) -> Image.Image:
    """The picture of one demo image, before it is encoded."""
    picture = photograph(shot.photo)
    left, top, right, bottom = shot.crop
    width, height = picture.size
    if shot.crop != Whole:
        picture = picture.crop((round(left * width), round(top * height), round(right * width), round(bottom * height)))
    if shot.mirror:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if shot.brightness != 1.0:
        picture = ImageEnhance.Brightness(picture).enhance(shot.brightness)
    if shot.caption is not None:
        picture = picture.convert("RGB")
        _write_caption(picture, shot.caption)
    return picture


@cache
def photograph(name: str) -> Image.Image:
    """A photograph of the scikit-image wheel by its file name, decoded. Treat it as read-only."""
    package = importlib.util.find_spec("skimage")
    if package is None or package.origin is None:
        raise SystemExit("the demo's photographs come with scikit-image, which is not installed: run `make setup`")
    with Image.open(Path(package.origin).parent / "data" / name) as picture:
        picture.load()
        return picture


def _write_caption(picture: Image.Image, caption: Caption) -> None:
    size = max(16, round(caption.size * picture.width))
    share = {"top": 0.03, "middle": 0.45, "bottom": 0.97}[caption.place]
    anchor = {"top": "ma", "middle": "mm", "bottom": "md"}[caption.place]
    outline = "white" if caption.colour == "black" else "black"
    ImageDraw.Draw(picture).text(
        (picture.width / 2, share * picture.height),
        caption.text,
        fill=caption.colour,
        anchor=anchor,
        font=ImageFont.load_default(size=size),
        stroke_width=max(1, size // 16),
        stroke_fill=outline,
    )


def _sample(shot: Shot) -> Iterator[tuple[str, bytes]]:
    yield shot.suffix, encode(shot)
    yield ".json", json.dumps({"photo": shot.photo, "title": shot.title}, sort_keys=True).encode()
    yield ".txt", shot.title.encode()


def _write_parquet(path: Path, shots: Iterable[Shot]) -> None:
    shots = tuple(shots)
    features = {
        "image": {"_type": "Image"},
        "caption": {"dtype": "string", "_type": "Value"},
        "id": {"dtype": "int64", "_type": "Value"},
    }
    schema = pa.schema(
        [
            pa.field("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            pa.field("caption", pa.string()),
            pa.field("id", pa.int64()),
        ],
        metadata={"huggingface": json.dumps({"info": {"features": features}}, sort_keys=True)},
    )
    rows = [
        {"image": {"bytes": encode(shot), "path": f"{shot.name}{shot.suffix}"}, "caption": shot.title, "id": index}
        for index, shot in enumerate(shots)
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(
        pa.Table.from_pylist(rows, schema=schema), path, row_group_size=(len(rows) + 1) // 2, compression="zstd"
    )


def _write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# --- the benchmark's images ------------------------------------------------------------------------------------

BENCH_SIZE: Final = (1366, 1024)
BENCH_RECIPE: Final = "1"  # raise it when what _bench_picture draws changes: old folders are then rebuilt
BENCH_PER_SHARD: Final = 125
BENCH_DISTINCT: Final = 1000
BENCH_SCENES: Final = (
    "coffee.png",
    "chelsea.png",
    "rocket.jpg",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "hubble_deep_field.jpg",
    "brick.png",
    "grass.png",
    "gravel.png",
    "coins.png",
)


def build_bench(folder: Path, images: int = 1000, *, loose: bool = True) -> None:
    """Write `images` JPEGs of 1366 x 1024, quality 90: `shards/bench-00000N.tar`, 125 a tar, and the same as `files/`.

    Every third shows a face (the astronaut, cropped or pasted into another photograph). From image 1,000 on the
    pictures come again under new names: the memory of a longer run is measured, not its variety. Does nothing when
    the folder is already complete. loose: also write `files/`.
    """
    wanted = f"recipe {BENCH_RECIPE}, {images} images, loose {loose}\n"
    marker = folder / "complete.txt"
    if marker.is_file() and marker.read_text() == wanted:
        return
    marker.unlink(missing_ok=True)
    for old in (*folder.glob("shards/*.tar"), *folder.glob("files/*.jpg")):
        old.unlink()
    with ThreadPoolExecutor() as pool:  # Pillow lets go of the interpreter while it resizes and encodes
        for first in range(0, images, BENCH_PER_SHARD):
            indices = range(first, min(first + BENCH_PER_SHARD, images))
            pictures = [(f"{i:06d}.jpg", data) for i, data in zip(indices, pool.map(bench_image, indices), strict=True)]
            _write_tar(folder / "shards" / f"bench-{first // BENCH_PER_SHARD:06d}.tar", pictures)
            for name, data in pictures if loose else ():
                _write(folder / "files" / name, data)
    _write(marker, wanted.encode())


def has_face(index: int) -> bool:
    """Whether the benchmark's image of this number shows a face."""
    return index % BENCH_DISTINCT % 3 == 0


def bench_image(index: int) -> bytes:
    """The benchmark's image of this number, as a JPEG."""
    rng = random.Random(index % BENCH_DISTINCT)
    if not has_face(index):
        picture = _scene(rng)
    elif rng.random() < 0.5:
        picture = _astronaut(rng, narrowest=200).resize(BENCH_SIZE, Image.Resampling.BICUBIC)
    else:
        picture = _scene(rng)
        width = rng.randint(320, 900)
        person = _astronaut(rng, narrowest=320).resize((width, width * 3 // 4), Image.Resampling.BICUBIC)
        x, y = rng.randint(0, BENCH_SIZE[0] - person.width), rng.randint(0, BENCH_SIZE[1] - person.height)
        picture.paste(person, (x, y))
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    gain, lift = rng.uniform(0.75, 1.15), rng.uniform(-12, 12)
    picture = picture.point([max(0, min(255, round(gain * v + lift))) for v in range(256)] * 3)
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=90)
    return out.getvalue()


def _scene(rng: random.Random) -> Image.Image:
    """A random 4:3 part of a photograph without a face, enlarged to the benchmark's size."""
    photo = _rgb(rng.choice(BENCH_SCENES))
    width = rng.uniform(0.55, 1.0) * min(photo.width, photo.height * 4 / 3)
    x, y = rng.uniform(0, photo.width - width), rng.uniform(0, photo.height - width * 3 / 4)
    return photo.resize(BENCH_SIZE, Image.Resampling.BICUBIC, box=(x, y, x + width, y + width * 3 / 4))


def _astronaut(rng: random.Random, narrowest: int) -> Image.Image:
    """A random 4:3 part of the astronaut that holds her whole face (about x 175..275, y 65..200 of 512 x 512)."""
    width = rng.randint(narrowest, 512)
    height = width * 3 // 4
    x = rng.randint(max(0, 275 - width), min(175, 512 - width))
    y = rng.randint(max(0, 200 - height), min(65, 512 - height))
    return _rgb("astronaut.png").crop((x, y, x + width, y + height))


@cache
def _rgb(name: str) -> Image.Image:
    return photograph(name).convert("RGB")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m jobs.demo_shards", description="Write the demo's or benchmark's images."
    )
    parser.add_argument("out", type=Path, help="folder to write into")
    parser.add_argument("--bench", type=int, metavar="N", help="write N benchmark images instead of the demo")
    args = parser.parse_args(argv)
    if args.bench is None:
        build(args.out)
    else:
        build_bench(args.out, args.bench)
    print(f"{args.out}: {', '.join(sorted(path.name for path in args.out.iterdir() if path.is_dir()))}")


if __name__ == "__main__":
    main()
