"""Sliding windows for the families whose scores can be averaged; the others refuse them by name.

One scale and the same scale twice must find the same; a network that sees one pixel at a time finds in tiles what
it finds in the whole.
"""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.segment.hf.universal import HfUniversal
from pipeline.segment.shared.sliding_window import SlidingWindow
from tests.fakes import hf_checkpoints
from tests.fakes.drawn_images import annotate, folder_of
from tests.fakes.hf_checkpoints import SPLIT, checkpoint, clipseg, mask2former, small
from tests.fakes.onnx_segmenter import described, network
from tests.fakes.specs import made

TWICE = "sliding_window.scales=[1.0,1.0]"


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of(tmp_path_factory.mktemp("looks") / "drawings", range(1))


def keys(family: str, *values: str) -> list[str]:
    return [f"segment.{family}.{value}" for value in values]


@pytest.mark.parametrize(
    ("result", "layout", "names"),
    [("logits", "nchw", "[ground,disc,square]"), ("probabilities", "nhwc", "[ground,disc,square]"),
     ("binary", "nchw", "[disc]")],
)  # fmt: skip
def test_an_onnx_network_of_one_pixel_finds_in_tiles_what_it_finds_in_the_whole(
    result: str, layout: str, names: str, drawings: Path, tmp_path: Path
) -> None:
    whole = annotate(
        drawings, tmp_path / "whole", *described(network(tmp_path / "a.onnx", result, layout), result, layout, names)
    )
    model = network(tmp_path / "tile.onnx", result, layout, (64, 64))
    tiles = keys("onnx_model", "height=64", "width=64", "sliding_window.overlap=16", "sliding_window.flip=true")
    tiled = annotate(drawings, tmp_path / "tiled", *described(model, result, layout, names), *tiles)
    assert [row["label"] for row in tiled] == [row["label"] for row in whole]
    for one, other in zip(tiled, whole, strict=True):
        assert np.count_nonzero(one["mask"] != other["mask"]) < 20  # rounding, where two classes are equally likely
        assert one["score"] == pytest.approx(other["score"], abs=1e-3)


def test_an_onnx_network_of_any_size_sees_several(drawings: Path, tmp_path: Path) -> None:
    model = network(tmp_path / "a.onnx", "logits", "nchw", ("h", "w"))  # type: ignore[arg-type]
    how = [*described(model, "logits"), *keys("onnx_model", "keep_aspect=true", "height=128", "multiple=8")]
    one, several = (
        annotate(drawings, tmp_path / str(len(more)), *how, *keys("onnx_model", *more))
        for more in ([], ["sliding_window.scales=[0.5,1.0,2.0]", "sliding_window.flip=true"])
    )
    assert [row["label"] for row in several] == [row["label"] for row in one]
    for row, other in zip(several, one, strict=True):
        assert (row["mask"] == other["mask"]).mean() > 0.97


@pytest.mark.parametrize(
    ("result", "values", "expected"),
    [
        ("label_map", ["sliding_window.flip=true"], "a label_map has no scores"),
        ("logits", ["sliding_window.overlap=16"], "expected the same height and width, got 96 and 128"),
        (
            "logits",
            ["sliding_window.scales=[0.5,1.0]"],
            r"any size \(sliding_window\.scales\), got \?x3x96x128",
        ),
    ],
)
def test_what_an_onnx_network_cannot_do_is_refused(
    result: str, values: list[str], expected: str, drawings: Path, tmp_path: Path
) -> None:
    how = [*described(network(tmp_path / "a.onnx", result, "nchw"), result), *keys("onnx_model", *values)]
    with pytest.raises((ConfigError, AssertionError), match=expected):
        annotate(drawings, tmp_path / "out", *how)


def test_the_same_scale_twice_finds_what_one_finds(drawings: Path, tmp_path: Path) -> None:
    query = hf_checkpoints.saved(mask2former(), tmp_path / "mask2former", {"height": 64, "width": 96})
    prompted = [
        "segment=[hf_prompt/clipseg]",
        *keys("hf_prompt", f"model.folder={clipseg(tmp_path / 'clipseg')}", "model.licence=MIT", "score=0.45"),
        *keys("hf_prompt", "prompts=[disc,blue square]"),
    ]
    for family, how in (("hf_universal", hf_checkpoints.local("hf_universal", query)), ("hf_prompt", prompted)):
        one = annotate(drawings, tmp_path / family / "one", *how)
        two = annotate(drawings, tmp_path / family / "two", *how, *keys(family, TWICE))
        assert [row["label"] for row in two] == [row["label"] for row in one] != []
        for row, other in zip(two, one, strict=True):
            assert (row["mask"] == other["mask"]).mean() > 0.999
            assert row["score"] == pytest.approx(other["score"], abs=1e-3)


def test_tiles_of_queries_and_of_prompts_cover_the_image(drawings: Path, tmp_path: Path) -> None:
    query = hf_checkpoints.saved(mask2former(), tmp_path / "mask2former", {"height": 64, "width": 64})
    tiles = ["longest=64", "sliding_window.overlap=16", "sliding_window.flip=true"]
    rows = annotate(
        drawings, tmp_path / "queries", *hf_checkpoints.local("hf_universal", query), *keys("hf_universal", *tiles)
    )
    assert np.sum([row["mask"] for row in rows], axis=0).tolist() == np.ones((96, 128)).tolist()
    values = (f"model.folder={clipseg(tmp_path / 'clipseg')}", "model.licence=MIT", "score=0", "prompts=[disc,square]")
    prompts = ["segment=[hf_prompt/clipseg]", *keys("hf_prompt", *values, *tiles)]
    rows = annotate(drawings, tmp_path / "prompts", *prompts)
    assert [(row["label"], row["area"]) for row in rows] == [("disc", 96 * 128), ("square", 96 * 128)]


def test_tiles_are_not_for_objects(tmp_path: Path) -> None:
    torch.manual_seed(0)
    folder = hf_checkpoints.saved(mask2former(), tmp_path / "mask2former", {"height": 64, "width": 64})
    universal = partial(made, "segment.hf_universal", HfUniversal)
    with pytest.raises(
        ConfigError, match=r"hf_universal\.sliding_window: is for task=semantic: an object on the border of two"
    ):
        universal(model=checkpoint(folder, words=False), task="instance", sliding_window=SlidingWindow(flip=True))
    split = hf_checkpoints.saved(small("eomt"), tmp_path / "eomt", {"shortest_edge": 64}, **SPLIT)
    with pytest.raises(
        ConfigError, match=r"hf_universal\.sliding_window: this checkpoint splits or pads an image itself"
    ):
        universal(model=checkpoint(split, words=False), task="semantic", sliding_window=SlidingWindow(overlap=8))
