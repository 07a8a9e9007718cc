"""Small checkpoints as transformers saves them, and the overrides that run one."""

import json
from pathlib import Path

import torch
import transformers

from pipeline.models.checkpoint import Checkpoint
from tests.fakes.network_training import DEVIATION, MEAN
from tests.fakes.word_tokenizer import BEGIN, END, add_tokenizer

SPLIT = {"do_split_image": True, "image_processor_type": "EomtImageProcessor"}
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


def clipseg(folder: Path) -> Path:
    torch.manual_seed(0)
    tiny = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    config = transformers.CLIPSegConfig(
        text_config={**tiny, "vocab_size": 1100, "eos_token_id": END, "bos_token_id": BEGIN},
        vision_config={**tiny, "image_size": 64, "patch_size": 16}, projection_dim=16, reduce_dim=8,
        extract_layers=[0, 1, 2], decoder_num_attention_heads=2, decoder_intermediate_size=16,
    )  # fmt: skip
    saved(transformers.CLIPSegForImageSegmentation(config), folder, {"height": 64, "width": 64})
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
    saved(transformers.GroundingDinoForObjectDetection(config), folder, {"shortest_edge": 64, "longest_edge": 128})
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
    return saved(transformers.Sam2Model(config), folder, {"height": 128, "width": 128})


def sam3(folder: Path) -> Path:
    torch.manual_seed(0)
    backbone = {
        "model_type": "sam3_vit_model", "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "image_size": 56, "patch_size": 14, "window_size": 2, "global_attn_indexes": [1],
        "pretrain_image_size": 28,
    }  # fmt: skip
    tiny = {"hidden_size": 32, "num_attention_heads": 2}
    layer = {**tiny, "num_layers": 1, "intermediate_size": 32}
    config = transformers.Sam3Config(
        vision_config={
            "backbone_config": backbone, "fpn_hidden_size": 32, "backbone_feature_sizes": [[16, 16], [8, 8], [4, 4]],
        },
        text_config={
            **tiny, "vocab_size": 1100, "intermediate_size": 32, "projection_dim": 16, "num_hidden_layers": 1,
            "max_position_embeddings": 32, "eos_token_id": END, "bos_token_id": BEGIN,
        },
        geometry_encoder_config=layer, detr_encoder_config=layer, detr_decoder_config={**layer, "num_queries": 5},
        mask_decoder_config=tiny,
    )  # fmt: skip
    transformers.Sam3Model(config).save_pretrained(folder)
    seen = {"size": {"height": 56, "width": 56}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3, "resample": 2}
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": seen, "processor_class": "Sam3"}))
    add_tokenizer(folder)
    return folder


def mask2former() -> transformers.Mask2FormerForUniversalSegmentation:
    torch.manual_seed(0)
    backbone = transformers.SwinConfig(
        image_size=64, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=4, drop_path_rate=0.0,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32, encoder_feedforward_dim=64,
        dim_feedforward=64, encoder_layers=1, decoder_layers=2, num_attention_heads=2, num_queries=8, dropout=0.0,
        train_num_points=1024, id2label=ID2LABEL,
        label2id={name: number for number, name in ID2LABEL.items()},
    )  # fmt: skip
    return transformers.Mask2FormerForUniversalSegmentation(config)


def small(kind: str) -> transformers.PreTrainedModel:
    torch.manual_seed(0)
    labels = {"id2label": ID2LABEL, "label2id": {n: i for i, n in ID2LABEL.items()}}
    if kind == "eomt":
        config = transformers.EomtConfig(
            hidden_size=16, num_hidden_layers=3, num_attention_heads=2, image_size=64, patch_size=16, num_blocks=1,
            num_queries=6, mlp_ratio=2, num_upscale_blocks=1, **labels,
        )  # fmt: skip
        return transformers.EomtForUniversalSegmentation(config)
    backbone = transformers.SwinConfig(
        image_size=64, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 2, 2, 4], window_size=4,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    if kind == "oneformer":
        config = transformers.OneFormerConfig(
            backbone_config=backbone, num_queries=6, hidden_dim=32, conv_dim=32, mask_dim=32, encoder_layers=1,
            decoder_layers=3, encoder_feedforward_dim=32, dim_feedforward=32, num_attention_heads=2,
            query_dec_layers=1, text_encoder_width=16, text_encoder_num_layers=1, text_encoder_n_ctx=4, **labels,
        )  # fmt: skip
        return transformers.OneFormerForUniversalSegmentation(config)
    decoder = transformers.DetrConfig(
        d_model=32, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32, decoder_ffn_dim=32,
        encoder_attention_heads=2, decoder_attention_heads=2, num_queries=6,
    )  # fmt: skip
    config = transformers.MaskFormerConfig(
        backbone_config=backbone, decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, **labels
    )
    return transformers.MaskFormerForInstanceSegmentation(config)


def checkpoint(folder: Path, words: bool = True) -> Checkpoint:
    files = ("config.json", "preprocessor_config.json", "model.safetensors")
    more = ("tokenizer.json", "tokenizer_config.json") if words else ()
    return Checkpoint(folder=str(folder), licence="MIT", files=(*files, *more))
