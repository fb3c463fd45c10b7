"""The check of Stash's replies, once, where they enter.

One table has the kind of each field that the plugin requests anywhere. Unknown fields pass.
"""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from haven.stash.errors import StashReplyError

_LARGEST = 2**63


class Sent(dict[str, Any]):
    """An object of a reply. A missing field raises ``StashReplyError``. ``where``: its path."""

    def __init__(self, fields: Mapping[str, Any], where: str) -> None:
        super().__init__(fields)
        self.where = where

    def __missing__(self, key: str) -> Any:
        raise StashReplyError(f"there is no {key}", path=self.where)


def object_in(fields: Mapping[str, Any] | None, key: str, where: str) -> dict[str, Any]:
    """Return the object under ``key`` of data that is not checked otherwise; empty if there is
    none.
    """
    value = (fields or {}).get(key)
    if value is not None and not isinstance(value, dict):
        raise StashReplyError(
            f"it is {reprlib.repr(value)}, where an object or null is expected",
            path=f"{where}.{key}",
        )
    return dict(value or {})


def checked(data: Mapping[str, Any]) -> Sent:
    """Return a reply's ``data``. Raises ``StashReplyError`` with the field, its content, and what
    was expected.
    """
    try:
        return _object(data, "")
    except RecursionError:
        raise StashReplyError("it is nested too deeply") from None


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of field: ``name`` for messages, and ``holds`` to test a value that is not null."""

    name: str
    holds: Callable[[Any], bool]
    null: bool = False


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _LARGEST


def _is_whole(value: Any) -> bool:
    return _is_number(value) and value == int(value)


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and re.fullmatch(r"[0-9]{1,18}", str(value)) is not None


def _is_time(value: Any) -> bool:
    try:
        return bool(datetime.fromisoformat(value))
    except (TypeError, ValueError):
        return False


def _holds_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, dict) for one in value)


def _holds_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


_ID = _Kind("an id", _is_id)
_TEXT = _Kind("text", lambda value: isinstance(value, str))
_NUMBER = _Kind("a number", _is_number)
_WHOLE = _Kind("a whole number", _is_whole)
_BOOL = _Kind("true or false", lambda value: isinstance(value, bool))
_TIME = _Kind("a time", _is_time)
_OBJECT = _Kind("an object", lambda value: isinstance(value, dict))
_OBJECTS = _Kind("a list of objects", _holds_objects)
_TEXTS = _Kind("a list of texts", _holds_texts)


def _or_null(kind: _Kind) -> _Kind:
    return _Kind(f"{kind.name} or null", kind.holds, null=True)


_FIELDS: Mapping[str, _Kind] = {
    field: kind
    for kind, fields in (
        (_ID, "id metadataGenerate"),
        (_TEXT, "name path type value status __typename videoFileNamingAlgorithm"),
        (_or_null(_TEXT), "title version workingDir apiKey pluginsPath generatedPath"),
        (_NUMBER, "seconds duration"),
        (_or_null(_NUMBER), "end_seconds"),
        (_WHOLE, "size width height count"),
        (_or_null(_WHOLE), "maxSessionAge"),
        (_BOOL, "ignore_auto_tag"),
        (_TIME, "created_at updated_at"),
        (_OBJECT, "findScenes findImages findGalleries findTags tagCreate primary_tag named above"),
        (_OBJECT, "systemStatus configuration general"),
        (_or_null(_OBJECT), "findScene findImage findGallery findTag zip_file folder"),
        (_or_null(_OBJECT), "marker scene image file generate plugins ui custom_fields"),
        (_OBJECTS, "scenes images galleries tags parents children scene_markers"),
        (_OBJECTS, "files visual_files fingerprints stashes"),
        (_or_null(_OBJECTS), "fields inputFields jobQueue"),
        (_TEXTS, "aliases"),
    )
    for field in fields.split()
}
"""Every field that the plugin requests, with its kind in Stash's schema."""
_TOP = {"version": _OBJECT}
"""Fields that have another kind at the top level."""
_ALIASES = (
    (re.compile(r"\w+_count"), _WHOLE),
    (re.compile(r"c\d+"), _OBJECT),  # counts, several in one request
    (re.compile(r"m\d+"), _or_null(_OBJECT)),  # markers, several in one request
)
_OPAQUE = frozenset({"plugins", "ui", "custom_fields"})
"""Data of people and of other plugins, in which any field may occur."""
_SECRET = frozenset({"apiKey"})


def _object(fields: Mapping[str, Any], where: str) -> Sent:
    return Sent(
        {
            key: _field(key, value, f"{where}.{key}" if where else key)
            for key, value in fields.items()
        },
        where,
    )


def _field(key: str, value: Any, where: str) -> Any:
    kind = _kind(key, is_at_top=where == key)
    if kind is not None and not (kind.null if value is None else kind.holds(value)):
        value_text = (
            "null"
            if value is None
            else f"a {type(value).__name__}"
            if key in _SECRET
            else reprlib.repr(value)
        )
        raise StashReplyError(f"it is {value_text}, where {kind.name} is expected", path=where)
    return value if key in _OPAQUE else _inner(value, where)


def _kind(key: str, *, is_at_top: bool) -> _Kind | None:
    if is_at_top and key in _TOP:
        return _TOP[key]
    return _FIELDS.get(key) or next(
        (kind for alias, kind in _ALIASES if alias.fullmatch(key)), None
    )


def _inner(value: Any, where: str) -> Any:
    if isinstance(value, dict):
        return _object(value, where)
    if isinstance(value, list):
        return [_inner(one, f"{where}.{number}") for number, one in enumerate(value)]
    return value
