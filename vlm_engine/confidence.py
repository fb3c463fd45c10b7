"""The confidence of a model, from the log-probabilities of the tokens it wrote. Pure.

Servers differ in what they tell: one gives the probabilities of the model left to itself, so that
the token it had to write may not be listed; another gives those among the tokens that the schema
allowed, where one word may begin in several ways. Both are served by one rule: at a token, add up
the listed alternatives that lead to a "yes" and those that lead to a "no", and compare. In a list
of names, to name a tag is its "yes"; to name one that comes after it, or to end the list, is its
"no". Where nothing listed leads to either, nothing is known, and None says so.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_STRING = r'"((?:[^"\\]|\\.)*)"'
_PAIR = re.compile(_STRING + r"\s*:\s*(?:" + _STRING + r"|(true|false)\b)")
_ITEM = re.compile(r"\s*,?\s*" + _STRING)
_FIRST_WAY = re.compile(r'\[\s*+(?:(?P<end>\]).*|(?P<on>")(?P<name>.*))?', re.DOTALL)
_NEXT_WAY = re.compile(r'"\s*+(?:(?P<end>\]).*|(?P<on>,)\s*+(?:"(?P<name>.*))?)?', re.DOTALL)
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


def of_items(
    stream: TokenStream,
    start: int,
    end: int,
    tags: Sequence[str],
    place_of: Callable[[str], int | None],
) -> dict[str, float]:
    """Return the probability of presence by tag, for the array of names at ``start:end``.

    ``start`` is its bracket. A tag is as sure as the model was to name it and not one that comes
    after it in ``tags``, nor to end the list: either would have passed it over. Tags that come
    before it say nothing against it. A tag that was passed over is judged by the same rule, at the
    place where that happened. ``place_of``: the place in ``tags`` of what a name means; nothing is
    known of a tag that is named otherwise than it is spelled.
    """
    found: dict[str, float] = {}
    spelled = {_spelled(tag): place for place, tag in enumerate(tags)}
    left = list(spelled.items())  # not named yet
    settled: set[int] = set()
    last, before, at = -1, start, start + 1
    while True:
        item = _ITEM.match(stream.text, at, end)
        until = item.end(1) if item else stream.text.find("]", at, end)
        named = len(tags) if item is None else spelled.get(item[1], -1)
        if 0 <= until <= before + _MOST_BETWEEN and (
            named == len(tags) or any(place == named for _, place in left)
        ):
            following = [place for _, place in left if place > last or named < last]
            fork = _Fork(stream, (before, until), left, (*following, len(tags)))
            for _, place in left:
                if place == named or (place < named and place not in settled):
                    settled.add(place)
                    probability = fork.share(place)
                    if probability is not None:
                        found[tags[place]] = probability
        if item is None:
            return found
        if named < 0 and (meant := place_of(_unescaped(item[1]))) is not None:
            found.pop(tags[meant], None)
            named = meant
        left = [entry for entry in left if entry[1] != named]
        last = max(last, named)
        before, at = item.end(1), item.end()


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

    They go from the end of the last name to that of the next.
    """

    def __init__(
        self,
        stream: TokenStream,
        between: tuple[int, int],
        left: Sequence[tuple[str, int]],
        following: Sequence[int],
    ) -> None:
        before, until = between
        self._left = left
        self._all, self._end = tuple(following[:-1]), following[-1]
        self._steps = [
            self._ways(stream, index, before)
            for index in range(stream.index(before), stream.index(until) + 1)
        ]

    def share(self, place: int) -> float | None:
        """Return how probable it was to name the tag at ``place``, against passing it over.

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
        return _share(named + toward, passed)

    def _ways(self, stream: TokenStream, index: int, before: int) -> list[_Way]:
        start, written = stream.start(index), stream.token(index)
        shared = stream.text[
            start:before
        ]  # of what came before, where this token holds the end of that too
        lead = stream.text[before:start]
        ways = []
        for text, probability in stream.alternatives(index):
            if text.startswith(shared):
                places = self._places(lead + text[len(shared) :])
            elif shared.isspace():
                places = self._places(text)
            else:
                continue
            if places:
                ways.append(_Way(probability, places, text == written))
        return ways

    def _places(self, text: str) -> tuple[int, ...]:
        """Return the places to which ``text`` may lead.

        It goes on from the list's bracket or the last name's closing quote.
        """
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


def _share(part: float, rest: float) -> float | None:
    return part / (part + rest) if part + rest > 0 else None


def _spelled(tag: str) -> str:
    """Return the tag as it stands between the quotes of JSON."""
    return json.dumps(tag, ensure_ascii=False)[1:-1]


def _unescaped(name: str) -> str:
    return str(json.loads(f'"{name}"'))
