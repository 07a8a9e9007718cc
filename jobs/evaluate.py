"""`segfill evaluate OUT truth=TRUTH`: how good the masks are; `against=REFERENCE`: how far they are from another run's.

TRUTH is a COCO JSON, a COCO panoptic JSON, a folder of label-map PNGs, or another output. Prints a table, each average
beside its per-class numbers and pixel counts, and writes them all as JSON. REFERENCE is another output; the shift
report compares scores, labels, areas, sizes and rejects of every shard with it, the worst shards first.

Exit codes: 0 all well, 1 it could not go on, 2 refused: classes, names or sizes that do not fit, by name.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any, Final, cast

from omegaconf import DictConfig
from pydantic import Field

from jobs import entry
from pipeline import build, life
from pipeline.credentials import redact
from pipeline.errors import EXIT_OK, ConfigError
from pipeline.evaluate.open_truth import open_truth
from pipeline.evaluate.run_evaluate import Evaluate, evaluate
from pipeline.evaluate.shift import Shift, shift
from pipeline.export.tables import Tables, open_tables
from pipeline.spec import spec
from pipeline.storage.store import open_store


@spec
class EvaluateKeys(Shift, Evaluate):
    """The keys of conf/evaluate.yaml."""

    uri: str
    """The run's output."""
    truth: str = ""
    """COCO JSON, COCO panoptic JSON, a folder of PNG label maps, or another output."""
    against: str = ""
    """An output to compare with, without a truth."""
    to: str = "evaluation.json"
    """The file of all numbers; an older one is replaced. Empty: only print."""
    classes: str = ""
    """Table of the truth's class ids, columns `id` and `name` (`.tsv`, `.csv`, `.json`). Needed for label maps."""
    panoptic: str = ""
    """Folder of the PNGs of a COCO panoptic truth; empty: the one with the name of its JSON, beside it or above."""
    ignore: Annotated[int, Field(ge=0, le=65535)] = 255
    """Value of a label map of which nothing is known; such pixels do not count."""


KEYS: Final = EvaluateKeys
main = partial(entry.main, "evaluate")


def run(config: DictConfig) -> int:
    values = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in build.plain(config, "evaluate").items()
    }
    keys = cast("EvaluateKeys", build.made(EvaluateKeys, "", values))
    if bool(keys.truth) == bool(keys.against):
        raise ConfigError(
            "expected truth=COCO.json (or a folder, or an output), or against=OUTPUT; got both or neither"
        )
    life.phase(f"reading {keys.uri}")
    tables = open_tables(open_store(keys.uri))
    told, text = _against(keys, tables) if keys.against else _truth(keys, tables)
    if keys.to:
        above, _, name = keys.to.rpartition("/")
        store = open_store(above or ("/" if keys.to.startswith("/") else "."))
        store.put(name, json.dumps(told, indent=1, ensure_ascii=False).encode())
    life.say(redact(text))
    return EXIT_OK


def _truth(keys: EvaluateKeys, tables: Tables) -> tuple[Mapping[str, Any], str]:
    truth = open_truth(keys.truth, classes=keys.classes, folder=keys.panoptic, ignore=keys.ignore)
    found = evaluate(tables, truth, cast("Evaluate", _part(keys, Evaluate)))
    return found.json(), found.text()


def _against(keys: EvaluateKeys, tables: Tables) -> tuple[Mapping[str, Any], str]:
    found = shift(tables, open_tables(open_store(keys.against)), cast("Shift", _part(keys, Shift)))
    return found.json(), found.text(keys.worst)


def _part(keys: EvaluateKeys, cls: type) -> object:
    """The keys of one of the specs that `keys` joins."""
    return cls(**{field.name: getattr(keys, field.name) for field in dataclasses.fields(cls)})


if __name__ == "__main__":
    sys.exit(main())
