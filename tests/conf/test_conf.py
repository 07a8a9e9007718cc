"""conf/: every yaml builds, every mistake is named with the nearest valid name, and secrets are refused."""

import json
import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from jobs.entry import VERBS
from pipeline import build
from pipeline.cluster.run import Cluster
from pipeline.contracts import Checked
from pipeline.errors import ConfigError, WeightsError
from pipeline.fill.diffusion.kinds import KINDS

PLACES = ["source.uri=in", "sink.uri=out", "execute=local"]
CHOICES = [(group, choice) for group, choices in build.groups().items() for choice in choices]
EXTRA = {
    ("cluster", "kuberay"): ["cluster.image=i"],
    ("cluster", "vms"): [
        f"cluster.{value}" for value in ("region=r", "image=i", "identity=a", "cpu.type=t", "cpu.max=2")
    ],
    ("fill", "none"): ["render=labels"],
    ("fill", "blur"): ["fill.allow_reversible=true"],
    ("fill", "pixelate"): ["fill.allow_reversible=true"],
    ("fill", "lama_torchscript"): ["fill.allow_torchscript=true"],
    **{
        ("segment", name): [
            f"segment.{name}.{value}"
            for value in ("names=[a]", "model.uri=file:/m.safetensors", f"model.sha256={'0' * 64}", "model.licence=MIT")
        ]
        for name in ("fcn", "unet")
    },
    **{
        ("segment", f"torchvision/{name}"): [
            f"segment.torchvision.{value}"
            for value in ("names=[a]", "model.uri=file:/m.safetensors", f"model.sha256={'0' * 64}", "model.licence=MIT")
        ]
        for name in ("fcn", "deeplabv3", "mask_rcnn")
    },
    **{
        ("fill", f"diffusion/{name}"): [
            f"fill.model.{value}"
            for value in ("folder=x", "licence=MIT", "files=[a.json,b.safetensors]", f"sha256=[{'a' * 64},{'b' * 64}]")
        ]
        for name in ("local", "sd15_inpainting", "sdxl_inpainting", "flux_fill")
    },
    ("segment", "onnx_model"): [
        *(f"segment.onnx_model.{value}" for value in ("names=[a]", "result=binary", "height=8", "width=8")),
        *(f"segment.onnx_model.model.{value}" for value in ("uri=file:/m.onnx", f"sha256={'0' * 64}", "licence=MIT")),
    ],
}


def refusal(*overrides: str, job: str = "clean") -> str:
    with pytest.raises(ConfigError) as caught:
        build.build(build.compose(job, [*PLACES, *overrides]))
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", build.JOBS)
def test_every_job_builds(name: str) -> None:
    job = build.build(build.compose(name, PLACES))
    assert job.flow.name == name
    assert job.flow.render.private == (name == "anonymize")
    assert (job.flow.source.uri, job.flow.sink.uri) == ("in", "out")


@pytest.mark.parametrize(
    ("name", "render"),
    [("clean", "filled"), ("anonymize", "filled"), ("anonymize", "overlay"), ("anonymize", "cutout")],
)
def test_an_output_that_needs_a_fill_is_refused_without_one(name: str, render: str) -> None:
    with pytest.raises(ConfigError, match=rf"{render} would show .* choose a fill"):
        build.build(build.compose(name, [*PLACES, "fill=none", f"render={render}"]))


CHECKPOINTS = {"hf_semantic": {"model": "segformer"}, "hf_universal": {"model": "mask2former"}}
OTHER_KINDS = {
    "hf_universal/oneformer_local": {"model": "oneformer"},
    "hf_prompt/sam3": {"model": "sam3"},
    "hf_prompt/clipseg": {"model": "clipseg"},
    "hf_prompt/grounded_sam": {"boxes": "grounding-dino", "masks": "sam2"},
}
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def copied(choice: str, root: Path) -> list[str]:
    """For a choice of checkpoints: a local copy of the files of each, as small as they can be to build."""
    family = choice.partition("/")[0]
    found = [f"segment.{family}.prompts=[a]"] if family == "hf_prompt" else []
    for key, kind in {**CHECKPOINTS.get(family, {}), **OTHER_KINDS.get(choice, {})}.items():
        folder = root / key
        folder.mkdir()
        seen = {"size": {"height": 8, "width": 8}, "image_mean": [0, 0, 0], "image_std": [1, 1, 1]}
        files = {
            "config.json": {"model_type": kind, "id2label": {"0": "a", "1": "b"}},
            "preprocessor_config.json": seen,
            "processor_config.json": {"image_processor": seen},
        }
        for name in ("model.safetensors", *TOKENIZER):
            files[name] = {}
        for name, content in files.items():
            (folder / name).write_text(json.dumps(content))
        found += [f"segment.{family}.{key}.{value}" for value in (f"folder={folder}", "licence=MIT", "sha256=[]")]
    return found


HUB = [choice for _, choice in CHOICES if choice.partition("/")[0] in CHECKPOINTS and not choice.endswith("local")]


@pytest.mark.slow
@pytest.mark.parametrize("choice", HUB)
def test_weights_of_a_hub_are_pinned_and_name_their_licence(choice: str) -> None:
    """What can be known without the hub: a commit, the files, a licence; either all hashes or a word on what to do."""
    family = choice.partition("/")[0]
    model = build.compose("annotate", [*PLACES, f"segment={choice}"]).segment[family].model
    assert re.fullmatch(r"hf:[\w.-]+/[\w.-]+@[0-9a-f]{40}", model.uri)
    assert {"config.json", "model.safetensors"} <= set(model.files)
    assert len(model.sha256) == len(model.files)
    assert all(re.fullmatch(r"([0-9a-f]{64})?", digest) for digest in model.sha256)
    assert model.licence
    assert model.folder == ""
    if not all(model.sha256):
        revision = model.uri.partition("@")[2]
        with pytest.raises(WeightsError, match=rf"segment.{family}.*download revision {revision} of .*give its folder"):
            build.build(build.compose("annotate", [*PLACES, f"segment={choice}"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("choice", "kind", "licence"),
    [
        ("sd15_inpainting", "StableDiffusionInpaintPipeline", "CreativeML OpenRAIL-M"),
        ("sdxl_inpainting", "StableDiffusionXLInpaintPipeline", "CreativeML OpenRAIL++-M"),
        ("flux_fill", "FluxFillPipeline", "FLUX.1-dev-Non-Commercial"),
    ],
)
def test_a_pipeline_of_a_hub_is_pinned_names_its_licence_and_every_file(
    choice: str, kind: str, licence: str, tmp_path: Path
) -> None:
    override = f"fill=diffusion/{choice}"
    model = build.compose("clean", [*PLACES, override]).fill.model
    assert re.fullmatch(r"hf:[\w.-]+/[\w.-]+@[0-9a-f]{40}", model.uri)
    assert (model.licence, model.folder, model.sha256) == (licence, "", [])
    with pytest.raises(WeightsError, match=rf"fill: .*download revision {model.uri[-40:]} of .*give its folder"):
        build.build(build.compose("clean", [*PLACES, override]))
    parts = {**KINDS[kind].parts, "scheduler": ("diffusers", "DDIMScheduler")}
    parts |= dict.fromkeys(KINDS[kind].tokenizers, ("transformers", "CLIPTokenizer"))
    for file in model.files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(json.dumps({"_class_name": kind, **parts} if file == "model_index.json" else {}))
    flow = build.build(build.compose("clean", [*PLACES, override, f"fill.model.folder={tmp_path}"])).flow
    assert isinstance(flow.fill, Checked)
    with pytest.raises(ConfigError, match=r"vae/config\.json: expected block_out_channels"):
        flow.fill.check()  # which comes after every part was found


@pytest.mark.slow
@pytest.mark.parametrize(("group", "choice"), CHOICES)
def test_every_choice_builds_and_says_what_it_is(group: str, choice: str, tmp_path: Path) -> None:
    about = build.groups()[group][choice]
    assert about
    value = f"[{choice}]" if group == "segment" else choice
    select = ["select=all"] if group in ("segment", "select") else []
    extra = [*EXTRA.get((group, choice), []), *copied(choice, tmp_path)]
    override = [f"{group}={value}"]
    if choice.startswith("torchvision/") and find_spec("torchvision") is None:
        pytest.skip("torchvision is not installed; tests/flow/test_torchvision.py tests what is said then")
    if group == "select":
        override, select = [f"select={choice}", "segment=[faces,text,salient]"], []
    if group == "cluster":
        tree = build.plain(build.compose("submit", [*override, *extra]))[group]
        assert isinstance(build.construct(tree, group, ("pipeline",)), Cluster)
        return
    job = build.build(build.compose("clean", [*PLACES, *select, *override, *extra]))
    part = {"execute": job.executor, "audit": job.audit}.get(group) or getattr(job.flow, group)
    kinds = [type(p).__module__ for p in (part if isinstance(part, tuple) else (part,))]
    home = "pipeline.audit.run_audit" if group == "audit" else f"pipeline.{group}"
    assert all(kind.startswith(home) for kind in kinds)


def test_no_segmenter_at_all_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"segment: expected at least one segmenter, for instance segment=\[faces\]"):
        build.build(build.compose("clean", [*PLACES, "segment=[]"]))


def test_every_yaml_is_a_choice_a_verb_or_the_base() -> None:
    found = {path.relative_to(build.CONF).with_suffix("").as_posix() for path in build.CONF.rglob("*.yaml")}
    found = {name for name in found if not name.rpartition("/")[2].startswith("_")}  # only inherited from
    assert found == {f"{group}/{choice}" for group, choice in CHOICES} | {*VERBS, "base"}


def test_segmenters_compose_in_the_order_given() -> None:
    flow = build.build(build.compose("annotate", [*PLACES, "segment=[text,faces]"])).flow
    assert [type(s).__name__ for s in flow.segment] == ["Text", "Faces"]


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("fill=difuse", "fill=diffuse"),
        ("segment=[face]", "segment=faces"),
        ("segment.txt.score=1", "segment.text"),
        ("select.dilate_pxx=3", "select.dilate_px"),
        ("max_rejectshare=0.5", "max_reject_share"),
        ("+fill.colr=1", "fill.colr"),
        ("max_reject_share=2", "from 0 to 1"),
        ("review_seam=-1", "at least 0"),
        ("review_seam=.inf", "review_seam"),
        ("chunk=many", "whole number"),
        ("select.labels=[txet]", "text"),
    ],
)
def test_a_mistake_is_named_with_the_nearest_right_thing(override: str, expected: str) -> None:
    assert expected in refusal(override)


def test_a_missing_value_names_its_key_and_an_example() -> None:
    with pytest.raises(ConfigError, match=r"sink\.uri is required: .*s3://bucket/out"):
        build.build(build.compose("clean", ["source.uri=in"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "pipeline.build.compose",
        "subprocess.Popen",
        "pipeline.execute.ray_data.os.system",
        "builtins.eval",
        "x",
    ],
)
def test_a_class_outside_the_allowlist_is_refused(target: str) -> None:
    assert "_target_" in refusal(f"fill._target_={target}")


@pytest.mark.parametrize(
    "override",
    [
        "+source.secret_key=abc",
        "+sink.token=abc",
        "source.uri=s3://user:hunter2@bucket/x",
        "'source.uri=\"http://h/x?X-Amz-Signature=1\"'".strip("'"),
    ],
)
def test_credentials_are_refused_and_not_repeated(override: str) -> None:
    message = refusal(override)
    assert "credential" in message
    assert "hunter2" not in message


def test_reversible_fills_need_a_word() -> None:
    assert "allow_reversible" in refusal("fill=blur")


def test_visible_seams_are_reviewed_where_a_fill_is_to_be_unseen() -> None:
    reviewed = {job: build.build(build.compose(job, PLACES)).review_seam for job in ("clean", "anonymize")}
    assert reviewed == {"clean": 3.0, "anonymize": 0.0}


@pytest.mark.slow  # it imports Ray
def test_the_identity_leaves_out_what_cannot_change_a_byte() -> None:
    changed = ["max_reject_share=0.5", "review_seam=2"]
    one = build.build(build.compose("clean", [*PLACES, *changed])).config
    two = build.build(build.compose("clean", ["source.uri=else", "sink.uri=where", "execute=staged"])).config
    assert one == two
    assert one != build.build(build.compose("clean", [*PLACES, "fill=solid"])).config


def test_composing_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    build.build(build.compose("clean", PLACES))
    assert list(tmp_path.iterdir()) == []
