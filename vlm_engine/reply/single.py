"""A reply about one picture: a list of the tags that it shows, or a verdict for each."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from vlm_engine import confidence
from vlm_engine.errors import ReplyError
from vlm_engine.reply.names import Names, key, means_nothing
from vlm_engine.reply.texts import json_values, unreadable
from vlm_engine.types import Form

_YES_NO = {"yes": True, "true": True, "no": False, "false": False}
_SEPARATOR = re.compile(r"[:=–—]|\s-\s")


def understand(text: str, names: Names, form: Form) -> tuple[dict[str, bool], Any]:
    """Whether each tag applies, and the JSON value that says so, or None where the words did."""
    values = [value for value, _, _ in json_values(text)]
    objects = [value for value in values if isinstance(value, dict)]
    read = [
        (said, value)
        for value in objects
        if (said := _from_object(value, names, form, text)) is not None
    ]
    if any(said != read[-1][0] for said, _ in read):
        raise unreadable("the reply gives two answers", text)
    if read:
        return read[-1]
    if values and text.startswith("[") and form is Form.LIST and isinstance(values[0], list):
        return names.present(values[0], text), values[0]
    said = None if values else _from_words(text, names, form)
    if said is None:
        raise unreadable("the reply does not answer the question", text)
    return said, None


def _from_object(
    value: dict[str, Any], names: Names, form: Form, raw: str
) -> dict[str, bool] | None:
    if form is Form.LIST:
        for name, items in value.items():
            if key(name) == "tags" and isinstance(items, list):
                return names.present(items, raw)
    return _from_pairs(value.items(), names, raw)


def _from_pairs(pairs: Iterable[tuple[str, Any]], names: Names, raw: str) -> dict[str, bool] | None:
    """From names with "yes" or "no"; None where not one of the names was asked for."""
    said: dict[str, bool] = {}
    for name, word in pairs:
        tag = names.find(name)
        if tag is None:
            continue
        verdict = _YES_NO.get(str(word).strip(" .!").casefold())
        if verdict is None:
            raise unreadable(f"the reply says neither yes nor no about {tag!r}", raw)
        if said.setdefault(tag, verdict) != verdict:
            raise unreadable(f"the reply says both yes and no about {tag!r}", raw)
    missing = [tag for tag in names.tags if tag not in said]
    if said and missing:
        raise unreadable(f"the reply says nothing about {missing[0]!r}", raw)
    return said or None


def _from_words(text: str, names: Names, form: Form) -> dict[str, bool] | None:
    """From text without JSON, if every piece of it is understood; else None."""
    word = _YES_NO.get(text.strip(" .!").casefold())
    if word is not None and len(names.tags) == 1:
        return {names.tags[0]: word}
    for separator in (r"\n", r"[\n,;]"):
        pieces = [piece for piece in re.split(separator, text) if piece.strip()]
        pairs = [
            pair for pair in map(_name_and_word, pieces) if pair and pair[1].casefold() in _YES_NO
        ]
        if len(pairs) == len(pieces) and (said := _from_pairs(pairs, names, text)):
            return said
        if form is Form.LIST and all(names.find(piece) for piece in pieces):
            return names.present(pieces, text)
    if form is Form.LIST and means_nothing(text.strip(" .!")):
        return dict.fromkeys(names.tags, False)
    return None


def _name_and_word(line: str) -> tuple[str, str] | None:
    """``Foul: yes``, ``Foul - **no**``: what stands before the separator, and the one word behind it."""
    pieces = re.findall(r"\w+|\W+", line.strip())
    words = [at for at, piece in enumerate(pieces) if piece[0].isalnum() or piece[0] == "_"]
    if len(words) < 2:
        return None
    before, between = "".join(pieces[: words[-1] - 1]), pieces[words[-1] - 1]
    separator = _SEPARATOR.search(between)
    return (before + between[: separator.start()], pieces[words[-1]]) if separator else None


def probabilities(
    stream: confidence.TokenStream, value: Any, names: Names, form: Form
) -> dict[str, float]:
    """The confidence of each tag that the token stream tells, found by the place of the same JSON in it."""
    if value is None:
        return {}
    try:
        places = [(start, end) for other, start, end in json_values(stream.text) if other == value]
    except ReplyError:
        return {}  # thoughts that contradict themselves stand in the stream, and not in the answer
    if not places:
        return {}
    start, end = places[-1]
    listing = (
        re.compile(r'"tags"\s*:\s*\[').search(stream.text, start, end)
        if isinstance(value, dict)
        else None
    )
    if isinstance(value, list) or (listing and isinstance(value.get("tags"), list)):
        bracket = listing.end() - 1 if listing else start
        return (
            confidence.of_items(stream, bracket, end, names.tags, names.place)
            if form is Form.LIST
            else {}
        )
    told = confidence.of_verdicts(stream, start, end)
    return {tag: sure for key, sure in told.items() if (tag := names.find(key))}
