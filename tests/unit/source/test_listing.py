from __future__ import annotations

import os
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, SourceError
from pipeline.source.listing import expand, find, regex

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


def test_names_that_no_table_can_hold_are_refused(tmp_path: Path) -> None:
    with open(os.fsencode(tmp_path) + b"/caf\xe9.tar", "wb"):
        pass
    with pytest.raises(SourceError, match="not UTF-8"):
        found(str(tmp_path))


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


def test_braces() -> None:
    assert expand("a{1..3}b") == ["a1b", "a2b", "a3b"]
    assert expand("{08..11}") == ["08", "09", "10", "11"]
    assert expand("{0..10}")[-2:] == ["9", "10"]
    assert expand("{a,b}/{0..1}") == ["a/0", "a/1", "b/0", "b/1"]
    assert expand("plain") == ["plain"]
    for wrong in ("{a", "a}", "{a}", "{3..1}", "{0..99999999}", "{0..9999}{0..9999}", "{{a,b}}", "{}"):
        with pytest.raises(ConfigError, match=r"source\.uri"):
            expand(wrong)


def test_globs_stay_within_a_folder() -> None:
    assert regex("*.tar").fullmatch("a.tar")
    assert not regex("*.tar").fullmatch("d/a.tar")
    assert regex("a.b").fullmatch("a.b")
    assert not regex("a.b").fullmatch("axb")
    assert not regex("[!x]a").fullmatch("/a")
    assert regex("[").fullmatch("[")
    with pytest.raises(ConfigError):
        regex("[z-a]")
