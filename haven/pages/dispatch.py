"""One batch of calls: parse strictly, call the operations in order, turn failures into codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from haven.pages.context import PageContext
from haven.pages.contract import API, OPERATIONS, Code
from haven.pages.errors import BadRequestError, PageError
from haven.pages.forms import parsed, to_json
from haven.pages.operations import FUNCTIONS
from haven.setup import INCOMPLETE
from haven.stash.errors import (
    ChangedMeanwhileError,
    ItemGoneError,
    JournalBusyError,
    JournalError,
    StashError,
)
from vlm_engine import ClientError, ConfigError, StoreError, VLMEngineError

_MOST_CALLS = 32
Reply = Mapping[str, Any]
_CODES: tuple[tuple[type[Exception], Code], ...] = (
    (ItemGoneError, "not_found"),
    (ChangedMeanwhileError, "changed"),
    (JournalBusyError, "busy"),
    (ConfigError, "settings"),
    (JournalError, "store"),
    (StoreError, "store"),
    (StashError, "stash"),
    (ClientError, "endpoint"),
)
"""Errors with the code that the page gets. The first kind that fits counts."""


def failure(code: Code, message: str) -> Reply:
    """Return the reply for a batch that failed as a whole."""
    return {"api": API, **_failed(code, message)}


def answer(arguments: Mapping[str, object], context: PageContext) -> Reply:
    """Return the replies to all calls in their order. A call that fails stops no other."""
    if arguments.get("api") != API:
        return failure(
            "version", "The plugin was updated since this page was loaded: load the page again."
        )
    calls = arguments.get("calls")
    if not isinstance(calls, list) or not 0 < len(calls) <= _MOST_CALLS:
        return failure("bad_request", f"calls: write a list of 1 to {_MOST_CALLS} calls")
    replies = [_reply(call, f"calls[{index}]", context) for index, call in enumerate(calls)]
    return {"api": API, "ok": True, "replies": replies}


def _reply(call: object, place: str, context: PageContext) -> Reply:
    try:
        return {"ok": True, "value": _value(call, place, context)}
    except PageError as error:
        return _failed(error.code, str(error))
    except ImportError as error:
        return _failed("updating", f"{INCOMPLETE} ({error})")
    except (StashError, VLMEngineError) as error:
        return _failed(_code(error), str(error))


def _value(call: object, place: str, context: PageContext) -> Any:
    if not isinstance(call, Mapping):
        raise BadRequestError(f"{place}: write an object")
    name = call.get("op")
    if not isinstance(name, str) or name not in FUNCTIONS:
        raise BadRequestError(f"{place}.op: there is no such operation")
    given = {key: value for key, value in call.items() if key != "op"}
    return to_json(FUNCTIONS[name](context, parsed(OPERATIONS[name][0], given, place)))


def _code(error: StashError | VLMEngineError) -> Code:
    return next((code for kind, code in _CODES if isinstance(error, kind)), "unexpected")


def _failed(code: Code, message: str) -> Reply:
    return {"ok": False, "code": code, "message": message}
