"""Hydra config -> Job: compose, check, construct. The only module in pipeline/ that imports hydra or omegaconf.

Everything that can be wrong with a config is found here, on the driver, before anything is written or loaded: unknown
keys and choices (the nearest known one is named), values of the wrong type or range, credentials, classes outside the
allowlist.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Final, TypeAlias, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field

import conf
from pipeline import credentials
from pipeline.audit.run_audit import Auditor
from pipeline.contracts import Segmenter
from pipeline.driver import Executor, Job
from pipeline.errors import ConfigError, WeightsError, nearest, one_line
from pipeline.flow import Flow
from pipeline.models.licence import Policy
from pipeline.spec import FieldError, spec

CONF: Final = conf.FOLDER
JOBS: Final = ("annotate", "clean", "anonymize")

Node: TypeAlias = "str | int | float | bool | list[Node] | dict[str, Node] | None"

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

_PATHS: Final = ("uri", "folder", "sheet", "canary")
"""Keys whose values are paths: taken as they are typed, whatever they hold."""
_EXAMPLES: Final = {
    "source.uri": "s3://bucket/shards",
    "sink.uri": "s3://bucket/out",
    "uri": "OUT",
    "data": "[{uri:PHOTOS,licence:CC0-1.0}]",
    "folder": "RUN",
}

# `${key}` refers to another key. A resolver (`${oc.env:X}`) would run code or read what is none of a config's business.
_REFERENCE: Final = re.compile(r"\$\{[\w.\[\]]+\}")


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


def groups() -> dict[str, dict[str, str]]:
    """Every config group: choice -> its one-line description, the first comment of its yaml. A yaml whose name begins
    with `_` is only inherited from."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(CONF.rglob("*.yaml")):
        parts = path.relative_to(CONF).with_suffix("").parts
        if len(parts) > 1 and not parts[-1].startswith("_"):
            found.setdefault(parts[0], {})["/".join(parts[1:])] = conf.about("/".join(parts))
    return found


def compose(name: str, overrides: Sequence[str] = (), *, also: str = "") -> DictConfig:
    """The config of a verb with command-line overrides (`key=value`, `group=choice`). also: a yaml whose keys join
    those of the verb. Raises ConfigError."""
    refuse_secrets(overrides)
    overrides = [_literal(override) for override in overrides]
    parsed = _parse(overrides)
    joined = OmegaConf.to_container(OmegaConf.load(CONF / f"{also}.yaml")) if also else {}
    added = [f"+{key}={json.dumps(value)}" for key, value in cast("dict[str, Node]", joined).items()]
    try:
        with initialize_config_module(config_module="conf", version_base="1.3"):
            _check_overrides(name, parsed, added)
            config = hydra_compose(config_name=name, overrides=[*added, *overrides])
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"config: {one_line(error)}") from error
    refuse_secrets(f"{key}={value}" for key, value in flat(config).items())
    return config


def plain(config: DictConfig, verb: str = "") -> dict[str, Node]:
    """A config without Hydra. verb: named in front of a key in messages. Raises ConfigError for what is not given."""
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        tree = cast("dict[str, Node]", OmegaConf.to_container(config, resolve=True))
    except OmegaConfBaseException as error:
        raise ConfigError(f"config: {one_line(error)}") from error
    missing += [key for key in ("uri", "folder") if tree.get(key) == ""]
    if missing:
        key, where = missing[0], f"{verb}." if verb else ""
        raise ConfigError(f"{where}{key} is required: expected {key}={_EXAMPLES.get(key, 'VALUE')}")
    return tree


def build(config: DictConfig) -> Job:
    """The frozen objects that a composed config names."""
    tree = plain(config)
    keys = {field.name: _tuples(tree.pop(field.name)) for field in dataclasses.fields(RunKeys)}
    run = cast("RunKeys", made(RunKeys, "", keys))
    packages = ("pipeline", *run.plugins)
    executor = construct(tree.pop("execute"), "execute", packages)
    policy = cast("Policy", construct(tree.pop("policy"), "policy", ("pipeline",)))
    audit = construct(tree.pop("audit"), "audit", ("pipeline",))
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
    parts: dict[str, object] = {key: construct(node, key, packages) for key, node in tree.items()}
    known = {f.name for f in dataclasses.fields(Flow)}
    for key in parts:
        if key not in known:
            raise ConfigError(f"{key} is not a part of a flow{nearest(key, known)}")
    segmenters = tuple(cast("Segmenter", construct(node, f"segment.{key}", packages)) for key, node in nodes.items())
    flow = Flow(name=run.job, chunk=run.chunk, segment=segmenters, **parts)  # type: ignore[arg-type]  # each is what its yaml's class is
    labels = tuple(dict.fromkeys(label for segmenter in segmenters for label in segmenter.labels))
    flow.select.check(labels)
    return flow


def flat(config: DictConfig) -> dict[str, str]:
    """Dotted key -> JSON of the value; missing values are left out, interpolations of the environment stay
    unresolved."""
    found: dict[str, str] = {}

    def walk(node: Node, path: str) -> None:
        if isinstance(node, dict):
            for key, child in node.items():
                walk(child, f"{path}.{key}" if path else key)
        elif node != "???":
            found[path] = json.dumps(node, sort_keys=True, default=str)

    walk(cast("Node", OmegaConf.to_container(config, resolve=False)), "")
    return found


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
    """An instance of a spec, or of a dataclass of a plugin. Errors name the key by its whole path."""
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


def _literal(override: str) -> str:
    """A path or colour in quotes where Hydra's grammar would read it otherwise: it has other uses for `=`, `,`, `(` and
    `[`, and none for `#`."""
    key, _, value = override.partition("=")
    if not value or not (value.startswith("#") or key.rpartition(".")[2] in _PATHS):
        return override
    with contextlib.suppress(HydraException):
        if isinstance(OverridesParser.create().parse_override(override).value(), str):
            return override
    return f"{key}={QuotedString(text=value, quote=Quote.single).with_quotes()}"


def _parse(overrides: Sequence[str]) -> list[Override]:
    """Raises ConfigError for what is no override, and for one of Hydra itself: its search path could bring configs from
    anywhere, its callbacks, launchers and logging name classes of their own. Only its composition is used here."""
    try:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
    except HydraException as error:
        raise ConfigError(f"cannot read the command line: {one_line(error)}; expected key=value") from error
    for override in parsed:
        for name in (override.key_or_group, override.package or ""):
            if re.split(r"[./]", name)[0] == "hydra":
                raise ConfigError(f"{override.key_or_group}: Hydra's own settings cannot be changed; remove it")
    return parsed


def _check_overrides(name: str, parsed: Sequence[Override], added: Sequence[str]) -> None:
    """Names the nearest known choice or key, which Hydra's own messages do not."""
    known = groups()
    choices = [override for override in parsed if override.key_or_group in known]
    for override in choices:
        group, value = override.key_or_group, override.value()
        for choice in value if isinstance(value, list) else [value]:
            if str(choice) not in known[group]:
                hint = nearest(str(choice), known[group], prefix=f"{group}=")
                raise ConfigError(f"{group}={choice}: no such choice{hint}")
    chosen = hydra_compose(config_name=name, overrides=[*added, *(str(each.input_line) for each in choices)])
    for override in parsed:
        key = override.key_or_group
        if key not in known and not override.is_add() and not override.is_delete():
            _check_key(chosen, key, "" if name in JOBS else f"{name}.")


def _check_key(config: DictConfig, name: str, verb: str) -> None:
    node: DictConfig | None = config
    for depth, part in enumerate(parts := name.split(".")):
        keys = [] if node is None else [str(key) for key in node.keys()]  # noqa: SIM118  # `in` hides what is ???
        if part not in keys:
            prefix = verb + "".join(f"{p}." for p in parts[:depth])
            raise ConfigError(f"{name}: there is no key {prefix}{part}{nearest(part, keys, prefix=prefix)}")
        below = None if node is None or OmegaConf.is_missing(node, part) else node[part]
        node = below if isinstance(below, DictConfig) else None


def refuse_secrets(assignments: Iterable[str]) -> None:
    """Credentials, and interpolations that are more than a reference to a key. Raises ConfigError that repeats no
    value: it may be the secret."""
    for assignment in assignments:
        key, _, value = assignment.partition("=")
        name = credentials.redact(key)
        if credentials.is_credential(key) and value.strip("\"' ") not in ("", "null"):
            raise ConfigError(
                f"{name} looks like a credential; configs hold none: use the ambient ones (environment, profile, role)"
            )
        if credentials.carries(assignment) or credentials.assigns(assignment):
            raise ConfigError(f"{name}: the value carries a credential; remove it and use the ambient credentials")
        if "${" in _REFERENCE.sub("", assignment):
            raise ConfigError(
                f"{name}: only ${{key}}, a reference to another key, is understood; let the shell fill in variables"
            )
