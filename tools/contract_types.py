"""The contract of the pages as TypeScript, from ``haven/pages/contract.py``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from haven.pages import contract
from haven.pages.forms import hints_of

_HEAD = f"""// Made by `make docs` from haven/pages/contract.py. Do not edit.

/** The version of this contract. */
export type Api = {contract.API};

export interface Failure {{
  ok: false;
  code: Code;
  message: string;
}}

export type Reply<Value> = {{ ok: true; value: Value }} | Failure;

/** The reply to one batch: a reply to each call in their order, or one failure of all. */
export type BatchReply = {{ api: number }} & ({{ ok: true; replies: Reply<unknown>[] }} | Failure);

export type Operation = keyof Operations;

/** One call of a batch. */
export type Call = {{ [Op in Operation]: {{ op: Op }} & Operations[Op]["arguments"] }}[Operation];
"""
_PLAIN: Mapping[Any, str] = {
    str: "string",
    int: "number",
    float: "number",
    bool: "boolean",
    NoneType: "null",
    Any: "unknown",
}


def contract_types() -> str:
    """Return ``ui/contract.d.ts``."""
    return "\n".join([_HEAD, *_aliases(), *map(_interface, _forms()), _operations()])


def _literals() -> dict[Any, str]:
    return {kind: name for name, kind in vars(contract).items() if get_origin(kind) is Literal}


def _aliases() -> Iterator[str]:
    for kind, name in _literals().items():
        union = " | ".join(f'"{option}"' for option in get_args(kind))
        yield f"export type {name} = {union};\n"


def _forms() -> list[Any]:
    return [
        kind
        for kind in vars(contract).values()
        if is_dataclass(kind) and getattr(kind, "__name__", "") != "Most"
    ]


def _interface(kind: Any) -> str:
    hints = hints_of(kind)
    lines = [
        f"  {field.name}{'' if field.default is MISSING else '?'}: {_type(hints[field.name])};"
        for field in fields(kind)
    ]
    text = " ".join(str(kind.__doc__).split()).replace("``", "`").replace("None", "null")
    body = "\n".join(lines)
    return (
        f"/** {text} */\nexport interface {kind.__name__} {{\n{body}\n}}\n"
        if lines
        else f"/** {text} */\nexport type {kind.__name__} = {{}};\n"
    )


def _type(kind: Any) -> str:
    if isinstance(kind, str) or kind in _literals():
        return _literals().get(kind, f'"{kind}"')
    options = get_args(kind)
    match get_origin(kind):
        case origin if origin is Annotated:
            return _type(options[0])
        case origin if origin in {Literal, Union, UnionType}:
            return " | ".join(map(_type, options))
        case origin if origin is tuple:
            is_list = options[-1] is ...
            return f"{_item(options[0])}[]" if is_list else f"[{', '.join(map(_type, options))}]"
        case None:
            return _PLAIN.get(kind) or str(kind.__name__)
    return f"{{ [name: string]: {_type(options[1])} }}"


def _item(kind: Any) -> str:
    text = _type(kind)
    return f"({text})" if "|" in text else text


def _operations() -> str:
    rows = [
        f"  {name}: {{ arguments: {arguments.__name__}; value: {value.__name__} }};"
        for name, (arguments, value) in contract.OPERATIONS.items()
    ]
    return "\n".join(["/** Every operation. */", "export interface Operations {", *rows, "}", ""])
