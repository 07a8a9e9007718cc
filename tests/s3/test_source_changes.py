"""A source that changes while a run reads it: its shard fails, and nothing of the new object gets in."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.entry import main
from pipeline.ledger.ledger import Ledger
from pipeline.storage.store import Store, open_store
from tests.fakes.published_output import rows
from tests.fakes.s3_server import S3
from tests.fakes.tar_samples import packed, tar_of

IMAGES = 12
"""In each shard: more than is read ahead, so that the second half is unread when the source changes."""


def picture(seed: int) -> bytes:
    """Noise with the same number of bytes for every seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (256, 256, 3), np.uint8)
    out = io.BytesIO()
    Image.fromarray(noise).save(out, "BMP")
    return out.getvalue()


def tar(members: dict[str, bytes]) -> bytes:
    return tar_of(list(members.items()))


def gzipped(members: dict[str, bytes]) -> bytes:
    return packed(tar(members))


def parquet(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table({"image": list(members.values())}), out, row_group_size=2, compression="none")
    return out.getvalue()


def shards(first: int, suffix: str, pack: Callable[[dict[str, bytes]], bytes]) -> dict[str, bytes]:
    numbers = [range(first, first + IMAGES), range(first + IMAGES, first + 2 * IMAGES)]
    return {
        f"{name}{suffix}": pack({f"{i - first:03d}.bmp": picture(i) for i in of})
        for name, of in zip("ab", numbers, strict=True)
    }


def loose(first: int) -> dict[str, bytes]:
    return {f"{i:03d}.bmp": picture(first + i) for i in range(IMAGES)}


MAKERS: dict[str, Callable[[int], dict[str, bytes]]] = {
    "tar": lambda first: shards(first, ".tar", tar),
    "tar.gz": lambda first: shards(first, ".tar.gz", gzipped),
    "parquet": lambda first: shards(first, ".parquet", parquet),
    "files": loose,
}


def put(store: Store, objects: dict[str, bytes]) -> str:
    for path, data in objects.items():
        store.put(path, data)
    return store.uri


@pytest.mark.parametrize("kind", MAKERS)
@pytest.mark.parametrize("where", ["disk", "s3"])
@pytest.mark.promise("A source object that changes between plan and read fails its shard; nothing of it gets in")
def test_a_source_that_changes_fails_and_is_never_mixed_in(
    kind: str, where: str, s3: S3, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = str(tmp_path) if where == "disk" else s3.uri(f"changes/{kind}")
    source = put(open_store(f"{root}/source"), MAKERS[kind](0))
    others = put(open_store(f"{root}/others"), MAKERS[kind](1000))
    out = f"{root}/out"
    command = [
        *(f"source.uri={source}", f"sink.uri={out}", "source.unit_images=2", "execute=local", "plugins=[tests]"),
        *("sink=parquet", "sink._target_=tests.fakes.changing_sink.ChangingSink", "segment.faces.thorough=false"),
        *(f"+sink.source={source}", f"+sink.others={others}"),
    ]
    code, said = main("anonymize", command), capsys.readouterr()
    assert code == 3, said.err
    found, old = rows(out), {hashlib.sha256(picture(i)).hexdigest() for i in range(2 * IMAGES)}
    read = [row for row in found if row["status"] != "rejected"]
    changed = [row for row in found if row["status"] == "rejected"]
    assert {row["input_sha256"] for row in read} <= old
    assert 2 <= len(read) < IMAGES
    assert {(row["stage"], row["reason"]) for row in changed} == {("read", "source_changed")}
    failures = {record.unit.shard: record.unit.failure for record in Ledger(open_store(out)).committed().values()}
    if kind == "files":
        assert len(read) + len(changed) == IMAGES
        assert "read: source_changed" in said.err
    else:
        assert set(failures.values()) == {"source_changed"}
        assert len(changed) == len(failures) == 2
        assert "2 of the shards could not be read to their end" in said.err
    assert b"source_changed" in open_store(out).read("report/index.html")
    assert main("anonymize", command) == 2
    assert "belongs to another run" in capsys.readouterr().err
