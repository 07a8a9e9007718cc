"""Specs as the product builds them: from conf/, or from values, by `build.construct`."""

from collections.abc import Mapping
from functools import cache
from typing import Any

from omegaconf import OmegaConf

from pipeline import build

GIVEN = ("source.uri=in", "sink.uri=out")


def made(path: str, cls: type, **values: Any) -> Any:
    """A spec of this class with these values, where `path` stands in a config: `fill`, `segment.text`."""
    target = f"{cls.__module__}.{cls.__qualname__}"
    return build.construct({"_target_": target, **values}, path, ("pipeline", "tests"))


def preset(group: str, choice: str, **changes: Any) -> Any:
    """The spec of conf/<group>/<choice>.yaml, with other values where given."""
    path, config = _composed(group, choice)
    return build.construct(_merged(config, changes), path, ("pipeline", "tests"))


@cache
def _composed(group: str, choice: str) -> tuple[str, dict[str, Any]]:
    """The path of the choice in the config of a job, and its values."""
    composed = build.compose("annotate", [*GIVEN, f"{group}={choice}"])[group]
    config: Any = OmegaConf.to_container(composed, resolve=True)
    if group == "segment":
        ((key, config),) = config.items()
        group = f"segment.{key}"
    return group, config


def _merged(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values of `changes` that are dicts are merged, key by key."""
    merged = dict(config)
    for key, value in changes.items():
        merged[key] = _merged(merged[key], value) if isinstance(value, Mapping) and key in merged else value
    return merged
