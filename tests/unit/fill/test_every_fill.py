"""What every fill promises, whatever its method."""

import importlib
import pickle
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from pipeline.contracts import Fill
from pipeline.fill.shared.base import ContextFill
from pipeline.fill.shared.crops import GREY
from pipeline.fill.shared.windows import Windowing
from pipeline.fill.solid import Solid
from pipeline.spec import fields_of
from tests.fakes.fill_samples import BLANKED, REVERSIBLE, crops_of, ellipse, face, filled

CONF = Path(__file__).parents[3] / "conf" / "fill"
CHOICES = ("none", "solid", "diffuse", "exemplar", "blur", "pixelate")
every = pytest.mark.parametrize("fill", BLANKED + REVERSIBLE, ids=repr)
blanked = pytest.mark.parametrize("fill", BLANKED, ids=repr)


@pytest.mark.parametrize("fill", [f for f in BLANKED + REVERSIBLE if f != Solid(colour="#102030")], ids=repr)
@pytest.mark.parametrize("where", [(60, 50, 20, 25), (0, 0, 30, 30), (99, 119, 200, 15)])
def test_a_hole_in_a_flat_surface_becomes_that_surface(fill: Fill, where: tuple[int, int, int, int]) -> None:
    flat = np.full((100, 120, 3), [200, 100, 30], np.uint8)
    mask = ellipse(100, 120, *where)
    holed = flat.copy()
    if not fill.reversible:
        holed[mask] = [255, 0, 255]
    drift = 8 if getattr(fill, "method", "") == "telea" else 1  # its own, see inpaint
    assert np.abs(filled(holed, mask, fill).astype(int) - flat).max() <= drift


@pytest.mark.slow
@blanked
def test_what_was_in_the_region_makes_no_difference(fill: Fill) -> None:
    """The strongest form of "nothing leaks": the same surroundings with anything else inside give the same bytes."""
    rgb, mask = face()
    other = rgb.copy()
    other[mask] = np.random.default_rng(1).integers(0, 256, (int(mask.sum()), 3))
    first, second = filled(rgb, mask, fill), filled(other, mask, fill)
    assert (first == second).all()
    assert (first[~mask] == rgb[~mask]).all()
    assert (first[mask] != rgb[mask]).any(axis=-1).mean() > 0.95


@pytest.mark.slow
@blanked
def test_what_is_made_does_not_resemble_what_was_there(fill: Fill) -> None:
    rgb, mask = face()
    noisy = rgb.copy()
    noise = np.random.default_rng(2).integers(0, 256, (int(mask.sum()), 3))
    noisy[mask] = noise
    made = filled(noisy, mask, fill)[mask].astype(float)
    if made.std() > 0:
        assert abs(np.corrcoef(made.ravel(), noise.ravel())[0, 1]) < 0.1


@every
def test_nothing_known_and_tiny_images(fill: Fill) -> None:
    rng = np.random.default_rng(3)
    for height, width in [(1, 1), (1, 7), (7, 1), (2, 2), (30, 40)]:
        rgb = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        everything = filled(rgb, np.ones((height, width), bool), fill)
        assert everything.shape == rgb.shape
        if not fill.reversible and fill != Solid(colour="#102030"):
            assert (everything == GREY).all()
        all_but_one = np.ones((height, width), bool)
        all_but_one[0, 0] = False
        assert filled(rgb, all_but_one, fill)[0, 0].tolist() == rgb[0, 0].tolist()


@pytest.mark.slow
@every
def test_one_patch_a_crop_in_order_and_of_its_size(fill: Fill) -> None:
    rgb, mask = face()
    mask[400:440, 20:60] = True
    crops = crops_of(rgb, mask, fill)
    assert len(crops) == 2
    for crop, patch in zip(crops, fill.load("cpu", 1)(crops), strict=True):
        assert (patch.x, patch.y) == (crop.x, crop.y)
        assert patch.pixels.shape == crop.pixels.shape
        assert patch.pixels.dtype == np.uint8
        assert (patch.mask == crop.mask).all()
    assert fill.load("cpu", 1)([]) == []


@every
def test_specs_are_picklable_and_need_no_weights(fill: Fill) -> None:
    assert pickle.loads(pickle.dumps(fill)) == fill
    assert fill.weights == ()
    assert fill.active


@pytest.mark.slow
def test_the_same_bytes_in_every_process() -> None:
    program = "import cv2; cv2.setNumThreads(1); from tests.unit.fill.test_every_fill import digest; print(digest())"
    other = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[3],
        env={"PATH": "", "MALLOC_PERTURB_": "165"},  # another value in whatever is read before it is written
        capture_output=True,
        text=True,
        check=True,
    )
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)  # as every worker does
    try:
        assert other.stdout.strip() == digest()
    finally:
        cv2.setNumThreads(threads)


def digest() -> str:
    hashed = sha256()
    rgb, mask = face()
    rgb, mask = rgb[50:190, 150:300], mask[50:190, 150:300]
    thin = np.random.default_rng(4).integers(0, 256, (1, 60, 3), dtype=np.uint8)
    for fill in BLANKED + REVERSIBLE:
        for picture, hole in [
            (rgb, mask),
            (thin, ellipse(1, 60, 20, 0, 9, 1)),
            (rgb[:60, :80], mask[20:80, 20:100]),
        ]:
            hashed.update(filled(picture, hole, fill).tobytes())
    return hashed.hexdigest()


@pytest.mark.parametrize("choice", CHOICES)
def test_the_config_beside_a_fill_names_all_its_parameters_with_their_defaults(choice: str) -> None:
    text = (CONF / f"{choice}.yaml").read_text()
    assert text.startswith("# ")
    config = yaml.safe_load(text)
    module, _, name = config.pop("_target_").rpartition(".")
    kind = getattr(importlib.import_module(module), name)
    assert f"{module}.".startswith(f"pipeline.fill.{choice}.")
    assert config == {field.name: field.default for field in fields_of(kind)}


def test_the_base_of_network_fills_names_all_keys_of_windowing_with_their_defaults() -> None:
    config = yaml.safe_load((CONF / "_network.yaml").read_text())
    windowing = config.pop("windowing")
    assert windowing.pop("_target_") == f"{Windowing.__module__}.Windowing"
    assert windowing == {field.name: field.default for field in fields_of(Windowing)}
    assert config == {field.name: field.default for field in fields_of(ContextFill)}
