"""fill=generative as a user has it: its own weights, whole and verified, through the whole chain."""

from hashlib import sha256
from pathlib import Path

import numpy as np

from pipeline import build
from pipeline.fill.generative.fill import Generative
from pipeline.fill.generative.train.export import export, load
from tests.fakes.captioned_slide import run, slide
from tests.fakes.published_output import pixels, published


def fill() -> Generative:
    made = build.build(build.compose("clean", ["source.uri=in", "sink.uri=out", "fill=generative"])).flow.fill
    assert isinstance(made, Generative)
    return made


def test_the_network_is_in_the_package_small_and_what_the_config_says() -> None:
    (weights,) = fill().weights
    file = Path(build.__file__).parent / "fill" / "generative" / "generative.onnx"
    assert sha256(file.read_bytes()).hexdigest() == weights.sha256
    assert weights.fetch().read_bytes() == file.read_bytes()
    assert file.stat().st_size < 4_000_000
    assert weights.sha256 in (file.parent / "MODEL_CARD.md").read_text()
    fill().check()


def test_the_script_makes_it_of_its_weights(tmp_path: Path) -> None:
    file = Path(build.__file__).parent / "fill" / "generative" / "generative.onnx"
    export(load(file), tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == file.read_bytes()


def test_text_goes_the_same_way_each_time_and_what_it_was_changes_nothing(tmp_path: Path) -> None:
    """b.png differs from a.png only in what is hidden; its name, and so its seed, is another, so it comes alone."""
    ink = slide(tmp_path / "in" / "a.png", shade=10)
    slide(tmp_path / "other" / "a.png", shade=14)
    for source, out in (("in", "first"), ("in", "again"), ("other", "hidden")):
        assert run("clean", tmp_path / source, tmp_path / out, "fill=generative") == 0
    (first,), (hidden,) = (list((tmp_path / out).rglob("a.png")) for out in ("first", "hidden"))
    assert published(str(tmp_path / "first")) == published(str(tmp_path / "again"))
    assert (pixels(first) == pixels(hidden)).all()
    y, x = np.mgrid[:240, :400]
    slope = np.stack([150 + 0.2 * x, 170 + 0.2 * y, 230 - 0.1 * x], -1)
    assert np.abs(pixels(first) - slope)[ink].mean() < 8
    assert np.abs(pixels(tmp_path / "in" / "a.png") - slope)[ink].mean() > 100
