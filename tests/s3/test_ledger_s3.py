"""ledger.py on a real S3: races, kills, and refusals before anything is written."""

import hashlib
import multiprocessing
import os
import signal
import time

import pytest

from pipeline.errors import OutputError, RunError
from pipeline.ledger import seals
from pipeline.ledger.ledger import Identity, Ledger
from pipeline.records import Counts, OutputFile, Unit, unit_id
from pipeline.sink.rendered import tar
from pipeline.sink.unit_writer import UnitFiles
from pipeline.storage.store import open_store
from tests.fakes.s3_server import S3

LENGTH = 12
IDENTITY = Identity(config={"a": "1"}, weights={}, code="1", source={"a.tar": "12:e"})
LOOSE = ["rendered/filled/{}.jpg", "rendered/filled/d/{}.jpg"]


def made(index: int, content: bytes = b"same") -> UnitFiles:
    unit = Unit(
        unit_id=unit_id("a.tar", index),
        shard="a.tar",
        uri="s3://bucket/a.tar",
        etag="e",
        start=index,
        stop=index + 1,
        last=index == LENGTH - 1,
    )
    loose = [_file(name.format(index), b"%d" % index + content) for name in LOOSE]
    staged = tar((file.path, file.data) for file in loose)
    return UnitFiles(
        unit=unit,
        files=(_addressed(f"masks/{unit.unit_id}", ".parquet", b"masks %d" % index + content),),
        loose=tuple(loose),
        staged=(_addressed(f"_staged/{unit.unit_id}", ".tar", staged),),
        counts=Counts(images=1, unchanged=1),
        rejects=(),
        segments=(("face", 1),),
    )


def _file(path: str, data: bytes) -> OutputFile:
    return OutputFile(path=path, data=data, sha256=hashlib.sha256(data).hexdigest())


def _addressed(stem: str, suffix: str, data: bytes) -> OutputFile:
    return _file(f"{stem}-{hashlib.sha256(data).hexdigest()[:12]}{suffix}", data)


@pytest.fixture
def ledger(s3: S3, request: pytest.FixtureRequest) -> Ledger:
    return Ledger(open_store(s3.uri(f"ledger/{hashlib.md5(request.node.nodeid.encode()).hexdigest()}")))


def contents(ledger: Ledger) -> dict[str, bytes]:
    """Every object that must be equal after any history: all but the commit records and their seal."""
    paths = [info.path for info in ledger.store.list() if not info.path.startswith(("_commit/", "_packs/", seals.RUN))]
    return ledger.store.read_many(paths)


def test_a_run_from_begin_to_success(ledger: Ledger) -> None:
    assert not ledger.check(IDENTITY)
    assert ledger.begin(IDENTITY)
    assert not ledger.begin(IDENTITY)
    for index in range(LENGTH):
        ledger.publish(made(index), {"decode": 0.1}, bytes_in=1)
    assert len(ledger.committed()) == LENGTH
    done = ledger.finish()
    assert (done.counts.images, done.units, done.restored, done.removed) == (LENGTH, LENGTH, 0, LENGTH)
    assert [info.path for info in ledger.store.list("_staged")] == []
    assert ledger.finish().counts == done.counts
    with pytest.raises(OutputError, match="a: 1 -> 2"):
        ledger.begin(Identity(config={"a": "2"}, weights={}, code="1", source=IDENTITY.source))


def test_etags_prove_files_without_a_read(ledger: Ledger) -> None:
    """The etag in the listing is the recorded one: that of the put for files, MD5 for loose files."""
    ledger.begin(IDENTITY)
    record = ledger.publish(made(0), {})
    listed = {info.path: info.etag for info in ledger.store.list()}
    for entry in (*record.files, *record.loose, *record.staged):
        assert listed[entry.path] == entry.etag != ""


def test_what_is_wrong_at_the_end_is_restored_or_named(ledger: Ledger) -> None:
    ledger.begin(IDENTITY)
    records = [ledger.publish(made(index), {}) for index in range(LENGTH)]
    right = ledger.store.read("rendered/filled/3.jpg")
    ledger.store.put("rendered/filled/3.jpg", right[::-1])
    ledger.store.delete(["rendered/filled/d/4.jpg"])
    broken = records[5].files[0]
    kept = ledger.store.read(broken.path)
    ledger.store.put(broken.path, kept[::-1])
    with pytest.raises(RunError, match=broken.path):
        ledger.finish()
    ledger.store.put(broken.path, kept)
    assert ledger.finish().restored == 2
    assert ledger.store.read("rendered/filled/3.jpg") == right


def test_an_output_out_of_reach_is_refused(s3: S3, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Ledger(open_store("s3://no-such-bucket/out"))
    for ask in (nowhere.check, nowhere.begin):
        with pytest.raises(OutputError, match=r"s3://no-such-bucket/out.*not found"):
            ask(IDENTITY)
    with pytest.raises(FileNotFoundError):  # this server makes a bucket on the first put: there was none
        nowhere.store.list()
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(OutputError, match="no access"):
        ledger.begin(IDENTITY)


def _work(ledger: Ledger, worker: int) -> list[str]:
    return [ledger.publish(made(index, b"%d" % (worker % 2)), {}).attempt for index in range(LENGTH)]


def test_workers_that_race_agree_on_every_unit(ledger: Ledger) -> None:
    ledger.begin(IDENTITY)
    with multiprocessing.get_context("spawn").Pool(3) as pool:
        answers = pool.starmap(_work, [(ledger, worker) for worker in range(3)])
    assert answers[0] == answers[1] == answers[2]
    done = ledger.finish()
    assert done.counts.images == LENGTH
    # Nothing of the losers is left: what stands is what the records name, under one worker's bytes for each unit.
    records = ledger.committed().values()
    named = {entry.path for record in records for entry in (*record.files, *record.loose)}
    found = contents(ledger)
    assert named == {path for path in found if not path.startswith("_run/")}
    for record in records:
        for entry in (*record.files, *record.loose):
            assert hashlib.sha256(found[entry.path]).hexdigest() == entry.sha256


def _run(ledger: Ledger) -> None:
    ledger.begin(IDENTITY)
    done = ledger.committed()
    for index in range(LENGTH):
        if made(index).unit.unit_id not in done:
            ledger.publish(made(index), {})
    ledger.finish()


def test_a_run_that_is_killed_again_and_again_ends_like_an_undisturbed_one(ledger: Ledger) -> None:
    undisturbed = Ledger(open_store(ledger.store.uri + "-undisturbed"))
    started = time.monotonic()
    _run(undisturbed)
    whole = time.monotonic() - started

    kills = 0
    for share in (0.1, 0.3, 0.5, 0.2, 0.4):
        process = multiprocessing.get_context("fork").Process(target=_run, args=(ledger,))
        process.start()
        process.join(whole * share)
        if process.is_alive() and process.pid:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
    assert kills >= 2
    _run(ledger)
    assert contents(ledger) == contents(undisturbed)
    assert len(ledger.committed()) == LENGTH
