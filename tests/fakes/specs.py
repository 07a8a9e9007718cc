"""Specs as the product builds them: from conf/, or from values, by `build.construct`."""

from collections.abc import Mapping
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
    config = OmegaConf.to_container(build.compose("annotate", [*GIVEN, f"{group}={choice}"])[group], resolve=True)
    assert isinstance(config, dict)
    if group == "segment":
        ((group, config),) = ((f"segment.{key}", node) for key, node in config.items())
    return build.construct(_merged(config, changes), group, ("pipeline", "tests"))


def _merged(config: Mapping[Any, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values of `changes` that are dicts are merged, key by key."""
    merged = {str(key): value for key, value in config.items()}
    for key, value in changes.items():
        merged[key] = _merged(merged[key], value) if isinstance(value, Mapping) and key in merged else value
    return merged
