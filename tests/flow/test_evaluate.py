"""segfill evaluate: planted truths with known answers, all kinds of truth alike, refusals by name, shift."""

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from jobs import evaluate, export
from pipeline.image import rle
from tests.fakes.drawn_output import CLASSES, Drawn, mask, pieces, write


def told(output: str, tmp_path: Path, *overrides: str) -> dict[str, Any]:
    path = tmp_path / "evaluation.json"
    assert evaluate.main([f"uri={output}", f"to={path}", *overrides]) == 0
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def refused(output: str, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    assert evaluate.main([f"uri={output}", "to=", *overrides]) == 2
    return capsys.readouterr().err


PLANTED = {
    "a.png": [Drawn(label="cat", score=0.9, mask=mask(20, 20, (0, 0, 10, 10)))],
    "b.png": [
        Drawn(label="dog", score=0.8, mask=mask(20, 40, (0, 0, 10, 10))),
        Drawn(label="dog", score=0.4, mask=mask(20, 40, (20, 10, 10, 10))),
    ],
}


def truth_of(tmp_path: Path, **changes: Any) -> Path:
    """COCO: the cat is half as large as ours; of the dogs the first is exact, the second is not there."""
    shapes = [(1, 1, mask(20, 20, (0, 0, 10, 5))), (2, 2, mask(20, 40, (0, 0, 10, 10)))]
    found = {
        "images": [
            {"id": 1, "file_name": "x/a.jpg", "height": 20, "width": 20},
            {"id": 2, "file_name": "b.png", "height": 20, "width": 40},
        ],
        "annotations": [
            {"id": at, "image_id": image, "category_id": label, "iscrowd": 0, "area": int(shape.sum()),
             "segmentation": {"size": list(shape.shape), "counts": rle.encode(shape).decode()}}
            for at, (image, label, shape) in enumerate(shapes, 1)
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}, {"id": 3, "name": "sky"}],
        **changes,
    }  # fmt: skip
    found["images"][0]["file_name"] = "a.jpg" if "images" not in changes else found["images"][0]["file_name"]
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(found))
    return path


def test_a_planted_truth_has_the_known_answers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = write(tmp_path, PLANTED)
    found = told(output.uri, tmp_path, f"truth={truth_of(tmp_path)}")
    cat, dog, sky = found["classes"][1:]
    assert (cat["pixels_truth"], cat["pixels_ours"], cat["iou"], cat["dice"]) == (50, 100, 0.5, pytest.approx(2 / 3))
    assert (dog["pixels_truth"], dog["pixels_ours"], dog["iou"], dog["recall"]) == (100, 200, 0.5, 1.0)
    assert (sky["pixels_truth"], sky["iou"], sky["ap"], sky["pq"]) == (0, None, None, None)
    assert (dog["segments_truth"], dog["ap"], dog["ap50"]) == (1, pytest.approx(1.0), pytest.approx(1.0))
    assert cat["ap50"] == pytest.approx(1.0)  # IoU 0.5 is enough for AP50 ...
    assert cat["ap"] == pytest.approx(0.1)
    assert cat["pq"] == 0.0  # ... but not for PQ, which wants more
    assert (dog["pq"], dog["sq"], dog["rq"]) == (pytest.approx(1 / 1.5), 1.0, pytest.approx(1 / 1.5))
    background = 400 + 800 - 300
    assert found["classes"][0]["iou"] == pytest.approx(background / (background + 150))
    assert found["mean"]["pixel_accuracy"] == pytest.approx((1200 - 150) / 1200)
    assert found["mean"]["mean_iou"] == pytest.approx((0.5 + 0.5 + background / (background + 150)) / 3)
    assert found["mean"]["ece_segments"] == pytest.approx((0.1 + 0.2 + 0.4) / 3)
    assert found["mean"]["ece_pixels"] == pytest.approx((abs(90 - 50) + abs(80 - 100) + 40) / 300)
    assert np.array(found["confusion"]["pixels"]).sum() == 1200
    out = capsys.readouterr().out
    assert "images: measured 2, rejected 0" in out
    without = told(output.uri, tmp_path, f"truth={truth_of(tmp_path)}", "background=false")
    assert without["mean"]["mean_iou"] == 0.5


def test_every_kind_of_truth_says_the_same_of_itself(tmp_path: Path) -> None:
    output = write(tmp_path, pieces())
    for name in ("coco", "coco_panoptic", "label_maps"):
        assert export.main([f"uri={output.uri}", f"to={tmp_path / name}", f"format={name}", "images=none"]) == 0
    truths = {
        "output": [f"truth={output.uri}"],
        "coco": [f"truth={tmp_path}/coco/annotations/instances_train.json"],
        "coco_panoptic": [f"truth={tmp_path}/coco_panoptic/annotations/panoptic_train.json"],
        "label_maps": [f"truth={tmp_path}/label_maps/labels/train", f"classes={tmp_path}/label_maps/classes.tsv"],
    }
    for kind, overrides in truths.items():
        found = told(output.uri, tmp_path, *overrides, "background=false")
        assert found["truth"] == kind
        assert found["images"] == {"measured": 6, "rejected": 1, "only in the output": 0, "only in the truth": 0}
        assert found["mean"]["mean_iou"] == found["mean"]["mean_boundary_f"] == found["mean"]["pixel_accuracy"] == 1.0
        assert [row["pixels_ours"] for row in found["classes"][1:]] == [2120, 4801, 4220]
        if kind in ("output", "coco_panoptic"):
            assert found["mean"]["pq"] == 1.0
        if kind in ("output", "coco"):
            assert found["mean"]["ap"] == pytest.approx(1.0)


def moved(seed: int) -> dict[str, list[Drawn] | str | tuple[int, int]]:
    """The drawn pieces as a worse model has them: moved, with other scores, one of another class, one twice."""
    rng = np.random.default_rng(seed)
    out: dict[str, list[Drawn] | str | tuple[int, int]] = {}
    for name, found in pieces().items():
        if isinstance(found, str | tuple):
            out[name] = found
            continue
        some = [each for each in found if isinstance(each, Drawn) and each.mask.any()]
        out[name] = [
            Drawn(
                label=each.label if rng.random() < 0.8 else "dog",
                score=round(float(rng.random()), 2),
                mask=np.roll(each.mask, rng.integers(-3, 4, 2), axis=(0, 1)),
            )
            for each in [*some, some[0]]
        ]
    return out


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_a_whole_run_has_the_ap_of_cocoeval_on_its_export(tmp_path: Path) -> None:
    jsons = {}
    for name, drawn in (("truth", pieces()), ("ours", moved(3))):
        output = write(tmp_path / name, drawn)
        to = tmp_path / name / "coco"
        assert export.main([f"uri={output.uri}", f"to={to}", "images=none", "min_area=1"]) == 0
        jsons[name] = to / "annotations/instances_train.json"
    with redirect_stdout(io.StringIO()):
        truth = COCO(str(jsons["truth"]))
        found = json.loads(jsons["ours"].read_text())["annotations"]
        # loadRes takes the area of a detection from its box, where it has one.
        found = [{key: value for key, value in each.items() if key != "bbox"} for each in found]
        judge = COCOeval(truth, truth.loadRes(found), "segm")
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    mean = told(str(tmp_path / "ours/out"), tmp_path, f"truth={jsons['truth']}")["mean"]
    names = ("ap", "ap50", "ap75", "ap_small", "ap_medium")
    assert [mean[name] for name in names] == pytest.approx(judge.stats[:5].tolist(), abs=1e-6)
    assert 0.1 < mean["ap"] < 0.9
    assert mean["recall100"] == pytest.approx(judge.stats[8], abs=1e-6)


def test_ignored_pixels_of_a_label_map_do_not_count(tmp_path: Path) -> None:
    output = write(tmp_path, {"a.png": [Drawn(label="cat", score=1.0, mask=mask(20, 20, (0, 0, 10, 10)))]})
    values = np.zeros((20, 20), np.uint8)
    values[:10, :5] = 7
    values[:10, 5:] = 255
    (tmp_path / "maps").mkdir()
    Image.fromarray(values).save(tmp_path / "maps/a.png")
    (tmp_path / "classes.tsv").write_text("id\tname\n7\tcat\n")
    found = told(output.uri, tmp_path, f"truth={tmp_path}/maps", f"classes={tmp_path}/classes.tsv", "labels=cat")
    assert found["classes"][1]["iou"] == 1.0
    assert (found["classes"][1]["pixels_truth"], found["classes"][1]["pixels_ours"]) == (50, 50)


def test_values_and_categories_that_no_class_has_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = write(tmp_path, {"a.png": [Drawn(label="cat", score=1.0, mask=mask(20, 20, (0, 0, 10, 10)))]})
    (tmp_path / "maps").mkdir()
    Image.fromarray(np.arange(400, dtype=np.uint8).reshape(20, 20) % 5).save(tmp_path / "maps/a.png")
    (tmp_path / "classes.tsv").write_text("id\tname\n1\tcat\n")
    err = refused(output.uri, capsys, f"truth={tmp_path}/maps", f"classes={tmp_path}/classes.tsv", "labels=cat")
    assert "a.png has values that no class has: 2, 3, 4" in err
    truth = truth_of(tmp_path, categories=[{"id": 9, "name": "cat"}])
    assert "annotations of categories that are not there: 1, 2" in refused(output.uri, capsys, f"truth={truth}")


def test_classes_that_do_not_fit_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = write(tmp_path, PLANTED)
    truth = truth_of(tmp_path, categories=[{"id": n, "name": f"c{n}"} for n in range(1, 6)])
    err = refused(output.uri, capsys, f"truth={truth}")
    assert "do not fit: cat (not in the truth), dog (not in the truth), sky (not in the truth) and 5 more" in err
    (tmp_path / "names.tsv").write_text("id\tname\n1\tcat\n2\tdog\n3\tsky\n")
    assert told(output.uri, tmp_path, f"truth={truth}", f"classes={tmp_path}/names.tsv")["classes"][1]["iou"] == 0.5


def test_sizes_and_names_that_do_not_fit_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = write(tmp_path, PLANTED)
    swapped = [
        {"id": 1, "file_name": "a.jpg", "height": 20, "width": 20},
        {"id": 2, "file_name": "b.png", "height": 40, "width": 20},
    ]
    err = refused(output.uri, capsys, f"truth={truth_of(tmp_path, images=swapped)}")
    assert "sizes do not fit: b.png is 40x20, in the truth 20x40" in err
    others = [{"id": n, "file_name": f"{name}.png", "height": 20, "width": 20} for n, name in enumerate("acdef", 1)]
    truth = truth_of(tmp_path, images=others, annotations=[])
    err = refused(output.uri, capsys, f"truth={truth}")
    assert "5 images do not fit: b.png (not in the truth), c.png (not in the output), d.png (not in the output)" in err
    found = told(output.uri, tmp_path, f"truth={truth}", "missing=skip")
    assert found["images"] == {"measured": 1, "rejected": 0, "only in the output": 1, "only in the truth": 4}


@pytest.mark.parametrize("content", ["{}", "[", "nothing"])
def test_what_is_no_truth_is_refused(tmp_path: Path, content: str, capsys: pytest.CaptureFixture[str]) -> None:
    output = write(tmp_path, PLANTED)
    (tmp_path / "t.json").write_text(content)
    assert refused(output.uri, capsys, f"truth={tmp_path}/t.json").startswith("evaluate: ")
    assert "got both or neither" in refused(output.uri, capsys)
    assert "expected COCO JSON" in refused(output.uri, capsys, f"truth={tmp_path}/missing.json")


def shard(seed: int, score: float, label: str, count: int = 30) -> dict[str, list[Drawn]]:
    rng = np.random.default_rng(seed)
    return {
        f"{seed}-{n}.png": [
            Drawn(label=label, score=float(np.clip(rng.normal(score, 0.05), 0, 1)), mask=mask(16, 16, (2, 2, 8, 8)))
        ]
        for n in range(count)
    }


def test_the_shard_that_is_different_comes_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    usual = {**shard(1, 0.8, "cat"), **shard(2, 0.8, "cat"), **shard(3, 0.8, "cat")}
    reference = write(tmp_path / "r", usual, unit_images=30)
    odd: dict[str, list[Drawn] | str] = {
        **shard(1, 0.8, "cat"),
        **shard(2, 0.3, "dog"),
        **shard(3, 0.8, "cat"),
        "9.png": "truncated",
    }
    output = write(tmp_path / "o", odd, unit_images=30)
    found = told(output.uri, tmp_path, f"against={reference.uri}")
    names = [each["shard"] for each in found["shards"]]
    assert names[0] == "files-000001"
    assert found["shards"][0]["psi"]["scores"] > 1
    assert found["shards"][0]["psi"]["labels"] > 1
    assert found["shards"][0]["js"]["labels"] == pytest.approx(1.0)
    usual_shard = next(each for each in found["shards"] if each["shard"] == "files-000000")
    assert max(usual_shard["psi"].values()) < 0.25
    assert names[-1] != "files-000001"
    assert "(1 small shards)" in names
    out = capsys.readouterr().out.splitlines()
    assert out[0].split()[:4] == ["PSI", "images", "scores", "areas"]
    assert out[1].startswith("(all)")
    assert out[2].startswith("files-000001")
    same = told(reference.uri, tmp_path, f"against={reference.uri}")
    assert all(value == 0 for each in same["shards"] for value in each["psi"].values() if each["images"] == 90)
    assert set(CLASSES) >= set(found["profile"]["labels"])
