"""A model in several files: each verified, nothing else read, and a clear word when one cannot be."""

import json
import pickle
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, WeightsError
from pipeline.models.checkpoint import Checkpoint
from tests.fakes.specs import made

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEGFILL_CACHE", str(tmp_path / "cache"))
    made = tmp_path / "a checkpoint"
    made.mkdir()
    (made / "config.json").write_text('{"model_type": "segformer"}')
    (made / "preprocessor_config.json").write_text("{}")
    (made / "model.safetensors").write_bytes(b"numbers")
    (made / "modeling_evil.py").write_text("raise SystemExit")
    (made / "pytorch_model.bin").write_bytes(b"\x80\x04")
    return made


def test_only_the_named_files_are_there_to_be_loaded(folder: Path) -> None:
    model = Checkpoint(licence="MIT", folder=str(folder))
    assert model.read("config.json") == {"model_type": "segformer"}
    assert model.read("tokenizer.json") == {}
    with model.fetched() as verified:
        assert sorted(path.name for path in verified.iterdir()) == sorted(model.files)
        assert (verified / "model.safetensors").read_bytes() == b"numbers"
    assert model.tag.startswith("a checkpoint-")


def test_files_in_sub_folders_stay_there(folder: Path) -> None:
    for part, number in (("unet", b"1"), ("vae", b"2")):
        (folder / part).mkdir()
        (folder / part / "model.safetensors").write_bytes(number)
    files = ("config.json", "unet/model.safetensors", "vae/model.safetensors")
    with Checkpoint(licence="MIT", folder=str(folder), files=files).fetched() as verified:
        assert (verified / "unet" / "model.safetensors").read_bytes() == b"1"
        assert (verified / "vae" / "model.safetensors").read_bytes() == b"2"


@pytest.mark.promise("weights that are not one safe file of the right hash are refused")
def test_a_worker_refuses_a_folder_that_changed_since_the_driver_saw_it(folder: Path) -> None:
    model = Checkpoint(licence="MIT", folder=str(folder))
    assert len(model.weights) == 3
    (folder / "model.safetensors").write_bytes(b"other numbers")
    with pytest.raises(WeightsError, match="expected sha256"):
        pickle.loads(pickle.dumps(model)).weights[2].fetch()


def test_a_hub_without_known_hashes_says_what_to_download_and_where_to_put_it() -> None:
    model = Checkpoint(licence="MIT", uri=f"hf:owner/name@{REVISION}")
    with pytest.raises(WeightsError, match=rf"download revision {REVISION} of owner/name .*model.safetensors.*folder"):
        _ = model.weights
    known = Checkpoint(licence="MIT", uri=f"hf:owner/name@{REVISION}", sha256=("0" * 64,) * 3)
    assert known.weights[2].uri == f"hf:owner/name@{REVISION}/model.safetensors"
    assert known.tag == "name-00000000"


def test_what_is_missing_or_no_json_is_named(folder: Path) -> None:
    (folder / "config.json").write_text("{")
    with pytest.raises(WeightsError, match=r"config.json is not readable JSON"):
        Checkpoint(licence="MIT", folder=str(folder)).read("config.json")
    (folder / "config.json").write_text(json.dumps([1]))
    with pytest.raises(WeightsError, match="no JSON object"):
        Checkpoint(licence="MIT", folder=str(folder)).read("config.json")
    (folder / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match=r"lacks model.safetensors"):
        _ = Checkpoint(licence="MIT", folder=str(folder)).weights


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("uri", "hf:owner/name@main"),
        ("uri", "hf:owner/name"),
        ("uri", "https:///prefix"),
        ("uri", "s3:/bucket"),
        ("files", ("pytorch_model.bin",)),
        ("files", ("../config.json",)),
        ("files", ("unet/../../config.json",)),
        ("files", ("/config.json",)),
        ("files", ("unet//config.json",)),
        ("files", ("unet/pytorch_model.bin",)),
        ("sha256", ("0" * 64,)),
        ("sha256", ("main",) * 3),
        ("licence", ""),
        ("folder", ""),
    ],
)
def test_what_cannot_be_a_checkpoint_is_refused(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"model\.{key}(\[\d\])?: expected .* got "):
        made("model", Checkpoint, **{"licence": "MIT", "folder": "" if key == "uri" else "x", key: value})
