"""Small finished runs, and seeded damage to them that `segfill verify` has to find and name."""

import io
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline import build, driver
from pipeline.errors import OutputError
from pipeline.ledger.verify import check
from pipeline.storage.store import Store, open_store
from tests.fakes.metadata_samples import jpeg, photo, png, saved

WAYS = ("flip", "truncate", "delete", "extra", "swap", "swap_records", "append")
SINKS = ("tar", "files", "parquet")
FOLDERS = ("", "_commit/", "_run/", "masks/", "images/", "rendered/filled/", "_previews/", "report/", "elsewhere/a/")


def finished(source: Path, out: str, sink: str) -> Store:
    """Run or resume anonymize over nine small pictures in three units, one of them rejected. The run into tars has a
    receipt."""
    if not source.exists():
        _fill(source)
    more = [
        "execute=local",
        "source.unit_images=3",
        "max_reject_share=0.5",
        "render=everything",
        "audit=mtcnn" if sink == "tar" else "audit=none",
        f"sink={sink}",
    ]
    config = build.compose("anonymize", [f"source.uri={source}", f"sink.uri={out}", *more])
    assert driver.run(build.build(config), io.StringIO(), io.StringIO()) == 0
    return open_store(out)


def _fill(source: Path) -> None:
    source.mkdir(parents=True)
    face, cup = photo().crop((96, 0, 352, 256)), photo("coffee.png").resize((120, 80))
    for i in range(3):
        (source / f"{i}-face.jpg").write_bytes(jpeg(face.rotate(i)))
        (source / f"{i}-cup.png").write_bytes(png(cup.rotate(i)))
    (source / "3-face.webp").write_bytes(saved(face, "WEBP"))
    (source / "4-broken.jpg").write_bytes(jpeg(face)[:3000])
    (source / "5-cup.tif").write_bytes(saved(cup, "TIFF"))


@dataclass(frozen=True, kw_only=True)
class Tampering:
    """new: path -> its bytes afterwards, or None where it is deleted."""

    way: str
    new: dict[str, bytes | None]


def tampering(seed: int, contents: dict[str, bytes]) -> Tampering:
    """The kinds of damage in turn, the rest by the seed. contents: path -> bytes of every object of the output."""
    rng, way = random.Random(seed), WAYS[seed % len(WAYS)]
    path = rng.choice(sorted(contents))
    data = contents[path]
    if way == "flip":
        at = rng.randrange(len(data))
        return Tampering(way=way, new={path: data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]})
    if way == "truncate":
        return Tampering(way=way, new={path: data[: rng.randrange(len(data))]})
    if way == "append":
        return Tampering(way=way, new={path: data + rng.randbytes(rng.randint(1, 600))})
    if way == "delete":
        return Tampering(way=way, new={path: None})
    if way == "extra":
        name = f"{rng.choice(FOLDERS)}x{seed}{rng.choice(['.parquet', '.tar', '.jpg', '.json', ''])}"
        return Tampering(way=way, new={name: rng.choice([data, b"", rng.randbytes(50)])})
    among = [p for p in sorted(contents) if contents[p] != data and (way == "swap" or p.startswith("_commit/"))]
    if way == "swap_records":
        path, other = rng.sample([p for p in sorted(contents) if p.startswith("_commit/")], 2)
    else:
        other = rng.choice(among)
    return Tampering(way=way, new={path: contents[other], other: contents[path]})


@contextmanager
def done(store: Store, change: Tampering, contents: dict[str, bytes]) -> Iterator[None]:
    """Apply a change to the output and undo it afterwards."""
    for path, data in change.new.items():
        store.delete([path]) if data is None else store.put(path, data)
    try:
        yield
    finally:
        for path in change.new:
            store.put(path, contents[path]) if path in contents else store.delete([path])


def missed(store: Store, seeds: range) -> list[str]:
    """The tamperings for which verify names other objects than those changed.

    Of two swapped objects one may be the only proof of the other (a commit record of its files, a seal of its list):
    the other must then be named once the first is restored.
    """
    contents = store.read_many([info.path for info in store.list()])
    found = []
    for seed in seeds:
        change = tampering(seed, contents)
        with done(store, change, contents):
            said = named(store)
            if said and said < set(change.new):
                for path in said:
                    store.put(path, contents[path])
                said |= named(store)
        if said != set(change.new):
            found.append(f"seed {seed}: {change.way} of {sorted(change.new)}, named {sorted(said)}")
    return found


def named(store: Store) -> set[str]:
    """The objects that verify names; SUCCESS.json when verify refuses an output without it."""
    try:
        return {fault.path for fault in check(store)}
    except OutputError as error:
        return {"_run/SUCCESS.json"} if "SUCCESS.json is missing" in str(error) else {str(error)}
