"""The inpainting pipelines of diffusers: the networks of each, and what they see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class Kind:
    """A pipeline class of diffusers.

    network: the sub-folder of the network that removes the noise. parts: sub-folder -> library and class of each
    network. tokenizers: their sub-folders, that whose limit counts first. longest: limit of the first, in tokens.
    negative: whether it takes a negative prompt. packed: latent cells a side that the network sees as one. cells:
    whether it sees the mask in latent cells only. left_out: optional parts that are never read: the safety checker, and
    what takes a picture as the prompt.
    """

    network: str
    parts: Mapping[str, tuple[str, str]]
    tokenizers: tuple[str, ...]
    longest: int = 77
    negative: bool = True
    packed: int = 1
    cells: bool = True
    left_out: tuple[str, ...] = ()

    @property
    def encoders(self) -> tuple[str, ...]:
        return tuple(part for part in self.parts if part.startswith("text_encoder"))

    def channels(self, latent: int, scale: int) -> int:
        """Channels of the network's input: noisy latents, latents of the blanked canvas, the mask."""
        return 2 * latent + 1 if self.cells else self.packed**2 * (2 * latent + scale**2)


_SD: Final = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
}
KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        "StableDiffusionInpaintPipeline": Kind(
            "unet", _SD, ("tokenizer",), left_out=("safety_checker", "feature_extractor", "image_encoder")
        ),
        "StableDiffusionXLInpaintPipeline": Kind(
            "unet",
            {**_SD, "text_encoder_2": ("transformers", "CLIPTextModelWithProjection")},
            ("tokenizer", "tokenizer_2"),
            left_out=("feature_extractor", "image_encoder"),
        ),
        "FluxFillPipeline": Kind(
            "transformer",
            {
                "transformer": ("diffusers", "FluxTransformer2DModel"),
                "vae": ("diffusers", "AutoencoderKL"),
                "text_encoder": ("transformers", "CLIPTextModel"),
                "text_encoder_2": ("transformers", "T5EncoderModel"),
            },
            ("tokenizer_2", "tokenizer"),
            longest=512,  # of T5; CLIP's copy of the text is cut at 77, as usual with FLUX
            negative=False,
            packed=2,
            cells=False,
        ),
    }
)
