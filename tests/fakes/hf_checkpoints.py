"""Small checkpoints as transformers saves them, and the overrides that run one."""

import json
from pathlib import Path

import torch
import transformers

from tests.fakes.network_training import DEVIATION, MEAN

ID2LABEL = {0: "ground", 1: "disc", 2: "square"}


def segformer(**changes: object) -> transformers.SegformerForSemanticSegmentation:
    """Random weights, a thousandth of the size."""
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        num_encoder_blocks=2, depths=[1, 1], sr_ratios=[4, 2], hidden_sizes=[16, 32], patch_sizes=[7, 3],
        strides=[2, 2], num_attention_heads=[1, 2], mlp_ratios=[2, 2], decoder_hidden_size=32, id2label=ID2LABEL,
        label2id={name: number for number, name in ID2LABEL.items()}, **changes,
    )  # fmt: skip
    return transformers.SegformerForSemanticSegmentation(config)


def saved(module: transformers.PreTrainedModel, folder: Path, size: dict[str, int], **more: object) -> Path:
    """Save the checkpoint with its preprocessor_config.json. Returns the folder."""
    module.save_pretrained(folder)
    processor = {
        "do_normalize": True, "do_resize": True, "image_mean": MEAN, "image_std": DEVIATION, "resample": 2,
        "image_processor_type": "SegformerImageProcessor", "size": size, **more,
    }  # fmt: skip
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    return folder


def local(family: str, folder: Path, *more: str) -> list[str]:
    values = (f"model.folder={folder}", "model.licence=MIT", *more)
    return [f"segment=[{family}/local]", *(f"segment.{family}.{value}" for value in values)]
