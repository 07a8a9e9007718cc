"""fill=diffusion through the whole chain, with tiny random pipelines of each class: wiring and promises, not beauty."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import ImageDraw, ImageFont

from jobs.entry import main
from pipeline import build
from pipeline.errors import ConfigError, WeightsError
from pipeline.fill.diffusion.fill import Diffusion
from pipeline.fill.diffusion.painter import Painter, whole_cells
from pipeline.fill.shared.windows import FillWindow, Windowing
from pipeline.models.checkpoint import Checkpoint
from tests.fakes import diffusers_pipelines
from tests.fakes.marked_segmenter import marks
from tests.fakes.metadata_samples import photo
from tests.fakes.published_output import index, pixels, published
from tests.fakes.terminal import but_signs

# Its schedulers convert tensors in a way that NumPy will drop one day; that is its own affair.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers.*")

MARKED = [
    "segment=[salient]", "~segment.salient", "+segment.marked._target_=tests.fakes.marked_segmenter.Marked",
    "plugins=[tests]", "select=all", "select.dilate_px=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("pipelines")
    return {kind: diffusers_pipelines.saved(kind, root / kind) for kind in diffusers_pipelines.KINDS}


def choice(folder: Path, *more: str) -> list[str]:
    files = ",".join(diffusers_pipelines.files_of(folder))
    values = (f"model.folder={folder}", "model.licence=MIT", f"model.files=[{files}]", "steps=2", "windowing.side=64")
    return ["fill=diffusion/local", *(f"fill.{value}" for value in (*values, "windowing.overlap=16", *more))]


def run(source: Path, out: Path, *overrides: str, job: str = "clean") -> int:
    places = [f"source.uri={source}", f"sink.uri={out}", "sink=files", "execute=local", "max_reject_share=1"]
    return main(job, [*places, *overrides])


def pictures(folder: Path, shade: int = 255) -> Path:
    """Two: a magenta ellipse on one; on the other that, and far from it a cyan square. shade: of the colours."""
    folder.mkdir(parents=True)
    ground = photo().convert("RGB").crop((100, 60, 292, 188))
    for name, other in (("one.png", False), ("two.png", True)):
        image = ground.copy()
        draw = ImageDraw.Draw(image)
        draw.ellipse((20, 40, 50, 70), fill=(shade, 255 - shade, shade))
        if other:
            draw.rectangle((150, 50, 170, 75), fill=(255 - shade, shade, shade))
        image.save(folder / name)
    return folder


def filled(out: Path, name: str) -> np.ndarray:
    return pixels(out / "rendered/filled" / name)


@pytest.mark.parametrize("kind", diffusers_pipelines.KINDS)
def test_the_region_is_filled_alike_twice_whatever_was_in_it_and_nothing_else_changes(
    kind: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    source, hidden = pictures(tmp_path / "in"), pictures(tmp_path / "hidden" / "in", shade=215)
    fill = [*MARKED, *choice(folders[kind], "prompt=an empty street", "context=0.3")]
    assert run(source, tmp_path / "out", *fill) == 0
    assert run(source, tmp_path / "again", "chunk=1", *fill) == 0
    assert published(str(tmp_path / "out")) == published(str(tmp_path / "again"))
    assert run(hidden, tmp_path / "other", *fill) == 0
    for name in ("one.png", "two.png"):
        before, after = pixels(source / name), filled(tmp_path / "out", name)
        region = np.logical_or(*marks(before.astype(np.uint8)))
        assert (before != pixels(hidden / name)).any(axis=2)[region].all()
        np.testing.assert_array_equal(after[~region], before[~region])
        assert (after != before).any(axis=2)[region].mean() > 0.95
        assert after[region].std() > 4  # painted, not one colour
        np.testing.assert_array_equal(filled(tmp_path / "other", name), after)


def test_the_words_for_a_label_reach_its_crop_and_no_other(folders: dict[str, Path], tmp_path: Path) -> None:
    source = pictures(tmp_path / "in")
    fill = [*MARKED, *choice(folders["sd"], "prompt=a cat", "context=0.2")]
    assert run(source, tmp_path / "plain", *fill) == 0
    assert run(source, tmp_path / "label", *fill, "fill.prompts={cyan: an empty street, unseen: a dog}") == 0
    plain, label = filled(tmp_path / "plain", "two.png"), filled(tmp_path / "label", "two.png")
    magenta, cyan = marks(pixels(source / "two.png").astype(np.uint8))
    assert (plain != label)[cyan].any()
    np.testing.assert_array_equal(plain[magenta], label[magenta])
    np.testing.assert_array_equal(filled(tmp_path / "plain", "one.png"), filled(tmp_path / "label", "one.png"))


@pytest.mark.parametrize("change", ["negative_prompt=blurry", "guidance=1", "steps=3", "prompt=a dog"])
def test_every_key_has_a_say(change: str, folders: dict[str, Path]) -> None:
    window = windows()[:1]
    key, value = change.split("=")
    plain = painter(folders["sd"])(window)
    changed = painter(folders["sd"], **{key: int(value) if value.isdecimal() else value})(window)
    assert (plain[0] != changed[0]).any()


def test_clean_fills_drawn_text(folders: dict[str, Path], tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    image = photo().convert("RGB")
    ImageDraw.Draw(image).text((40, 440), "HELLO WORLD", fill="white", font=ImageFont.load_default(40))
    image.save(source / "a.png")
    assert run(source, tmp_path / "out", *choice(folders["sd"])) == 0
    before, after = pixels(source / "a.png"), filled(tmp_path / "out", "a.png")
    changed = (before != after).any(axis=2)
    white = (before == 255).all(axis=2)[440:480, 40:300]
    assert white.sum() > 500
    assert changed[440:480, 40:300][white].mean() > 0.99
    assert not changed[:400].any()
    (row,) = index(tmp_path / "out").values()
    assert (row["status"], row["fill"], row["reversible"]) == ("written", "diffusion", False)


def painter(folder: Path, **keys: object) -> Painter:
    model = Checkpoint(licence="MIT", folder=str(folder), files=tuple(diffusers_pipelines.files_of(folder)))
    return Painter(Diffusion(model=model, **{"steps": 2, "prompt": "a cat", **keys}), "cpu", 1)  # type: ignore[arg-type]


def windows() -> list[FillWindow]:
    random, mask = np.random.default_rng(0), np.zeros((64, 64), bool)
    mask[20:40, 20:40] = True
    made = [random.integers(0, 256, (64, 64, 3)).astype(np.uint8) for _ in range(3)]
    return [FillWindow(pixels=made[n], mask=mask, seed=n, label="") for n in range(3)]


@pytest.mark.parametrize("kind", diffusers_pipelines.KINDS)
def test_the_noise_of_a_window_is_its_own(kind: str, folders: dict[str, Path]) -> None:
    """In a batch and alone; rounding in larger matrices may move a grey level."""
    paint, some = painter(folders[kind]), windows()
    for alone, together in zip([paint([window])[0] for window in some], paint(some), strict=True):
        assert np.abs(alone.astype(int) - together.astype(int)).max() <= 1
    twin = FillWindow(pixels=some[0].pixels, mask=some[0].mask, seed=99)
    assert (paint([twin])[0] != paint(some[:1])[0]).any()


def test_a_cell_that_a_thin_stroke_crosses_is_hidden_whole() -> None:
    mask = torch.zeros(1, 1, 16, 24)
    mask[0, 0, 3, 9:12] = 1
    found = whole_cells(mask, 8)
    assert found[0, 0, :8, 8:16].all()
    assert found.sum() == 64


def spoilt(folder: Path, to: Path, file: str, change: dict[str, float]) -> Path:
    """A copy in which some weights of a file are one number."""
    shutil.copytree(folder, to)
    state = safetensors.torch.load_file(to / file)
    for name, value in change.items():
        state[name] = torch.full_like(state[name], value)
    safetensors.torch.save_file(state, to / file)
    return to


@pytest.mark.parametrize(("value", "reason"), [(float("nan"), "nan_pixels"), (-1e4, "black_pixels")])
def test_no_picture_rejects_the_image(value: float, reason: str, folders: dict[str, Path], tmp_path: Path) -> None:
    bad = spoilt(
        folders["sd"], tmp_path / "bad", "vae/diffusion_pytorch_model.safetensors", {"decoder.conv_out.bias": value}
    )
    source = pictures(tmp_path / "in")
    run(source, tmp_path / "out", *MARKED, *choice(bad))
    rows = index(tmp_path / "out").values()
    assert {(row["status"], row["stage"], row["reason"]) for row in rows} == {("rejected", "fill", reason)}


def test_weights_that_are_not_there_are_never_made_up(folders: dict[str, Path], tmp_path: Path) -> None:
    bad = spoilt(folders["sd"], tmp_path / "bad", "unet/diffusion_pytorch_model.safetensors", {})
    state = safetensors.torch.load_file(bad / "unet/diffusion_pytorch_model.safetensors")
    del state["conv_in.weight"]
    safetensors.torch.save_file(state, bad / "unet/diffusion_pytorch_model.safetensors")
    with pytest.raises(WeightsError, match=r"unet of .* lacks 1 weights, the first conv_in\.weight"):
        painter(bad)


def edited(folder: Path, to: Path, file: str, **values: object) -> Path:
    shutil.copytree(folder, to)
    content = json.loads((to / file).read_text())
    (to / file).write_text(json.dumps({**content, **values}))
    return to


@pytest.mark.promise("A run that cannot work is refused in one line and writes nothing")
@pytest.mark.parametrize(
    ("kind", "file", "values", "overrides", "expected"),
    [
        ("sd", "model_index.json", {"_class_name": "StableDiffusionPipeline"}, [], "expected an inpainting pipeline"),
        ("sd", "model_index.json", {"unet": ["os", "system"]}, [], "unet: expected diffusers.UNet2DConditionModel"),
        ("sd", "model_index.json", {"extra": ["evil", "Net"]}, [], "extra: expected a part of it"),
        ("sd", "model_index.json", {"scheduler": ["evil", "Scheduler"]}, [], "scheduler: expected"),
        ("sd", "unet/config.json", {"in_channels": 4}, [], "expected in_channels 9"),
        ("flux", "transformer/config.json", {"in_channels": 64}, [], "expected in_channels 288"),
        (
            "sd",
            "",
            {},
            ["fill.windowing.side=60", "fill.windowing.multiple=4", "fill.windowing.overlap=8"],
            "expected a multiple of 8",
        ),
        ("flux", "", {}, ["fill.windowing.multiple=8"], "expected a multiple of 16"),
        ("flux", "", {}, ["fill.negative_prompt=blurry"], "FluxFillPipeline takes none"),
        ("sd", "", {}, ["fill.negative_prompt=blurry", "fill.guidance=1"], "takes none where guidance is 1 or less"),
        ("sd", "", {}, [f"fill.prompt={'cat ' * 20}"], "at most 32 tokens, got 62"),
        ("sd", "", {}, ["fill.prompts={a: 1}"], "fill.prompts: expected keys with values, each text, got 1"),
        ("sd", "", {}, ["fill.steps=0"], "fill.steps: expected a whole number from 1"),
        ("sd", "", {}, ["fill.model.files=[unet/config.json,vae/config.json]"], "expected model_index.json among"),
        (
            "sd",
            "",
            {},
            ["fill.model.files=[unet/diffusion_pytorch_model.bin]"],
            "each a .safetensors, .json or .txt file, got",
        ),
    ],
)
def test_what_cannot_work_is_refused_on_the_driver(
    kind: str, file: str, values: dict[str, object], overrides: list[str], expected: str,
    folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = edited(folders[kind], tmp_path / "edited", file, **values) if file else folders[kind]
    source = pictures(tmp_path / "in")
    assert run(source, tmp_path / "out", *MARKED, *choice(folder), *overrides) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert len(but_signs(said)) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.promise("A run that cannot work is refused in one line and writes nothing")
@pytest.mark.parametrize(
    ("gone", "expected"),
    [
        ("unet/diffusion_pytorch_model.safetensors", "expected unet/diffusion_pytorch_model.safetensors among"),
        ("tokenizer/tokenizer.json", "expected tokenizer/tokenizer.json (or vocab.json and merges.txt) among"),
        ("scheduler/scheduler_config.json", "expected scheduler/scheduler_config.json among"),
        ("text_encoder/config.json", "expected text_encoder/config.json among"),
    ],
)
def test_a_part_that_is_missing_or_pickled_is_named(
    gone: str, expected: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    """A pickle in its place is as good as nothing: only .safetensors can be named."""
    folder = tmp_path / "folder"
    shutil.copytree(folders["sd"], folder)
    (folder / gone).rename((folder / gone).with_suffix(".bin"))
    files = tuple(file for file in diffusers_pipelines.files_of(folder) if not file.endswith(".bin"))
    fill = Diffusion(
        model=Checkpoint(licence="MIT", folder=str(folder), files=files), windowing=Windowing(side=64, overlap=16)
    )
    with pytest.raises(ConfigError) as caught:
        fill.check()
    assert expected in str(caught.value)


@pytest.mark.promise("A run that cannot work is refused in one line and writes nothing")
@pytest.mark.parametrize(
    ("name", "kind", "why"),
    [
        ("flux_fill", "flux", "FLUX.1-dev-Non-Commercial, which is not known to allow commercial use"),
        ("sd15_inpainting", "sd", "CreativeML OpenRAIL-M, which allows commercial use, but none of the uses"),
        ("sdxl_inpainting", "sdxl", "CreativeML OpenRAIL++-M, which allows commercial use, but none of the uses"),
    ],
)
def test_commercial_policy_refuses_by_name_what_is_not_free_for_it(
    name: str, kind: str, why: str, folders: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, files = pictures(tmp_path / "in"), ",".join(diffusers_pipelines.files_of(folders[kind]))
    fill = [f"fill=diffusion/{name}", f"fill.model.folder={folders[kind]}", f"fill.model.files=[{files}]"]
    assert run(source, tmp_path / "out", *MARKED, *fill, "policy.licence=commercial") == 2
    said = capsys.readouterr().err
    assert why in said
    assert len(but_signs(said)) == 1
    assert not (tmp_path / "out").exists()
    licence = why.partition(",")[0]
    accepted = ["source.uri=in", "sink.uri=out", "policy.licence=commercial", f"policy.accept=[{licence}]"]
    assert build.build(build.compose("clean", [*accepted, *fill])).flow.fill.weights[0].licence == licence
