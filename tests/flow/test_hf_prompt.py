"""Text prompts: wiring only. The networks are real ones of their class, tiny and random, so what they find means
nothing; what is tested is that words, boxes and masks arrive where they belong, and that a run goes through."""

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from pipeline.errors import ConfigError
from pipeline.networks.torch_options import TorchOptions
from pipeline.segment.hf_prompt import HfClipSeg
from pipeline.segment.preprocess import Preprocess
from pipeline.segment.torch_net import Net
from pipeline.segment.torch_prompts import ClipSegNet, GroundedSamNet
from tests.flow import checkpoints
from tests.flow.drawings import annotate, folder_of

BEGIN, END, STOP = 101, 102, 1012  # as BERT numbers them, which Grounding DINO relies on
WORDS = {"disc": 5, "blue": 6, "square": 7}


def add_tokenizer(folder: Path) -> None:
    names = {f"[unused{n}]": n for n in range(1100)}
    taken = {"[PAD]": 0, "[UNK]": 100, "[CLS]": BEGIN, "[SEP]": END, ".": STOP, **WORDS}
    vocabulary = {name: n for name, n in names.items() if n not in taken.values()} | taken
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", BEGIN), ("[SEP]", END)]
    )
    transformers.PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(folder)


def clipseg(folder: Path) -> Path:
    torch.manual_seed(0)
    tiny = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = transformers.CLIPSegConfig(
        text_config={**tiny, "vocab_size": 1100, "eos_token_id": END, "bos_token_id": BEGIN},
        vision_config={**tiny, "image_size": 64, "patch_size": 16}, projection_dim=16, reduce_dim=8,
        extract_layers=[0, 1, 2], decoder_num_attention_heads=2, decoder_intermediate_size=16,
    )  # fmt: skip
    checkpoints.saved(transformers.CLIPSegForImageSegmentation(config), folder, {"height": 64, "width": 64})
    add_tokenizer(folder)
    return folder


def grounding_dino(folder: Path) -> Path:
    torch.manual_seed(0)
    config = transformers.GroundingDinoConfig(
        backbone_config=transformers.SwinConfig(
            image_size=64, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=4,
            out_features=["stage2", "stage3", "stage4"],
        ),
        text_config={
            "model_type": "bert", "vocab_size": 1100, "hidden_size": 32, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 32,
        },
        d_model=32, encoder_layers=1, decoder_layers=2, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=10, num_feature_levels=4,
    )  # fmt: skip
    checkpoints.saved(
        transformers.GroundingDinoForObjectDetection(config), folder, {"shortest_edge": 64, "longest_edge": 128}
    )
    add_tokenizer(folder)
    return folder


def sam2(folder: Path) -> Path:
    torch.manual_seed(0)
    backbone = transformers.Sam2HieraDetConfig(
        hidden_size=8, num_attention_heads=1, image_size=[128, 128], blocks_per_stage=[1, 1, 1, 1],
        embed_dim_per_stage=[8, 16, 32, 64], num_attention_heads_per_stage=[1, 1, 1, 1],
        window_size_per_stage=[4, 4, 4, 4], global_attention_blocks=[],
        window_positional_embedding_background_size=[4, 4],
    )  # fmt: skip
    config = transformers.Sam2Config(
        vision_config=transformers.Sam2VisionConfig(
            backbone_config=backbone, backbone_channel_list=[64, 32, 16, 8], fpn_hidden_size=32,
            backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        ),
        prompt_encoder_config={"hidden_size": 32, "image_size": 128, "patch_size": 16},
        mask_decoder_config={"hidden_size": 32, "mlp_dim": 32, "num_hidden_layers": 1, "num_attention_heads": 2,
                             "iou_head_hidden_dim": 32, "attention_downsample_rate": 2},
    )  # fmt: skip
    return checkpoints.saved(transformers.Sam2Model(config), folder, {"height": 128, "width": 128})


def test_clipseg_goes_through_the_line_a_segment_a_prompt(tmp_path: Path) -> None:
    folder = clipseg(tmp_path / "clipseg")
    values = {"prompts": "[disc,blue square]", "score": 0, "model.folder": folder, "model.licence": "MIT"}
    dotted = [f"segment.hf_prompt.{key}={value}" for key, value in values.items()]
    rows = annotate(folder_of(tmp_path / "in", range(1)), tmp_path / "out", "segment=[hf_prompt/clipseg]", *dotted)
    assert [(row["label"], row["class_id"]) for row in rows] == [("disc", 0), ("blue square", 1)]
    assert all(row["area"] == 96 * 128 for row in rows)  # from a probability of 0 on, every pixel is inside


def test_grounded_sam_goes_through_the_line_a_segment_a_box(tmp_path: Path) -> None:
    values = {
        "prompts": "[disc,blue square]", "score": 0, "most": 4, "boxes.licence": "MIT", "masks.licence": "MIT",
        "boxes.folder": grounding_dino(tmp_path / "dino"), "masks.folder": sam2(tmp_path / "sam2"),
    }  # fmt: skip
    dotted = [f"segment.hf_prompt.{key}={value}" for key, value in values.items()]
    rows = annotate(folder_of(tmp_path / "in", range(1)), tmp_path / "out", "segment=[hf_prompt/grounded_sam]", *dotted)
    assert len(rows) <= 4
    assert {row["label"] for row in rows} <= {"disc", "blue square"}


class Finder(torch.nn.Module):
    """Finds a box on the left for the second prompt's second word, and one on the right, less sure, for the first."""

    def forward(self, pixel_values: torch.Tensor, input_ids: torch.Tensor, **_: torch.Tensor) -> "Finder":
        assert input_ids.tolist() == [[BEGIN, WORDS["disc"], STOP, WORDS["blue"], WORDS["square"], STOP, END]]
        self.logits = torch.full((1, 3, 256), -torch.inf)
        self.logits[:, :, :7] = -9.0
        self.logits[0, 0, 4], self.logits[0, 1, 1] = 3.0, 1.0
        self.logits[0, 2, 2] = 9.0  # a full stop is no prompt
        self.pred_boxes = torch.tensor([[[0.25, 0.5, 0.5, 1.0], [0.75, 0.5, 0.5, 1.0], [0.5, 0.5, 1.0, 1.0]]])
        return self


class Cutter(torch.nn.Module):
    """The mask of a box is the box."""

    def forward(self, pixel_values: torch.Tensor, input_boxes: torch.Tensor, multimask_output: bool) -> "Cutter":
        assert not multimask_output
        height, width = pixel_values.shape[2:]
        planes = torch.full((1, input_boxes.shape[1], 1, height, width), -5.0)
        for number, (left, top, right, bottom) in enumerate(input_boxes[0].round().int().tolist()):
            planes[0, number, 0, top:bottom, left:right] = 5.0
        self.pred_masks = planes
        return self


def test_boxes_masks_and_words_belong_together() -> None:
    tokens = [[BEGIN, WORDS["disc"], STOP, END], [BEGIN, WORDS["blue"], WORDS["square"], STOP, END]]
    nets = [Net(module, "cpu", 1, TorchOptions()) for module in (Finder(), Cutter())]
    how = (Preprocess(shortest=20, longest=40), Preprocess(height=64, width=64))
    net = GroundedSamNet(*nets, *how, tokens, 0.35, 10)
    ((_, found),) = net.each([np.zeros((60, 80, 3), np.uint8)], [(60, 80)])
    assert [one.class_id for one in found] == [1, 0]
    np.testing.assert_allclose([one.score for one in found], [1 / (1 + np.exp(-3)), 1 / (1 + np.exp(-1))], rtol=1e-5)
    left = np.zeros((60, 80), bool)
    left[:, :40] = True
    np.testing.assert_array_equal(found[0].inside, left)
    np.testing.assert_array_equal(found[1].inside, ~left)


def test_a_prompt_does_not_depend_on_the_ones_beside_it(tmp_path: Path) -> None:
    module = transformers.CLIPSegForImageSegmentation.from_pretrained(clipseg(tmp_path / "clipseg"))
    how = Preprocess(height=64, width=64)
    short, long = [BEGIN, WORDS["disc"], END], [BEGIN, WORDS["blue"], WORDS["square"], END]
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)

    def scores(*tokens: list[int]) -> list[float]:
        net = ClipSegNet(Net(module, "cpu", 1, TorchOptions()), how, tokens, 0.0)
        ((_, found),) = net.each([image], [(64, 64)])
        return [one.score for one in found]

    np.testing.assert_allclose(scores(short, long), scores(short) + scores(long), rtol=1e-4)


@pytest.mark.parametrize("prompts", [(), ("",), ("a", "a"), ("a. b",)])
def test_prompts_that_cannot_work_are_named(prompts: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"segment\.hf_prompt\.prompts: expected different words"):
        HfClipSeg(model=None, prompts=prompts)  # type: ignore[arg-type]
