"""Dataclasses of the contract from JSON, strictly, and to JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from haven.pages.contract import Most
from haven.pages.errors import BadRequestError

_T = TypeVar("_T")
_PLAIN: Mapping[Any, str] = {str: "text", bool: "true or false"}
_AS_IT_IS = frozenset({str, bool, int})
_LARGEST = 2**53  # of the whole numbers that JavaScript can tell apart


def parsed(kind: type[_T], data: object, place: str) -> _T:
    """Return a dataclass of the contract from JSON.

    Raise ``BadRequestError`` that names the field, for what is unknown, missing or of another type.
    """
    if not isinstance(data, Mapping):
        raise BadRequestError(f"{place}: write an object")
    hints, values = hints_of(kind), dict[str, Any]()
    if unknown := [name for name in data if name not in hints]:
        raise BadRequestError(f"{place}.{unknown[0]}: there is no such field")
    for field in fields(kind):  # type: ignore[arg-type]  # every kind is a dataclass
        where = f"{place}.{field.name}"
        if field.name in data:
            values[field.name] = _value(hints[field.name], data[field.name], where)
        elif field.default is MISSING:
            raise BadRequestError(f"{where}: is missing")
    return kind(**values)


def hints_of(kind: Any) -> Mapping[str, Any]:
    """Return the types of a dataclass's fields, by name, with their limits."""
    return get_type_hints(kind, include_extras=True)


def _value(kind: Any, data: object, place: str) -> Any:
    match get_origin(kind), get_args(kind):
        case (origin, (inner, Most(most))) if origin is Annotated:
            return _within(most, _value(inner, data, place), place)
        case (origin, options) if origin is Literal:
            return _choice(options, data, place)
        case (origin, options) if origin in {Union, UnionType}:
            return _one_of(options, data, place)
        case (origin, (inner, _)) if origin is tuple:
            return _items(inner, data, place)
    is_form = isinstance(kind, type) and is_dataclass(kind)
    return parsed(kind, data, place) if is_form else _plain(kind, data, place)


def _one_of(options: tuple[Any, ...], data: object, place: str) -> Any:
    """Return the value by the option whose JSON has the same type."""
    if data is None and NoneType in options:
        return None
    others = [one for one in options if one is not NoneType]
    for option in others:
        is_text = option is str or get_origin(option) is Literal
        if is_text == isinstance(data, str):
            return _value(option, data, place)
    return _value(others[0], data, place)


def _plain(kind: Any, data: object, place: str) -> Any:
    if kind in {int, float}:
        return _number(kind, data, place)
    if type(data) is not kind:
        raise BadRequestError(f"{place}: write {_PLAIN[kind]}")
    return data


def _choice(options: tuple[str, ...], data: object, place: str) -> str:
    for option in options:
        if data == option:
            return option
    raise BadRequestError(f"{place}: write one of {', '.join(options)}")


def _items(kind: Any, data: object, place: str) -> tuple[Any, ...]:
    if not isinstance(data, list):
        raise BadRequestError(f"{place}: write a list")
    return tuple(_value(kind, one, f"{place}[{index}]") for index, one in enumerate(data))


def _number(kind: type[int] | type[float], data: object, place: str) -> float:
    if isinstance(data, bool) or not isinstance(data, int | float):
        raise BadRequestError(f"{place}: write a number")
    if not 0 <= data <= _LARGEST:
        raise BadRequestError(f"{place}: write a number of 0 or more")
    if kind is int and data != int(data):
        raise BadRequestError(f"{place}: write a whole number")
    return kind(data)


def _within(most: int, value: Any, place: str) -> Any:
    if isinstance(value, str | tuple) and len(value) > most:
        raise BadRequestError(f"{place}: is longer than {most:,}")
    if isinstance(value, int | float) and value > most:
        raise BadRequestError(f"{place}: write {most:,} at most")
    return value


def to_json(value: Any) -> Any:
    """Return a value of the contract as JSON has it."""
    kind: Any = type(value)
    if value is None or kind in _AS_IT_IS:
        return value
    if kind is float:
        return value if math.isfinite(value) else None
    if kind is tuple or kind is list:  # nearly every value of a long scene is in one
        return [one if type(one) in _AS_IT_IS else to_json(one) for one in value]
    if is_dataclass(value):
        return {name: to_json(getattr(value, name)) for name in _names(kind)}
    if isinstance(value, Mapping):
        return {str(name): to_json(one) for name, one in value.items()}
    return value


@cache
def _names(kind: Any) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))
