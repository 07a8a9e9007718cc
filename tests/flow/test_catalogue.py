"""The catalogue of bad input through the whole chain: every case has its expected outcome, and no row is lost."""

import json
import os
import socket
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.entry import main
from pipeline.ledger.verify import check
from pipeline.storage.store import open_store
from tests.fakes import input_catalogue
from tests.fakes.metadata_samples import saved
from tests.fakes.published_output import published, totals
from tests.fakes.terminal import but_signs

pytestmark = pytest.mark.timeout(120)


SUM = "Images in = written + unchanged + rejected, in every unit and run"


def anonymize(source: Path, out: Path, *overrides: str) -> int:
    more = ["execute=local", "max_reject_share=1.0", "segment.faces.thorough=false", "audit=none", *overrides]
    code = main("anonymize", [f"source.uri={source}", f"sink.uri={out}", *more])
    if code in (0, 3):
        conserved(out)
    return code


def conserved(out: Path) -> None:
    """Check that each record counts the rows of its unit's tables, and that their sum is that of the run."""
    sums: Counter[str] = Counter()
    for path in (out / "_commit").iterdir():
        record = json.loads(path.read_text())
        (index,) = (out / file["path"] for file in record["files"] if file["path"].startswith("images/"))
        rows = Counter(pq.read_table(index, columns=["status"])["status"].to_pylist())
        counts = record["counts"]
        assert counts.pop("images") == rows.total() == sum(counts.values())
        assert +Counter(counts) == rows
        sums += rows
    success = json.loads((out / "_run/SUCCESS.json").read_text())
    assert success["images"] == sums.total()
    assert +Counter({status: success[status] for status in ("written", "unchanged", "rejected")}) == sums
    assert list(check(open_store(str(out)))) == []


def outcomes(out: Path) -> dict[str, list[tuple[str, str]]]:
    """Shard -> (member, outcome) in the order of the source."""
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for path in sorted((out / "images").glob("*.parquet")):
        for row in pq.read_table(path).to_pylist():
            rejected = row["status"] == "rejected"
            found[row["shard"]].append(
                (row["member"], f"{row['stage']}: {row['reason']}" if rejected else row["status"])
            )
    return found


def compare(got: Mapping[str, object], expected: Mapping[str, object], record: Callable[[str, object], None]) -> None:
    """Compare case -> outcome with the catalogue, and record how many agree."""
    record("tried", len(expected))
    record("held", sum(got.get(name) == outcome for name, outcome in expected.items()))
    assert got == expected


@pytest.mark.promise("Every bad input ends as its case says: written, unchanged, rejected, failed, refused")
@pytest.mark.promise(SUM)
def test_every_image_of_the_catalogue_has_its_own_outcome(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    made = input_catalogue.images()
    source = tmp_path / "source"
    source.mkdir()
    # A folder each: a tar's members with one key would be one sample.
    entries = [input_catalogue.entry(f"{i}/{name}", data) for i, (name, (data, _)) in enumerate(made.items())]
    (source / "images.tar").write_bytes(input_catalogue.tar(*entries))
    code = anonymize(source, tmp_path / "out")
    (rows,) = outcomes(tmp_path / "out").values()
    assert code == 0
    got = {member.split("/")[1]: outcome for member, outcome in rows}
    compare(got, {name: outcome for name, (_, outcome) in made.items()}, record_property)
    assert len(rows) == len(made) == totals(str(tmp_path / "out"))["images"]


@pytest.mark.parametrize("kind", ["tars", "parquets"])
@pytest.mark.promise("Every bad input ends as its case says: written, unchanged, rejected, failed, refused")
@pytest.mark.promise(SUM)
def test_every_shard_of_the_catalogue_has_its_rows_and_no_other(
    kind: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    made = getattr(input_catalogue, kind)()
    source = tmp_path / "source"
    source.mkdir()
    for name, (data, _) in made.items():
        (source / name).write_bytes(data)
    code = anonymize(source, tmp_path / "out", "source.max_image_bytes=2000000")
    found = outcomes(tmp_path / "out")
    got = {name: [outcome for _, outcome in found.get(name, [])] for name in made}
    expected = {name: [row.replace("shard: ", "read: ") for row in rows] for name, (_, rows) in made.items()}
    compare(got, expected, record_property)
    assert totals(str(tmp_path / "out"))["images"] == sum(map(len, expected.values()))
    assert code == 3  # a shard that cannot be read to its end is never accepted in silence


@pytest.mark.promise("Every bad input ends as its case says: written, unchanged, rejected, failed, refused")
@pytest.mark.promise(SUM)
def test_a_folder_of_traps_is_read_without_hanging(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    picture = saved(input_catalogue.plain(), "PNG")
    for name in ("Case.png", "case.png", "sub/deep.png"):
        (source / name).write_bytes(picture)
    (source / "sub" / "loop").symlink_to(source)
    (source / "self.png").symlink_to(source / "self.png")
    (source / "dangling.png").symlink_to(source / "nowhere.png")
    (source / "unmounted").symlink_to(source / "volume")
    (source / "linked.png").symlink_to(source / "Case.png")
    (tmp_path / "private.png").write_bytes(picture)
    (source / "outside.png").symlink_to(tmp_path / "private.png")
    for name in ("pipe.png", "case.txt", "no_image"):
        os.mkfifo(source / name)
    monkeypatch.chdir(source)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jpg")
    assert anonymize(source, tmp_path / "out") == 0
    rows = [row for rows in outcomes(tmp_path / "out").values() for row in rows]
    assert sorted(rows) == [
        ("Case.png", "unchanged"),
        ("case.png", "unchanged"),
        ("case.txt", "read: not_a_file"),
        ("dangling.png", "read: dangling_link"),
        ("linked.png", "unchanged"),
        ("outside.png", "read: link_outside"),
        ("pipe.png", "read: not_a_file"),
        ("self.png", "read: link_loop"),
        ("socket.jpg", "read: not_a_file"),
        ("sub/deep.png", "unchanged"),
        ("sub/loop", "read: link_loop"),
        ("unmounted", "read: dangling_link"),
    ]


@pytest.mark.promise("A name that comes again anywhere in a shard is a row with its reason, also after a resume")
@pytest.mark.parametrize("kind", ["tar", "parquet"])
def test_a_duplicate_in_another_unit_is_a_row_whatever_was_committed_before(kind: str, tmp_path: Path) -> None:
    names, data = ["a", "b", "c", "a", "d", "b"], saved(input_catalogue.plain(8, 8), "PNG")
    source, out = tmp_path / f"a.{kind}", tmp_path / "out"
    more = ["source.unit_images=2"]
    if kind == "tar":
        source.write_bytes(input_catalogue.tar(*(input_catalogue.entry(f"{name}.png", data) for name in names)))
    else:
        pq.write_table(pa.table({"image": pa.array([data] * 6, pa.binary()), "name": names}), source)
        more += ["source=parquet", "source.key_column=name"]
    again = "read: duplicate_member"
    assert anonymize(source, out, *more) == 0
    whole = published(str(out))
    assert [outcome for _, outcome in outcomes(out)[source.name]] == [*["unchanged"] * 3, again, "unchanged", again]
    records = sorted((out / "_commit").iterdir())
    assert len(records) == 3
    for gone in (1, 2, 5):  # bits: the first record, the middle one, the other two
        for number, record in enumerate(records):
            if gone >> number & 1:
                record.unlink()
        (out / "_run/SUCCESS.json").unlink()
        assert anonymize(source, out, *more) == 0
        assert published(str(out)) == whole


@pytest.mark.promise("Every bad input ends as its case says: written, unchanged, rejected, failed, refused")
@pytest.mark.parametrize("suffix", [".tar", ".parquet"])
@pytest.mark.promise(SUM)
def test_a_shard_that_is_no_file_fails_by_name(suffix: str, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    data = (
        input_catalogue.tars()["fine.tar"][0] if suffix == ".tar" else input_catalogue.parquets()["a_fine.parquet"][0]
    )
    (source / f"fine{suffix}").write_bytes(data)
    (source / f"dangling{suffix}").symlink_to(source / "nowhere")
    (source / "a_loop").symlink_to(source)
    (tmp_path / f"private{suffix}").write_bytes(data)
    (source / f"outside{suffix}").symlink_to(tmp_path / f"private{suffix}")
    os.mkfifo(source / f"pipe{suffix}")
    assert anonymize(source, tmp_path / "out") == 3
    got = {shard: [outcome for _, outcome in rows] for shard, rows in outcomes(tmp_path / "out").items()}
    assert got == {
        f"fine{suffix}": ["unchanged", "unchanged"],
        f"dangling{suffix}": ["read: dangling_link"],
        "a_loop": ["read: link_loop"],
        f"outside{suffix}": ["read: link_outside"],
        f"pipe{suffix}": ["read: not_a_file"],
    }


@pytest.mark.promise(SUM)
@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_names_that_differ_by_case_or_form_only_stay_apart_as_files(kind: str, tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    made = {
        name: saved(input_catalogue.plain(8 + number, 8), "PNG")
        for number, name in enumerate(["A.png", "a.png", "a.PNG", "caf\u00e9.png", "cafe\u0301.png"])
    }
    for name, data in made.items() if kind == "folder" else ():
        (source / name).write_bytes(data)
    if kind == "tar":
        (source / "s.tar").write_bytes(
            input_catalogue.tar(*(input_catalogue.entry(name, data) for name, data in made.items()))
        )
    assert anonymize(source, out, "sink=files") == 0
    rows = [row for path in (out / "images").iterdir() for row in pq.read_table(path).to_pylist()]
    outputs = {row["output"] for row in rows}
    assert len(rows) == len(outputs) == len({row["key"] for row in rows}) == 5
    assert len({unicodedata.normalize("NFC", name).casefold() for name in outputs}) == len(outputs)
    assert {(row["member"], row["width"]) for row in rows} <= {(n, 8 + i) for i, n in enumerate(made)}
    assert {row["status"] for row in rows} == {"unchanged"}


REFUSED = {
    "empty_tar": {"a.tar": input_catalogue.tar()},
    "empty_parquet": {"a.parquet": input_catalogue.parquets()["empty.parquet"][0]},
    "no_images": {"a.txt": b"text"},
    "types": {"a.parquet": input_catalogue.parquets()["types.parquet"][0]},
    "several_kinds": {
        "a.tar": input_catalogue.tars()["fine.tar"][0],
        "b.parquet": input_catalogue.parquets()["nulls.parquet"][0],
    },
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.promise("Every bad input ends as its case says: written, unchanged, rejected, failed, refused")
def test_a_source_without_a_readable_image_is_refused_and_nothing_written(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for file, data in REFUSED[name].items():
        (source / file).write_bytes(data)
    assert anonymize(source, tmp_path / "out") == 2
    message = capsys.readouterr().err
    assert str(source) in message
    assert len(but_signs(message)) == 1
    assert not list((tmp_path / "out").rglob("*.*"))


def test_the_catalogue_is_as_large_as_promised() -> None:
    assert (
        len(input_catalogue.images()) + len(input_catalogue.tars()) + len(input_catalogue.parquets()) + len(REFUSED)
        >= 70
    )
