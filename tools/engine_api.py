"""The engine's public names as a page for the docs, made of their signatures and docstrings."""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Iterator, Mapping
from enum import Enum
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

from pydantic import BaseModel

import vlm_engine
from vlm_engine.config.base import SettingsGroup

MODULES = (
    "vlm_engine",
    "vlm_engine.config_models",
    "vlm_engine.cluster",
    "vlm_engine.models",
    "vlm_engine.errors",
    "vlm_engine.types",
)
_WIDTH = 100
_FOR_PROGRAMS = ("VLMEngine", "VLMEngineError", "InMemoryFile", "__version__")
"""The names of ``vlm_engine`` that are for every program; the others are for the plugin."""


def public_names(module: ModuleType) -> Mapping[str, Any]:
    """Return the public names of a module: those in ``__all__``, else those made in it."""
    listed = _FOR_PROGRAMS if module is vlm_engine else getattr(module, "__all__", None)
    if listed is not None:
        return {name: getattr(module, name) for name in listed}
    made_here = {
        name: value
        for name, value in vars(module).items()
        if getattr(value, "__module__", None) == module.__name__
    }
    return {name: value for name, value in made_here.items() if not name.startswith("_")}


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties that a class itself defines, by name, but for those that
    only do as its parent says.
    """
    for name, member in vars(kind).items():
        plain = member.__func__ if isinstance(member, classmethod | staticmethod) else member
        is_public = not name.startswith("_") and (
            inspect.isfunction(plain) or isinstance(plain, property)
        )
        if is_public and not (plain.__doc__ or "").startswith("See ``"):
            yield name, plain


def module_section(name: str) -> str:
    """Return a module's docstring, and a section for each of its public names."""
    module = import_module(name)
    parts = [_prose(module)]
    for public, value in public_names(module).items():
        if isinstance(value, type):
            parts += _class(public, value)
        elif callable(value):
            parts += [f"### `{public}`", _signature(f"def {public}", value), _prose(value)]
    return "\n\n".join(parts)


def _class(name: str, kind: type) -> Iterator[str]:
    yield f"### `{name}`"
    yield _how_made(name, kind)
    yield _prose(kind)
    if issubclass(kind, SettingsGroup):
        yield f"Its settings are in [the guide](USER_GUIDE.md#{name.lower()})."
    for member, value in members(kind):
        yield f"#### `{name}.{member}`"
        yield (
            _property(member, value)
            if isinstance(value, property)
            else _signature(_def(value), value)
        )
        yield _prose(value)


def _how_made(name: str, kind: type) -> str:
    """An enumeration by its members, an error or protocol by its parents, a dataclass by its
    fields, all others by their call.
    """
    if issubclass(kind, Enum):
        return _code([f"{name}.{member.name} = {_shown(str(member.value))}" for member in kind])
    if issubclass(kind, BaseModel):
        arguments_shown = (
            "**settings" if issubclass(kind, SettingsGroup) else ", ".join(kind.model_fields)
        )
        return _code([f"{name}({arguments_shown})"])
    if issubclass(kind, BaseException) or Protocol in kind.__bases__:
        return _code([f"class {name}({', '.join(parent.__name__ for parent in kind.__bases__)})"])
    if dataclasses.is_dataclass(kind):
        return _code(
            [f"class {name}:", *(f"    {_field(field)}" for field in dataclasses.fields(kind))]
        )
    return (
        _signature(name, kind.__init__)
        if inspect.isfunction(kind.__init__)
        else _code([f"{name}()"])
    )


def _field(field: dataclasses.Field[Any]) -> str:
    default = "" if field.default is dataclasses.MISSING else f" = {_shown(field.default)}"
    return f"{field.name}: {field.type}{default}"


def _property(name: str, value: property) -> str:
    return (
        _code([f"{name}: {inspect.signature(value.fget).return_annotation}"]) if value.fget else ""
    )


def _def(function: Any) -> str:
    return f"{'async ' if inspect.iscoroutinefunction(function) else ''}def {function.__name__}"


def _signature(opening: str, callable_: Any) -> str:
    """A call as code, on one line where that is short enough."""
    signature = inspect.signature(callable_)
    arguments = list(_arguments(signature))
    is_method = inspect.isfunction(callable_) and callable_.__name__ != "__init__"
    returned = f" -> {signature.return_annotation}" if is_method else ""
    line = f"{opening}({', '.join(arguments)}){returned}"
    if len(line) <= _WIDTH:
        return _code([line])
    return _code([f"{opening}(", *(f"    {argument}," for argument in arguments), f"){returned}"])


def _arguments(signature: inspect.Signature) -> Iterator[str]:
    star = False
    for parameter in signature.parameters.values():
        if parameter.name in ("self", "cls"):
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not star:
            yield "*"
        star = star or parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_POSITIONAL)
        stars = (
            "*"
            if parameter.kind is parameter.VAR_POSITIONAL
            else "**"
            if parameter.kind is parameter.VAR_KEYWORD
            else ""
        )
        default = "" if parameter.default is parameter.empty else f" = {_shown(parameter.default)}"
        yield f"{stars}{parameter.name}: {parameter.annotation}{default}"


def _shown(default: object) -> str:
    if isinstance(default, Enum):
        return f"{type(default).__name__}.{default.name}"
    return json.dumps(default) if isinstance(default, str) else repr(default)


def _code(lines: list[str]) -> str:
    return "\n".join(["```python", *lines, "```"])


def _prose(documented: Any) -> str:
    """A docstring as Markdown. Lines about one argument each become a list."""
    doc = re.sub(r"(?m)^::\n\n", "", inspect.getdoc(documented) or "")
    doc = doc.replace("``", "`")
    return re.sub(r"(?m)^(`\w+`: )", r"- \1", doc)
