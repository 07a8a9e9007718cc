"""An inpainting pipeline with the sizes of Stable Diffusion 1.5 (0.86 thousand million parameters in its U-Net) and
random weights."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.diffusers_pipelines import tokenizer


def sd_sized(folder: Path) -> Path:
    import diffusers
    import torch
    import transformers

    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)  # half of the bytes to write, to hash and to read
    try:
        text = transformers.CLIPTextModel(
            transformers.CLIPTextConfig(
                hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12,
                bos_token_id=0, eos_token_id=1, pad_token_id=1,
            )
        )  # fmt: skip
        unet = diffusers.UNet2DConditionModel(
            sample_size=64, in_channels=9, out_channels=4, layers_per_block=2, cross_attention_dim=768,
            block_out_channels=(320, 640, 1280, 1280), attention_head_dim=8,
        )  # fmt: skip
        vae = diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4,
        )  # fmt: skip
    finally:
        torch.set_default_dtype(torch.float32)
    diffusers.StableDiffusionInpaintPipeline(
        vae=vae, text_encoder=text, tokenizer=None, unet=unet, safety_checker=None, feature_extractor=None,
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False), requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    tokenizer(folder / "tokenizer", "CLIPTokenizer")
    index = folder / "model_index.json"
    known = '"tokenizer": ["transformers", "CLIPTokenizer"]'
    index.write_text(index.read_text().replace('"tokenizer": [\n    null,\n    null\n  ]', known))
    return folder
