"""What the families of transformers share: a checkpoint read cold, on the driver, without importing transformers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from pipeline.errors import ConfigError, WeightsError, one_line
from pipeline.image.view import Fit, Tiles
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.torch_options import TorchOptions, need
from pipeline.models.weights import Weights
from pipeline.segment.shared.class_map import labels_of, names_of
from pipeline.segment.shared.fields import check_whole
from pipeline.segment.shared.preprocess import Preprocess, from_config
from pipeline.segment.shared.warm_up import WarmStart

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch


@dataclass(frozen=True, kw_only=True)
class HubSegmenter(WarmStart):
    """longest: larger images are shrunk to this longer side when they are decoded; 0: never. run: how torch runs.
    family: what messages name."""

    longest: int = 2048
    run: TorchOptions = field(default_factory=TorchOptions)

    family: ClassVar[str]

    def __post_init__(self) -> None:
        check_whole(f"{self.family}.longest", self.longest, 0, 1 << 15)

    @property
    def view(self) -> Fit | Tiles:
        return Fit(side=self.longest or 1 << 15, multiple=1, resample="area")


@dataclass(frozen=True, kw_only=True)
class Classes(HubSegmenter):
    """A checkpoint whose config names its classes. model: config.json, preprocessor_config.json, model.safetensors.
    types: of config.json, that the family knows. squares: it can look at squares of an image, as EoMT does."""

    model: Checkpoint

    types: ClassVar[Collection[str]]
    squares: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        model_type(self.family, self.model, self.types)
        _ = self.names, self.how, self.view  # raises what does not fit here, not in a worker

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of class 0, 1, ..."""
        return names(self.family, self.model)

    @cached_property
    def how(self) -> Preprocess:
        return preprocess(self.family, self.model, squares=self.squares)

    @property
    def labels(self) -> tuple[str, ...]:
        return labels_of(self.names)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return self.model.weights


def model_type(family: str, model: Checkpoint, known: Collection[str]) -> str:
    """Of a checkpoint's config.json. Raises ConfigError when it is of another family."""
    if not isinstance(model, Checkpoint):
        raise ConfigError(f"segment.{family}.model: expected a checkpoint, got {model!r}")
    found = model.read("config.json").get("model_type")
    if found not in known:
        raise ConfigError(
            f"segment.{family}.model: expected a checkpoint of {', '.join(sorted(known))}, got model_type {found!r}"
        )
    return str(found)


def names(family: str, model: Checkpoint) -> tuple[str, ...]:
    """The names of class 0, 1, ... of a checkpoint's config.json. Raises ConfigError."""
    found = model.read("config.json").get("id2label")
    if not isinstance(found, Mapping) or not all(str(number).isdecimal() for number in found):
        raise ConfigError(
            f"segment.{family}.model: config.json: expected id2label, the names of classes, got {found!r}"
        )
    return names_of({int(number): str(name) for number, name in found.items()})


def preprocess(family: str, model: Checkpoint, *, squares: bool = False) -> Preprocess:
    """Of a checkpoint's preprocessor_config.json, or of the processor_config.json that newer ones have. squares: the
    caller can look at squares of an image. Raises ConfigError."""
    found = model.read("preprocessor_config.json") or model.read("processor_config.json").get("image_processor")
    try:
        how = from_config(found if isinstance(found, Mapping) else {})
    except ConfigError as error:
        raise ConfigError(f"segment.{family}.model: {error}") from error
    if how.split and not squares:
        raise ConfigError(f"segment.{family}.model: preprocessor_config.json: do_split_image is not supported here")
    return how


@contextmanager
def loading(family: str, model: Checkpoint) -> Iterator[str]:
    """The folder to load a checkpoint from. Whatever transformers raises becomes a WeightsError of one line."""
    need(f"segment.{family}", "torch", "transformers", "safetensors")
    import transformers

    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with model.fetched() as folder:
        try:
            yield str(folder)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            raise WeightsError(
                f"segment.{family}.model: transformers cannot load {model.tag}: {one_line(error)}"
            ) from error


def pretrained(family: str, model: Checkpoint, auto: str) -> torch.nn.Module:
    """A network by the name of its class in transformers, on the CPU. No code but transformers' own is run, nothing but
    .safetensors is read, and every weight must be in the file. Raises WeightsError."""
    with loading(family, model) as folder:
        import transformers

        kind = getattr(transformers, auto)
        module, task_tokens = kind.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        missing = sorted(task_tokens["missing_keys"])
        if missing:
            raise WeightsError(
                f"segment.{family}.model: {model.tag} lacks {len(missing)} weights, the first {missing[0]}; is it a "
                "checkpoint for segmentation?"
            )
        net: torch.nn.Module = module
        return net


def whole_number(family: str, model: Checkpoint, default: int, *keys: str) -> int:
    """Of a checkpoint's config.json, under one key in another; what transformers leaves out is the default. Raises
    ConfigError."""
    found: object = model.read("config.json")
    for key in keys:
        found = found.get(key, {}) if isinstance(found, Mapping) else found
    if found == {}:
        return default
    if type(found) is not int or found < 1:
        raise ConfigError(f"segment.{family}.model: config.json: {'.'.join(keys)}: expected a number, got {found!r}")
    return found


def check_tokenizer(family: str, model: Checkpoint, key: str = "model") -> None:
    """Raises ConfigError unless a tokenizer is among a checkpoint's files."""
    if not {"tokenizer.json", "vocab.json", "vocab.txt"} & set(model.files):
        raise ConfigError(
            f"segment.{family}.{key}: expected tokenizer.json (or vocab.json and merges.txt) and tokenizer_config.json "
            f"in {key}.files, got {', '.join(model.files)}"
        )


def tokenize(family: str, model: Checkpoint, texts: Sequence[str], longest: int) -> list[list[int]]:
    """The tokens of each text by a checkpoint's own tokenizer, with what it puts before and after. longest: how many
    the network takes. Raises ConfigError and WeightsError."""
    with loading(family, model) as folder:
        import transformers

        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        found = [list(map(int, tokenizer(text)["input_ids"])) for text in texts]
    for text, tokens in zip(texts, found, strict=True):
        if len(tokens) > longest:
            raise ConfigError(
                f"segment.{family}: expected words of at most {longest} tokens, got {len(tokens)} of {text[:60]!r}"
            )
    return found
