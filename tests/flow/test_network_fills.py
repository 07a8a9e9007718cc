"""LaMa and MI-GAN through the whole chain, with small networks of their interfaces: text goes, faces go, and nothing of
what was there, or of what is around it, is other than it should be."""

from pathlib import Path

import numpy as np
import pytest

from tests.fakes import fill_networks
from tests.fakes.captioned_slide import run, slide
from tests.fakes.metadata_samples import photo
from tests.fakes.published_output import pixels, published, rows, totals
from tests.fakes.terminal import but_signs

FAMILIES = ("lama", "migan", pytest.param("lama_torchscript", marks=pytest.mark.chaos))  # which takes torch


def choice(family: str, folder: Path, **more: bool) -> list[str]:
    if family == "lama_torchscript":
        path = fill_networks.torchscript(folder / "big-lama.pt")
        allowed = ["fill.allow_torchscript=true", "fill.windowing.side=256"]
    else:
        path, allowed = getattr(fill_networks, family)(folder / f"{family}.onnx", **more), []
    model = fill_networks.weights(path, torchscript=path.suffix == ".pt")
    return [f"fill={family}", f"fill.model.uri={model.uri}", f"fill.model.sha256={model.sha256}", *allowed]


@pytest.mark.parametrize("family", FAMILIES)
def test_text_is_filled_alike_twice_and_what_it_was_changes_nothing(family: str, tmp_path: Path) -> None:
    """b.png differs from a.png only in what is hidden."""
    ink = slide(tmp_path / "in" / "a.png", shade=10)
    slide(tmp_path / "in" / "b.png", shade=14)
    fill = choice(family, tmp_path)
    assert run("clean", tmp_path / "in", tmp_path / "out", *fill) == 0
    assert run("clean", tmp_path / "in", tmp_path / "again", "chunk=1", *fill) == 0
    assert totals(str(tmp_path / "out")) == {"images": 2, "written": 2, "unchanged": 0, "rejected": 0}
    assert published(str(tmp_path / "out")) == published(str(tmp_path / "again"))
    before, after = pixels(tmp_path / "in/a.png"), pixels(tmp_path / "out/rendered/filled/a.png")
    assert after[ink].min() > 100  # no ink is left
    changed = (before != after).any(axis=2)
    assert changed[:50].sum() + changed[180:].sum() == 0  # and only about there is anything other
    assert (before != pixels(tmp_path / "in/b.png")).any(axis=2)[ink].all()
    np.testing.assert_array_equal(after, pixels(tmp_path / "out/rendered/filled/b.png"))


@pytest.mark.parametrize("family", ["lama", "migan"])
def test_faces_go_and_nothing_of_them_decides_what_comes(family: str, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    face = photo().crop((100, 20, 356, 276))
    face.save(tmp_path / "in" / "a.png")
    fill = choice(family, tmp_path)
    assert run("anonymize", tmp_path / "in", tmp_path / "out", *fill) == 0
    before, after = np.asarray(face).astype(int), pixels(tmp_path / "out/rendered/filled/a.png")
    changed = (before != after).any(axis=2)
    assert changed[60:140, 90:160].mean() > 0.95
    assert not changed[:, 230:].any()
    inside, made = before[60:140, 90:160].ravel(), after[60:140, 90:160].ravel()
    assert np.abs(inside - made).mean() > 15


@pytest.mark.promise("A run that cannot work is refused in one line and writes nothing")
@pytest.mark.parametrize(
    ("family", "other", "said"),
    [
        ("lama", "migan", "expected an input of ?x3x?x? float, got image ?x3x?x? uint8"),
        ("migan", "lama", "expected an input of ?x3x?x? uint8, got image ?x3x512x512 float"),
        ("migan", "generator", "expected 2 inputs, got 1: x"),
    ],
)
def test_another_network_is_refused_before_anything_is_written(
    family: str, other: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slide(tmp_path / "in" / "a.png", shade=10)
    model = fill_networks.weights(getattr(fill_networks, other)(tmp_path / "other.onnx"))
    fill = [f"fill={family}", f"fill.model.uri={model.uri}", f"fill.model.sha256={model.sha256}"]
    assert run("clean", tmp_path / "in", tmp_path / "out", *fill) == 2
    message = capsys.readouterr().err
    assert len(but_signs(message)) == 1
    assert said in message
    assert not (tmp_path / "out").exists()


def test_a_program_needs_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    slide(tmp_path / "in" / "a.png", shade=10)
    assert run("clean", tmp_path / "in", tmp_path / "out", "fill=lama_torchscript") == 2
    message = capsys.readouterr().err
    assert "fill.allow_torchscript: big-lama.pt is a program" in message
    assert len(but_signs(message)) == 1


@pytest.mark.parametrize(
    ("family", "wrong", "reason"), [("lama", "bad", "nan_pixels"), ("migan", "shrunk", "wrong_shape")]
)
def test_an_answer_that_is_no_picture_rejects_the_image(family: str, wrong: str, reason: str, tmp_path: Path) -> None:
    slide(tmp_path / "in" / "a.png", shade=10)
    assert run("clean", tmp_path / "in", tmp_path / "out", *choice(family, tmp_path, **{wrong: True})) == 0
    (row,) = rows(tmp_path / "out")
    assert (row["status"], row["reason"]) == ("rejected", reason)
    assert not (tmp_path / "out/rendered/filled/a.png").exists()
