"""How far the shards of an output are from a reference run, without a truth: scores, labels, areas, sizes, rejects.

Every number is counted in fixed bins, so that memory grows with shards and not with rows, and two runs can be compared
without a look at each other. The distances are those of the shares in these bins.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import Field

from pipeline import life
from pipeline.errors import ConfigError
from pipeline.export.tables import Tables
from pipeline.records import Committed
from pipeline.spec import spec
from pipeline.storage.store import Store

Counts = NDArray[np.int64]

_EDGES: Final[Mapping[str, NDArray[np.float64]]] = {
    "scores": np.linspace(0, 1, 21),
    "areas": np.concatenate([[0, 1e-6], 4.0 ** np.arange(-8, 1)]),  # share of the image
    "segments": np.array([0, 1, 2, 3, 5, 9, 17, 33, 65, np.inf]),  # in an image
    "pixels": np.concatenate([[0], 2.0 ** np.arange(14, 28), [np.inf]]),  # of an image
    "shapes": np.concatenate([[0], 2.0 ** np.arange(-2, 2.25, 0.25), [np.inf]]),  # width / height
}
"""Name -> edges of the bins; a value on an edge is in the bin above it."""
_ROWS: Final = 65536
"""Rows of a table that are in memory at one time."""
WORST: Final = 0.25
"""Population stability index above which a shift is called large; 0.1 to 0.25 is called moderate."""


@spec
class Shift:
    """How shards are compared with a reference."""

    worst: Annotated[int, Field(ge=1)] = 20
    """Shards that are printed, the worst first; the JSON has all."""
    min_images: Annotated[int, Field(ge=1)] = 20
    """Shards with fewer images are joined with all other small ones: shares of few images are noise."""


@dataclass
class Profile:
    """Counts of one shard or of a whole run. labels, rejects: name -> number."""

    images: int = 0
    bins: dict[str, Counts] = field(
        default_factory=lambda: {name: np.zeros(len(edges) - 1, np.int64) for name, edges in _EDGES.items()}
    )
    labels: dict[str, int] = field(default_factory=dict)
    rejects: dict[str, int] = field(default_factory=dict)

    def add(self, other: Profile) -> None:
        self.images += other.images
        for name, counts in other.bins.items():
            self.bins[name] += counts
        for mine, theirs in ((self.labels, other.labels), (self.rejects, other.rejects)):
            for name, count in theirs.items():
                mine[name] = mine.get(name, 0) + count

    def count(self, name: str, values: NDArray[Any]) -> None:
        edges = _EDGES[name]
        at = np.clip(np.digitize(values, edges) - 1, 0, len(edges) - 2)
        self.bins[name] += np.bincount(at, minlength=len(edges) - 1)


@dataclass(frozen=True, kw_only=True)
class Distance:
    """psi: population stability index, 0 for equal shares, not bounded. js: Jensen-Shannon distance, 0..1."""

    psi: float
    js: float


def profiles(tables: Tables) -> dict[str, Profile]:
    """The profile of every shard, from the index and the mask tables."""
    found: dict[str, Profile] = {}
    seen = 0
    for place in tables.places:
        record = place.record
        life.phase(f"counting {seen:,} of {tables.images:,} images")
        found.setdefault(_shard(record), Profile()).add(_profile(tables.store, record))
        seen += record.counts.images
    return found


def _shard(record: Committed) -> str:
    return record.unit.shard


def _profile(store: Store, record: Committed) -> Profile:
    made = Profile(
        images=record.counts.images,
        labels=dict(record.segments),
        rejects={"none": record.counts.images - record.counts.rejected},
    )
    for stage, reason, count in record.rejects:
        made.rejects[f"{stage}/{reason}"] = made.rejects.get(f"{stage}/{reason}", 0) + count
    for columns in _batches(store, record, "images/", ["status", "width", "height", "n_segments"]):
        whole = columns["status"] != "rejected"
        width, height = columns["width"][whole].astype(np.float64), columns["height"][whole].astype(np.float64)
        made.count("pixels", width * height)
        made.count("shapes", width / np.maximum(height, 1))
        made.count("segments", columns["n_segments"][whole])
    for columns in _batches(store, record, "masks/", ["score", "area", "width", "height"]):
        made.count("scores", columns["score"])
        made.count("areas", columns["area"] / (columns["width"].astype(np.float64) * columns["height"]))
    return made


def _batches(store: Store, record: Committed, folder: str, names: list[str]) -> Iterator[dict[str, NDArray[Any]]]:
    """Columns of a unit's table, some rows at a time."""
    for file in record.files:
        if file.path.startswith(folder):
            with pq.ParquetFile(io.BytesIO(store.read(file.path))) as table:
                for batch in table.iter_batches(batch_size=_ROWS, columns=names):
                    yield {name: batch.column(name).to_numpy(zero_copy_only=False) for name in names}


def distance(one: Mapping[str, int], other: Mapping[str, int]) -> Distance:
    """The distance of two sets of counts by name. Without any count on either side it is 0.

    The index is not defined where a share is 0: half a count is added to each bin that either side has.
    """
    names = sorted({name for name in (*one, *other) if one.get(name) or other.get(name)})
    a, b = (np.array([side.get(name, 0) for name in names], np.float64) for side in (one, other))
    if not a.sum() or not b.sum():
        return Distance(psi=0.0, js=0.0)
    p, q = (side + 0.5 for side in (a, b))
    p, q = p / p.sum(), q / q.sum()
    psi = float(((p - q) * np.log(p / q)).sum())
    p, q = a / a.sum(), b / b.sum()
    middle = (p + q) / 2
    js = (_divergence(p, middle) + _divergence(q, middle)) / 2
    return Distance(psi=psi, js=float(np.sqrt(max(0.0, js))))


def _divergence(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    """Kullback-Leibler, in bits."""
    there = p > 0
    return float((p[there] * np.log2(p[there] / q[there])).sum())


def _named(profile: Profile) -> Iterator[tuple[str, Mapping[str, int]]]:
    for name, counts in profile.bins.items():
        yield name, {f"{edge:g}": int(count) for edge, count in zip(_EDGES[name], counts, strict=False)}
    yield "labels", profile.labels
    yield "rejects", profile.rejects


@dataclass(frozen=True, kw_only=True)
class Shifted:
    """shards: (name, images, name of what -> distance), the worst first; `whole` the same of all shards together."""

    whole: tuple[str, int, Mapping[str, Distance]]
    shards: tuple[tuple[str, int, Mapping[str, Distance]], ...]
    profile: Profile

    def json(self) -> dict[str, Any]:
        return {
            "large": WORST,
            "whole": _told(self.whole),
            "shards": [_told(each) for each in self.shards],
            "profile": {name: dict(counts) for name, counts in _named(self.profile)},
        }

    def text(self, worst: int) -> str:
        """The table that the command prints: population stability indices, the worst shards first."""
        names = list(self.whole[2])
        rows = [self.whole, *self.shards[:worst]]
        width = max(len(row[0]) for row in rows)
        lines = [f"{'PSI':<{width}}  {'images':>9}  " + "  ".join(f"{name:>8}" for name in names)]
        for name, images, found in rows:
            cells = "  ".join(f"{found[each].psi:>8.3f}" for each in names)
            lines.append(f"{name:<{width}}  {images:>9,}  {cells}")
        bad = sum(_worst(found) > WORST for _, _, found in self.shards)
        lines.append(
            f"{bad:,} of {len(self.shards):,} shards have an index above {WORST} somewhere (large; 0.1 is moderate)"
        )
        return "\n".join(lines)


def _told(row: tuple[str, int, Mapping[str, Distance]]) -> dict[str, Any]:
    name, images, found = row
    return {
        "shard": name,
        "images": images,
        "psi": {each: round(distance.psi, 6) for each, distance in found.items()},
        "js": {each: round(distance.js, 6) for each, distance in found.items()},
    }


def _worst(found: Mapping[str, Distance]) -> float:
    return max(distance.psi for distance in found.values())


def shift(tables: Tables, reference: Tables, settings: Shift) -> Shifted:
    """Compare every shard of an output with the whole reference. Raises ConfigError where either has no image."""
    for each in (tables, reference):
        if not each.images:
            raise ConfigError(f"{each.store.uri} has no image to compare")
    expected, whole, small = Profile(), Profile(), Profile()
    for profile in profiles(reference).values():
        expected.add(profile)
    shards: dict[str, Profile] = {}
    joined = 0
    for name, profile in profiles(tables).items():
        whole.add(profile)
        if profile.images < settings.min_images:
            small.add(profile)
            joined += 1
        else:
            shards[name] = profile
    if joined:
        shards[f"({joined:,} small shards)"] = small
    rows = [(name, profile.images, _distances(profile, expected)) for name, profile in shards.items()]
    return Shifted(
        whole=("(all)", whole.images, _distances(whole, expected)),
        shards=tuple(sorted(rows, key=lambda row: (-_worst(row[2]), row[0]))),
        profile=whole,
    )


def _distances(profile: Profile, expected: Profile) -> dict[str, Distance]:
    reference = dict(_named(expected))
    return {name: distance(counts, reference[name]) for name, counts in _named(profile)}
