"""conf/ and what is typed -> the composed config of a verb.

Unknown keys and choices are found here (the nearest known one is named), and credentials.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from functools import partial
from typing import Final, TypeAlias, cast

from hydra import compose as hydra_compose
from hydra import initialize_config_module
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

import conf
from pipeline import credentials, typed
from pipeline.errors import ConfigError, nearest, one_line
from pipeline.flow import needs_fill
from pipeline.render.render import KINDS

CONF: Final = conf.FOLDER
JOBS: Final = ("annotate", "clean", "anonymize")

Node: TypeAlias = "str | int | float | bool | list[Node] | dict[str, Node] | None"

_LISTS: Final = ("segment", "render")
"""Groups of which a job may have several choices."""
_NO_FILL: Final = "pipeline.fill.none.NoFill"

# `${key}` refers to another key. A resolver (`${oc.env:X}`) would run code or read what is none of a config's business.
_REFERENCE: Final = re.compile(r"\$\{[\w.\[\]]+\}")


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
    paths = [path for override in overrides if (path := typed.path_of(override))]
    overrides = [_text(override) for override in overrides if not typed.path_of(override)]
    parsed = _parse(overrides)
    joined = OmegaConf.to_container(OmegaConf.load(CONF / f"{also}.yaml")) if also else {}
    added = [f"+{key}={json.dumps(value)}" for key, value in cast("dict[str, Node]", joined).items()]
    renders = _renders(parsed)
    overrides = [f"render={renders[0]}" if each.key_or_group == "render" else str(each.input_line) for each in parsed]
    try:
        with initialize_config_module(config_module="conf", version_base="1.3"):
            _check_overrides(name, parsed, added)
            config = hydra_compose(config_name=name, overrides=[*added, *overrides])
        for key, text in paths:
            _check_key(config, key, "" if name in JOBS else f"{name}.")
            if not text.isascii() and any("\ud800" <= sign <= "\udfff" for sign in text):
                raise ConfigError(
                    f"{key}: expected a path in UTF-8, got {text!r}; give the folder above it, or a link to it with "
                    "another name"
                )
            value = typed.value_of(key, text, partial(_has, config))
            OmegaConf.update(config, key, value if isinstance(value, str) else typed.listed(value))
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(f"config: {one_line(error)}") from error
    if name in JOBS:
        _choose_pictures(config, renders, {override.key_or_group for override in parsed})
    refuse_secrets(f"{key}={value}" for key, value in flat(config).items())
    return config


def _renders(parsed: Sequence[Override]) -> tuple[str, ...]:
    """The choices of `render=CHOICE` or `render=[CHOICE,CHOICE]`; () where none is made. Raises ConfigError."""
    value = next((each.value() for each in reversed(parsed) if each.key_or_group == "render"), ())
    choices = tuple(map(str, value or ("none",))) if isinstance(value, list) else (str(value),) if value else ()
    for choice in choices:
        _check_choice("render", choice)
    return choices


def _choose_pictures(config: DictConfig, renders: Sequence[str], given: Collection[str]) -> None:
    """Make several choices of render one, `everything` all that this job can give, and keep what is made: pictures
    without a sink would be rendered and thrown away. given: keys and groups of the command line."""
    if renders and "render.outputs" not in given:
        wanted = {kind for choice in renders for kind in OmegaConf.load(CONF / f"render/{choice}.yaml").outputs}
        if "everything" in renders and config.fill._target_ == _NO_FILL:
            wanted -= needs_fill(private=bool(config.render.private))
        config.render.outputs = [kind for kind in KINDS if kind in wanted]
    if config.sink.images != "none" or not config.render.outputs:
        return
    if not {"sink", "sink.images"}.intersection(given):
        config.sink.images = "tar"
    elif {"render", "render.outputs"}.intersection(given):
        raise ConfigError(
            f"sink=none keeps no pictures, but render asks for {', '.join(config.render.outputs)}; choose sink=tar, "
            "sink=files or sink=parquet, or leave render out"
        )


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


def _text(override: str) -> str:
    """A value in quotes where Hydra's grammar cannot read it, such as a colour: it is text."""
    key, equals, value = override.partition("=")
    with contextlib.suppress(HydraException):
        OverridesParser.create().parse_override(override)
        return override
    if not equals or not value:
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
        if override.is_sweep_override():
            key, value = override.key_or_group, str(override.input_line).partition("=")[2]
            raise ConfigError(f"{key}: expected one value, or a list such as {key}=[a,b], got {value}")
    return parsed


def _check_overrides(name: str, parsed: Sequence[Override], added: Sequence[str]) -> None:
    """Names the nearest known choice or key, which Hydra's own messages do not."""
    known = groups()
    choices = [override for override in parsed if override.key_or_group in known]
    for override in choices:
        group, value = override.key_or_group, override.value()
        if isinstance(value, list) and group not in _LISTS:
            raise ConfigError(f"{group}: expected one choice such as {group}={next(iter(known[group]))}, got a list")
        for choice in value if isinstance(value, list) else [value]:
            _check_choice(group, "null" if choice is None else str(choice))
    asked = [each.key_or_group for each in parsed if not (each.is_add() or each.is_delete())]
    asked = [key for key in asked if key not in known]
    if not asked:  # choices alone: composing twice would only take its time twice
        return
    chosen = hydra_compose(
        config_name=name,
        overrides=[*added, *(str(each.input_line) for each in choices if each.key_or_group != "render")],
    )
    for key in asked:
        _check_key(chosen, key, "" if name in JOBS else f"{name}.")


def _check_choice(group: str, choice: str) -> None:
    known = groups()[group]
    if choice not in known:
        raise ConfigError(f"{group}={choice}: no such choice{nearest(choice, known, prefix=f'{group}=')}")


def _check_key(config: DictConfig, name: str, verb: str) -> None:
    node: DictConfig | None = config
    for depth, part in enumerate(parts := name.split(".")):
        keys = [] if node is None else [str(key) for key in node.keys()]  # noqa: SIM118  # `in` hides what is ???
        if part not in keys:
            prefix = verb + "".join(f"{p}." for p in parts[:depth])
            hint = _elsewhere(config, parts, depth) or nearest(part, keys, prefix=prefix)
            raise ConfigError(f"there is no key {prefix}{part}{hint}")
        below = None if node is None or OmegaConf.is_missing(node, part) else node[part]
        node = below if isinstance(below, DictConfig) else None


def _elsewhere(config: DictConfig, parts: Sequence[str], depth: int) -> str:
    """`; source=parquet has it` for a key of another choice of its group, `; did you mean source.unit_images?` for one
    that was typed without what stands before it."""
    group, part = parts[0], parts[depth]
    if depth == 0:
        homes = [key for key in _keys_below(config) if key.rpartition(".")[2] == part]
        return f"; did you mean {' or '.join(homes[:3])}?" if homes else ""
    owners = [choice for choice in groups().get(group, {}) if depth == 1 and part in _keys_of(f"{group}/{choice}")]
    if not owners:
        return ""
    if group == "segment":
        owners.sort(key=lambda choice: choice != part)
        return f"; choose it: segment=[{','.join([*map(str, config.segment), owners[0]])}]"
    names = " and ".join(f"{group}={choice}" for choice in owners[:3])
    return f"; {names} {'has' if len(owners) == 1 else 'have'} it: choose one"


def _keys_of(name: str) -> set[str]:
    """The uppermost keys of a choice's yaml, and of those that it inherits from. name: its path in conf/."""
    tree = cast("dict[str, Node]", OmegaConf.to_container(OmegaConf.load(CONF / f"{name}.yaml")))
    parents = tree.pop("defaults", None) or []
    names = (each.partition("@")[0] for each in cast("list[Node]", parents) if isinstance(each, str))
    group = name.partition("/")[0]
    inherited = (each[1:] if each[0] == "/" else f"{group}/{each}" for each in names if each != "_self_")
    return set(tree).union(*map(_keys_of, inherited))


def _keys_below(config: DictConfig) -> list[str]:
    return [*flat(config), *OmegaConf.missing_keys(config)]


def _has(config: DictConfig, name: str) -> bool:
    """Whether a dotted key exists, given or not."""
    with contextlib.suppress(ConfigError):
        _check_key(config, name, "")
        return True
    return False


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
