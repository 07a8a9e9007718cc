"""Composed config -> Job: check, construct. Only config.py and this module import hydra or omegaconf.

Everything that can be wrong with a config is found there and here, on the driver, before anything is written or loaded:
values of the wrong type or range, classes outside the allowlist.
"""

from __future__ import annotations

import dataclasses
import importlib
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Final, cast

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field

from pipeline.audit.run_audit import Auditor
from pipeline.config import CONF as CONF
from pipeline.config import JOBS as JOBS
from pipeline.config import Node as Node
from pipeline.config import compose as compose
from pipeline.config import flat as flat
from pipeline.config import groups as groups
from pipeline.config import refuse_secrets as refuse_secrets
from pipeline.contracts import Segmenter
from pipeline.driver import Job
from pipeline.errors import ConfigError, WeightsError, nearest, one_line
from pipeline.execute.base import Executor
from pipeline.flow import Flow
from pipeline.models.licence import Policy
from pipeline.spec import FieldError, listed, spec

# What may differ between two commands that write the same bytes; everything else is the identity of a run.
_NOT_SEMANTIC: Final = (
    "source.uri",
    "source.requester_pays",
    "source.unread",
    "sink.uri",
    "sink.single_writer",
    "execute",
    "audit",
    "report",
    "limit",
    "max_reject_share",
    "review_seam",
    "plugins",
    "policy",
)

_EXAMPLES: Final = {
    "source.uri": "s3://bucket/shards",
    "sink.uri": "s3://bucket/out",
    "uri": "OUT",
    "data": "[{uri:PHOTOS,licence:CC0-1.0}]",
    "folder": "RUN",
    ".uri": "file:/models/model.{suffix}",
    ".folder": "/models/checkpoint",
    ".sha256": "$(sha256sum /models/model.{suffix} | cut -c1-64)",
    ".licence": "Apache-2.0",
    ".names": "[background,person]",
    ".prompts": "[face,'number plate']",
    ".result": "logits",
    ".height": "512",
    ".width": "512",
}
"""By the whole key, or by its last part."""


@spec
class RunKeys:
    """The keys of conf/base.yaml that belong to the run and to no stage."""

    job: str
    """Name of the job."""
    private: bool = False
    """Originals never reach the output, its report or its metadata."""
    chunk: Annotated[int, Field(ge=1)] = 16
    """Images of a unit that are decoded in memory at one time; no result depends on it."""
    review_seam: Annotated[float, Field(ge=0)] = 3.0
    """The report lists filled images whose seam is above this; 1 looks like its surroundings; 0 lists none."""
    limit: Annotated[int, Field(ge=0)] = 0
    """Only the first images in source order, for a first look; the same command without it goes on to the whole. 0:
    all."""
    max_reject_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    """Above this share of rejected images the exit code is 3."""
    plugins: tuple[str, ...] = ()
    """Packages besides `pipeline` whose classes `_target_` may name."""


def plain(config: DictConfig, verb: str = "") -> dict[str, Node]:
    """A config without Hydra. verb: named in front of a key in messages. Raises ConfigError for what is not given."""
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        tree = cast("dict[str, Node]", OmegaConf.to_container(config, resolve=True))
    except OmegaConfBaseException as error:
        raise ConfigError(f"config: {one_line(error)}") from error
    missing += [key for key in ("uri", "folder") if tree.get(key) == ""]
    missing += [key for key in ("source.uri", "sink.uri") if OmegaConf.select(config, key, default=None) == ""]
    if missing:
        where = f"{verb}." if verb else ""
        names = ", ".join(f"{where}{key}" for key in missing)
        example = " ".join(f"{key}={_example(key)}" for key in missing)
        verbs = "is required: expected" if len(missing) == 1 else "are required: for example"
        raise ConfigError(f"{names} {verbs} {example}")
    return tree


def _example(key: str) -> str:
    example = _EXAMPLES.get(key) or _EXAMPLES.get(f".{key.rpartition('.')[2]}", "VALUE")
    return example.replace("{suffix}", "onnx" if "onnx" in key else "safetensors")


def build(config: DictConfig) -> Job:
    """The frozen objects that a composed config names."""
    tree = plain(config)
    keys = {field.name: _tuples(tree.pop(field.name)) for field in dataclasses.fields(RunKeys)}
    run = cast("RunKeys", made(RunKeys, "", keys))
    packages = ("pipeline", *run.plugins)
    executor = _part(tree.pop("execute", None), "execute", packages)
    policy = cast("Policy", _part(tree.pop("policy", None), "policy", ("pipeline",)))
    audit = _part(tree.pop("audit", None), "audit", ("pipeline",))
    flow = _flow(run, tree, packages)
    policy.check(flow.weights)
    return Job(
        flow=flow,
        executor=cast("Executor", executor),
        max_reject_share=run.max_reject_share,
        review_seam=run.review_seam,
        limit=run.limit,
        config=semantic(config),
        yaml=OmegaConf.to_yaml(config),
        audit=cast("Auditor", audit),
    )


def _flow(run: RunKeys, tree: dict[str, Node], packages: Sequence[str]) -> Flow:
    nodes = tree.pop("segment", None)
    if not isinstance(nodes, dict) or not nodes:
        raise ConfigError("segment: expected at least one segmenter, for instance segment=[faces]")
    known = [f.name for f in dataclasses.fields(Flow) if f.name not in ("name", "chunk", "segment")]
    for key in tree:
        if key not in known:
            top = (*known, *(f.name for f in dataclasses.fields(RunKeys)), "segment", "execute", "policy", "audit")
            raise ConfigError(f"there is no key {key}{nearest(key, top)}")
    parts = {key: _part(tree.get(key), key, packages) for key in known}
    segmenters = tuple(cast("Segmenter", _part(node, f"segment.{key}", packages)) for key, node in nodes.items())
    flow = Flow(name=run.job, chunk=run.chunk, segment=segmenters, **parts)  # type: ignore[arg-type]  # each is what its yaml's class is
    labels = tuple(dict.fromkeys(label for segmenter in segmenters for label in segmenter.labels))
    flow.select.check(labels)
    return flow


def _part(node: Node, path: str, packages: Sequence[str]) -> object:
    """The object of a node that must name its class."""
    if not isinstance(node, dict) or "_target_" not in node:
        got = "none" if node is None else f"{node!r}"
        raise ConfigError(f"{path}: expected keys with a _target_, as a choice of conf/ has them, got {got}")
    return construct(node, path, packages)


def semantic(config: DictConfig) -> dict[str, str]:
    """The part of a config that decides the output's bytes."""
    resolved = OmegaConf.create(cast("dict[str, Node]", OmegaConf.to_container(config, resolve=True)))
    return {
        key: value
        for key, value in flat(resolved).items()
        if not any(key == name or key.startswith(f"{name}.") for name in _NOT_SEMANTIC)
    }


def construct(node: Node, path: str, packages: Sequence[str]) -> object:
    """A node with `_target_` becomes that class, its keys the arguments; lists become tuples.

    Hydra's `instantiate` does the same without an allowlist, the nearest known key, or tuples that keep a dataclass
    hashable.
    """
    if isinstance(node, list):
        return tuple(construct(child, f"{path}[{i}]", packages) for i, child in enumerate(node))
    if not isinstance(node, dict):
        return node
    reserved = [key for key in node if key.startswith("_") and key != "_target_"]
    if reserved:
        raise ConfigError(f"{path}.{reserved[0]}: only _target_ is understood here; remove it")
    if "_target_" not in node:
        return {key: construct(child, f"{path}.{key}", packages) for key, child in node.items()}
    cls = located(node["_target_"], path, packages)
    values = {key: construct(child, f"{path}.{key}", packages) for key, child in node.items() if key != "_target_"}
    return made(cls, path, values)


def _tuples(node: Node) -> object:
    return tuple(map(_tuples, node)) if isinstance(node, list) else node


def made(cls: type[object], path: str, values: Mapping[str, object]) -> object:
    """An instance of a spec, or of a dataclass of a plugin; one value for a list is a list of one. Errors name the key
    by its whole path."""
    values = listed(cls, values)
    try:
        if "__is_pydantic_dataclass__" not in vars(cls):
            if hasattr(cls, "__is_pydantic_dataclass__"):
                raise ConfigError(f"{cls.__name__} derives from a spec: decorate it with @spec of pipeline.spec too")
            spec(cls)(**values)  # a plain dataclass checks nothing by itself
        return cls(**values)
    except FieldError as error:
        key = f"{path}.{error.key}".strip(".")
        raise ConfigError(error.text(key, prefix=f"{path}." if path else "")) from error
    except ConfigError as error:
        raise ConfigError(str(error) if str(error).startswith(path) else f"{path}: {error}") from error
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{path}: {cls.__name__} does not take these values: {one_line(error)}") from error


def located(target: Node, path: str = "", packages: Sequence[str] = ("pipeline",)) -> type:
    """The class that `_target_` names. Raises ConfigError for one outside of `packages`."""
    if not isinstance(target, str) or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", target):
        raise ConfigError(f"{path}._target_: expected the dotted name of a class, got {target!r}")
    if not any(target.startswith(f"{package}.") for package in packages):
        raise ConfigError(
            f"{path}._target_: {target} is outside the allowed packages ({', '.join(packages)}); "
            "name its package in plugins=[...] if you trust its code"
        )
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"{path}._target_: there is no {target}: {one_line(error)}") from error
    if not (
        isinstance(found, type)
        and dataclasses.is_dataclass(found)
        and found.__module__.split(".")[0] == target.split(".")[0]
    ):
        raise ConfigError(f"{path}._target_: {target} is not a config dataclass of its package")
    return found
