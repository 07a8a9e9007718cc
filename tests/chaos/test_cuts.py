"""An archive of 20 members cut at every byte: whole members are read, and a loss always leaves a row."""

import gzip
import itertools
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.entry import main
from pipeline.records import EncodedImage
from pipeline.source.webdataset import WebDataset
from tests.fakes.input_catalogue import entry, tar
from tests.fakes.metadata_samples import saved
from tests.fakes.published_output import rows, totals

PROMISE = "A tar cut at any byte loses nothing in silence: its whole members are read, a row names the cut"
REASONS = {"tar": {"tar_truncated", "tar_no_end"}, "tgz": {"gzip_truncated", "tar_truncated", "tar_no_end"}}


def members() -> dict[str, bytes]:
    """Twenty small pictures, one with a name that needs a pax header; their sizes reach into three blocks."""
    rng = np.random.default_rng(3)
    names = [f"{number:02d}.png" for number in range(19)] + ["n" * 120 + ".png"]
    sides = itertools.cycle((4, 9, 14, 18))
    return {
        name: saved(Image.fromarray(rng.integers(0, 256, (side, side, 3), np.uint8)), "PNG")
        for name, side in zip(names, sides, strict=False)
    }


def archive(kind: str) -> bytes:
    data = tar(*(entry(name, content) for name, content in members().items()))
    return data if kind == "tar" else gzip.compress(data, mtime=0)


def silent(kind: str, whole: bytes, cuts: Iterable[int], folder: Path) -> list[str]:
    """The cuts with a fault: a loss without a row, an image that is not whole, or another reason."""
    path, wanted, wrong = folder / f"a.{kind}", list(members().items()), []
    source = WebDataset(uri=str(path), unit_images=7)
    for cut in cuts:
        path.write_bytes(whole[:cut])
        (shard,) = source.shards()
        items = [item for batch in source.units(shard, {}) for item in batch.items]
        read = [(item.ref.member, item.data) for item in items if isinstance(item, EncodedImage)]
        reasons = [item.reason for item in items if not isinstance(item, EncodedImage)]
        fine = len(reasons) == 1 and reasons[0] in REASONS[kind] if len(read) < 20 or reasons else cut > 0
        if read != wanted[: len(read)] or not fine:
            wrong.append(f"cut at {cut}: {len(read)} images, {reasons}")
    return wrong


@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("kind", ["tar", "tgz"])
def test_some_cuts(kind: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    whole = archive(kind)
    cuts = [*range(0, len(whole), 211), len(whole)]
    record_property("tried", len(cuts))
    wrong = silent(kind, whole, cuts, tmp_path)
    record_property("held", len(cuts) - len(wrong))
    assert wrong == []


@pytest.mark.chaos
@pytest.mark.timeout(1800)
@pytest.mark.promise(PROMISE)
@pytest.mark.parametrize("kind", ["tar", "tgz"])
def test_every_cut(kind: str, tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    whole = archive(kind)
    record_property("tried", len(whole) + 1)
    wrong = silent(kind, whole, range(len(whole) + 1), tmp_path)
    record_property("held", len(whole) + 1 - len(wrong))
    assert wrong == []


@pytest.mark.promise(PROMISE)
def test_cut_shards_through_the_whole_line(tmp_path: Path) -> None:
    whole, source = archive("tar"), tmp_path / "in"
    source.mkdir()
    cuts = [0, 300, 512, 5000, 9999, 20_000, len(whole)]
    for cut in cuts:
        (source / f"{cut:05d}.tar").write_bytes(whole[:cut])
    more = ["execute=local", "segment.faces.thorough=false", "max_reject_share=1.0"]
    assert main("anonymize", [f"source.uri={source}", f"sink.uri={tmp_path / 'out'}", *more]) == 3
    found = rows(tmp_path / "out")
    read = Counter(row["shard"] for row in found if row["status"] == "unchanged")
    failed = {row["shard"] for row in found if row["status"] == "rejected"}
    assert failed == {f"{cut:05d}.tar" for cut in cuts[:-1]}
    assert read[f"{len(whole):05d}.tar"] == 20
    assert 0 < read["05000.tar"] < read["09999.tar"] < read["20000.tar"] < 20
    assert totals(str(tmp_path / "out"))["images"] == sum(read.values()) + len(failed)
