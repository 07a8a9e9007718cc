"""Readers of other tools' formats, written from their definitions and not from our writers."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np


def brush_mask(rle: list[int], height: int, width: int) -> np.ndarray:
    """HW bool, from Label Studio's brush: `decode_rle` of label_studio_sdk.converter.brush, in its steps."""
    bits = "".join(f"{byte:08b}" for byte in rle)
    place = 0

    def read(size: int) -> int:
        nonlocal place
        place += size
        return int(bits[place - size : place], 2)

    number, word = read(32), read(5) + 1
    sizes = [read(4) + 1 for _ in range(4)]
    out: list[int] = []
    while len(out) < number:
        series = read(1)
        length = read(sizes[read(2)]) + 1
        out += [read(word)] * length if series else [read(word) for _ in range(length)]
    assert len(out) == number == height * width * 4
    return np.array(out, np.uint8).reshape(height, width, 4)[..., 3] > 0


def cvat_masks(path: Path) -> Iterator[tuple[str, str, np.ndarray]]:
    """Name of the image, label, HW bool of each mask, and of each group of polygons."""
    for image in ET.parse(path).getroot().iter("image"):
        height, width = int(image.attrib["height"]), int(image.attrib["width"])
        for each in image.iter("mask"):
            x, y, w, h = (int(each.attrib[key]) for key in ("left", "top", "width", "height"))
            runs = [int(run) for run in each.attrib["rle"].split(",")]
            inside = np.repeat(np.arange(len(runs)) % 2 == 1, runs).reshape(h, w)
            full = np.zeros((height, width), bool)
            full[y : y + h, x : x + w] = inside
            yield image.attrib["name"], each.attrib["label"], full
        groups: dict[str, tuple[str, np.ndarray]] = {}
        for each in image.iter("polygon"):
            points = np.array([point.split(",") for point in each.attrib["points"].split(";")], np.float64)
            _, full = groups.setdefault(
                each.attrib["group_id"], (each.attrib["label"], np.zeros((height, width), np.uint8))
            )
            cv2.fillPoly(full, [points.astype(np.int32)], 1)
        for label, full in groups.values():
            yield image.attrib["name"], label, full.astype(bool)


def yolo_masks(path: Path, height: int, width: int) -> list[tuple[int, np.ndarray]]:
    """Class and HW bool of each line, as ultralytics' polygon2mask fills it."""
    found = []
    for line in path.read_text().splitlines():
        number, *values = line.split()
        points = np.array(values, np.float64).reshape(-1, 2) * (width, height)
        full = np.zeros((height, width), np.uint8)
        cv2.fillPoly(full, [points.astype(np.int32)], 1)
        found.append((int(number), full.astype(bool)))
    return found


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]
