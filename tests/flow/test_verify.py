"""segfill verify: silent on what a run wrote, and for damage of any kind it names the object and what mends it."""

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs import verify
from pipeline.ledger import seals
from pipeline.ledger.ledger import from_json
from pipeline.ledger.success import to_json, totals
from pipeline.ledger.verify import check
from pipeline.sink.tables import parquet
from pipeline.storage.store import Store, open_store
from tests.fakes.s3_server import S3
from tests.fakes.tampering import SINKS, finished, missed, named
from tests.fakes.terminal import but_signs

PROMISE = "verify finds a tampering anywhere in a finished output, and names the object"


@pytest.fixture(scope="module", params=SINKS)
def output(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    root = tmp_path_factory.mktemp(request.param)
    return finished(root / "in", str(root / "out"), request.param)


@pytest.mark.promise("verify says nothing of an output that is as it was written")
def test_an_untouched_output_passes(output: Store, capsys: pytest.CaptureFixture[str]) -> None:
    assert verify.main([f"uri={output.uri}"]) == 0
    seal = hashlib.sha256(output.read(seals.RUN)).hexdigest()
    assert capsys.readouterr().out.splitlines() == [f"{output.uri}: as it was written", f"seal {seal}"]


@pytest.mark.promise(PROMISE)
def test_tampering_is_found_and_named(output: Store, record_property: Callable[[str, object], None]) -> None:
    record_property("tried", 35)
    faults = missed(output, range(35))
    record_property("held", 35 - len(faults))
    assert faults == []


@pytest.mark.promise(PROMISE)
def test_tampering_on_s3_is_found_and_named(
    s3: S3, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    store = finished(tmp_path / "in", s3.uri("verify"), "files")
    assert named(store) == set()
    record_property("tried", 7)
    faults = missed(store, range(7))
    record_property("held", 7 - len(faults))
    assert faults == []


def test_what_a_fault_says_mends_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = finished(tmp_path / "in", str(tmp_path / "out"), "files")
    path = next(info.path for info in store.list("rendered"))
    store.put(path, store.read(path)[:-1])
    capsys.readouterr()
    assert verify.main([f"uri={store.uri}"]) == 3
    said = capsys.readouterr()
    (line,) = said.out.splitlines()
    assert line.startswith(f"{path}: has ")
    assert said.err == f"verify: {store.uri}: 1 fault\n"
    record = next(word for word in line.split() if word.startswith("_commit/"))
    assert "_run/SUCCESS.json" in line
    for deleted in ([record, "_run/SUCCESS.json"], ["report/index.html", "_run/run.sha256", "_run/SUCCESS.json"]):
        store.delete(deleted)
        finished(tmp_path / "in", store.uri, "files")
        assert named(store) == set()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "expected uri=OUT"),
        (["uri="], "expected uri=OUT"),
        (["uri={tmp}", "x=1"], "expected OUT"),
        (["uri={tmp}/nowhere"], "nowhere"),
        (["uri={tmp}"], "is not an output of ours"),
        (["uri={tmp}/begun"], "is not finished"),
        (["uri=s3://u:p@b/x"], "credentials"),
    ],
)
def test_what_is_no_finished_output_is_refused_in_one_line(
    arguments: list[str], expected: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "begun/_run").mkdir(parents=True)
    (tmp_path / "begun/_run/manifest.json").write_text("{}")
    assert verify.main([a.format(tmp=tmp_path) for a in arguments]) == 2
    message = capsys.readouterr().err
    assert expected in message
    assert len(but_signs(message)) == 1


def test_an_output_of_another_format_is_refused_in_one_line(
    output: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = _copied(output, tmp_path / "out")
    fields = json.loads(store.read("_run/manifest.json"))
    del fields["format"]  # as format 1 was written
    store.put("_run/manifest.json", json.dumps(fields).encode())
    _reseal(store)
    assert verify.main([f"uri={store.uri}"]) == 2
    said = capsys.readouterr()
    assert "is of format 1, written by Segfill" in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


# --- tables that lie, under hashes that fit ----------------------------------------------------------------------


def _copied(output: Store, to: Path) -> Store:
    copy = open_store(str(to))
    for path, data in output.read_many([info.path for info in output.list()]).items():
        copy.put(path, data)
    return copy


def _forged(store: Store, folder: str, change: Callable[[list[dict[str, object]]], None]) -> str:
    """Rewrites a table of the first unit with a row, its record, the sums and the seal, so that every hash fits again.
    The path of the table."""
    for info in store.list("_commit"):
        fields = json.loads(store.read(info.path))
        (entry,) = [e for e in fields["files"] if e["path"].startswith(folder)]
        table = pq.read_table(io.BytesIO(store.read(entry["path"])))
        if not table.num_rows:
            continue
        rows = table.to_pylist()
        change(rows)
        data = parquet(pa.Table.from_pylist(rows, table.schema))
        store.put(entry["path"], data)
        entry.update(size=len(data), sha256=hashlib.sha256(data).hexdigest())
        store.put(info.path, json.dumps(fields).encode())
        _reseal(store)
        return str(entry["path"])
    raise AssertionError("no unit with a row")


def _reseal(store: Store) -> None:
    records = [from_json(store.read(info.path)) for info in store.list("_commit")]
    digest = json.loads(store.read("_run/manifest.json"))["digest"]
    store.put("_run/SUCCESS.json", to_json(totals(digest, records)))
    sealed: Mapping[str, str] = seals.read(seals.RUN, store.read(seals.RUN))
    paths = {*sealed, *(info.path for info in store.list("_commit"))}
    seals.seal(store, seals.RUN, {path: hashlib.sha256(store.read(path)).hexdigest() for path in paths})


def _other_hash(rows: list[dict[str, object]]) -> None:
    row = next(row for row in rows if row["output_sha256"])
    row["output_sha256"] = "0" * 64


LIES: dict[str, tuple[str, Callable[[list[dict[str, object]]], None], str]] = {
    "a lost row": ("images/", lambda rows: rows.pop(0), "images where the record says"),  # type: ignore[dict-item]
    "a double row": ("images/", lambda rows: rows[0].update(image_id=rows[1]["image_id"]), "has an image twice"),
    "another image": ("images/", _other_hash, "that the index names"),
    "a lost mask": ("masks/", lambda rows: rows.pop(0), "does not hold the segments"),  # type: ignore[dict-item]
    "a mask of nobody": ("masks/", lambda rows: rows[0].update(image_id="x"), "does not hold the segments"),
}


@pytest.mark.promise("verify finds tables that do not fit the images though every hash fits")
@pytest.mark.parametrize("lie", LIES)
def test_a_table_that_lies_is_found(lie: str, output: Store, tmp_path: Path) -> None:
    folder, change, expected = LIES[lie]
    store = _copied(output, tmp_path / "out")
    _forged(store, folder, change)
    faults = [str(fault) for fault in check(store)]
    assert faults
    assert any(expected in fault for fault in faults)


def test_a_unit_that_was_taken_out_of_every_list_is_missed_by_its_shard(output: Store, tmp_path: Path) -> None:
    store = _copied(output, tmp_path / "out")
    gone = store.list("_commit")[1].path
    record = from_json(store.read(gone))
    store.delete([gone, *(entry.path for entry in (*record.files, *record.loose))])
    sealed = seals.read(seals.RUN, store.read(seals.RUN))
    del sealed[gone]
    seals.seal(store, seals.RUN, sealed)
    _reseal(store)
    (fault,) = check(store)
    assert record.unit.shard in fault.what
