"""Every format is opened by its own library, or by a reader written from its definition, and gives the masks back.

The drawings are what people report that exporters lose: an object in four parts, holes, an island in a hole, a mask
without a pixel, images that are wide and high, overlaps.
"""

import csv
import io
import json
from collections.abc import Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jobs import export
from pipeline.image.colours import colour_of
from tests.fakes.drawn_output import CLASSES, Drawn, pieces, write
from tests.fakes.read_exports import brush_mask, cvat_masks, lines, yolo_masks

# pycocotools 2.0.11 hands numpy 2 an array protocol of before.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

NAMES = {number: label for label, number in CLASSES.items()}


def drawn(name: str) -> list[Drawn]:
    """The segments of an image that have a pixel."""
    found = pieces()[name]
    return [each for each in found if isinstance(each, Drawn) and each.mask.any()] if isinstance(found, list) else []


KEPT = [name for name in pieces() if pieces()[name] != "truncated"]
SIZES = {"a": (60, 90), "b.1": (90, 60), "b.2": (90, 60), "d": (60, 90), "e": (30, 70), "f": (30, 70)}


def iou(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("drawn")
    write(root, pieces())
    return root / "out"


def exported(output: Path, name: str, *overrides: str) -> Path:
    folder = output.parent / f"{name}-{abs(hash(overrides))}"
    assert export.main([f"uri={output}", f"to={folder}", f"format={name}", *overrides]) == 0
    return folder


def coco(path: Path) -> COCO:
    with redirect_stdout(io.StringIO()):
        return COCO(str(path))


@pytest.mark.parametrize("shape", ["rle", "polygons"])
def test_coco_is_what_pycocotools_takes(output: Path, shape: str) -> None:
    folder = exported(output, "coco", f"shape={shape}")
    truth = coco(folder / "annotations/instances_train.json")
    assert [truth.loadCats(number)[0]["name"] for number in sorted(truth.cats)] == list(CLASSES)
    assert sorted(each["file_name"] for each in truth.imgs.values()) == KEPT
    seen = 0
    for number, image in truth.imgs.items():
        found = [truth.loadAnns(each)[0] for each in sorted(truth.getAnnIds(number))]
        expected = drawn(image["file_name"])
        assert [NAMES[each["category_id"]] for each in found] == [each.label for each in expected]
        for one, each in zip(found, expected, strict=True):
            mask = truth.annToMask(one).astype(bool)
            assert mask.shape == each.mask.shape == (image["height"], image["width"])
            assert iou(mask, each.mask) >= 0.99
            assert one["area"] == each.mask.sum()
            assert one["bbox"] == coco_mask.toBbox(coco_mask.encode(np.asfortranarray(each.mask, np.uint8))).tolist()
            assert one["segmentation"] not in ([], [[]])
            assert one["score"] == pytest.approx(each.score)
            seen += 1
    assert seen == 8


def test_cocoeval_takes_the_export_as_truth_and_as_detections(output: Path) -> None:
    folder = exported(output, "coco")
    truth = coco(folder / "annotations/instances_train.json")
    with redirect_stdout(io.StringIO()):
        found = truth.loadRes([dict(each) for each in truth.dataset["annotations"]])
        judge = COCOeval(truth, found, "segm")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    assert judge.stats[0] == pytest.approx(1.0)


def test_ids_are_the_same_whatever_is_chosen(output: Path) -> None:
    every = coco(exported(output, "coco") / "annotations/instances_train.json")
    folder = exported(output, "coco", "labels=[dog,cat]", "split=[0.5,0.5,0.0]", "min_score=0.35", "images=none")
    for name in ("train", "val"):
        some = coco(folder / f"annotations/instances_{name}.json")
        assert some.cats == every.cats
        for number, image in some.imgs.items():
            assert image["image_id"] == every.imgs[number]["image_id"]
            assert "coco_url" not in image
        for number, one in some.anns.items():
            assert one == every.anns[number]


def test_panoptic_ids_are_those_of_the_png(output: Path) -> None:
    folder = exported(output, "coco_panoptic", "stuff=sky")
    found = json.loads((folder / "annotations/panoptic_train.json").read_text())
    assert {each["name"]: each["isthing"] for each in found["categories"]} == {"cat": 1, "dog": 1, "sky": 0}
    images = {each["id"]: each for each in found["images"]}
    assert len(found["annotations"]) == len(images) == 6
    for one in found["annotations"]:
        image = images[one["image_id"]]
        colours = np.asarray(Image.open(folder / "panoptic_train" / one["file_name"]), np.uint32)
        ids = colours[..., 0] + 256 * colours[..., 1] + 65536 * colours[..., 2]
        assert ids.shape == (image["height"], image["width"])
        assert {each["id"] for each in one["segments_info"]} == set(np.unique(ids).tolist()) - {0}
        for each in one["segments_info"]:
            mask = ids == each["id"]
            rows, columns = np.nonzero(mask)
            assert each["area"] == mask.sum()
            assert each["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            expected = [d for d in drawn(image["file_name"]) if d.label == NAMES[each["category_id"]]]
            assert max(iou(mask, d.mask) for d in expected) > 0.3
    summary = json.loads((folder / "export.json").read_text())
    assert summary["hidden"] == 1  # the small cat lies under the large one


def test_label_maps_have_the_ids_and_the_colours(output: Path) -> None:
    folder = exported(output, "label_maps", "palette=voc")
    table = list(csv.DictReader((folder / "classes.tsv").open(), delimiter="\t"))
    assert [(row["id"], row["name"]) for row in table] == [
        ("0", "background"), ("1", "cat"), ("2", "dog"), ("3", "sky"),
    ]  # fmt: skip
    assert [row["colour"] for row in table[1:3]] == ["#400000", "#400080"]  # 8 and 12 of VOC
    for stem, size in SIZES.items():
        picture = Image.open(folder / f"labels/train/{stem}.png")
        values = np.asarray(picture)
        assert picture.mode == "P"
        assert values.shape == size
        expected = np.zeros(size, np.uint8)
        for each in sorted(drawn(f"{stem}.png"), key=lambda each: each.score):
            expected[each.mask] = CLASSES[each.label]
        assert (values == expected).all()
        if (values == 1).any():
            assert tuple(np.asarray(picture.convert("RGB"))[values == 1][0]) == (64, 0, 0)
    again = exported(output, "label_maps", f"colours={folder / 'classes.tsv'}", "images=none")
    assert (again / "labels/train/a.png").read_bytes() == (folder / "labels/train/a.png").read_bytes()


def test_a_png_a_segment(output: Path) -> None:
    folder = exported(output, "masks_png")
    found = lines(folder / "masks_train.jsonl")
    assert len(found) == 8
    for name in KEPT:
        for each, row in zip(drawn(name), [row for row in found if row["image"] == name], strict=True):
            assert (np.asarray(Image.open(folder / row["file"])).astype(bool) == each.mask).all()
            assert (row["label"], row["class_id"], row["area"]) == (each.label, CLASSES[each.label], each.mask.sum())


@pytest.mark.parametrize("tolerance", [0, 1])
def test_yolo_keeps_parts_and_holes_in_one_polygon(output: Path, tolerance: int) -> None:
    folder = exported(output, "yolo", "images=copy", f"tolerance={tolerance}")
    for stem, size in SIZES.items():
        found = yolo_masks(folder / f"labels/train/{stem}.txt", *size)
        expected = drawn(f"{stem}.png")
        assert [NAMES[number + 1] for number, _ in found] == [each.label for each in expected]
        for (_, mask), each in zip(found, expected, strict=True):
            # Bridges are drawn as lines of one pixel, and coordinates cut to whole pixels.
            assert iou(mask, each.mask) > 0.87
            assert iou(mask, each.mask) >= 0.99 or tolerance or stem in ("a", "b.2")
        assert Image.open(folder / f"images/train/{stem}.png").size == size[::-1]
    assert (folder / "data.yaml").read_text().splitlines()[1:] == [
        "train: images/train",
        "val: images/train # no image is in val, and trainers want one; see split",
        "names:",
        '  0: "cat"',
        '  1: "dog"',
        '  2: "sky"',
    ]


def test_datasets_loads_it_without_our_code(output: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    folder = exported(output, "hf", "images=copy", "split=[0.6,0.4,0.0]")
    found = datasets.load_dataset(str(folder), cache_dir=str(tmp_path))
    assert {name: len(split) for name, split in found.items()} == {"train": 5, "val": 1}
    segments = 0
    for row in [row for split in found.values() for row in split]:
        names = found["train"].features["segments"].feature["class"]
        assert row["image"].size == row["mask"].size == (row["width"], row["height"])
        for one, each in zip(row["segments"], drawn(row["file_name"]), strict=True):
            code = {"size": [row["height"], row["width"]], "counts": one["rle"]}
            assert (coco_mask.decode(code).astype(bool) == each.mask).all()
            assert names.int2str(one["class"]) == each.label
            segments += 1
    assert segments == 8


@pytest.mark.parametrize("shape", ["rle", "polygons"])
def test_label_studio_tasks(output: Path, shape: str) -> None:
    folder = exported(output, "label_studio", f"shape={shape}")
    tasks = json.loads((folder / "tasks_train.json").read_text())
    assert [task["data"]["file_name"] for task in tasks] == KEPT
    for task in tasks:
        expected = drawn(task["data"]["file_name"])
        masks: dict[str, np.ndarray] = {}
        for result in task["predictions"][0]["result"]:
            height, width = result["original_height"], result["original_width"]
            (number,) = result["meta"]["segment"]
            if shape == "rle":
                mask = brush_mask(result["value"]["rle"], height, width)
            else:
                points = np.array(result["value"]["points"]) * (width / 100, height / 100)
                rings = coco_mask.frPyObjects([points.ravel().tolist()], height, width)
                mask = coco_mask.decode(rings)[..., 0].astype(bool)
            masks[number] = masks.get(number, False) | mask
        for mask, each in zip(masks.values(), expected, strict=True):
            assert iou(mask, each.mask) >= 0.99
    interface = (folder / "interface.xml").read_text()
    assert f'background="#{"".join(f"{v:02x}" for v in colour_of("sky"))}"' in interface


@pytest.mark.parametrize("shape", ["rle", "polygons"])
def test_cvat_images(output: Path, shape: str) -> None:
    folder = exported(output, "cvat", f"shape={shape}", "tolerance=0")
    found = list(cvat_masks(folder / "annotations.xml"))
    expected = [(name, each) for name in KEPT for each in drawn(name)]
    for (name, label, mask), (own, each) in zip(found, expected, strict=True):
        assert (name, label) == (own, each.label)
        assert iou(mask, each.mask) >= 0.99


def test_fiftyone_imports_a_coco_folder_a_split(output: Path) -> None:
    folder = exported(output, "fiftyone", "images=copy")
    truth = coco(folder / "train/labels.json")
    for image in truth.imgs.values():
        assert Image.open(folder / "train/data" / image["file_name"]).size == (image["width"], image["height"])
    assert len(truth.anns) == 8


def _every(folder: Path) -> Iterator[dict[str, Any]]:
    yield from lines(folder / "rejected.jsonl")


@pytest.mark.parametrize("name", ["coco", "yolo", "hf", "cvat", "masks_png"])
def test_a_rejected_image_is_listed_never_silently_missing(output: Path, name: str) -> None:
    folder = exported(output, name, "images=copy")
    (row,) = _every(folder)
    assert (row["key"], row["stage"], row["reason"], row["detail"]) == (
        "c",
        "decode",
        "truncated",
        "3 bytes are missing",
    )
    assert json.loads((folder / "export.json").read_text())["images"] == {
        "train": 6,
        "val": 0,
        "test": 0,
        "rejected": 1,
    }


def test_the_loss_of_polygons_is_measured_and_printed(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = exported(output, "coco", "shape=polygons", "tolerance=6")
    assert "polygons cover their masks with a mean IoU of" in capsys.readouterr().out
    told = json.loads((folder / "export.json").read_text())["polygons"]
    truth = coco(folder / "annotations/instances_train.json")
    measured = [
        iou(truth.annToMask(truth.anns[number]).astype(bool), each.mask)
        for number, each in zip(sorted(truth.anns), [each for name in KEPT for each in drawn(name)], strict=True)
    ]
    assert told == {
        "count": 8,
        "tolerance": 6,
        "mean_iou": pytest.approx(np.mean(measured), abs=1e-6),
        "least_iou": pytest.approx(min(measured), abs=1e-6),
    }
