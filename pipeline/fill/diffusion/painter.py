"""Paints windows by a pipeline of diffusers. Texts are encoded once, as it is loaded.

Windows go in and come out as tensors: no image processor resizes or quantises them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import torch

from pipeline.errors import ConfigError, ImageError, WeightsError, one_line
from pipeline.fill.diffusion.kinds import KINDS, Kind
from pipeline.fill.shared.windows import FillWindow
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.torch_device import prepare_module, torch_device
from pipeline.models.torch_options import TorchOptions
from pipeline.records import Device, Rgb

Embeddings: TypeAlias = Mapping[str, torch.Tensor]
"""One encoded text: argument of the pipeline -> (1, ...) tensor."""

_DTYPES: Final = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_BLACK: Final = 16
"""Grey level above which a canvas is not black, so that an all-black answer to it is a failure."""


class PaintSettings(Protocol):
    """What a painter needs of its spec, `Diffusion`."""

    @property
    def kind(self) -> str: ...
    @property
    def model(self) -> Checkpoint: ...
    @property
    def run(self) -> TorchOptions: ...
    @property
    def precision(self) -> str: ...
    @property
    def steps(self) -> int: ...
    @property
    def guidance(self) -> float: ...
    @property
    def negative_prompt(self) -> str: ...
    @property
    def texts(self) -> tuple[str, ...]: ...
    def text(self, label: str) -> str: ...


class Painter:
    """A loaded pipeline, without its text encoders: texts come from the config, so each is encoded once."""

    def __init__(self, fill: PaintSettings, device: Device, threads: int) -> None:
        """Raises WeightsError when diffusers or transformers cannot load the checkpoint, or weights are missing."""
        self._fill, self._kind = fill, KINDS[fill.kind]
        place = torch_device(device, threads)
        dtype = _DTYPES[fill.precision] if place.type == "cuda" else torch.float32
        with _loading(fill) as folder:
            self._pipe = _pipeline(fill, self._kind, folder, dtype)
        for part in self._kind.encoders:
            prepare_module(getattr(self._pipe, part), place, fill.run)
        with torch.no_grad():
            self._embeddings = {text: _encoded(self._pipe, fill, self._kind, text, place) for text in fill.texts}
        for part in self._kind.encoders:
            setattr(self._pipe, part, None)  # T5 alone takes 9 GB of the GPU
        for part in set(self._kind.parts) - set(self._kind.encoders):
            prepare_module(getattr(self._pipe, part), place, fill.run)

    def __call__(self, windows: Sequence[FillWindow]) -> list[Rgb]:
        """Paint windows of one shape. Raises ImageError `nan_pixels` for numbers that are not finite, and
        `black_pixels` for an all-black answer to a canvas that is not black."""
        pixels = torch.from_numpy(np.stack([window.pixels for window in windows])).permute(0, 3, 1, 2) / 255
        mask = torch.from_numpy(np.stack([window.mask for window in windows])).unsqueeze(1).float()
        if self._kind.cells:
            mask = whole_cells(mask, self._pipe.vae_scale_factor)
        texts = [self._fill.text(window.label) for window in windows]
        (answer, *_) = self._pipe(
            **{key: torch.cat([self._embeddings[text][key] for text in texts]) for key in self._embeddings[texts[0]]},
            image=pixels,
            mask_image=mask,
            height=pixels.shape[2],
            width=pixels.shape[3],
            strength=1.0,
            num_inference_steps=self._fill.steps,
            guidance_scale=float(self._fill.guidance),
            generator=[torch.Generator("cpu").manual_seed(window.seed) for window in windows],
            output_type="pt",
            return_dict=False,
        )
        return [_pixels(painted, window) for painted, window in zip(answer, windows, strict=True)]


def whole_cells(mask: torch.Tensor, cell: int) -> torch.Tensor:
    """Grow a mask (n, 1, h, w), 0 or 1, to whole cells of cell x cell pixels.

    The pipelines shrink a mask by taking one pixel of each cell: a thin stroke between those would count as known, and
    the blank under it would be kept as if it were the picture's.
    """
    small = torch.nn.functional.max_pool2d(mask, cell)
    return small.repeat_interleave(cell, 2).repeat_interleave(cell, 3)


def check_tokenizer(fill: PaintSettings, kind: Kind) -> None:
    """Raises ConfigError for a text that is longer than the limit of the checkpoint's tokenizers."""
    with _loading(fill) as folder:
        import transformers

        for part in kind.tokenizers if kind.cells else kind.tokenizers[:1]:
            tokenizer = transformers.AutoTokenizer.from_pretrained(
                folder / part, local_files_only=True, trust_remote_code=False
            )
            longest = min(kind.longest, int(tokenizer.model_max_length))
            for text in (*fill.texts, fill.negative_prompt):
                count = len(tokenizer(text)["input_ids"])
                if count > longest:
                    raise ConfigError(f"fill.prompt: expected text of at most {longest} tokens, got {count}: {text!r}")


def _pixels(painted: torch.Tensor, window: FillWindow) -> Rgb:
    """Convert (3, h, w) of 0..1 to HWC uint8."""
    if not bool(torch.isfinite(painted).all()):
        raise ImageError("nan_pixels", "the pipeline's answer is not finite; try fill.precision=bfloat16 or float32")
    levels = (painted.float() * 255).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
    if not levels.any() and int(window.pixels.max()) > _BLACK:
        raise ImageError("black_pixels", "the pipeline painted nothing but black; try fill.precision=float32")
    return np.ascontiguousarray(levels)


def _encoded(pipe: Any, fill: PaintSettings, kind: Kind, text: str, device: torch.device) -> Embeddings:
    if not kind.negative:
        embeds, pooled, _ = pipe.encode_prompt(prompt=text, device=device, max_sequence_length=kind.longest)
        return {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
    found = pipe.encode_prompt(
        prompt=text,
        device=device,
        num_images_per_prompt=1,
        do_classifier_free_guidance=fill.guidance > 1,
        negative_prompt=fill.negative_prompt or None,
    )
    keys = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    return {key: tensor for key, tensor in zip(keys, found, strict=False) if tensor is not None}


def _pipeline(fill: PaintSettings, kind: Kind, folder: Path, dtype: torch.dtype) -> Any:
    """Load the networks one by one, since only so the libraries tell which weights are missing; then the pipeline."""
    import diffusers

    parts = {part: _network(fill, folder, part, *kind.parts[part], dtype) for part in kind.parts}
    given: dict[str, object] = {**parts, **dict.fromkeys(kind.left_out)}
    if "safety_checker" in kind.left_out:
        given["requires_safety_checker"] = False
    pipe = getattr(diffusers, fill.kind).from_pretrained(
        folder, **given, dtype=dtype, use_safetensors=True, local_files_only=True
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _network(
    fill: PaintSettings, folder: Path, part: str, library: str, name: str, dtype: torch.dtype
) -> torch.nn.Module:
    import diffusers
    import transformers

    kind = getattr({"diffusers": diffusers, "transformers": transformers}[library], name)
    module, info = kind.from_pretrained(
        folder / part,
        use_safetensors=True,
        local_files_only=True,
        output_loading_info=True,
        dtype=dtype,
    )
    missing = sorted(info["missing_keys"])
    if missing:
        raise WeightsError(
            f"fill.model: {part} of {fill.model.tag} lacks {len(missing)} weights, the first {missing[0]}"
        )
    net: torch.nn.Module = module
    return net


@contextmanager
def _loading(fill: PaintSettings) -> Iterator[Path]:
    """Yield the folder to load a checkpoint from. What the libraries raise becomes a WeightsError of one line."""
    import diffusers
    import transformers

    for logging in (transformers.logging, diffusers.logging):
        logging.set_verbosity_error()
        logging.disable_progress_bar()
    with fill.model.fetched() as folder:
        try:
            yield folder
        except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
            raise WeightsError(f"fill.model: diffusers cannot load {fill.model.tag}: {one_line(error)}") from error
