"""A tokenizer of a few words, saved as checkpoints of text-prompted networks have theirs."""

from collections.abc import Mapping
from pathlib import Path

import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

BEGIN, END, STOP = 101, 102, 1012  # as BERT numbers them, which Grounding DINO relies on
WORDS = {"disc": 5, "blue": 6, "square": 7}
SIZE = 1100


def add_tokenizer(folder: Path, words: Mapping[str, int] = WORDS) -> None:
    names = {f"[unused{n}]": n for n in range(SIZE)}
    taken = {"[PAD]": 0, "[UNK]": 100, "[CLS]": BEGIN, "[SEP]": END, ".": STOP, **words}
    vocabulary = {name: n for name, n in names.items() if n not in taken.values()} | taken
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", BEGIN), ("[SEP]", END)]
    )
    transformers.PreTrainedTokenizerFast(tokenizer_object=made).save_pretrained(folder)
