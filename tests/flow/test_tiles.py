"""Tiles with blended logits through the whole chain: the same as without tiles, and no more memory than promised."""

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline import build, driver
from tests.fakes import hf_checkpoints
from tests.fakes.drawn_images import annotate, folder_of
from tests.fakes.large_image_run import trained
from tests.fakes.published_output import published


@pytest.mark.promise("Tiles of a large image agree with one look at the whole")
def test_tiles_find_in_4_megapixels_what_the_whole_image_shows(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", range(1), 2048, 2048)
    net = ["segment=[unet]", *trained(tmp_path)]
    tiled = annotate(source, tmp_path / "tiled", *net)
    whole = annotate(
        source, tmp_path / "whole", *net, "segment.unet.side=2048", "segment.unet.sliding_window.overlap=0"
    )
    assert [row["label"] for row in tiled] == [row["label"] for row in whole] == ["disc", "square"]
    for one, other in zip(tiled, whole, strict=True):
        assert np.count_nonzero(one["mask"] != other["mask"]) < 0.01 * 2048 * 2048
        assert np.count_nonzero(one["mask"] != other["mask"]) < 0.01 * np.count_nonzero(one["mask"])


@pytest.mark.promise("Tiles of a large image agree with one look at the whole")
def test_tiles_scales_and_mirrors_write_the_same_bytes_again(tmp_path: Path) -> None:
    source = folder_of(tmp_path / "in", range(2), 300, 411)
    net = ["segment=[unet]", *trained(tmp_path), "segment.unet.side=128"]
    window = ["segment.unet.sliding_window.scales=[0.5,1.0]", "segment.unet.sliding_window.flip=true"]
    for out in ("one", "two"):
        places = [f"source.uri={source}", f"sink.uri={tmp_path / out}", "execute=local"]
        said = io.StringIO()
        config = build.compose("annotate", [*places, *net, *window, "chunk=1" if out == "two" else "chunk=2"])
        assert driver.run(build.build(config), said, said) == 0, said.getvalue()
    assert published(str(tmp_path / "one")) == published(str(tmp_path / "two"))


def test_checkpoints_of_a_hub_run_on_tiles_too(tmp_path: Path) -> None:
    """A small SegFormer with random numbers: the wiring; each pixel has a class, and a tile at a time is seen."""
    torch.manual_seed(0)
    folder = hf_checkpoints.saved(hf_checkpoints.segformer(), tmp_path / "segformer", {"height": 64, "width": 64})
    source = folder_of(tmp_path / "in", range(1), 100, 170)
    net = hf_checkpoints.local("hf_semantic", folder)
    (name,) = {each.split(".")[1] for each in net if each.startswith("segment.")}
    window = [
        f"segment.{name}.{each}"
        for each in ("longest=64", "sliding_window.overlap=16", "sliding_window.scales=[1.0,1.5]")
    ]
    rows = annotate(source, tmp_path / "out", *net, *window)
    assert np.sum([row["mask"] for row in rows], axis=0).max() == 1


@pytest.mark.promise("An image of 100 megapixels is segmented and filled within 2 GB")
def test_memory_grows_by_the_pixels_of_the_image(tmp_path: Path) -> None:
    """Two copies of the pixels, the masks and the codec's own rows: 12 bytes a pixel; 16 are 1.6 GB at 100
    megapixels. The logits of three classes alone would be 12 more."""
    before, after = peaks(2500, tmp_path)
    assert (after - before) * 2**20 < 16 * 2500**2


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.promise("An image of 100 megapixels is segmented and filled within 2 GB")
def test_100_megapixels_within_2_gigabytes(tmp_path: Path) -> None:
    _, after = peaks(10_000, tmp_path)
    assert after * 2**20 < 2e9


def peaks(side: int, folder: Path) -> tuple[int, int]:
    """MiB of a process that fills an image of side x side: before, and with it."""
    command = [sys.executable, "-m", "tests.fakes.large_image_run", str(side), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=1700)
    assert done.returncode == 0, done.stderr
    code, written, before, after = done.stdout.splitlines()[-1].split()
    assert (code, written) == ("0", "1"), done.stdout + done.stderr
    return int(before), int(after)
