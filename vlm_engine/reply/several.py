"""A reply about several pictures: what is said of each. What is missing, unclear or cut off is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from vlm_engine import confidence
from vlm_engine.errors import ReplyError
from vlm_engine.reply.names import Names, means_nothing
from vlm_engine.reply.texts import decoded, json_values

_PICTURE = r"(?:picture|frame|image|photo)"
_TIME = r"[ ,(]*(?:at )?\d+:\d\d:\d\d(?:\.\d)?\)?"  # as it was told, which models repeat
_NUMBERED = re.compile(
    rf'"{_PICTURE}?[ _#-]*0*(\d{{1,3}})(?:{_TIME})?"\s*:\s*(?=[\[{{])', re.IGNORECASE
)
_LISTING = re.compile(r'"tags"\s*:\s*(?=\[)', re.IGNORECASE)
_LINE = re.compile(rf"\W*{_PICTURE}[ _#-]*(\d{{1,3}})\b(?:{_TIME})?[^:]*:\s*(.*)", re.IGNORECASE)

Said = dict[int, dict[str, bool]]
"""By the number of the picture, from 1: whether each tag applies."""


def understand(text: str, names: Names, pictures: int) -> Said:
    """What is said of each picture beyond doubt; nothing of those of which two things are said."""
    lists: dict[int, list[Any]] = {}
    doubtful: set[int] = set()
    for number, items in _lists(text, pictures):
        if lists.setdefault(number, items) != items:
            doubtful.add(number)
    said: Said = {}
    for number, items in lists.items():
        if 1 <= number <= pictures and number not in doubtful:
            try:
                said[number] = names.present(items, text)
            except ReplyError:
                continue  # this picture is left unjudged; the others are not to suffer for it
    return said


def probabilities(
    stream: confidence.TokenStream, names: Names, said: Said
) -> dict[int, dict[str, float]]:
    """The confidences that the token stream tells of what was ``said``."""
    told = {}
    for number, items, start, end in _numbered(stream.text):
        if number in said and _says(items, names) == said[number]:
            told[number] = confidence.of_items(stream, start, end, names.tags, names.place)
    return told


def _says(items: list[Any], names: Names) -> dict[str, bool] | None:
    try:
        return names.present(items, "")
    except ReplyError:
        return None


def _lists(text: str, pictures: int) -> Iterator[tuple[int, list[Any]]]:
    numbered = [(number, items) for number, items, _, _ in _numbered(text)]
    if numbered:
        yield from numbered
        return
    values = [value for value, _, _ in json_values(text)]
    if not values:
        yield from _lines(text)
    for value in values:
        entries = [_tags_of(entry) for entry in value] if isinstance(value, list) else []
        lists = [entry for entry in entries if entry is not None]
        if len(lists) == len(entries) == pictures:
            yield from enumerate(lists, 1)


def _numbered(text: str) -> Iterator[tuple[int, list[Any], int, int]]:
    """Every list of names that stands under a number and is there to its end: number, names, and the place of its brackets."""
    at = 0
    while pair := _NUMBERED.search(text, at):
        at = pair.end()
        try:
            value, end = decoded(text, pair.end())
        except (ValueError, RecursionError):
            continue
        listing = None if isinstance(value, list) else _LISTING.search(text, pair.end(), end)
        items, start = _tags_of(value), listing.end() if listing else pair.end()
        if items is not None:
            yield int(pair[1]), items, start, end
        at = end


def _tags_of(value: Any) -> list[Any] | None:
    """``["Foul"]``, or ``{"tags": ["Foul"]}``."""
    if isinstance(value, dict):
        value = next((own for name, own in value.items() if name.casefold() == "tags"), None)
    return value if isinstance(value, list) else None


def _lines(text: str) -> Iterator[tuple[int, list[Any]]]:
    """``Picture 2: Foul, Goal``, a line for each."""
    for line in text.splitlines():
        told = _LINE.fullmatch(line.strip())
        if told:
            names = told[2].strip(" .!")
            yield (
                int(told[1]),
                [] if means_nothing(names) else [name for name in names.split(",") if name.strip()],
            )
