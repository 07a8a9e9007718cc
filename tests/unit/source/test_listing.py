from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from pipeline.contracts import ALL_READ
from pipeline.errors import SourceError
from pipeline.source.listing import DETAILS, find, places_of

LINKS = "A link that leads out of the source is not read unless source.follow_links says so, and is a row"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "00.tar",
        "01.tar",
        "02.tar",
        "d/03.tar",
        "d/e/04.tar",
        "d/x.txt",
        ".cache/05.tar",
        "d/.06.tar",
        "7.TAR",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    return tmp_path


def found(uri: str) -> list[str]:
    return [o.path for o in find(uri, [".tar"]).found]


def test_folders_objects_globs_and_ranges(tree: Path) -> None:
    assert found(str(tree)) == ["00.tar", "01.tar", "02.tar", "7.TAR", "d/03.tar", "d/e/04.tar"]
    assert found(f"{tree}/") == found(str(tree))
    assert found(f"file://{tree}") == found(str(tree))
    assert found(f"{tree}/d/03.tar") == ["03.tar"]
    assert found(f"{tree}/*.tar") == ["00.tar", "01.tar", "02.tar"]
    assert found(f"{tree}/**/*.tar") == ["00.tar", "01.tar", "02.tar", "d/03.tar", "d/e/04.tar"]
    assert found(f"{tree}/d/*") == ["03.tar"]
    assert found(f"{tree}/0[!1].tar") == ["00.tar", "02.tar"]
    assert found(f"{tree}/0?.tar") == ["00.tar", "01.tar", "02.tar"]
    assert found(f"{tree}/{{00..02}}.tar") == ["00.tar", "01.tar", "02.tar"]
    assert found(f"{tree}/{{00.tar,d/0*.tar}}") == ["00.tar", "d/03.tar"]
    assert found(f"{tree}/d*/*.tar") == ["d/03.tar"]


def test_a_path_does_not_depend_on_the_form_of_its_uri(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)
    assert found("00.tar") == found(f"{tree}/00.tar") == ["00.tar"]
    assert found("*.tar") == found("./*.tar") == found(f"{tree}/*.tar")
    assert found(".") == found(str(tree))


def test_a_folder_may_have_the_suffix_of_an_object(tree: Path) -> None:
    (tree / "set.tar").mkdir()
    (tree / "set.tar" / "a.tar").write_bytes(b"x")
    assert found(f"{tree}/set.tar") == ["a.tar"]


def test_every_name_of_a_range_must_exist(tree: Path) -> None:
    with pytest.raises(SourceError, match=r"03\.tar does not exist"):
        found(f"{tree}/{{00..03}}.tar")


def test_a_missing_uri_is_refused(tree: Path) -> None:
    for uri in (f"{tree}/gone", f"{tree}/gone.tar", f"{tree}/gone/*.tar"):
        with pytest.raises(SourceError, match="does not exist"):
            found(uri)
    assert found(f"{tree}/*.zip") == []


def test_a_name_that_is_not_utf_8_is_found_with_a_problem(tmp_path: Path) -> None:
    for name in (b"caf\xe9.tar", b"ok.tar", b"caf\xe9.txt"):
        with open(os.fsencode(tmp_path) + b"/" + name, "wb"):
            pass
    listing = find(str(tmp_path), [".tar"])
    assert [(o.path, o.problem) for o in listing.found] == [("caf\\xe9.tar", "bad_name"), ("ok.tar", "")]
    assert [(o.path, o.problem) for o in listing.others] == [("caf\\xe9.txt", "bad_name")]


def test_what_exists_is_literal_before_it_is_a_pattern(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("photos[2019]", "a*b", "{x}", "{0..1}", "photos2", "0", "aXb"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.tar").write_bytes(b"x")
    (tmp_path / "b[1].tar").write_bytes(b"x")
    (tmp_path / "b1.tar").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    for name in ("photos[2019]", "a*b", "{x}", "{0..1}"):
        for uri in (name, f"{name}/", f"{tmp_path}/{name}", f"{name}/a.tar", f"{name}/*.tar"):
            assert find(uri, [".tar"]).store.uri == str(tmp_path / name), uri
            assert found(uri) == ["a.tar"], uri
    assert found("b[1].tar") == ["b[1].tar"]
    (tmp_path / "b[1].tar").unlink()
    assert found("b[1].tar") == ["b1.tar"]
    (tmp_path / "photos[2019]" / "a.tar").unlink()
    assert found("photos[2019]") == []  # an empty folder exists, too


def test_a_tilde_is_the_home_folder_unless_there_is_one_of_that_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "home/in").mkdir(parents=True)
    (tmp_path / "home/in/a.tar").write_bytes(b"x")
    for uri in ("~/in", "~/in/a.tar", "~/in/*.tar", "~"):
        assert found(uri) == (["in/a.tar"] if uri == "~" else ["a.tar"])
    assert places_of("~/in/a.tar") == [str(tmp_path / "home/in/a.tar")]
    (tmp_path / "~").mkdir()
    assert found("~") == []


def test_tools_leave_no_data(tmp_path: Path) -> None:
    passed = [
        *("__MACOSX/a.tar", "_temporary/0/a.tar", "_delta_log/0.json", "_spark_metadata/0", "_SUCCESS", "_SUCCESS.tar"),
        *("_metadata", "_common_metadata", "d/Thumbs.db", "desktop.ini", ".a.tar.crc", "a.tar.crc", "lost+found/a.tar"),
        *(".DS_Store", "._a.tar", "_started_123", "_committed_123"),
    ]
    for name in (*passed, "a.tar", "d/_metadata.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    listing = find(str(tmp_path), [".tar"])
    assert [o.path for o in listing.found] == ["a.tar", "d/_metadata.tar"]
    assert (listing.others, listing.unread) == ((), ALL_READ)


@pytest.mark.promise("An output of Segfill is never read as input")
def test_outputs_below_the_source_are_counted_and_not_read(tmp_path: Path) -> None:
    for name in ("a.tar", "d/b.tar", "out/r/c.tar", "d/out2/d.tar", "d/out2/in/e.tar", "outside/f.tar", "other/g.tar"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    for out in ("out", "d/out2", "d/out2/in"):
        (tmp_path / out / "_run").mkdir()
        (tmp_path / out / "_run/manifest.json").write_text("{}")
    (tmp_path / "other/_run").mkdir()  # no manifest: not one of ours
    for uri in (str(tmp_path), f"{tmp_path}/**/*.tar"):
        listing = find(uri, [".tar"])
        assert [o.path for o in listing.found] == ["a.tar", "d/b.tar", "other/g.tar", "outside/f.tar"]
        assert (listing.unread.outputs, listing.unread.files) == (2, 0)
    assert found(f"{tmp_path}/out/r") == ["c.tar"]  # a folder of one is a source like any other
    with pytest.raises(SourceError, match="is an output of Segfill, and those are never read"):
        found(f"{tmp_path}/out")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    assert find(str(tmp_path), [".tar"]).unread.outputs == 3


def test_an_object_of_another_kind_is_named(tmp_path: Path) -> None:
    says = {
        "a.zip": "of the kind ZIP, and it is not read: unpack it",
        "a.csv": "a .csv file, no image, tar or Parquet file",
        "a.PSD": "of the kind PSD, and it is not read: convert it",
        "noext": "a file without a suffix, no image",
        "a.jpg": "of the kind JPEG, which only source=files",
        "a.mp4": "extract its frames",
    }
    for name, text in says.items():
        (tmp_path / name).write_bytes(b"BM" if name == "a.csv" else b"")
        with pytest.raises(SourceError, match=text):
            found(f"{tmp_path}/{name}")
    (tmp_path / "noext").write_bytes(b"\xff\xd8\xff\xe0")
    assert [o.path for o in find(f"{tmp_path}/noext", [".png"], images=True).found] == ["noext"]


def test_a_folder_without_the_right_to_list_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.tar").write_bytes(b"x")
    (tmp_path / "closed").mkdir()
    scandir = os.scandir

    def refusing(path: str) -> Any:
        if path.endswith("closed"):
            raise PermissionError(errno.EACCES, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    listing = find(str(tmp_path), [".tar"])
    assert [(o.path, o.problem) for o in listing.found] == [("a.tar", ""), ("closed", "no_list_right")]
    assert set(DETAILS) >= {"no_list_right", "no_read_right", "unsafe_name", "bad_name"}
    with pytest.raises(SourceError, match="cannot be read: no access"):
        found(f"{tmp_path}/closed")


@pytest.mark.promise(LINKS)
@pytest.mark.parametrize("where", ["", "/**/*.tar", "/*/*.tar"])
def test_links_out_of_the_root_are_found_and_not_followed(where: str, tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    for folder in (root / "sub", root / "kept", other):
        folder.mkdir(parents=True)
    for file in (root / "kept/a.tar", other / "b.tar"):
        file.write_bytes(b"1")
    (root / "sub/inside.tar").symlink_to(root / "kept/a.tar")
    (root / "sub/relative.tar").symlink_to("../kept/a.tar")
    (root / "sub/outside.tar").symlink_to(other / "b.tar")
    (root / "sub/chain.tar").symlink_to("outside.tar")
    (root / "sub/folder.tar").symlink_to(other)
    (root / "sub/way.tar").symlink_to("../../other/b.tar")
    (tmp_path / "way").symlink_to(root)  # what the user names is the root, wherever it is
    for uri in (f"{root}{where}", f"{tmp_path}/way{where}"):
        assert {o.path: o.problem for o in find(uri, [".tar"]).found} == {
            "kept/a.tar": "",
            "sub/inside.tar": "",
            "sub/relative.tar": "",
            **{f"sub/{name}.tar": "link_outside" for name in ("chain", "folder", "outside", "way")},
        }
        followed = {o.path: o.problem for o in find(uri, [".tar"], follow_links=True).found}
        assert set(followed.values()) == {""}
        assert ("sub/folder.tar/b.tar" in followed) == (where != "/*/*.tar")
    for name in ("outside.tar", "way.tar"):  # named by the user, too
        assert [o.problem for o in find(f"{root}/sub/{name}", [".tar"]).found] == [""]
