"""The training of the generative fill: it learns, it goes on bit for bit, and it says what it learnt from."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from jobs import train_fill
from pipeline.errors import ConfigError, SourceError
from pipeline.fill.generative.train import loop
from pipeline.fill.generative.train.export import load
from pipeline.fill.generative.train.photos import gather
from pipeline.source.auto import Auto
from tests.fakes.drawn_images import drawing


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six drawings, one of them twice, and one that is too small to learn from."""
    folder = tmp_path_factory.mktemp("drawn")
    for number in range(6):
        rgb, _ = drawing(number, 80, 96)
        cv2.imwrite(str(folder / f"{number}.png"), rgb)
    (folder / "again.png").write_bytes((folder / "0.png").read_bytes())
    cv2.imwrite(str(folder / "small.png"), np.zeros((20, 90, 3), np.uint8))
    return folder


def photographs(uri: str) -> Auto:
    return Auto(uri=uri)


def overrides(drawn: Path, folder: Path, *more: str) -> list[str]:
    small = ["sizes=[[64,2]]", "discriminator_width=4", "held_out=2", "warm_up=2", "penalty_every=2", "sheet_every=3"]
    return [f"data=[{{uri:{drawn},licence:CC0-1.0}}]", f"folder={folder}", *small, "log_every=1", *more]


def state(folder: Path) -> dict[str, torch.Tensor]:
    found = torch.load(folder / loop.CHECKPOINT, weights_only=True)
    return {**found["average"], **{f"discriminator.{name}": value for name, value in found["discriminator"].items()}}


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_bit_for_bit(drawn: Path, tmp_path: Path) -> None:
    assert train_fill.main(overrides(drawn, tmp_path / "whole", "steps=5")) == 0
    assert train_fill.main(overrides(drawn, tmp_path / "parts", "steps=3")) == 0
    assert train_fill.main(overrides(drawn, tmp_path / "parts", "steps=5")) == 0
    whole, parts = state(tmp_path / "whole"), state(tmp_path / "parts")
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    for file in (loop.WEIGHTS, loop.NETWORK):
        first, second = ((tmp_path / run / file).read_bytes() for run in ("whole", "parts"))
        assert first == second
        assert all(
            torch.equal(v.half(), whole[n].half()) for n, v in load(tmp_path / "whole" / file).state_dict().items()
        )
    assert [p.name for p in sorted((tmp_path / "whole").glob("sheet-*.png"))] == [
        "sheet-000003.png",
        "sheet-000005.png",
    ]


@pytest.mark.slow
def test_what_was_used_is_listed_and_what_is_held_out_is_not_learnt_from(drawn: Path, tmp_path: Path) -> None:
    assert train_fill.main(overrides(drawn, tmp_path, "steps=1")) == 0
    listed = json.loads((tmp_path / "data.json").read_text())
    rows = listed["photographs"]
    assert len({row["sha256"] for row in rows}) == len(rows) == 6
    assert {row["licence"] for row in rows} == {"CC0-1.0"}
    held = sorted(row["sha256"] for row in rows if row["held_out"])
    assert held == sorted(row["sha256"] for row in rows)[:2]
    assert len(listed["left_out"]) == 1
    assert "small" in listed["left_out"][0]


@pytest.mark.slow
def test_it_learns_what_it_is_shown(drawn: Path, tmp_path: Path) -> None:
    training = train_fill.configured(overrides(drawn, tmp_path, "warm_up=1000", "lr=0.0005"))
    torch.set_num_threads(1)
    run = loop.Run(training, gather(training.data, 64, photographs)[0])
    losses = []
    for _ in range(12):
        run.step = 0  # the same windows again
        losses.append(run.advance()["inside"])
    assert min(losses[-3:]) < 0.95 * losses[0]


def test_the_discriminator_begins_after_the_warm_up(drawn: Path, tmp_path: Path) -> None:
    training = train_fill.configured(overrides(drawn, tmp_path, "warm_up=1", "penalty_every=1"))
    run = loop.Run(training, gather(training.data, 64, photographs)[0])
    first, second = run.advance(), run.advance()
    assert first.keys() == {"inside", "outside", "detail"}
    assert second.keys() == {"inside", "outside", "detail", "discriminator", "adversarial", "features"}
    assert np.isfinite(list(second.values())).all()


@pytest.mark.slow
def test_a_new_run_begins_from_weights(drawn: Path, tmp_path: Path) -> None:
    assert train_fill.main(overrides(drawn, tmp_path / "first", "steps=1")) == 0
    run = loop.Run(train_fill.configured(overrides(drawn, tmp_path)), [])
    for file in (loop.NETWORK, loop.WEIGHTS):
        weights = tmp_path / "first" / file
        run.begin(weights)
        begun = run.average.state_dict()
        assert all(torch.equal(begun[name], value) for name, value in load(weights).state_dict().items())
    assert train_fill.main(overrides(drawn, tmp_path / "second", "steps=2", f"start={weights}")) == 0
    assert train_fill.main(overrides(drawn, tmp_path / "third", "steps=2", f"start={tmp_path}/none.safetensors")) == 1


@pytest.mark.slow
def test_mixed_precision_runs(drawn: Path, tmp_path: Path) -> None:
    training = replace(
        train_fill.configured(overrides(drawn, tmp_path, "steps=2")), precision="bfloat16", warm_up=0, penalty_every=1
    )
    run = loop.Run(training, gather(training.data, 64, photographs)[0])
    assert np.isfinite(list(run.advance().values())).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("sizes=[[100,2]]", "sizes"),
        ("steps=0", "steps"),
        ("ema_decay=1", "ema_decay: expected a number from 0 to below 1, got 1"),
        ("device=tpu", "device"),
        ("penalty=-1", "penalty"),
        ("pool=0", "pool"),
        ("data=[]", "data"),
        ("data=[{uri:x}]", r"data\[0\]\.licence is required"),
        ("data=[{uri:x,licence:''}]", r"data\[0\]\.licence: expected a non-empty text"),
        ("stepz=3", "stepz"),
    ],
)
def test_mistakes_are_named(drawn: Path, tmp_path: Path, override: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        train_fill.configured(overrides(drawn, tmp_path, override))


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="data is required"):
        train_fill.configured([f"folder={tmp_path}"])


def test_nothing_to_learn_from_is_refused(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "small.png"), np.zeros((20, 90, 3), np.uint8))
    training = train_fill.configured(overrides(tmp_path, tmp_path / "run"))
    with pytest.raises(SourceError, match="expected photographs"):
        loop.train(training, print, photographs)
