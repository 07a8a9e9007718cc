"""The option `pytest --gpu`: runs with execute=local compute on a GPU. `make test-gpu` uses it."""

from collections.abc import Sequence

import pytest
from omegaconf import DictConfig


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu", action="store_true", help="what runs with execute=local runs on a GPU")


@pytest.fixture(autouse=True)
def _on_a_gpu(request: pytest.FixtureRequest) -> None:
    if not request.config.getoption("--gpu"):
        return
    from pipeline import build

    compose = build.compose

    def composed(job: str, overrides: Sequence[str] = ()) -> DictConfig:
        more = ["execute.device=cuda"] if "execute=local" in overrides else []
        return compose(job, [*overrides, *more])

    request.getfixturevalue("monkeypatch").setattr(build, "compose", composed)
