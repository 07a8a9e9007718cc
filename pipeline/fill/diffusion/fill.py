"""Fills with a text-to-image model: the inpainting pipelines of diffusers for SD, SDXL and FLUX Fill.

model_index.json of the checkpoint names the pipeline. Every part of it is checked against kinds.py before anything is
loaded, so that a checkpoint never chooses what is imported. painter.py computes; nothing here imports torch.

The canvas is blanked and the strength is 1: a lower strength would start from the blank with some noise over it, and
bring the blank back.

The safety checker of SD 1.5 is not loaded: where it suspects something, which skin often makes it do, it blackens the
whole window and leaves a black hole in the data set. Review what a prompt made before you publish it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Annotated, Final, Literal

from pydantic import Field

from pipeline.contracts import FillModel
from pipeline.errors import ConfigError
from pipeline.fill.diffusion.kinds import KINDS, Kind
from pipeline.fill.shared.base import ContextFill
from pipeline.fill.shared.fields import Context
from pipeline.fill.shared.windows import WindowedFill, Windowing
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.torch_options import TorchOptions, need
from pipeline.models.weights import Weights
from pipeline.records import Device
from pipeline.spec import spec

INDEX: Final = "model_index.json"
_WEIGHTS: Final = {"diffusers": "diffusion_pytorch_model", "transformers": "model"}


@spec
class Diffusion(ContextFill):
    """Paints what a text says, made to fit its surroundings.

    The noise of a window is drawn on the CPU from the image's id, for each window alone: other windows of its batch do
    not change it.
    """

    model: Checkpoint
    """Files of a pipeline's folder."""
    prompt: str = ""
    """What to paint."""
    prompts: Mapping[str, str] | None = field(default=None, hash=False)
    """Label -> what to paint instead where the largest segment under a crop has that label: {person: an empty street}.
    """
    negative_prompt: str = ""
    """What not to paint; FLUX takes none."""
    steps: Annotated[int, Field(ge=1, le=1000)] = 30
    """Steps of the scheduler that the checkpoint brings."""
    guidance: Annotated[float, Field(ge=0, le=100)] = 7.5
    """How closely to follow the text; with 1 and below SD and SDXL take half the time and no negative prompt."""
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Of the weights on a GPU; the CPU computes in float32."""
    channels_last: bool = False
    """Memory layout of the networks' tensors: faster convolutions on a GPU."""
    context: Context = 1.0
    windowing: Windowing = field(default_factory=lambda: Windowing(side=512, multiple=64, fixed=True))
    """How a crop becomes windows of the network's size."""

    def __post_init__(self) -> None:
        _ = self.run, self.weights  # raise here, not in a worker

    @property
    def weights(self) -> tuple[Weights, ...]:
        return self.model.weights

    @property
    def run(self) -> TorchOptions:
        return TorchOptions(precision=self.precision, channels_last=self.channels_last, batch=self.windowing.batch)

    @property
    def texts(self) -> tuple[str, ...]:
        """Every text that a window can be painted by."""
        return tuple(dict.fromkeys((self.prompt, *(self.prompts or {}).values())))

    def text(self, label: str) -> str:
        """What to paint where the largest segment under a crop has this label."""
        return (self.prompts or {}).get(label, self.prompt)

    @property
    def kind(self) -> str:
        """Name of the pipeline's class. Raises ConfigError for one that does not inpaint."""
        if INDEX not in self.model.files:
            raise ConfigError(f"fill.model.files: expected {INDEX} among them, got {', '.join(self.model.files)}")
        found = self.model.read(INDEX).get("_class_name")
        if found not in KINDS:
            raise ConfigError(
                f"fill.model: expected an inpainting pipeline ({', '.join(KINDS)}) in {INDEX}, got {found!r}"
            )
        return str(found)

    def check(self) -> None:
        """Raises ConfigError or WeightsError for a checkpoint that is not an inpainting pipeline, lacks a part, takes
        other sizes than `windowing` makes, or has a tokenizer for shorter texts."""
        need("fill=diffusion", "torch", "transformers", "safetensors", "diffusers")
        name = self.kind
        kind = KINDS[name]
        self._check_parts(name, kind)
        self._check_sizes(kind)
        if self.negative_prompt and not (kind.negative and self.guidance > 1):
            raise ConfigError(
                f"fill.negative_prompt: {name} takes none{' where guidance is 1 or less' if kind.negative else ''}; "
                "expected '', and what you want in fill.prompt"
            )
        from pipeline.fill.diffusion.painter import check_tokenizer

        check_tokenizer(self, kind)

    def load(self, device: Device, threads: int) -> FillModel:
        need("fill=diffusion", "torch", "transformers", "safetensors", "diffusers")
        from pipeline.fill.diffusion.painter import Painter

        return WindowedFill(self.windowing, Painter(self, device, threads))

    def _check_parts(self, name: str, kind: Kind) -> None:
        index, files = self.model.read(INDEX), self.model.files
        for part, found in index.items():
            if part.startswith("_") or part in kind.left_out or not isinstance(found, list) or found == [None, None]:
                continue
            if not _is(part, found, kind):
                wanted = ".".join(kind.parts.get(part, ("", "a part of it")))
                raise ConfigError(
                    f"fill.model: {INDEX}: {part}: expected {wanted.lstrip('.')} in a {name}, got {found!r}"
                )
        for part, (library, _) in kind.parts.items():
            self._need_file(f"{part}/config.json", f"{part}/config.json" in files)
            stem = f"{part}/{_WEIGHTS[library]}"
            there = any(file.startswith(stem) and file.endswith(".safetensors") for file in files)
            self._need_file(f"{stem}.safetensors", there)
        self._need_file("scheduler/scheduler_config.json", "scheduler/scheduler_config.json" in files)
        for part in kind.tokenizers:
            names = {file.rpartition("/")[2] for file in files if file.startswith(f"{part}/")}
            there = "tokenizer.json" in names or {"vocab.json", "merges.txt"} <= names
            self._need_file(f"{part}/tokenizer.json (or vocab.json and merges.txt)", there)
        for part in ("scheduler", *kind.parts, *kind.tokenizers):
            if part not in index:
                raise ConfigError(f"fill.model: {INDEX}: expected {part} in a {name}, got {', '.join(index)}")

    def _need_file(self, file: str, there: bool) -> None:
        if not there:
            raise ConfigError(
                f"fill.model.files: expected {file} among them, got {', '.join(self.model.files)}; pickled weights "
                "(.bin, .ckpt) are never read: have diffusers save them as .safetensors"
            )

    def _check_sizes(self, kind: Kind) -> None:
        network, vae = (self.model.read(f"{part}/config.json") for part in (kind.network, "vae"))
        widths, latent, seen = vae.get("block_out_channels"), vae.get("latent_channels", 4), network.get("in_channels")
        if not isinstance(widths, list) or not widths or type(latent) is not int:
            raise ConfigError(
                f"fill.model: vae/config.json: expected block_out_channels and latent_channels, got {vae!r}"
            )
        scale: int = 2 ** (len(widths) - 1)
        wanted = kind.channels(latent, scale)
        if seen != wanted:
            raise ConfigError(
                f"fill.model: {kind.network}/config.json: expected in_channels {wanted}, latents, canvas and mask, got "
                f"{seen!r}; is it a checkpoint for inpainting?"
            )
        least = scale * kind.packed
        if self.windowing.multiple % least:
            raise ConfigError(f"fill.windowing.multiple: expected a multiple of {least}, got {self.windowing.multiple}")


def _is(part: str, found: list[object], kind: Kind) -> bool:
    """Whether an index's entry for a part, [library, class], is what that part of the pipeline has to be."""
    if len(found) != 2 or not all(isinstance(entry, str) for entry in found):
        return False
    library, name = str(found[0]), str(found[1])
    if part == "scheduler":
        return library == "diffusers" and name.endswith("Scheduler")
    if part in kind.tokenizers:
        return library == "transformers" and name.removesuffix("Fast") in ("CLIPTokenizer", "T5Tokenizer")
    return kind.parts.get(part) == (library, name)
