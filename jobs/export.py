"""`segfill export OUT DIR format=FORMAT`: the masks of a finished output in the format of another tool.

Reads the committed tables alone, one unit at a time, and runs no model; only images=copy and images=link read images,
those of the run. DIR is a folder or a bucket. The same command resumes an export that was ended; a whole one is left
as it is, and its counts are shown again. `export.json`, written last, says that all is there.

Exit codes: 0 all well, 1 it could not go on, 2 refused before it began.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from typing import Any, Final, cast

from omegaconf import DictConfig, OmegaConf

from jobs import entry
from pipeline import build, life
from pipeline.contracts import Source
from pipeline.credentials import redact
from pipeline.errors import EXIT_OK, ConfigError, OutputError
from pipeline.export.pictures import NoPictures, Pictures, PublishedPictures, SourcePictures
from pipeline.export.run_export import Export, Exporter
from pipeline.export.tables import Tables, open_tables
from pipeline.image.decode import Decode
from pipeline.ledger.ledger import CONFIG, MANIFEST
from pipeline.spec import spec
from pipeline.storage.store import Store, open_store


@spec
class ExportKeys(Export):
    """The keys of conf/export.yaml."""

    uri: str
    """The run's output."""
    to: str
    """Where the export goes: an empty or new folder, or a URI such as s3://bucket/coco."""


KEYS: Final = ExportKeys
main = partial(entry.main, "export")


def run(config: DictConfig) -> int:
    values = build.plain(config, "export")
    uri, to = str(values.pop("uri")), str(values.pop("to"))
    made = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    settings = cast("Export", build.made(Export, "", made))
    store, target = open_store(uri), open_store(to)
    if target.uri == store.uri or target.uri.startswith(f"{store.uri}/"):
        raise OutputError(f"to={to} lies in the output {uri}; choose a folder outside of it")
    if settings.images == "link" and not target.is_local:
        raise ConfigError(f"images=link: {to} holds no links; choose images=copy")
    life.phase(f"reading {store.uri}")
    tables = open_tables(store)
    if settings.images in ("none", "name"):
        pictures, decode = cast("Pictures", NoPictures()), Decode()
    else:
        run_config = _run_config(store)
        decode = cast("Decode", build.construct(run_config["decode"], "decode", ("pipeline",)))
        pictures = _pictures(settings, tables, run_config, decode)
    exporter = Exporter(settings=settings, tables=tables, store=target, pictures=pictures, decoder=decode.load())
    exported = exporter.run()
    life.say(redact(exported.text(target.uri)))
    return EXIT_OK


def _pictures(settings: Export, tables: Tables, config: dict[str, Any], decode: Decode) -> Pictures:
    """Where the bytes of the images come from. Raises ConfigError where the run published none and its originals must
    not leave."""
    manifest = json.loads(tables.store.read(MANIFEST))["config"]
    rendered = json.loads(manifest.get("render.outputs", "[]"))
    if "filled" in rendered and json.loads(manifest.get("sink.images", '"none"')) != "none":
        if settings.images == "link":
            raise ConfigError(
                "images=link links source files, but this run published filled images; choose images=copy"
            )
        return PublishedPictures()
    if tables.private:
        raise ConfigError(f"images: {tables.store.uri} is private and published no filled images; choose images=name")
    return SourcePictures(cast("Source", build.construct(config["source"], "source", ("pipeline",))), decode)


def _run_config(store: Store) -> dict[str, Any]:
    """The composed config of the run. Raises OutputError for a run without one."""
    try:
        text = store.read(CONFIG).decode()
    except FileNotFoundError as error:
        raise OutputError(f"{store.join(CONFIG)} is missing: the output is of no segfill job") from error
    return cast("dict[str, Any]", OmegaConf.to_container(OmegaConf.create(text), resolve=True))


if __name__ == "__main__":
    sys.exit(main())
