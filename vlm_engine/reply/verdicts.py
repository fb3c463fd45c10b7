"""The verdicts in a text: whether each tag applies, to one picture or to each of several.

Of several pictures, those about which something is missing, unclear or cut off are left out.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from vlm_engine import confidence
from vlm_engine.errors import ReplyError
from vlm_engine.names import tag_key
from vlm_engine.reply.text import decoded, json_values, unreadable
from vlm_engine.types import Form

_NOTHING = frozenset({"[]", "none", "nothing", "no tags", "none of the tags", "none of these tags"})
_YES_NO = {"yes": True, "true": True, "no": False, "false": False}
_COMMA = re.compile(r"([,;])")
_HEADING = re.compile(r"\W*(?:tags|answer)\W*:[\s*]*", re.IGNORECASE)
_SEPARATOR = re.compile(r"[:=–—]|\s-\s")
_PICTURE = r"(?:picture|frame|image|photo)"
_TIME = r"[ ,(]*(?:at )?\d+:\d\d:\d\d(?:\.\d)?\)?"  # as the question has it, which models repeat
_NUMBERED = re.compile(
    rf'"{_PICTURE}?[ _#-]*0*(\d{{1,3}})(?:{_TIME})?"\s*:\s*(?=[\[{{])', re.IGNORECASE
)
_LISTING = re.compile(r'"tags"\s*:\s*(?=\[)', re.IGNORECASE)
_LINE = re.compile(rf"\W*{_PICTURE}[ _#-]*(\d{{1,3}})\b(?:{_TIME})?[^:]*:\s*(.*)", re.IGNORECASE)

Said = dict[str, bool]
"""True for each tag that applies."""


class Names:
    """The tags of a question, found by any name that a model writes.

    Case, spacing and ornament do not matter, and synonyms count. ``others`` are tags that the model
    was shown beside them: to name these says nothing.
    """

    def __init__(
        self,
        tags: Sequence[str],
        synonyms: Mapping[str, Iterable[str]],
        others: Iterable[str] = (),
    ) -> None:
        self.tags = tags
        by_synonym = {_key(name): tag for tag in tags for name in synonyms.get(tag, ())}
        self._by_key = by_synonym | {_key(tag): tag for tag in tags}
        self._others = {_key(tag) for tag in others} - set(self._by_key)
        named = (*self._by_key, *self._others)
        self._most_commas = max((len(_COMMA.findall(name)) for name in named), default=0)

    def find(self, name: str) -> str | None:
        """Return the tag that is meant; None where none is."""
        return self._by_key.get(_key(name)) or self._by_key.get(_key(_bare(name)))

    def knows(self, name: str) -> bool:
        """Return whether it is the name of a tag, perhaps of one that the question leaves out."""
        if self.find(name) is not None:
            return True
        return _key(name) in self._others or _key(_bare(name)) in self._others

    def between_commas(self, line: str) -> list[str] | None:
        """Return the names that a line consists of, which may have commas themselves; None if
        anything else stands in it.
        """
        pieces, found, at = _COMMA.split(line), list[str](), 0  # every other piece is a comma
        while at < len(pieces):
            longest = min(len(pieces), at + 1 + 2 * self._most_commas)
            candidates = ["".join(pieces[at:end]) for end in range(longest, at, -2)]
            name = next(filter(self.knows, candidates), None)
            if name is None and pieces[at].strip(" ."):
                return None
            found += [] if name is None else [name]
            at += 2 if name is None else 2 * len(_COMMA.findall(name)) + 2
        return found

    def place(self, name: str) -> int | None:
        """Return the place among the tags of the one that is meant; None where none is."""
        tag = self.find(name)
        return None if tag is None else self.tags.index(tag)

    def present(self, items: Sequence[Any], raw: str) -> Said:
        """Return whether each tag is among the names in ``items``.

        Raise ``ReplyError`` for a list that does not tell.
        """
        if not all(isinstance(item, str) for item in items):
            raise unreadable("the reply lists something other than names", raw)
        found = {self.find(item) for item in items} - {None}
        if not found and not all(_means_nothing(item) or self.knows(item) for item in items):
            raise unreadable("the reply names only tags that were not asked for", raw)
        return {tag: tag in found for tag in self.tags}


def _key(name: str) -> str:
    """Return the tag key in one form of Unicode: models and users compose letters differently."""
    return unicodedata.normalize("NFC", tag_key(name))


def _bare(name: str) -> str:
    """Return the name without bullet and ornament."""
    return re.sub(r"^(?:[-*•]+|\d+[.)])\s+", "", name.strip()).strip(" \t\"'`*.,;")


def _means_nothing(text: str) -> bool:
    return _key(text) in _NOTHING or _key(_bare(text).strip("!")) in _NOTHING


def of_picture(text: str, names: Names, form: Form) -> tuple[Said, Any]:
    """Return whether each tag applies, and the JSON value that says so.

    Instead of a value, a tuple of bare names as they were written, or None where other words say
    so. Raises ``ReplyError`` where the text says no one thing beyond doubt.
    """
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
    is_list = form is not Form.VERDICTS
    bare = _bare_names(text, names) if is_list else None
    if bare is not None:
        return names.present(bare, text), bare
    if values and text.startswith("[") and is_list and isinstance(values[0], list):
        return names.present(values[0], text), values[0]
    said = None if values else _from_words(text, names)
    if said is None:
        raise unreadable("the reply does not answer the question", text)
    return said, None


def _bare_names(text: str, names: Names) -> tuple[str, ...] | None:
    """Return the names that the text consists of; nothing where it says that there are none, and
    None if anything else stands in it. Raises ``ReplyError`` where a tag has a name that says so.
    """
    text = _without_heading(text)
    if _means_nothing(text):
        if names.find(text) is not None:
            raise unreadable("the reply names a tag, or says that there is none", text)
        return ()
    found: list[str] = []
    for line in filter(str.strip, text.splitlines()):
        on_line = [line.strip()] if names.knows(line) else names.between_commas(line.strip())
        if on_line is None:
            return None
        found += on_line
    return tuple(found) or None


def _without_heading(text: str) -> str:
    heading = _HEADING.match(text)
    return text[heading.end() :] if heading else text


def _from_object(value: dict[str, Any], names: Names, form: Form, raw: str) -> Said | None:
    if form is not Form.VERDICTS:
        for name, items in value.items():
            if _key(name) == "tags" and isinstance(items, list):
                return names.present(items, raw)
    return _from_pairs(value.items(), names, raw)


def _from_pairs(pairs: Iterable[tuple[str, Any]], names: Names, raw: str) -> Said | None:
    """Read names with "yes" or "no"; return None where none of them is a tag of the question."""
    said: Said = {}
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


def _from_words(text: str, names: Names) -> Said | None:
    """Read verdicts without JSON if all of the text is understood; return None otherwise."""
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
    return None


def _name_and_word(line: str) -> tuple[str, str] | None:
    """Split ``Foul: yes`` or ``Foul - **no**`` into the name and the one word after it."""
    pieces = re.findall(r"\w+|\W+", line.strip())
    words = [at for at, piece in enumerate(pieces) if piece[0].isalnum() or piece[0] == "_"]
    if len(words) < 2:
        return None
    before, between = "".join(pieces[: words[-1] - 1]), pieces[words[-1] - 1]
    separator = _SEPARATOR.search(between)
    return (before + between[: separator.start()], pieces[words[-1]]) if separator else None


def confidences(
    stream: confidence.TokenStream, text: str, value: Any, names: Names, form: Form
) -> dict[str, float]:
    """Return the confidence of each tag that the token stream tells.

    It is found by the place of the same JSON, or the same ``text`` of bare names, in the stream.
    """
    if isinstance(value, tuple):
        start = stream.text.rfind(_without_heading(text))
        if start < 0:
            return {}
        return confidence.of_names(stream, start, value, names.tags, names.place)
    return {} if value is None else _confidences_of_json(stream, value, names, form)


def _confidences_of_json(
    stream: confidence.TokenStream, value: Any, names: Names, form: Form
) -> dict[str, float]:
    try:
        places = [(start, end) for other, start, end in json_values(stream.text) if other == value]
    except ReplyError:
        return {}  # thoughts that contradict themselves stand in the stream, and not in the answer
    if not places:
        return {}
    start, end = places[-1]
    is_listing = isinstance(value, list)
    if isinstance(value, dict) and isinstance(value.get("tags"), list):
        listing = re.compile(r'"tags"\s*:\s*(?=\[)').search(stream.text, start, end)
        is_listing, start = listing is not None, listing.end() if listing else start
    if is_listing and form is not Form.VERDICTS:
        return confidence.of_items(stream, start, end, names.tags, names.place)
    if is_listing:
        return {}
    by_name = confidence.of_verdicts(stream, start, end)
    return {tag: sure for name, sure in by_name.items() if (tag := names.find(name))}


def of_pictures(text: str, names: Names, pictures: int) -> dict[int, Said]:
    """Return what is said of each picture beyond doubt, by its number from 1.

    Where two things are said of a picture, it is left out.
    """
    lists: dict[int, list[Any]] = {}
    doubtful: set[int] = set()
    for number, items in _lists(text, pictures):
        if lists.setdefault(number, items) != items:
            doubtful.add(number)
    said: dict[int, Said] = {}
    for number, items in lists.items():
        if 1 <= number <= pictures and number not in doubtful:
            with suppress(ReplyError):  # this picture is left unjudged, and the others are judged
                said[number] = names.present(items, text)
    return said


def confidences_of_pictures(
    stream: confidence.TokenStream, names: Names, said: dict[int, Said]
) -> dict[int, dict[str, float]]:
    """Return the confidences that the token stream tells of what was ``said``."""
    found = {}
    for number, items, start, end in _numbered(stream.text):
        with suppress(ReplyError):
            if number in said and names.present(items, "") == said[number]:
                found[number] = confidence.of_items(stream, start, end, names.tags, names.place)
    return found


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
    """Yield every complete list of names under a number.

    That is the number, the names, and where the list starts and ends.
    """
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
    """Return the list in ``["Foul"]`` or ``{"tags": ["Foul"]}``."""
    if isinstance(value, dict):
        value = next((tags for name, tags in value.items() if name.casefold() == "tags"), None)
    return value if isinstance(value, list) else None


def _lines(text: str) -> Iterator[tuple[int, list[Any]]]:
    """Yield what lines such as ``Picture 2: Foul, Goal`` say."""
    for line in text.splitlines():
        if match := _LINE.fullmatch(line.strip()):
            names = match[2].strip(" .!")
            items = (
                [] if _means_nothing(names) else [name for name in names.split(",") if name.strip()]
            )
            yield int(match[1]), items
