"""Text prompts: wiring only. The networks are real ones of their class, tiny and random, so what they find means
nothing; what is tested is that words, boxes and masks arrive where they belong, and that a run goes through."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from pipeline.errors import ConfigError
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.torch_options import TorchOptions
from pipeline.segment.hf.prompt import HfClipSeg, HfSam3
from pipeline.segment.hf.prompt_nets import ClipSegNet, GroundedSamNet, Sam3Net
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.torch_runner import Net
from tests.fakes.drawn_images import annotate, folder_of
from tests.fakes.hf_checkpoints import clipseg, grounding_dino, sam2, sam3
from tests.fakes.specs import made
from tests.fakes.word_tokenizer import BEGIN, END, STOP, WORDS


def test_sam3_runs_through_the_chain_a_segment_a_thing(tmp_path: Path) -> None:
    values = {
        "prompts": "[disc,blue square]",
        "score": 0,
        "mask": 0,
        "max_detections": 7,
        "model.folder": sam3(tmp_path / "sam3"),
    }
    dotted = [f"segment.hf_prompt.{key}={value}" for key, value in values.items()]
    rows = annotate(folder_of(tmp_path / "in", range(1)), tmp_path / "out", "segment=[hf_prompt/sam3]", *dotted)
    assert len(rows) == 7  # of 2 x 5
    assert {row["label"] for row in rows} == {"disc", "blue square"}
    assert all(row["area"] == 96 * 128 for row in rows)  # from a probability of 0 on, every pixel is inside


def test_what_sam3_finds_is_what_its_reference_processor_makes_of_it(tmp_path: Path) -> None:
    module = transformers.Sam3Model.from_pretrained(sam3(tmp_path / "sam3"))
    how = Preprocess(height=56, width=56, mean=(0.5,) * 3, std=(0.5,) * 3)
    tokens = [[BEGIN, WORDS["disc"], END], [BEGIN, WORDS["blue"], WORDS["square"], END]]
    net = Net(module, "cpu", 1, TorchOptions())
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    ((_, found),) = Sam3Net(net, how, tokens, 0.0, 0.5, 100).each([image], [(60, 80)])
    wanted = []
    for number, words in enumerate(tokens):  # as Sam3Processor fills them up
        ids = torch.tensor([words + [END] * (32 - len(words))])
        shown = torch.tensor([[1] * len(words) + [0] * (32 - len(words))])
        with torch.inference_mode():
            answer = module(pixel_values=net.prepared(image, how)[None], input_ids=ids, attention_mask=shown)
        scores = (answer.pred_logits.sigmoid() * answer.presence_logits.sigmoid())[0]
        planes = torch.nn.functional.interpolate(answer.pred_masks.sigmoid(), size=(60, 80), mode="bilinear")[0] > 0.5
        wanted += [
            (float(score), number, int(plane.sum())) for score, plane in zip(scores, planes, strict=True) if plane.any()
        ]
    wanted.sort(key=lambda one: -one[0])
    assert [one.class_id for one in found] == [number for _, number, _ in wanted]
    np.testing.assert_allclose([one.score for one in found], [score for score, _, _ in wanted], rtol=1e-4)
    np.testing.assert_allclose([one.inside.sum() for one in found], [area for _, _, area in wanted], atol=3)


class Concepts(torch.nn.Module):
    """Knows the first prompt in the left half and the second, surer, in the right; the third is not there."""

    def get_text_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> int:
        return int(input_ids[0, 1])

    def get_vision_features(self, pixel_values: torch.Tensor) -> tuple[int, ...]:
        return tuple(pixel_values.shape)

    def forward(self, vision_embeds: tuple[int, ...], text_embeds: int, attention_mask: torch.Tensor) -> "Concepts":
        assert vision_embeds == (1, 3, 64, 64)
        self.pred_logits = torch.tensor([[9.0 - text_embeds, -9.0]])
        self.presence_logits = torch.tensor([[-9.0 if text_embeds == WORDS["square"] else 9.0]])
        self.pred_masks = torch.full((1, 2, 16, 16), -5.0)
        half = slice(0, 8) if text_embeds == WORDS["blue"] else slice(8, 16)
        self.pred_masks[0, :, :, half] = 5.0
        return self


def test_concepts_and_masks_belong_together() -> None:
    tokens = [[BEGIN, WORDS[word], END] for word in ("blue", "disc", "square")]
    net = Sam3Net(Net(Concepts(), "cpu", 1, TorchOptions()), Preprocess(height=64, width=64), tokens, 0.5, 0.5, 10)
    ((_, found),) = net.each([np.zeros((60, 80, 3), np.uint8)], [(60, 80)])
    assert [one.class_id for one in found] == [1, 0]
    left = np.zeros((60, 80), bool)
    left[:, :40] = True
    np.testing.assert_array_equal(found[1].inside, left)
    np.testing.assert_array_equal(found[0].inside, ~left)


def test_words_that_are_too_many_are_refused_before_a_run(tmp_path: Path) -> None:
    files = ("config.json", "processor_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")
    model = Checkpoint(folder=str(sam3(tmp_path / "sam3")), licence="SAM License", files=files)
    with pytest.raises(ConfigError, match="expected prompts of at most 32 tokens, got 42"):
        HfSam3(model=model, prompts=("disc " * 40,)).check()
    with pytest.raises(ConfigError, match=r"segment\.hf_prompt\.model: expected tokenizer\.json"):
        made("segment.hf_prompt", HfSam3, model=replace(model, files=files[:3]), prompts=["disc"])


def test_clipseg_runs_through_the_chain_a_segment_a_prompt(tmp_path: Path) -> None:
    folder = clipseg(tmp_path / "clipseg")
    values = {"prompts": "[disc,blue square]", "score": 0, "model.folder": folder, "model.licence": "MIT"}
    dotted = [f"segment.hf_prompt.{key}={value}" for key, value in values.items()]
    rows = annotate(folder_of(tmp_path / "in", range(1)), tmp_path / "out", "segment=[hf_prompt/clipseg]", *dotted)
    assert [(row["label"], row["class_id"]) for row in rows] == [("disc", 1), ("blue square", 2)]
    assert all(row["area"] == 96 * 128 for row in rows)  # from a probability of 0 on, every pixel is inside


def test_grounded_sam_runs_through_the_chain_a_segment_a_box(tmp_path: Path) -> None:
    values = {
        "prompts": "[disc,blue square]", "score": 0, "max_detections": 4,
        "boxes.licence": "MIT", "masks.licence": "MIT",
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
    finder, cutter = (Net(module, "cpu", 1, TorchOptions()) for module in (Finder(), Cutter()))
    how, cutter_how = Preprocess(shortest=20, longest=40), Preprocess(height=64, width=64)
    net = GroundedSamNet(finder, cutter, how, cutter_how, tokens, 0.35, 10)
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
def test_prompts_that_cannot_work_are_named(prompts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"segment\.hf_prompt\.prompts: expected different phrases"):
        made("segment.hf_prompt", HfClipSeg, model=Checkpoint(folder="absent", licence="MIT"), prompts=prompts)
