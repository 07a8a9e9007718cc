"""What misled people who tried: each mistake on the command line gets one line that leads on."""

import re
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from jobs.entry import main
from pipeline import build
from pipeline.errors import ConfigError

PLACES = ("source.uri=in", "sink.uri=out", "execute=local")


def line(capsys: pytest.CaptureFixture[str], *arguments: str, verb: str = "annotate", code: int = 2) -> str:
    """The one line that a refused command says."""
    assert main(verb, arguments) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    return said.err.strip()


def test_one_word_for_a_list_is_a_list_of_one() -> None:
    made = build.build(build.compose("annotate", [*PLACES, "segment=[faces]", "select.labels=face", "plugins=tests"]))
    assert made.flow.select.labels == ("face",)


def test_all_missing_keys_come_at_once_with_a_line_to_type(capsys: pytest.CaptureFixture[str]) -> None:
    said = line(capsys, *PLACES, "segment=onnx_model")
    for key in ("names", "result", "height", "width", "model.uri", "model.sha256", "model.licence"):
        assert f"segment.onnx_model.{key}=" in said
    assert "..." not in said
    assert "VALUE" not in said
    example = said.partition("for example ")[2]
    typed = ["00" * 32 if "sha256sum" in each else each for each in re.split(r" (?=segment\.)", example)]
    typed = [f"segment.onnx_model.model.sha256={each}" if each == "00" * 32 else each for each in typed]
    build.build(build.compose("annotate", [*PLACES, "segment=onnx_model", *typed]))


@pytest.mark.parametrize("choice", ["hf_semantic/local", "hf_prompt/grounded_sam", "unet", "torchvision/mask_rcnn"])
def test_every_missing_key_has_an_example(choice: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = line(capsys, *PLACES, f"segment={choice}")
    assert "are required: for example" in said
    assert "VALUE" not in said


def test_source_and_sink_are_asked_for_together(capsys: pytest.CaptureFixture[str]) -> None:
    said = line(capsys, "source.uri=", verb="clean")
    assert (
        "sink.uri, source.uri are required: for example sink.uri=s3://bucket/out source.uri=s3://bucket/shards" in said
    )


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("source.image_column=x", "there is no key source.image_column; source=parquet has it"),
        ("segment.captions.side=1", "there is no key segment.captions; known here"),
        ("segment.unet.side=1", "segment=[salient,faces,text,unet]"),
        ("unit_images=4", "did you mean source.unit_images?"),
        ("+foo=1", "there is no key foo; known here: "),
        ("+fil=1", "there is no key fil; did you mean fill?"),
        ("foo=1", "there is no key foo; known here: "),
        ("segment=[]", "segment: expected at least one segmenter, for instance segment=[faces]"),
        ("segment=null", "segment=null: no such choice"),
        ("~fill", "fill=null: no such choice"),
        ("segment.faces=1", "segment.faces: expected keys with a _target_"),
        ("+segment.more=1", "segment.more: expected keys with a _target_"),
        ("~decode", "decode: expected keys with a _target_, as a choice of conf/ has them, got none"),
        ("fill=[none,solid]", "fill: expected one choice such as fill=blur, got a list"),
        ("select.labels=face,text", "expected one value, or a list such as select.labels=[a,b], got face,text"),
        ("select.labels=[face", "select.labels: no segmenter of this run gives '[face'"),
        ("render=[overlay,cutut]", "render=cutut: no such choice; did you mean render=cutout?"),
        ("more", "expected key=value, got more; bare words are source.uri and sink.uri"),
    ],
)
def test_a_mistake_gets_its_line(override: str, expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    bare = ("in", "out", "execute=local")
    assert expected in line(capsys, *(bare if override == "more" else PLACES), override)


def test_segment_nothing_is_one_line_for_an_estimate_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert "segment=[faces]" in line(capsys, "annotate", "in", "segment=[]", verb="estimate")


@pytest.mark.parametrize(
    ("typed", "rgb"),
    [("#000000", (0, 0, 0)), ("black", (0, 0, 0)), ("'#0a0b0c'", (10, 11, 12)), ("#f80", (255, 136, 0)),
     ("RebeccaPurple", (102, 51, 153))],
)  # fmt: skip
def test_a_colour_may_be_typed_bare_or_by_name(typed: str, rgb: tuple[int, ...]) -> None:
    fill = build.build(build.compose("clean", [*PLACES, "fill=solid", f"fill.colour={typed}"])).flow.fill
    assert fill._rgb == rgb  # type: ignore[attr-defined]


def test_a_colour_that_is_none_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    said = line(capsys, *PLACES, "fill=solid", "fill.colour=blck", verb="clean")
    assert "expected mean, #rrggbb, or a name such as black, got 'blck'; did you mean black?" in said


def outputs(job: str, *overrides: str) -> tuple[tuple[str, ...], str]:
    """What is rendered, and where it goes."""
    flow = build.build(build.compose(job, [*PLACES, *overrides])).flow
    return flow.render.outputs, flow.sink.images


@pytest.mark.parametrize(
    ("job", "overrides", "kinds", "sink"),
    [
        ("annotate", [], (), "none"),
        ("annotate", ["render=overlay"], ("overlay",), "tar"),
        ("annotate", ["render=overlay", "sink=files"], ("overlay",), "files"),
        ("annotate", ["render.outputs=[labels]"], ("labels",), "tar"),
        ("annotate", ["render=[cutout,overlay]"], ("overlay", "cutout"), "tar"),
        ("annotate", ["render=everything"], ("overlay", "cutout", "labels"), "tar"),
        ("annotate", ["render=everything", "private=true"], ("labels",), "tar"),
        ("annotate", ["render=everything", "fill=solid"], ("filled", "overlay", "cutout", "labels"), "tar"),
        ("annotate", ["render=none", "sink=none"], (), "none"),
        ("annotate", ["render=[]"], (), "none"),
        ("clean", ["render=[filled,labels]"], ("filled", "labels"), "tar"),
        ("clean", ["render=[none,labels]", "sink=parquet"], ("labels",), "parquet"),
        ("clean", ["sink=none"], ("filled",), "none"),
        ("anonymize", ["render=everything"], ("filled", "overlay", "cutout", "labels"), "tar"),
        ("clean", ["render=everything", "render.outputs=[labels]"], ("labels",), "tar"),
    ],
)
def test_pictures_that_are_asked_for_are_kept(
    job: str, overrides: list[str], kinds: tuple[str, ...], sink: str
) -> None:
    assert outputs(job, *overrides) == (kinds, sink)


@pytest.mark.parametrize("asked", ["render=overlay", "render=[overlay,cutout]", "render.outputs=[overlay]"])
@pytest.mark.parametrize("sink", ["sink=none", "sink.images=none"])
def test_pictures_and_no_sink_for_them_are_refused(asked: str, sink: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = line(capsys, *PLACES, asked, sink)
    assert "sink=none keeps no pictures, but render asks for overlay" in said


def test_two_bare_words_are_source_and_sink(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = f"{tmp_path}/dt=2026 (1), ü#"
    assert f"source.uri={source} does not exist" in line(capsys, source, f"{tmp_path}/a=b", "execute=local")
    assert main("clean", [source, "a b", "--cfg", "job"]) == 0
    shown = OmegaConf.create(capsys.readouterr().out)
    assert (shown.source.uri, shown.sink.uri) == (source, "a b")


def test_a_folder_whose_name_is_not_utf8_is_told_apart_from_a_wrong_path(capsys: pytest.CaptureFixture[str]) -> None:
    said = line(capsys, "caf\udce9", "out")
    assert r"source.uri: expected a path in UTF-8, got 'caf\udce9'; give the folder above it, or a link to it" in said


def test_a_word_and_its_key_are_one_too_many(capsys: pytest.CaptureFixture[str]) -> None:
    assert "source.uri is given twice" in line(capsys, "in", "source.uri=x", "sink.uri=y")


@pytest.mark.parametrize("verb", ["audit", "verify"])
def test_verbs_on_an_output_take_it_as_a_word(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"{tmp_path}/none=1" in line(capsys, f"{tmp_path}/none=1", verb=verb, code=2 if verb == "verify" else 1)


def test_a_demo_takes_its_folder_as_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").write_text("precious")
    assert "no demo of ours" in line(capsys, str(tmp_path), verb="demo")
    shutil.rmtree(tmp_path)


def test_a_secret_in_a_bare_word_is_refused_and_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["s3://me:hunter2@bucket"], ["in", "out", "s3://me:hunter2@bucket"]):
        said = line(capsys, *words)
        assert "credential" in said
        assert "hunter2" not in said


def test_a_reference_without_its_key_is_named() -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        build.build(build.compose("clean", ["source.uri=in", "sink.uri='${nowhere}'"]))
