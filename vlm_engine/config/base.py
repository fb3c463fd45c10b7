"""The base of all groups of settings: they refuse unknown keys, accept keys of older plugins, and
are read from YAML.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import logging
import sys
from collections.abc import Mapping
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from vlm_engine.errors import ConfigError
from vlm_engine.yaml_text import parse_yaml

_log = logging.getLogger(__name__)
_T = TypeVar("_T", bound=BaseModel)
_already_named: set[str] = set()

IN_QUOTES = "YAML takes words like Off and No, and numbers, for something else; put them in quotes"
"""Part of a message about a value that should be text."""

# The unit of a setting, for its readers and for the table of settings in the docs.
Seconds = Annotated[float, "seconds"]
Pixels = Annotated[int, "pixels"]
Megabytes = Annotated[int, "megabytes"]
PerHour = Annotated[float, "questions per hour"]
Requests = Annotated[int, "requests"]
Frames = Annotated[int, "frames"]
Tokens = Annotated[int, "tokens"]


def _none_for_zero(value: Any) -> Any:
    is_zero = value in ("", "0") or (value == 0 and not isinstance(value, bool))
    return None if is_zero else value


ZERO_IS_NONE = BeforeValidator(_none_for_zero)
"""For a number that may be left open: a user may also write 0."""


class SettingsGroup(BaseModel):
    """A frozen group of settings. ``LEGACY``: keys that are accepted, named once in a warning, and
    ignored.

    The text below each setting describes it: see ``descriptions``. Each group has a constructor for
    type checkers, so that they, too, accept a list for a tuple, a dictionary for a group of
    settings, and an alias.
    """

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        hide_input_in_errors=True,
    )

    LEGACY: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def from_yaml(cls, path: str | Path) -> Self:
        """Return the settings in a YAML file, whose name must end in ``.yaml``.

        Raise ``ConfigError`` that names the file and lists every fault, each with its key.
        """
        data = cls._read(Path(path))
        try:
            return parse(cls, data, "")
        except ConfigError as error:
            raise ConfigError(placed(path, error)) from None

    @classmethod
    def _read(cls, path: Path) -> Any:
        return read_yaml(path)

    @classmethod
    def descriptions(cls) -> dict[str, str]:
        """Return the text below each setting, by the setting's name.

        It is read from the source only when somebody asks: pydantic would do so at each start.
        """
        return {
            name: text
            for group in reversed(cls.__mro__)
            for name, text in _texts_below_fields(group).items()
        }

    @classmethod
    def valid_keys(cls) -> list[str]:
        """Return every key that may be written, with aliases."""
        return [key for name in cls.model_fields for key in cls._keys_of(name)]

    @classmethod
    def _keys_of(cls, name: str) -> list[str]:
        alias = cls.model_fields[name].validation_alias
        return (
            [str(choice) for choice in alias.choices]
            if isinstance(alias, AliasChoices)
            else [str(alias or name)]
        )

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, data: Any) -> Any:
        return cls._known(data)

    @classmethod
    def _known(cls, data: Any) -> Any:
        """Return ``data`` without legacy keys. Raise ``ValueError`` for unknown keys, and for data
        without keys.
        """
        if isinstance(data, SettingsGroup):
            return data
        if not isinstance(data, Mapping):
            raise ValueError(
                "write settings here, each as 'name: value'; there are "
                f"{', '.join(cls.valid_keys())}"
            )
        valid = {*cls.valid_keys(), *cls.model_fields}
        legacy = [key for key in data if key in cls.LEGACY]
        _name_legacy(cls.__name__, legacy)
        unknown = [key for key in data if key not in valid and key not in cls.LEGACY]
        if unknown:
            raise ValueError("; ".join(_unknown_key(str(key), cls.valid_keys()) for key in unknown))
        for name in cls.model_fields:
            written = [key for key in dict.fromkeys([*cls._keys_of(name), name]) if key in data]
            if len(written) > 1:
                raise ValueError(
                    f"{' and '.join(map(repr, written))} are names of one setting; keep one of them"
                )
        return {key: value for key, value in data.items() if key not in legacy}


def _texts_below_fields(group: type) -> dict[str, str]:
    if not issubclass(group, SettingsGroup):
        return {}
    texts = {}
    for statement, after in pairwise(_classes_in(group.__module__)[group.__name__].body):
        match statement, after:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(ast.Constant(str(text))):
                texts[name] = inspect.cleandoc(text)
    return texts


@cache
def _classes_in(module: str) -> dict[str, ast.ClassDef]:
    tree = ast.parse(inspect.getsource(sys.modules[module]))
    return {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}


def _name_legacy(where: str, keys: list[str]) -> None:
    fresh = [key for key in keys if key not in _already_named]
    if fresh:
        _already_named.update(fresh)
        _log.warning(
            "%s: these keys have no meaning here and are ignored: %s", where, ", ".join(fresh)
        )


def _unknown_key(key: str, valid: list[str]) -> str:
    near = difflib.get_close_matches(key, valid, n=1, cutoff=0.5)
    return f"unknown key {key!r}" + (
        f"; did you mean {near[0]!r}?" if near else f"; valid keys: {', '.join(valid)}"
    )


def parse(kind: type[_T], data: Any, where: str) -> _T:
    """Return ``data`` as ``kind``. Raise ``ConfigError`` that lists every fault, each with its key
    after ``where``.
    """
    try:
        return kind.model_validate(data)
    except ValidationError as error:
        faults = [_fault(where, fault) for fault in error.errors(include_url=False)]
        raise ConfigError("\n".join(faults)) from None


def _fault(where: str, fault: ErrorDetails) -> str:
    path, message = fault["loc"], fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "string_type":
        is_key = path[-1:] == ("[key]",)
        message = f"{repr(fault['input']) if is_key else 'this'} is no text: {IN_QUOTES}"
        path = path[:-2] if is_key else path
    steps = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    location = (where + steps).lstrip(".")
    return f"{location}: {message}" if location else message


def clean_name(name: str) -> str:
    """Return the name of a tag without blanks around it. Raise ``ValueError`` if it is blank."""
    if not name.strip():
        raise ValueError("it is blank; write the name of a tag, or leave it out")
    return name.strip()


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML file. Raise ``ConfigError`` that names the file, and the line
    of a fault.
    """
    if path.suffix != ".yaml":
        raise ConfigError(
            f"{path}: the name of such a file ends in .yaml (Stash takes every .yml for a plugin)"
        )
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not YAML: {error}") from error
    try:
        return parse_yaml(text)
    except ConfigError as error:
        raise ConfigError(placed(path, error)) from error


def placed(where: object, error: ConfigError) -> str:
    """Return the faults of ``error``, each after the place where it is."""
    return "\n".join(f"{where}: {fault}" for fault in str(error).split("\n"))
