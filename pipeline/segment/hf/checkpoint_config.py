"""Checkpoints of transformers, read and checked on the driver without importing transformers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from pipeline.errors import ConfigError, WeightsError, one_line
from pipeline.image.view import Fit, Tiles
from pipeline.models.checkpoint import Checkpoint
from pipeline.models.torch_options import need
from pipeline.models.weights import Weights
from pipeline.segment.shared.class_map import labels_of, names_of
from pipeline.segment.shared.preprocess import Preprocess, from_config
from pipeline.segment.shared.warm_up import WarmStart
from pipeline.spec import FieldError, spec

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch


Longest = Annotated[int, Field(ge=0, le=1 << 15)]


@spec
class HubSegmenter(WarmStart):
    """Base of segmenters of transformers' checkpoints. family: their name in messages."""

    longest: Longest = 2048
    """Larger images are shrunk to this longer side when they are decoded, in pixels; 0: never. The checkpoint's own
    preprocessing follows."""

    family: ClassVar[str]

    @property
    def view(self) -> Fit | Tiles:
        return Fit(side=self.longest or 1 << 15, multiple=1, resample="area")


@spec
class Classes(HubSegmenter):
    """Base for checkpoints whose config names the classes. types: model types of config.json that the family knows.
    squares: the family can see an image in squares, as EoMT does."""

    model: Checkpoint
    """The checkpoint: config.json, preprocessor_config.json, model.safetensors."""

    types: ClassVar[Collection[str]]
    squares: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_type("model", self.model, self.types)
        _ = self.names, self.how, self.view  # a checkpoint that does not fit fails here, not in a worker

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Of class 0, 1, ..."""
        found = self.model.read("config.json").get("id2label")
        if not isinstance(found, Mapping) or not all(str(number).isdecimal() for number in found):
            raise FieldError("model", f": config.json: expected id2label, the names of classes, got {found!r}")
        return names_of({int(number): str(name) for number, name in found.items()})

    @cached_property
    def how(self) -> Preprocess:
        return preprocess("model", self.model, squares=self.squares)

    @property
    def labels(self) -> tuple[str, ...]:
        return labels_of(self.names)

    @property
    def weights(self) -> tuple[Weights, ...]:
        return self.model.weights


def check_type(key: str, model: Checkpoint, known: Collection[str]) -> str:
    """The model type in a checkpoint's config.json. key: the spec's field. Raises FieldError when it is not known."""
    found = model.read("config.json").get("model_type")
    if found not in known:
        raise FieldError(key, f": expected a checkpoint of {', '.join(sorted(known))}, got model_type {found!r}")
    return str(found)


def preprocess(key: str, model: Checkpoint, *, squares: bool = False) -> Preprocess:
    """The preprocessing in a checkpoint's preprocessor_config.json, or in the processor_config.json of newer ones.

    key: the spec's field. squares: the caller can see an image in squares. Raises FieldError.
    """
    found = model.read("preprocessor_config.json") or model.read("processor_config.json").get("image_processor")
    try:
        how = from_config(found if isinstance(found, Mapping) else {})
    except ConfigError as error:
        raise FieldError(key, f": {error}") from error
    if how.split and not squares:
        raise FieldError(key, ": preprocessor_config.json: do_split_image is not supported here")
    return how


@contextmanager
def loading(family: str, model: Checkpoint) -> Iterator[str]:
    """Yield the folder to load a checkpoint from. Exceptions of transformers become a WeightsError of one line."""
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
    """A network of a class of transformers, on the CPU. Only transformers' own code runs, only .safetensors are read,
    and the file must hold every weight. auto: name of the class. Raises WeightsError."""
    with loading(family, model) as folder:
        import transformers

        kind = getattr(transformers, auto)
        module, report = kind.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        missing = sorted(report["missing_keys"])
        if missing:
            raise WeightsError(
                f"segment.{family}.model: {model.tag} lacks {len(missing)} weights, the first {missing[0]}; is it a "
                "checkpoint for segmentation?"
            )
        net: torch.nn.Module = module
        return net


def whole_number(family: str, model: Checkpoint, default: int, *keys: str) -> int:
    """A number of a checkpoint's config.json. keys: its place, each key inside the one before. default: transformers'
    own, which it leaves out of the file. Raises ConfigError."""
    found: object = model.read("config.json")
    for key in keys:
        found = found.get(key, {}) if isinstance(found, Mapping) else found
    if found == {}:
        return default
    if type(found) is not int or found < 1:
        raise ConfigError(f"segment.{family}.model: config.json: {'.'.join(keys)}: expected a number, got {found!r}")
    return found


def check_tokenizer(key: str, model: Checkpoint) -> None:
    """Raise FieldError unless a tokenizer is among a checkpoint's files. key: the spec's field."""
    if not {"tokenizer.json", "vocab.json", "vocab.txt"} & set(model.files):
        raise FieldError(
            key,
            f": expected tokenizer.json (or vocab.json and merges.txt) and tokenizer_config.json in {key}.files, "
            f"got {', '.join(model.files)}",
        )


def tokenize(family: str, model: Checkpoint, texts: Sequence[str], longest: int) -> list[list[int]]:
    """The tokens of each text by a checkpoint's own tokenizer, with those that begin and end a text. longest: the most
    that the network takes. Raises ConfigError and WeightsError."""
    with loading(family, model) as folder:
        import transformers

        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        found = [list(map(int, tokenizer(text)["input_ids"])) for text in texts]
    for text, tokens in zip(texts, found, strict=True):
        if len(tokens) > longest:
            raise ConfigError(
                f"segment.{family}: expected prompts of at most {longest} tokens, got {len(tokens)} of {text[:60]!r}"
            )
    return found
