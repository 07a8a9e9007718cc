"""transformers' semantic networks through the whole chain: a small SegFormer, and small random ones of each kind."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from transformers.models.segformer.image_processing_pil_segformer import SegformerImageProcessorPil

from jobs.entry import main
from pipeline.errors import WeightsError
from pipeline.models.torch_options import TorchOptions
from pipeline.segment.shared.preprocess import Preprocess, from_config
from pipeline.segment.shared.torch_resize import resized
from pipeline.segment.shared.torch_runner import Net, winners
from tests.fakes import hf_checkpoints
from tests.fakes.drawn_images import annotate, folder_of, mean_overlap
from tests.fakes.network_training import DEVIATION, MEAN, train
from tests.fakes.terminal import but_signs
from tests.golden.make import photo

HELD_OUT = range(6)


def test_segformer_learns_the_drawings(tmp_path: Path) -> None:
    module = hf_checkpoints.segformer()

    def loss(pixels: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = module(pixel_values=pixels, labels=classes).loss
        return found

    train(module, loss, steps=60, rate=0.01)
    folder = hf_checkpoints.saved(module, tmp_path / "segformer", {"height": 96, "width": 128})
    source = folder_of(tmp_path / "drawings", HELD_OUT)
    rows = annotate(source, tmp_path / "out", *hf_checkpoints.local("hf_semantic", folder))
    assert mean_overlap(rows, HELD_OUT) >= 0.9
    assert {str(row["model"]).rpartition("-")[0] for row in rows} == {"segformer"}


def test_a_choice_of_the_hub_runs_with_a_folder_given_and_says_when_that_is_another_checkpoint(tmp_path: Path) -> None:
    folder = hf_checkpoints.saved(hf_checkpoints.segformer(), tmp_path / "own", {"height": 96, "width": 128})
    source = folder_of(tmp_path / "drawings", range(1))
    choice = ["segment=[hf_semantic/segformer_b0_ade20k]", f"segment.hf_semantic.model.folder={folder}"]
    with pytest.raises(
        WeightsError, match=r"expected a copy of hf:nvidia/.* another checkpoint give model\.sha256=\[\]"
    ):
        annotate(source, tmp_path / "refused", *choice)
    rows = annotate(source, tmp_path / "out", *choice, "segment.hf_semantic.model.sha256=[]")
    assert sum(int(row["area"]) for row in rows) == 96 * 128


@pytest.mark.parametrize("name", ["astronaut", "coffee"])
@pytest.mark.parametrize("resample", [2, 3])
def test_what_the_network_sees_is_what_the_reference_processor_shows_it(name: str, resample: int) -> None:
    rgb = photo(name)
    size = {"height": 160, "width": 224}
    reference = SegformerImageProcessorPil(size=size, resample=resample, image_mean=MEAN, image_std=DEVIATION)
    wanted = reference(Image.fromarray(rgb), return_tensors="pt")["pixel_values"][0]
    config = {"size": size, "resample": resample, "image_mean": list(MEAN), "image_std": list(DEVIATION)}
    found = Net(torch.nn.Identity(), "cpu", 1, TorchOptions()).prepared(rgb, from_config(config))
    grey_level = 1 / 255 / torch.tensor(DEVIATION).view(3, 1, 1)
    assert found.shape == wanted.shape
    assert float(((found - wanted).abs() / grey_level).max()) <= 1.001


def test_classes_win_as_in_the_reference_post_processing() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 19, 16, 24) * 3
    (wanted,) = SegformerImageProcessorPil().post_process_semantic_segmentation(
        type("Answer", (), {"logits": logits})(), target_sizes=[(61, 95)]
    )
    found = winners(logits[0], (61, 95))()
    np.testing.assert_array_equal(found.ids, wanted.numpy())
    likely = torch.nn.functional.interpolate(logits, size=(61, 95), mode="bilinear", align_corners=False).softmax(1)
    np.testing.assert_allclose(found.scores, likely[0].max(0).values.numpy(), rtol=1e-4)


def small(kind: str) -> transformers.PreTrainedModel:
    """A random network of each kind of AutoModelForSemanticSegmentation that there are yamls or users for."""
    torch.manual_seed(0)
    labels = {"id2label": hf_checkpoints.ID2LABEL, "label2id": {n: i for i, n in hf_checkpoints.ID2LABEL.items()}}
    tiny = {"hidden_size": 16, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 32}
    if kind == "beit":
        config = transformers.BeitConfig(
            **tiny, **labels, image_size=64, patch_size=16, out_indices=[1, 2, 3, 4], pool_scales=[1, 2],
            use_relative_position_bias=True, use_auxiliary_head=False,
        )  # fmt: skip
        return transformers.BeitForSemanticSegmentation(config)
    if kind == "dpt":
        config = transformers.DPTConfig(
            **tiny, **labels, image_size=64, patch_size=16, backbone_out_indices=[0, 1, 2, 3],
            neck_hidden_sizes=[8, 8, 8, 8], fusion_hidden_size=8, reassemble_factors=[4, 2, 1, 0.5],
            use_auxiliary_head=False, is_hybrid=False,
        )  # fmt: skip
        return transformers.DPTForSemanticSegmentation(config)
    if kind == "mobilenet_v2":
        config = transformers.MobileNetV2Config(**labels, depth_multiplier=0.25, output_stride=16, image_size=64)
        return transformers.MobileNetV2ForSemanticSegmentation(config)
    backbone = transformers.ConvNextConfig(
        depths=[1, 1, 1, 1], hidden_sizes=[8, 8, 8, 8], out_features=["stage1", "stage2", "stage3", "stage4"]
    )
    config = transformers.UperNetConfig(
        backbone_config=backbone, **labels, hidden_size=8, pool_scales=[1, 2], use_auxiliary_head=False
    )
    return transformers.UperNetForSemanticSegmentation(config)


@pytest.mark.parametrize("kind", ["beit", "dpt", "mobilenet_v2", "upernet"])
def test_every_kind_runs_through_the_chain(kind: str, tmp_path: Path) -> None:
    folder = hf_checkpoints.saved(small(kind), tmp_path / kind, {"height": 64, "width": 64})
    source = folder_of(tmp_path / "drawings", range(1))
    rows = annotate(source, tmp_path / "out", *hf_checkpoints.local("hf_semantic", folder))
    assert rows
    assert {row["label"] for row in rows} <= set(hf_checkpoints.ID2LABEL.values())
    assert sum(int(row["area"]) for row in rows) == 96 * 128


@pytest.mark.promise("A run that cannot work is refused in one line and writes nothing")
@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"config.json": {"model_type": "bert"}}, "got model_type 'bert'"),
        ({"config.json": {"model_type": "segformer"}}, "id2label"),
        ({"preprocessor_config.json": {"do_center_crop": True, "size": {"height": 8, "width": 8}}}, "do_center_crop"),
        ({"preprocessor_config.json": {"size": {"height": 8, "width": 8}}}, "image_mean"),
    ],
)
def test_a_checkpoint_that_cannot_work_is_refused_on_the_driver(
    change: dict[str, object], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    contents = {
        "config.json": {"model_type": "segformer", "id2label": {"0": "a"}},
        "preprocessor_config.json": {"size": {"height": 8, "width": 8}, "image_mean": MEAN, "image_std": DEVIATION},
        **change,
    }
    for name, content in contents.items():
        (folder / name).write_text(json.dumps(content))
    (folder / "model.safetensors").write_bytes(b"")
    places = [f"source.uri={tmp_path}", f"sink.uri={tmp_path / 'out'}", "execute=local"]
    assert main("annotate", [*places, *hf_checkpoints.local("hf_semantic", folder)]) == 2
    said = capsys.readouterr().err
    assert len(but_signs(said)) == 1
    assert expected in said
    assert not (tmp_path / "out").exists()


def test_sizes_are_those_of_the_reference() -> None:
    how = Preprocess(shortest=800, longest=1333, multiple=32)
    assert how.size(480, 640) == (800, 1088)
    assert how.size(480, 1920) == (352, 1344)
    assert Preprocess(height=512, width=512).size(10, 99) == (512, 512)
    assert Preprocess(longest=100).size(400, 300) == (100, 75)
    assert tuple(resized(torch.zeros(3, 8, 8), (4, 6), "bilinear").shape) == (3, 4, 6)
