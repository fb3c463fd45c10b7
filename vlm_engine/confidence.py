"""The confidence of a model, from the log-probabilities of the tokens it wrote. Pure.

Servers differ in what they tell: one gives the probabilities of the model left to itself, so that
the token it had to write may not be listed; another gives those among the tokens that the schema
allowed, where one word may begin in several ways. Both are served by one rule: at a token, add up
the listed alternatives that lead to a "yes" and those that lead to a "no", and compare. In a list
of names, in JSON or bare, to name a tag is its "yes"; to name one that comes after it, or to end
the list, is its "no". Where nothing listed leads to either, nothing is known, and None says so.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_STRING = r'"((?:[^"\\]|\\.)*)"'
_PAIR = re.compile(_STRING + r"\s*:\s*(?:" + _STRING + r"|(true|false)\b)")
_ITEM = re.compile(r"\s*,?\s*" + _STRING)
_FIRST_WAY = re.compile(r'\[\s*+(?:(?P<end>\]).*|(?P<on>")(?P<name>.*))?', re.DOTALL)
_NEXT_WAY = re.compile(r'"\s*+(?:(?P<end>\]).*|(?P<on>,)\s*+(?:"(?P<name>.*))?)?', re.DOTALL)
_BULLET = re.compile(r"\s*(?:[-*•]+\s*|\d+[.)]\s*)?[\"'`*]*")
_ORNAMENT = " \t.\"'`*"  # may stand behind a bare name
_SEPARATORS = "\r\n,;"  # of bare names
_END = re.compile(r"<[^<>\s]{1,40}>")  # such as <|im_end|>, </s>, <eos>
_NOTHING = ("none", "nothing", "no tags")
_STRUCTURE = ' \t\r\n",:['
_MASKED = -1000.0  # stands for "not allowed here"; real log-probabilities are never so low
_ROUNDING = 1e-3
_MOST_BETWEEN = (
    1000  # characters from one name's end to that of the next; blanks without end tell nothing
)
_MOST_TOKENS, _MOST_ALTERNATIVES, _MOST_TEXT = 8192, 64, 1 << 17  # more than any answer has


class TokenStream:
    """The tokens of a reply, joined, with what else the model might have written at each.

    ``text`` need not equal the reply's content: servers strip fences and end markers from that
    alone.
    """

    def __init__(self, tokens: Sequence[Mapping[str, Any]]) -> None:
        self._tokens = tokens
        self._starts: list[int] = []
        pieces = [token["token"] for token in tokens]
        at = 0
        for piece in pieces:
            self._starts.append(at)
            at += len(piece)
        self.text = "".join(pieces)

    @classmethod
    def of(cls, choice: Mapping[str, Any]) -> TokenStream | None:
        """Return the stream of one choice of a chat completion; None where the server sent none."""
        logprobs = choice.get("logprobs")
        tokens = logprobs.get("content") if isinstance(logprobs, dict) else None
        if not isinstance(tokens, list) or not tokens:
            return None
        if len(tokens) > _MOST_TOKENS or not all(map(_is_token, tokens)):
            return None
        stream = cls(tokens)
        return stream if len(stream.text) <= _MOST_TEXT else None

    def index(self, offset: int) -> int:
        """Return the token that holds the character at ``offset`` of the text.

        Empty tokens hold none.
        """
        return bisect_right(self._starts, offset) - 1

    def start(self, index: int) -> int:
        """Return where token ``index`` begins in the text."""
        return self._starts[index]

    def token(self, index: int) -> str:
        """Return the text of token ``index``."""
        return str(self._tokens[index]["token"])

    def alternatives(self, index: int) -> Iterator[tuple[str, float]]:
        """Yield what the model might have written as token ``index``: text and probability."""
        listed = self._tokens[index].get("top_logprobs")
        for entry in listed[:_MOST_ALTERNATIVES] if isinstance(listed, list) else ():
            if isinstance(entry, dict) and isinstance(entry.get("token"), str):
                logprob = entry.get("logprob")
                if isinstance(logprob, int | float) and _MASKED < logprob < _ROUNDING:
                    yield entry["token"], math.exp(min(0.0, logprob))


def _is_token(token: object) -> bool:
    return isinstance(token, dict) and isinstance(token.get("token"), str)


def of_verdicts(stream: TokenStream, start: int, end: int) -> dict[str, float]:
    """Return the probability of "yes" (or true) by key, for a flat object of verdicts.

    The object is at ``start:end`` of the text.
    """
    found = {}
    for pair in _PAIR.finditer(stream.text, start, end):
        at, words = (
            (pair.start(2), ("yes", "no"))
            if pair[3] is None
            else (pair.start(3), ("true", "false"))
        )
        probability = _yes_share(stream, stream.index(at), *words)
        if probability is not None:
            found[_unescaped(pair[1])] = probability
    return found


def _yes_share(stream: TokenStream, index: int, yes_word: str, no_word: str) -> float | None:
    """Return the share of tokens that begin, or are begun by, "yes", against those for "no"."""
    yes = no = 0.0
    for text, probability in stream.alternatives(index):
        word = text.lstrip(_STRUCTURE).casefold()
        if word and (yes_word.startswith(word) or word.startswith(yes_word)):
            yes += probability
        elif word and (no_word.startswith(word) or word.startswith(no_word)):
            no += probability
    return _share(yes, no)


PlaceOf = Callable[[str], int | None]
"""The place in a list of tags of what a name means."""


def of_items(
    stream: TokenStream, start: int, end: int, tags: Sequence[str], place_of: PlaceOf
) -> dict[str, float]:
    """Return the probability of presence by tag, for the array of names at ``start:end``.

    ``start`` is its bracket. A tag is as sure as the model was to name it and not one that comes
    after it in ``tags``, nor to end the list: either would have passed it over. Tags that come
    before it say nothing against it. A tag that was passed over is judged by the same rule, at the
    place where that happened. Nothing is known of a tag that is named otherwise than it is spelled.
    """
    spelled = {_spelled(tag): place for place, tag in enumerate(tags)}
    items = _json_items(stream.text, start, end, spelled, place_of)
    return _of_list(stream, start, items, tags, list(spelled.items()), _JsonFork)


def of_names(
    stream: TokenStream,
    start: int,
    names: Sequence[str],
    tags: Sequence[str],
    place_of: PlaceOf,
) -> dict[str, float]:
    """Return the same as ``of_items`` for bare ``names``, the first of which begins at ``start``.

    Each is as it was written, with its bullet. Without names the text says that there are none.
    Where the stream does not show what ended the text, nothing is known of the tags after the last
    name.
    """
    items = _bare_items(stream.text, start, names, tags, place_of)
    spelled = [(tag, place) for place, tag in enumerate(tags)]
    return _of_list(stream, start, items, tags, spelled, _NamesFork)


@dataclass(frozen=True, slots=True)
class _Item:
    """A name of a list, or its end.

    ``place``: that of its tag, behind those of all tags for the end, negative if nothing is known
    of it. ``until``: where it ends in the text; negative if nowhere.
    """

    place: int
    until: int
    is_spelled: bool = True


def _json_items(
    text: str, start: int, end: int, spelled: Mapping[str, int], place_of: PlaceOf
) -> Iterator[_Item]:
    at = start + 1
    while item := _ITEM.match(text, at, end):
        place = spelled.get(item[1])
        meant = place_of(_unescaped(item[1])) if place is None else place
        yield _Item(-1 if meant is None else meant, item.end(1), place is not None)
        at = item.end()
    yield _Item(len(spelled), text.find("]", at, end))


def _bare_items(
    text: str, start: int, names: Sequence[str], tags: Sequence[str], place_of: PlaceOf
) -> Iterator[_Item]:
    at = start
    for name in names:
        at = text.find(name, at)
        place = place_of(name)
        offset = -1 if place is None else name.find(tags[place])
        if place is None or offset < 0:
            yield _Item(-1 if place is None else place, at + len(name), is_spelled=False)
        else:
            yield _Item(place, at + offset + len(tags[place]))
        at += len(name)
    yield _Item(len(tags), len(text))


def _of_list(
    stream: TokenStream,
    start: int,
    items: Iterable[_Item],
    tags: Sequence[str],
    left: list[tuple[str, int]],
    fork_at: type[_Fork],
) -> dict[str, float]:
    """Return the probability of presence by tag. ``left``: each tag as it is spelled, and its
    place.
    """
    found: dict[str, float] = {}
    settled: set[int] = set()
    last, before = -1, start
    for item in items:
        is_end = item.place == len(tags)
        is_left = is_end or any(place == item.place for _, place in left)
        if item.is_spelled and is_left and 0 <= item.until <= before + _MOST_BETWEEN:
            following = [place for _, place in left if place > last or item.place < last]
            is_first = before == start
            fork = fork_at(
                stream, (before, item.until), left, (*following, len(tags)), is_first=is_first
            )
            for _, place in left:
                if place == item.place or (place < item.place and place not in settled):
                    settled.add(place)
                    probability = fork.share(place, is_named=place == item.place)
                    if probability is not None:
                        found[tags[place]] = probability
        if item.place >= 0 and not item.is_spelled:
            found.pop(tags[item.place], None)
        left = [entry for entry in left if entry[1] != item.place]
        last = max(last, item.place)
        before = item.until
    return found


@dataclass(frozen=True, slots=True)
class _Way:
    """One thing that might have been written at a token.

    ``places`` are those of all the tags that it may lead to. The place of the list's end is behind
    those of all tags. ``taken``: it is what was written.
    """

    probability: float
    places: tuple[int, ...]
    taken: bool


class _Fork:
    """The tokens that chose one name of a list, or the list's end.

    They go from the end of the last name to that of the next. ``EMPTY_IS``: what an empty token
    stands for.
    """

    EMPTY_IS = ""

    def __init__(
        self,
        stream: TokenStream,
        between: tuple[int, int],
        left: Sequence[tuple[str, int]],
        following: Sequence[int],
        *,
        is_first: bool,
    ) -> None:
        before, until = between
        self._left = left
        self._is_first = is_first
        self._all, self._end = tuple(following[:-1]), following[-1]
        self._steps = [
            self._ways(stream, index, before)
            for index in range(stream.index(before), stream.index(until) + 1)
        ]

    def share(self, place: int, *, is_named: bool) -> float | None:
        """Return how probable it was to name the tag at ``place``, against passing it over.

        None where the tokens do not show which of the two was done.

        Walks along what was written. ``toward`` is the probability to have got so far, ``named`` to
        have left that way for the tag, ``passed`` for what passes it over. Where a way may still
        lead to several, each has an equal part in it.
        """
        toward, named, passed = 1.0, 0.0, 0.0
        for ways in self._steps:
            total = sum(way.probability for way in ways)
            if not any(way.taken for way in ways) or not total:
                return None
            going_on = 0.0
            for way in ways:
                at = bisect_left(way.places, place)
                leads_to_it = at < len(way.places) and way.places[at] == place
                part = toward * way.probability / total
                if leads_to_it and way.taken:
                    going_on = part
                else:
                    named += part * leads_to_it / len(way.places)
                    passed += part * (len(way.places) - at - leads_to_it) / len(way.places)
            toward = going_on
            if not toward:
                break
        return _share(named + toward, passed) if is_named or not toward else None

    def _ways(self, stream: TokenStream, index: int, before: int) -> list[_Way]:
        start, written = stream.start(index), stream.token(index)
        shared = stream.text[
            start:before
        ]  # of what came before, where this token holds the end of that too
        lead = stream.text[before:start]
        ways = []
        for text, probability in stream.alternatives(index):
            visible = text or self.EMPTY_IS
            if visible.startswith(shared):
                places = self._places(lead + visible[len(shared) :])
            elif shared.isspace():
                places = self._places(visible)
            else:
                continue
            if places:
                ways.append(_Way(probability, places, text == written))
        return ways

    def _places(self, text: str) -> tuple[int, ...]:
        """Return the places to which ``text`` may lead, ascending. It goes on from the beginning of
        the list, or from the end of the last name.
        """
        raise NotImplementedError


class _JsonFork(_Fork):
    """A fork in an array of JSON: a text goes on from its bracket, or a name's closing quote."""

    def _places(self, text: str) -> tuple[int, ...]:
        way = (_FIRST_WAY if text.startswith("[") else _NEXT_WAY).fullmatch(text)
        if way is None:
            return ()
        if way["end"]:
            return (self._end,)
        if not way["on"]:
            return (*self._all, self._end)
        name = way["name"]
        if not name:
            return self._all
        return tuple(
            place for tag, place in self._left if tag.startswith(name) or name.startswith(f'{tag}"')
        )


class _NamesFork(_Fork):
    """A fork between bare names, which a line break or comma separates."""

    EMPTY_IS = "</s>"  # llama.cpp's token for the end has no text

    def _places(self, text: str) -> tuple[int, ...]:
        if not self._is_first:
            text = text.lstrip(_ORNAMENT)
            if not text:
                return (*self._all, self._end)
            if text[0] not in _SEPARATORS:
                return (self._end,) if _END.match(text) else ()  # else the last name goes on
            text = text.lstrip(_SEPARATORS)
        name = text[_bullet_end(text) :]
        if not name:
            return (*self._all, self._end) if self._is_first and not text.strip() else self._all
        if _END.match(name):
            return (self._end,)
        spelled = text.lstrip()  # a tag itself may begin like a bullet, such as "1. Half"
        places = tuple(
            place for tag, place in self._left if _may_be(tag, name) or _may_be(tag, spelled)
        )
        if self._is_first and any(_may_be(word, name.casefold()) for word in _NOTHING):
            return (*places, self._end)
        return places or (self._all if name.isdecimal() else ())  # the number before a name


def _bullet_end(text: str) -> int:
    bullet = _BULLET.match(text)
    return bullet.end() if bullet else 0


def _may_be(name: str, written: str) -> bool:
    """Return whether ``written`` is the beginning of a bare name, or the name and its end."""
    if name.startswith(written):
        return True
    rest = written.removeprefix(name).lstrip(_ORNAMENT)
    return written.startswith(name) and (
        not rest or rest[0] in _SEPARATORS or _END.match(rest) is not None
    )


def _share(part: float, rest: float) -> float | None:
    return part / (part + rest) if part + rest > 0 else None


def _spelled(tag: str) -> str:
    """Return the tag as it stands between the quotes of JSON."""
    return json.dumps(tag, ensure_ascii=False)[1:-1]


def _unescaped(name: str) -> str:
    return str(json.loads(f'"{name}"'))
