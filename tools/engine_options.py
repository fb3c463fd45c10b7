"""The engine's settings and the arguments of its methods as tables for the docs, made of what
stands beside them in the code.
"""

from __future__ import annotations

import inspect
import keyword
import re
from collections.abc import Callable, Iterator, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AliasChoices, SecretStr
from pydantic.fields import FieldInfo

from vlm_engine.config import models as config_models
from vlm_engine.config.base import SettingsGroup

GROUPS: Mapping[str, type[SettingsGroup]] = {
    name: group
    for name in config_models.__all__
    if isinstance(group := getattr(config_models, name), type) and issubclass(group, SettingsGroup)
}
"""Every group of settings, by the name of its class."""
CALLS = ("process_video", "tag_video", "process_image", "tag_image", "optimize_timeframe_settings")
"""The methods of ``VLMEngine`` whose arguments have a table."""

_PLAIN: Mapping[Any, str] = {
    **dict.fromkeys((str, SecretStr), "text"),
    int: "whole number",
    float: "number",
    bool: "true or false",
    NoneType: "None",
    Any: "anything",
}
_BOUNDS = {"gt": "over {}", "ge": "from {}", "le": "to {}", "lt": "under {}"}


def options_table(group: type[SettingsGroup]) -> str:
    """Every setting of a group: its key, type, default, unit, and what it does."""
    rows = ["| setting | type | default | unit | what it does |", "|---|---|---|---|---|"]
    texts = group.descriptions()
    rows += [_row(name, field, texts[name]) for name, field in group.model_fields.items()]
    return "\n".join(rows)


def arguments_table(function: Callable[..., Any]) -> str:
    """Every argument of a function, as its docstring describes it."""
    described = described_arguments(function)
    rows = ["| argument | type | default | what it is |", "|---|---|---|---|"]
    for name, parameter in inspect.signature(function).parameters.items():
        if name != "self":
            default = (
                "needed" if parameter.default is parameter.empty else f"`{parameter.default!r}`"
            )
            rows.append(
                f"| `{name}` | {_escaped(f'`{parameter.annotation}`')} | {default} | "
                f"{_escaped(described.get(name, ''))} |"
            )
    return "\n".join(rows)


def described_arguments(function: Callable[..., Any]) -> dict[str, str]:
    """Return a docstring's text for each argument: it begins a line with the argument's name and a
    colon.
    """
    doc = inspect.getdoc(function) or ""
    found = re.findall(r"^``(\w+)``: (.*?)(?=\n``\w+``: |\n\n|\Z)", doc, re.DOTALL | re.MULTILINE)
    return {name: " ".join(text.split()).replace("``", "`") for name, text in found}


def _row(name: str, field: FieldInfo, text: str) -> str:
    kind = ", ".join([_type(field.annotation), *_bounds(field)])
    cells = [
        _keys(name, field),
        kind,
        _default(field),
        _unit(field),
        " ".join(text.split()),
    ]
    return f"| {' | '.join(_escaped(cell) for cell in cells)} |"


def _escaped(cell: str) -> str:
    return cell.replace("|", r"\|")


def _keys(name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    keys = (
        [str(key) for key in alias.choices]
        if isinstance(alias, AliasChoices)
        else [str(alias or name)]
    )
    written = " or ".join(f"`{key}`" for key in keys)
    return f"{written}, in Python `{name}`" if keyword.iskeyword(keys[0]) else written


def _type(kind: Any) -> str:
    if kind in _PLAIN:
        return _PLAIN[kind]
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return _type(parts[0])
    if origin in {Union, UnionType}:
        return " or ".join(_type(part) for part in parts)
    if origin is Literal:
        return " or ".join(f'`"{part}"`' for part in parts)
    if parts:
        return (
            f"list of {_type(parts[0])}"
            if origin is tuple
            else f"mapping of {_type(parts[0])} to {_type(parts[1])}"
        )
    return f"[{kind.__name__}](#{kind.__name__.lower()})"


def _bounds(field: FieldInfo) -> Iterator[str]:
    bounds = [
        (text, getattr(each, name, None))
        for each in field.metadata
        for name, text in _BOUNDS.items()
    ]
    found = [text.format(f"{bound:g}") for text, bound in bounds if bound is not None]
    if found:
        yield " ".join(found)


def _unit(field: FieldInfo) -> str:
    if field.annotation is config_models.Length:
        return "seconds, or %"
    return next(
        (
            unit
            for unit in (*field.metadata, *_annotations(field.annotation))
            if isinstance(unit, str)
        ),
        "",
    )


def _annotations(kind: Any) -> Iterator[Any]:
    """Return the annotations of types, inside a union too."""
    if get_origin(kind) is Annotated:
        yield from kind.__metadata__
    elif get_origin(kind) in {Union, UnionType}:
        for part in get_args(kind):
            yield from _annotations(part)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, SettingsGroup):
        return "its defaults"
    if isinstance(value, config_models.Length):
        return f'`"{value.value:g}{value.unit}"`'
    if isinstance(value, float):
        return f"`{value:g}`"
    plain = (
        value.get_secret_value()
        if isinstance(value, SecretStr)
        else list(value)
        if isinstance(value, tuple)
        else value
    )
    return f"`{plain!r}`".replace("'", '"')
