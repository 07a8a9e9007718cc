"""Base of every class that a config builds: a frozen pydantic dataclass whose errors are one line.

Fields are `Annotated[int, Field(ge=1)]` with a docstring below each. Types are strict: no text becomes a number, no
number a flag. Rules across fields stay in `__post_init__` and raise ConfigError. `fields_of` reads the same fields for
--help and docs/config.md.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import math
import textwrap
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import pairwise
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    TypeVar,
    Union,
    cast,
    dataclass_transform,
    get_args,
    get_origin,
    get_type_hints,
)

import pydantic.dataclasses
from pydantic import ConfigDict, Field, ValidationError
from pydantic.dataclasses import rebuild_dataclass
from pydantic.fields import FieldInfo

from pipeline.errors import ConfigError, nearest

T = TypeVar("T")
Share = Annotated[float, Field(ge=0, le=1)]
"""Of a whole."""

# Validators are built at the first instance: a job imports some sixty specs and uses a dozen. Docstrings of fields are
# read by `fields_of`, because pydantic's own reader costs every import and leaves out the fields of base classes.
_CONFIG: Final = ConfigDict(
    strict=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False, defer_build=True
)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(dataclasses.field, Field))
def spec(cls: type[T]) -> type[T]:
    """Make a class a spec: frozen, keyword-only, validated. Its constructor raises ConfigError."""
    made: Any = pydantic.dataclasses.dataclass(frozen=True, kw_only=True, config=_CONFIG)(cls)
    validated = made.__init__

    def __init__(self: object, **values: object) -> None:
        nonlocal validated
        if not made.__pydantic_fields_complete__ or not made.__pydantic_complete__:
            rebuild_dataclass(made)  # which sets another __init__
            validated, made.__init__ = made.__init__, __init__
        try:
            validated(self, **values)
        except ValidationError as error:
            raise _config_error(made, error) from error

    made.__init__ = __init__
    return cast("type[T]", made)


def listed(cls: type, values: Mapping[str, object]) -> dict[str, object]:
    """The values of a spec, each single one for a field that holds a list as a list of one: `labels=face`."""
    hints = get_type_hints(cls) if dataclasses.is_dataclass(cls) else {}
    single = {key for key, value in values.items() if isinstance(value, str | int | float)}
    lists = {key for key in single if get_args(hints.get(key))[1:] == (Ellipsis,)}
    return {key: (value,) if key in lists else value for key, value in values.items()}


@dataclasses.dataclass(frozen=True)
class FieldDoc:
    """One field of a spec. expected: the values that it takes, in words. about: its docstring on one line."""

    name: str
    expected: str
    default: object
    required: bool
    about: str


@cache
def fields_of(cls: type) -> tuple[FieldDoc, ...]:
    """The fields of a spec in their order, those of its bases first."""
    hints, abouts = get_type_hints(cls, include_extras=True), _docstrings(cls)
    return tuple(
        FieldDoc(
            name=field.name,
            expected=expected(hints[field.name]),
            default=_default(field),
            required=_default(field) is dataclasses.MISSING,
            about=abouts.get(field.name, ""),
        )
        for field in dataclasses.fields(cls)
        if field.init
    )


def expected(hint: object) -> str:
    """The values that an annotation allows, in words: `a whole number from 0 to 8`.

    A Field's `description` replaces them; a Field with a `pattern` needs one.
    """
    rules: list[object] = []
    while get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        rules += more
    for rule in rules:
        if isinstance(rule, FieldInfo) and rule.description:
            return rule.description
    bounds = _bounds(rules)
    origin, args = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " or ".join([", ".join(map(str, args[:-1])), str(args[-1])]) if len(args) > 1 else str(args[0])
    if origin in (Union, UnionType):
        kinds = [expected(Annotated[arg, *rules] if rules else arg) for arg in args if arg is not NoneType]
        return " or ".join(dict.fromkeys(kinds))
    if origin is tuple:
        return _list(args, bounds)
    if origin in (dict, Mapping) or (isinstance(origin, type) and issubclass(origin, Mapping)):
        return f"keys with values{f', each {expected(args[1])}' if args else ''}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    if hint is str and bounds.get("min_length"):
        return "a non-empty text"
    if isinstance(hint, type) and hint in names:
        return names[hint] + _range(bounds)
    return "keys of their own" if dataclasses.is_dataclass(hint) else str(getattr(hint, "__name__", hint))


def _list(args: tuple[Any, ...], bounds: Mapping[str, Any]) -> str:
    least = bounds.get("min_length")
    if args[1:] == (Ellipsis,):
        return f"a list{f' of at least {least}' if least else ''}, each {expected(args[0])}"
    each = list(dict.fromkeys(map(expected, args)))
    return f"a list of {len(args)}, each {each[0]}" if len(each) == 1 else f"a list of {', then '.join(each)}"


def _bounds(rules: Iterable[object]) -> dict[str, Any]:
    """ge, gt, le, lt, multiple_of, min_length of annotated-types, as pydantic's Field holds them."""
    found: dict[str, Any] = {}
    for rule in rules:
        for part in rule.metadata if isinstance(rule, FieldInfo) else (rule,):
            for key in ("ge", "gt", "le", "lt", "multiple_of", "min_length"):
                if (value := getattr(part, key, None)) is not None:
                    found[key] = value
    return found


def _range(bounds: Mapping[str, Any]) -> str:
    low, high = bounds.get("ge", bounds.get("gt", -math.inf)), bounds.get("le", bounds.get("lt", math.inf))
    above, below = "above " if "gt" in bounds else "", "below " if "lt" in bounds else ""
    by = f", a multiple of {bounds['multiple_of']}" if "multiple_of" in bounds else ""
    least, most = (str(bound) if isinstance(bound, int) else f"{bound:g}" for bound in (low, high))
    if not math.isinf(low) and not math.isinf(high):
        return f" {'above' if above else 'from'} {least} {'and' if above else 'to'} {below}{most}{by}"
    if not math.isinf(low):
        return f" {above or 'of at least '}{least}{by}"
    return f" {below or 'of at most '}{most}{by}" if not math.isinf(high) else by


def _default(field: dataclasses.Field[Any]) -> object:
    default = field.default
    factory = field.default_factory
    if isinstance(default, FieldInfo):
        default, factory = default.default, default.default_factory or dataclasses.MISSING
        default = dataclasses.MISSING if repr(default) == "PydanticUndefined" else default
    if default is dataclasses.MISSING and factory is not dataclasses.MISSING:
        return factory()
    return default


def _docstrings(cls: type) -> dict[str, str]:
    """Field -> the docstring below it, of the class and its bases."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        if not dataclasses.is_dataclass(base):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        body = tree.body if isinstance(tree, ast.ClassDef) else []
        for node, after in pairwise(body):
            match node, after:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
    return found


class FieldError(ConfigError):
    """A value that one field of a spec does not take, an unknown or a missing key. `text` says so with the key's whole
    path, which only the composed config tells."""

    def __init__(self, key: str, problem: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(key, problem, known)
        self.key, self.problem, self.known = key, problem, known

    def text(self, key: str, prefix: str = "") -> str:
        return f"{key}{self.problem}" + (nearest(self.key, self.known, prefix) if self.known else "")

    def __str__(self) -> str:
        return self.text(self.key)


def _config_error(cls: type, error: ValidationError) -> Exception:
    """The first fault; the very error that a `__post_init__` raised."""
    fault = error.errors()[0]
    cause = fault.get("ctx", {}).get("error")
    if isinstance(cause, Exception):
        return cause
    key, *inside = [str(part) for part in fault["loc"]] or [""]
    known = {field.name: field for field in fields_of(cls)}
    if fault["type"] == "unexpected_keyword_argument":
        return FieldError(key, f" is not a key of {cls.__name__}", tuple(known))
    if key in known and known[key].required and fault["type"].startswith("missing"):
        return FieldError(key, f" is required by {cls.__name__}: give a value")
    where = "".join(f"[{part}]" for part in inside if part.isdigit())
    wanted = known[key].expected if key in known else fault["msg"]
    return FieldError(key, f"{where}: expected {wanted}, got {fault['input']!r}")
