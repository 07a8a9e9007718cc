"""Networks of queries through the whole chain: a small Mask2Former that learns, and what its answers become."""

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.eomt.image_processing_pil_eomt import EomtImageProcessorPil
from transformers.models.mask2former.image_processing_pil_mask2former import Mask2FormerImageProcessorPil

from pipeline.errors import ConfigError
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.torch_options import TorchOptions
from pipeline.segment.hf.checkpoint_config import preprocess
from pipeline.segment.hf.query_net import QueryNet
from pipeline.segment.hf.universal import HfUniversal
from pipeline.segment.shared.preprocess import Preprocess
from pipeline.segment.shared.torch_runner import Net
from tests.fakes import hf_checkpoints
from tests.fakes.drawn_images import annotate, drawing, folder_of, mean_overlap
from tests.fakes.hf_checkpoints import SPLIT, checkpoint, mask2former, small
from tests.fakes.network_training import train
from tests.fakes.specs import made
from tests.fakes.word_tokenizer import BEGIN, END, add_tokenizer

HELD_OUT = range(6)


class Answers(torch.nn.Module):
    """A network that always gives the same answers."""

    def __init__(self, logits: torch.Tensor, masks: torch.Tensor) -> None:
        super().__init__()
        self.class_queries_logits, self.masks_queries_logits = logits[None], masks[None]

    def forward(self, pixel_values: torch.Tensor) -> "Answers":
        return self


def queries(logits: torch.Tensor, masks: torch.Tensor) -> QueryNet:
    return QueryNet(Net(Answers(logits, masks), "cpu", 1, TorchOptions()), Preprocess())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    module = mask2former()

    def loss(pixels: torch.Tensor, classes: torch.Tensor) -> torch.Tensor:
        masks = [torch.stack([(one == number).float() for number in range(3)]) for one in classes]
        answer = module(pixel_values=pixels, mask_labels=masks, class_labels=[torch.arange(3)] * len(classes))
        found: torch.Tensor = answer.loss
        return found

    train(module, loss, steps=80, rate=0.004, count=2)
    return hf_checkpoints.saved(module, tmp_path_factory.mktemp("models") / "mask2former", {"height": 96, "width": 128})


@pytest.mark.parametrize("task", ["semantic", "panoptic", "instance"])
def test_mask2former_learns_the_drawings(task: str, trained: Path, tmp_path: Path) -> None:
    source = folder_of(tmp_path / "drawings", HELD_OUT)
    rows = annotate(source, tmp_path / "out", *hf_checkpoints.local("hf_universal", trained, f"task={task}"))
    assert mean_overlap(rows, HELD_OUT) >= 0.9
    if task == "panoptic":
        for seed in HELD_OUT:
            masks = [row["mask"] for row in rows if row["seed"] == seed]
            assert np.sum(masks, axis=0).max() == 1


@pytest.mark.parametrize(
    ("kind", "size", "more"),
    [
        ("maskformer", {"shortest_edge": 64, "longest_edge": 128}, {"size_divisor": 32}),
        (
            "eomt",
            {"shortest_edge": 64, "longest_edge": 64},
            {"do_pad": True, "image_processor_type": "EomtImageProcessor"},
        ),
    ],
)
def test_the_others_run_through_the_chain(
    kind: str, size: dict[str, int], more: dict[str, object], tmp_path: Path
) -> None:
    folder = hf_checkpoints.saved(small(kind), tmp_path / kind, size, **more)
    source = folder_of(tmp_path / "drawings", range(1))
    rows = annotate(source, tmp_path / "out", *hf_checkpoints.local("hf_universal", folder, "task=semantic"))
    assert sum(int(row["area"]) for row in rows) == 96 * 128
    masks = annotate(
        source, tmp_path / "things", *hf_checkpoints.local("hf_universal", folder, "task=instance", "score=0")
    )
    assert {row["label"] for row in masks} <= set(hf_checkpoints.ID2LABEL.values())


TASK = {"the": 5, "task": 6, "is": 7, "semantic": 8, "instance": 9, "panoptic": 10}


def oneformer(folder: Path) -> Path:
    hf_checkpoints.saved(small("oneformer"), folder, {"shortest_edge": 64, "longest_edge": 128})
    add_tokenizer(folder, TASK)
    return folder


@pytest.mark.parametrize("task", ["semantic", "instance", "panoptic"])
def test_oneformer_is_told_its_task_and_answers_as_transformers_own_calls_do(task: str, tmp_path: Path) -> None:
    folder = oneformer(tmp_path / "oneformer")
    source = folder_of(tmp_path / "drawings", range(1))
    how = ["segment=[hf_universal/oneformer_local]"]
    values = (f"model.folder={folder}", "model.licence=MIT", f"task={task}", "score=0")
    rows = annotate(source, tmp_path / "out", *how, *(f"segment.hf_universal.{value}" for value in values))
    covered = np.sum([row["mask"] for row in rows], axis=0)
    assert task == "instance" or covered.max() == 1

    segmenter = HfUniversal(model=checkpoint(folder), task=task)  # type: ignore[arg-type]
    segmenter.load("cpu", 1)
    seen = Net(small("oneformer"), "cpu", 1, TorchOptions())
    tokens = [BEGIN, 5, 6, 7, TASK[task], END, *[0] * 71]  # as OneFormerProcessor pads them
    pixels = np.random.default_rng(0).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    net = QueryNet(seen, segmenter.how, segmenter.task_tokens())
    assert segmenter.task_tokens() == tokens
    ((_, found),) = net.classes([pixels], [(64, 96)])
    answer = seen.run(
        lambda module: module(
            pixel_values=seen.stacked([pixels], segmenter.how), task_inputs=torch.tensor([tokens])
        )
    )  # fmt: skip
    likely = torch.einsum(
        "qc,qhw->chw", answer.class_queries_logits[0].softmax(-1)[:, :-1], answer.masks_queries_logits[0].sigmoid()
    )
    wanted = torch.nn.functional.interpolate(likely[None], size=(64, 96), mode="bilinear")[0].argmax(0)
    np.testing.assert_array_equal(found.ids, wanted.numpy())


def test_a_oneformer_without_its_words_is_refused(tmp_path: Path) -> None:
    folder = oneformer(tmp_path / "oneformer")
    files = ("config.json", "preprocessor_config.json", "model.safetensors")
    with pytest.raises(ConfigError, match=r"segment\.hf_universal\.model: expected tokenizer\.json .* model\.files"):
        made(
            "segment.hf_universal",
            HfUniversal,
            model=Checkpoint(folder=str(folder), licence="MIT", files=files),
            task="semantic",
        )


@pytest.mark.parametrize(("height", "width"), [(48, 130), (130, 48), (40, 40), (48, 128)])
def test_eomt_sees_squares_of_an_image_as_its_reference_does(height: int, width: int, tmp_path: Path) -> None:
    """The merging of the squares is transformers' own; the squares are cut by its `_split_image`."""
    folder = hf_checkpoints.saved(small("eomt"), tmp_path / "eomt", {"shortest_edge": 64}, **SPLIT)
    segmenter = HfUniversal(model=checkpoint(folder, words=False), task="semantic")
    seen = Net(small("eomt"), "cpu", 1, TorchOptions(batch=2))
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)
    ((_, found),) = QueryNet(seen, segmenter.how).classes([pixels], [(height, width)])

    reference = EomtImageProcessorPil(size={"shortest_edge": 64, "longest_edge": None}, do_split_image=True)
    inputs = reference(pixels, return_tensors="pt")
    batch = torch.stack([torch.as_tensor(one) for one in inputs["pixel_values"]])
    answer = seen.run(lambda module: module(pixel_values=batch))
    answer.patch_offsets = inputs["patch_offsets"]
    (wanted,) = reference.post_process_semantic_segmentation(
        answer, target_sizes=[(height, width)], return_segmentation_scores=True
    )
    values = np.asarray(wanted.segmentation_scores)
    np.testing.assert_allclose(found.scores, values.max(0) / values.sum(0), atol=2e-4)
    assert np.ptp(found.scores) > 2e-3  # not the same everywhere: squares in other places would be seen


def test_squares_are_for_classes_not_for_things(tmp_path: Path) -> None:
    folder = hf_checkpoints.saved(small("eomt"), tmp_path / "eomt", {"shortest_edge": 64}, **SPLIT)
    with pytest.raises(ConfigError, match=r"do_split_image is for task=semantic"):
        HfUniversal(model=checkpoint(folder, words=False), task="panoptic")
    with pytest.raises(ConfigError, match=r"^model: preprocessor_config\.json: do_split_image is not supported"):
        preprocess("model", checkpoint(folder, words=False))


def test_classes_win_as_in_the_reference_post_processing() -> None:
    torch.manual_seed(0)
    logits, masks = torch.randn(8, 6) * 2, torch.randn(8, 24, 32) * 3
    ((_, found),) = queries(logits, masks).classes([np.zeros((24, 32, 3), np.uint8)], [(24, 32)])
    values = torch.einsum("qc,qhw->chw", logits.softmax(-1)[:, :-1], masks.sigmoid())
    np.testing.assert_array_equal(found.ids, values.argmax(0).numpy())
    np.testing.assert_allclose(found.scores, (values.max(0).values / values.sum(0)).numpy(), rtol=1e-4)


def drawn_queries() -> tuple[torch.Tensor, torch.Tensor]:
    """Of the first drawing, at 384 x 384 as the reference post-processing looks at masks: the ground in two halves, the
    disc, the square, one query that is sure to be nothing, and one that is not sure."""
    _, classes = drawing(0, 384, 384)
    left = np.arange(384)[None] < 192
    shapes = [(classes == 0) & left, (classes == 0) & ~left, classes == 1, classes == 2, classes >= 0, classes >= 0]
    masks = torch.from_numpy(np.stack(shapes)).float() * 16 - 8
    chances = [[6, 0, 0, 0], [6, 0, 0, 0], [0, 6, 0, 0], [0, 0, 6, 0], [0, 0, 0, 6], [1, 1, 1, 1]]
    return torch.tensor(chances).float(), masks


@pytest.mark.parametrize("fused", [frozenset(), frozenset({0})])
def test_panoptic_segments_are_those_of_the_reference(fused: frozenset[int]) -> None:
    logits, masks = drawn_queries()
    ((_, found),) = queries(logits, masks).masks(
        [np.zeros((8, 8, 3), np.uint8)], [(384, 384)], panoptic=True, score=0.5, mask=0.5, overlap=0.8, fused=fused
    )
    (wanted,) = Mask2FormerImageProcessorPil().post_process_panoptic_segmentation(
        Answers(logits, masks), label_ids_to_fuse=set(fused), target_sizes=[(384, 384)]
    )
    reference = {
        (info["label_id"], (wanted["segmentation"] == info["id"]).numpy().tobytes()) for info in wanted["segments_info"]
    }
    assert {(one.class_id, one.inside.tobytes()) for one in found} == reference
    assert len(found) == (3 if fused else 4)


def test_instances_keep_queries_that_are_sure_of_something() -> None:
    logits, masks = drawn_queries()
    ((_, found),) = queries(logits, masks).masks(
        [np.zeros((8, 8, 3), np.uint8)], [(384, 384)], panoptic=False, score=0.5, mask=0.5, overlap=0.8,
        fused=frozenset(),
    )  # fmt: skip
    assert [one.class_id for one in found] == [0, 0, 1, 2]
    _, classes = drawing(0, 384, 384)
    np.testing.assert_array_equal(found[2].inside, classes == 1)
    assert all(0.97 < one.score < 1 for one in found)
