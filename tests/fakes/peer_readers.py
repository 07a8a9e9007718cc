"""Read exports with the libraries that they are for, in an environment of their own:
`python peer_readers.py READER EXPORT MASKS`.

READER: brush (label-studio-sdk), coco and yolo (supervision), fiftyone. MASKS: a folder of `<name>-<segment>.npy`, HW
bool.
Prints the number of images and of segments, and the least IoU, as JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def brush(export: Path) -> Iterator[tuple[str, list[Any]]]:
    from label_studio_sdk.converter.brush import decode_rle

    for task in json.loads((export / "tasks_train.json").read_text()):
        masks = []
        for result in task["predictions"][0]["result"]:
            size = (result["original_height"], result["original_width"], 4)
            masks.append(np.reshape(decode_rle(result["value"]["rle"]), size)[..., 3] > 0)
        yield task["data"]["file_name"], masks


def coco(export: Path) -> Iterator[tuple[str, list[Any]]]:
    import supervision

    found = supervision.DetectionDataset.from_coco(
        str(export / "images/train"), str(export / "annotations/instances_train.json"), force_masks=True
    )
    yield from _detections(found)


def yolo(export: Path) -> Iterator[tuple[str, list[Any]]]:
    import supervision

    found = supervision.DetectionDataset.from_yolo(
        str(export / "images/train"), str(export / "labels/train"), str(export / "data.yaml"), force_masks=True
    )
    yield from _detections(found)


def _detections(found: Any) -> Iterator[tuple[str, list[Any]]]:
    for path, _, detections in found:
        yield Path(path).name, list(detections.mask) if len(detections) else []


def fiftyone(export: Path) -> Iterator[tuple[str, list[Any]]]:
    from fiftyone.utils.coco import COCODetectionDatasetImporter

    found = COCODetectionDatasetImporter(dataset_dir=str(export / "train"), label_types="segmentations")
    found.setup()  # the importer of Dataset.from_dir, which needs a database
    for path, _, labels in found:
        masks = []
        width, height = _size(path)
        for each in labels.detections if labels else []:
            left, top = round(each.bounding_box[0] * width), round(each.bounding_box[1] * height)
            full = np.zeros((height, width), bool)
            full[top : top + each.mask.shape[0], left : left + each.mask.shape[1]] = each.mask
            masks.append(full)
        yield Path(path).name, masks


def _size(path: str) -> tuple[int, int]:
    from PIL import Image

    with Image.open(path) as image:
        return image.size


def main(reader: str, export: str, masks: str) -> None:
    images = segments = 0
    least = 1.0
    for name, found in {"brush": brush, "coco": coco, "yolo": yolo, "fiftyone": fiftyone}[reader](Path(export)):
        expected = [np.load(path) for path in sorted(Path(masks).glob(f"{name}-*.npy"))]
        assert len(found) == len(expected), (name, len(found), len(expected))
        images += 1
        for one, other in zip(found, expected, strict=True):
            segments += 1
            least = min(least, float((one & other).sum() / (one | other).sum()))
    print(json.dumps({"images": images, "segments": segments, "least": least}))


if __name__ == "__main__":
    main(*sys.argv[1:])
