"""Tiny inpainting pipelines of diffusers with random weights: the classes of real ones, a millionth of the size."""

from collections.abc import Callable
from pathlib import Path

import diffusers
import torch
import transformers

LONGEST = 32
SIZE = 64
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def tokenizer(folder: Path, kind: str) -> None:
    """Save a tokenizer of single letters. kind: `CLIPTokenizer` or `T5TokenizerFast`."""
    if kind == "CLIPTokenizer":
        pieces = ["<|startoftext|>", "<|endoftext|>", *_LETTERS, *(f"{letter}</w>" for letter in _LETTERS)]
        vocabulary = {piece: number for number, piece in enumerate(pieces)}
        made = transformers.CLIPTokenizer(vocab=vocabulary, merges=[], model_max_length=LONGEST)
    else:
        pieces = ["<pad>", "</s>", "<unk>", "\u2581", *_LETTERS]
        made = transformers.T5TokenizerFast(vocab=[(piece, -1.0) for piece in pieces], extra_ids=0)
    made.save_pretrained(folder)


def clip(projected: bool = False) -> transformers.PreTrainedModel:
    config = transformers.CLIPTextConfig(
        vocab_size=SIZE, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=LONGEST, projection_dim=16, bos_token_id=0, eos_token_id=1, pad_token_id=1,
    )  # fmt: skip
    made = transformers.CLIPTextModelWithProjection if projected else transformers.CLIPTextModel
    return made(config)


def vae() -> diffusers.AutoencoderKL:
    """A latent stands for 8 x 8 pixels, as in real ones."""
    return diffusers.AutoencoderKL(
        block_out_channels=(8, 8, 8, 8), in_channels=3, out_channels=3, latent_channels=4, norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=1,
        scaling_factor=0.5, shift_factor=0.1,
    )  # fmt: skip


def unet(text_width: int, **more: object) -> diffusers.UNet2DConditionModel:
    return diffusers.UNet2DConditionModel(
        block_out_channels=(8, 16), layers_per_block=1, sample_size=64, in_channels=9, out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=text_width, norm_num_groups=4, attention_head_dim=4, **more,
    )  # fmt: skip


def sd(folder: Path) -> None:
    diffusers.StableDiffusionInpaintPipeline(
        vae=vae(), text_encoder=clip(), tokenizer=None, unet=unet(16), safety_checker=None, feature_extractor=None,
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False), requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip


def sdxl(folder: Path) -> None:
    """Save one whose scheduler draws noise at each step."""
    diffusers.StableDiffusionXLInpaintPipeline(
        vae=vae(), text_encoder=clip(), text_encoder_2=clip(projected=True), tokenizer=None, tokenizer_2=None,
        scheduler=diffusers.EulerAncestralDiscreteScheduler(), add_watermarker=False,
        unet=unet(
            32, addition_embed_type="text_time", addition_time_embed_dim=4, use_linear_projection=True,
            projection_class_embeddings_input_dim=6 * 4 + 16,
        ),
    ).save_pretrained(folder)  # fmt: skip


def flux(folder: Path) -> None:
    """Save one in several files, as the real one is."""
    t5 = transformers.T5Config(vocab_size=SIZE, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    diffusers.FluxFillPipeline(
        vae=vae(), text_encoder=clip(), tokenizer=None, text_encoder_2=transformers.T5EncoderModel(t5),
        tokenizer_2=None, scheduler=diffusers.FlowMatchEulerDiscreteScheduler(),
        transformer=diffusers.FluxTransformer2DModel(
            in_channels=2 * 4 * 4 + 4 * 64, out_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=8,
            num_attention_heads=2, joint_attention_dim=16, pooled_projection_dim=16, axes_dims_rope=(2, 2, 4),
            guidance_embeds=True,
        ),
    ).save_pretrained(folder, max_shard_size="20KB")  # fmt: skip


KINDS: dict[str, tuple[Callable[[Path], None], tuple[str, ...]]] = {
    "sd": (sd, ("CLIPTokenizer",)),
    "sdxl": (sdxl, ("CLIPTokenizer", "CLIPTokenizer")),
    "flux": (flux, ("CLIPTokenizer", "T5TokenizerFast")),
}


def saved(kind: str, folder: Path) -> Path:
    """Save a pipeline with the same weights each time. Returns its folder."""
    make, tokenizers = KINDS[kind]
    torch.manual_seed(0)
    make(folder)
    index = (folder / "model_index.json").read_text()
    for name, made in zip(("tokenizer", "tokenizer_2"), tokenizers, strict=False):
        tokenizer(folder / name, made)
        index = index.replace(f'"{name}": [\n    null,\n    null\n  ]', f'"{name}": ["transformers", "{made}"]')
    (folder / "model_index.json").write_text(index)
    return folder


def files_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
