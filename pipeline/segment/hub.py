"""What the families of transformers share: a checkpoint read cold, on the driver, without importing transformers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.checkpoint import Checkpoint
from pipeline.errors import ConfigError, WeightsError
from pipeline.networks.torch_options import need
from pipeline.segment.classes import names_of
from pipeline.segment.preprocess import Preprocess, from_config

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch


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


def preprocess(family: str, model: Checkpoint) -> Preprocess:
    """Of a checkpoint's preprocessor_config.json. Raises ConfigError."""
    try:
        return from_config(model.read("preprocessor_config.json"))
    except ConfigError as error:
        raise ConfigError(f"segment.{family}.model: {error}") from error


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
            line = " ".join(str(error).split())[:300]
            raise WeightsError(f"segment.{family}.model: transformers cannot load {model.tag}: {line}") from error


def pretrained(family: str, model: Checkpoint, auto: str) -> torch.nn.Module:
    """A network by the name of its class in transformers, on the CPU. No code but transformers' own is run, nothing but
    .safetensors is read, and every weight must be in the file. Raises WeightsError."""
    with loading(family, model) as folder:
        import transformers

        kind = getattr(transformers, auto)
        module, told = kind.from_pretrained(
            folder,
            use_safetensors=True,
            local_files_only=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
        missing = sorted(told["missing_keys"])
        if missing:
            raise WeightsError(
                f"segment.{family}.model: {model.tag} lacks {len(missing)} weights, the first {missing[0]}; is it a "
                "checkpoint for segmentation?"
            )
        net: torch.nn.Module = module
        return net


def words(family: str, model: Checkpoint, texts: Sequence[str]) -> list[list[int]]:
    """The tokens of each text by a checkpoint's own tokenizer, with what it puts before and after. Raises
    WeightsError."""
    with loading(family, model) as folder:
        import transformers

        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        return [list(map(int, tokenizer(text)["input_ids"])) for text in texts]
