"""`python -m jobs.config_page`: writes docs/config.md from the fields of the specs; `... schema` prints a JSON schema.

A test holds the page and the fields equal. --help prints its keys by the same functions.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from omegaconf import DictConfig, OmegaConf
from pydantic import TypeAdapter

from pipeline import build
from pipeline.errors import EXIT_OK
from pipeline.spec import FieldDoc, fields_of

PAGE: Final = Path("docs/config.md")
_HEAD: Final = """# Configuration

Every key of every choice, printed from the code by `make docs`. Change a key with `key=value`, a group with
`group=choice`; `segfill VERB ... --cfg job` shows the composed config, `segfill VERB --help` the keys of one verb.
`python -m jobs.config_page schema` prints the same as a JSON schema, a definition a class, for an editor.
"""
_WIDTH: Final = 100


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key of a composed config. value: as yaml holds it. field: what its spec says of it."""

    path: str
    value: object
    field: FieldDoc

    @property
    def shown(self) -> str:
        return "???" if self.value == "???" else json.dumps(self.value, ensure_ascii=False)


def keys_of(tree: Mapping[str, Any], path: str = "", cls: type | None = None) -> Iterator[Key]:
    """The keys below a node in the order of their fields; nodes of classes without specs have none. cls: the node's
    class where it names none."""
    target = tree.get("_target_")
    cls = cls or (build.located(target) if isinstance(target, str) else None)
    fields = {field.name: field for field in fields_of(cls)} if cls else {}
    for name in [*fields, *(name for name in tree if name not in fields)]:
        value, where = tree.get(name), f"{path}.{name}" if path else name
        if isinstance(value, Mapping) and ("_target_" in value or name not in fields):
            yield from keys_of(value, where)
        elif name in fields and name in tree:
            yield Key(path=where, value=value, field=fields[name])


def job_keys(job: str) -> list[Key]:
    """All keys of a job as composed, those of the run first."""
    tree = _tree(build.compose(job))
    run = [Key(path=f.name, value=tree[f.name], field=f) for f in fields_of(build.RunKeys) if f.name in tree]
    return [*run, *keys_of({name: node for name, node in tree.items() if isinstance(node, Mapping)})]


def verb_keys(name: str, cls: type) -> list[Key]:
    """All keys of a verb that is no job. cls: the spec of its keys."""
    return list(keys_of(_tree(build.compose(name)), cls=cls))


def help_lines(keys: Sequence[Key]) -> list[str]:
    """`key=value`, what it takes, and below it what it means, once."""
    width = min(44, max((len(f"{key.path}={key.shown}") for key in keys), default=0))
    lines, shown = [], set()
    for key in keys:
        lines.append(f"  {f'{key.path}={key.shown}':<{width}}  {key.field.expected}")
        if key.field not in shown:
            lines += textwrap.wrap(key.field.about, _WIDTH, initial_indent="      ", subsequent_indent="      ")
        shown.add(key.field)
    return lines


def page() -> str:
    """docs/config.md."""
    parts = [_HEAD, "## The run\n", _table(job_keys("clean")[: len(dataclasses.fields(build.RunKeys))])]
    for group, choices in build.groups().items():
        parts.append(f"## {group}\n")
        shown: dict[tuple[str, ...], tuple[str, dict[str, str]]] = {}
        for choice, about in choices.items():
            keys = list(keys_of(_choice(group, choice)))
            values = {key.path: key.shown for key in keys}
            parts.append(f"### {group}={choice}\n\n{about}\n")
            if (names := tuple(values)) in shown:
                first, before = shown[names]
                differing = [f"`{path}={_cell(value)}`" for path, value in values.items() if value != before[path]]
                parts.append(f"As {first}" + (f", but {', '.join(differing)}.\n" if differing else ".\n"))
            elif keys:
                shown[names] = (f"`{group}={choice}`", values)
                parts.append(_table(keys))
    return "\n".join(parts)


def schema() -> str:
    """A JSON schema with a definition for each class that a choice of conf/ names."""
    classes: dict[str, Any] = {}
    for group, choices in build.groups().items():
        for choice in choices:
            for target in _targets(_choice(group, choice)):
                classes.setdefault(target, TypeAdapter(build.located(target)).json_schema(mode="validation"))
    return json.dumps({"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": classes}, indent=1) + "\n"


def _targets(tree: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(target := tree.get("_target_"), str):
        yield target
    for value in tree.values():
        if isinstance(value, Mapping):
            yield from _targets(value)


def _choice(group: str, choice: str) -> dict[str, Any]:
    """The node of a choice, where a job, or submit, has it."""
    verb = "submit" if group == "cluster" else "annotate"
    tree = _tree(build.compose(verb, [f"{group}={[choice] if group == 'segment' else choice}"]))[group]
    return {group: tree}


def _tree(config: DictConfig) -> dict[str, Any]:
    return cast("dict[str, Any]", OmegaConf.to_container(config, resolve=False))


def _table(keys: Sequence[Key]) -> str:
    rows = [f"| `{k.path}` | `{_cell(k.shown)}` | {_cell(k.field.expected)} | {_cell(k.field.about)} |" for k in keys]
    return "\n".join(["| key | value | takes | meaning |", "| --- | --- | --- | --- |", *rows, ""])


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def main(arguments: Sequence[str]) -> int:
    if list(arguments) == ["schema"]:
        print(schema(), end="")
        return EXIT_OK
    PAGE.write_text(page(), encoding="utf-8")
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
