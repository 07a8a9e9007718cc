"""A path is what was typed: nothing in it is grammar, except quotes around it, a reference to a key, and `~`."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from pipeline import typed

KINDS = [
    "München", "日本", "Ελλάδα", "עברית", "dt=2026-01-01", "year=2024/month=01", "a&b", "x#y", "#7", "IMG (1)", "(1)",
    "it's", 'say "hi"', "a, b", "a,b", "[draft]", "[2019]", "{a,b}", "{00000..00012}.tar", "${x}", "a${b}c", "$HOME",
    "a b", " a ", "50%", "a:b", "a;b", "a|b", "*?", "!x", "a\\b", "back\\", "null", "true", "2026", "1e3", "-1",
    "a~b", "@x", "`x`", "<x>", "é\u0301", "🙂", "a\tb", "a\nb", "latin\udce9", "'", '"', "''x", "...", "=", "a=",
    "???x",
]  # fmt: skip


def taken(key: str, text: str) -> object:
    """The value after OmegaConf has resolved it, where `source.uri` is a key, and `other` is none."""
    config = OmegaConf.create({"source": {"uri": "SOURCE"}, "sink": {"uri": None}})
    OmegaConf.update(config, "sink.uri", typed.value_of(key, text, lambda name: name == "source.uri"))
    tree = OmegaConf.to_container(config, resolve=True)
    assert isinstance(tree, dict)
    return tree["sink"]["uri"]


@pytest.mark.parametrize("key", ["source.uri", "sink.uri"])
@pytest.mark.parametrize("name", KINDS)
def test_a_folder_of_any_name_is_that_folder(key: str, name: str) -> None:
    assert typed.path_of(f"{key}={name}") == (key, name)
    assert taken(key, name) == name
    assert taken(key, f"/data/{name}/x") == f"/data/{name}/x"


@given(st.text(max_size=30))
@example("\\${x}")
@example("${source.uri")
@example("${${source.uri}}")
def test_any_text_behind_a_slash_is_itself(text: str) -> None:
    if "${source.uri}" not in text:
        assert taken("sink.uri", f"/{text}") == f"/{text}"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("'a,b'", "a,b"),
        ('"a b"', "a b"),
        (r"'it\'s'", "it's"),
        (r"'back\slash'", r"back\slash"),
        (r"'x\\'", "x\\"),
        ("'a'b'", "'a'b'"),
        ("'a", "'a"),
        ("''", ""),
        ("${source.uri}-out", "SOURCE-out"),
        ("'${source.uri}-out'", "SOURCE-out"),
        ("${other}-out", "${other}-out"),
    ],
)
def test_quotes_and_references_are_read(text: str, path: str) -> None:
    assert taken("sink.uri", text) == path


def test_a_list_is_one_of_paths_and_only_a_source_has_one() -> None:
    assert taken("source.uri", "[/a/dt=1, 'b,c' ,{x,y}.tar,s3://b/[2019]]") == [
        "/a/dt=1", "b,c", "{x,y}.tar", "s3://b/[2019]",
    ]  # fmt: skip
    assert taken("source.uri", "[s3://bucket/x]") == ["s3://bucket/x"]
    assert taken("source.uri", "[a,b]/c") == "[a,b]/c"
    assert taken("sink.uri", "[a,b]") == "[a,b]"


@pytest.mark.parametrize("name", ["[a,b]", "'quoted'", "~", "${source.uri}", "dt=1"])
def test_what_exists_is_that(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).mkdir()
    assert taken("source.uri", name) == name
    assert typed.is_word(name, ())


def test_a_tilde_is_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert taken("source.uri", "~/photos") == "/home/me/photos"
    assert taken("source.uri", "[~/a,~/b]") == ["/home/me/a", "/home/me/b"]
    assert taken("source.uri", "a/~/b") == "a/~/b"


@pytest.mark.parametrize(
    ("override", "path"),
    [
        ("uri=x", ("uri", "x")),
        ("audit.sheet=a=b", ("audit.sheet", "a=b")),
        ("segment.unet.model.uri=file:/x", ("segment.unet.model.uri", "file:/x")),
        ("fill.model.folder=/x", ("fill.model.folder", "/x")),
        ("fill=solid", None),
        ("+source.uri=x", None),
        ("a b.uri=x", None),
        ("curi=x", None),
    ],
)
def test_the_keys_of_paths(override: str, path: tuple[str, str] | None) -> None:
    assert typed.path_of(override) == path


@pytest.mark.parametrize(
    ("argument", "word"),
    [
        ("photos", True),
        ("/data/dt=2026-01-01", True),
        ("./dt=2026", True),
        ("s3://bucket/year=2024", True),
        ("out/dt=2026", True),
        ("~/photos", True),
        ("a b=c", True),
        ("München", True),
        ("key=value", False),
        ("a.b.c=/x=y", False),
        ("fill/x=y", False),
        ("+fill@a.b=solid", False),
        ("++a.b=1", False),
        ("~fill", False),
        ("~a.b=1", False),
    ],
)
def test_a_bare_word_is_told_from_a_key(argument: str, word: bool) -> None:
    assert typed.is_word(argument, {"fill"}) == word


@pytest.mark.parametrize(
    "parts",
    [
        ["/a", "/b"],
        ["a,b", "c"],
        ["it's", 'say "x"', "{x,y}.tar"],
        ["s3://b/[2019]", "back\\slash", "end\\", "end'\\"],
        [" space ", "'quoted'"],
    ],
)
def test_a_list_is_one_value_and_its_parts_come_back(parts: list[str]) -> None:
    assert typed.parts_of(typed.listed(parts)) == parts
