"""How sure a model was, read from the log-probabilities of the tokens it wrote. Pure.

Servers differ in what they tell: one gives the probabilities of the model left to itself, so that the
token it had to write may not be listed; another gives those among the tokens that the schema allowed,
where one word may begin in several ways. Both are served by one rule: at a token, add up the listed
alternatives that lead to a "yes" and those that lead to a "no", and compare. Where nothing listed leads
to either, nothing is known, and None says so.
"""

from __future__ import annotations

import json
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

_STRING = r'"((?:[^"\\]|\\.)*)"'
_PAIR = re.compile(_STRING + r"\s*:\s*" + _STRING)
_ITEM = re.compile(r"\s*,?\s*" + _STRING)
_STRUCTURE = ' \t\r\n",:['
_MASKED = -1000.0  # stands for "not allowed here"; real log-probabilities are never so low
_ROUNDING = 1e-3


class TokenStream:
    """The tokens of a reply, joined, with what else the model might have written at each.

    ``text`` need not equal the reply's content: servers strip fences and end markers from that alone.
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
        """The stream of one choice of a chat completion; None where the server sent none."""
        logprobs = choice.get("logprobs")
        tokens = logprobs.get("content") if isinstance(logprobs, Mapping) else None
        if not isinstance(tokens, list) or not tokens:
            return None
        usable = all(isinstance(token, Mapping) and isinstance(token.get("token"), str) for token in tokens)
        return cls(tokens) if usable else None

    def index(self, offset: int) -> int:
        """Which token holds the character at ``offset`` of the text. Empty tokens hold none."""
        return bisect_right(self._starts, offset) - 1

    def start(self, index: int) -> int:
        """Where token ``index`` begins in the text."""
        return self._starts[index]

    def alternatives(self, index: int) -> Iterator[tuple[str, float]]:
        """What the model might have written as token ``index``: text and probability."""
        listed = self._tokens[index].get("top_logprobs")
        for entry in listed if isinstance(listed, list) else ():
            if isinstance(entry, Mapping) and isinstance(entry.get("token"), str):
                logprob = entry.get("logprob")
                if isinstance(logprob, int | float) and _MASKED < logprob < _ROUNDING:
                    yield entry["token"], math.exp(min(0.0, logprob))


def of_verdicts(stream: TokenStream, start: int, end: int) -> dict[str, float]:
    """The probability of "yes" by key, for a flat object of yes and no at ``start:end`` of the stream's text."""
    found = {}
    for pair in _PAIR.finditer(stream.text, start, end):
        probability = _yes_share(stream, stream.index(pair.start(2)))
        if probability is not None:
            found[_unescaped(pair[1])] = probability
    return found


def of_items(stream: TokenStream, start: int, end: int, tags: Sequence[str]) -> dict[str, float]:
    """The probability of presence by tag, for the tags in an array of names at ``start:end``; ``start`` is its bracket.

    A tag is as sure as the model was to go on with the list, and to go on with this tag and not with one
    that comes after it in ``tags``: naming that one would have passed this one over. Tags that come
    before it say nothing against it. Tags that are not in the array are not judged.
    """
    found: dict[str, float] = {}
    listed: set[str] = set()
    before, at = start, start + 1
    while item := _ITEM.match(stream.text, at, end):
        tag = item[1]
        if tag in tags and tag not in listed:
            probability = _item_share(stream, before, item.start(1), _Choice.between(tag, tags, listed))
            if probability is not None:
                found[tag] = probability
        listed.add(tag)
        before, at = item.end(1), item.end()
    return found


def _yes_share(stream: TokenStream, index: int) -> float | None:
    """The one rule: tokens that begin, or are begun by, "yes", against the same for "no"."""
    yes = no = 0.0
    for text, probability in stream.alternatives(index):
        word = text.lstrip(_STRUCTURE).casefold()
        if word and ("yes".startswith(word) or word.startswith("yes")):
            yes += probability
        elif word and ("no".startswith(word) or word.startswith("no")):
            no += probability
    return _share(yes, no)


def _item_share(stream: TokenStream, before: int, begin: int, choice: _Choice) -> float | None:
    """Walks the tokens from ``before`` (the last of what came before) to the closing quote of the name that begins at ``begin``.

    ``named`` is how probable it was to get as far on the way to the tag, ``passed`` to have left the way
    for a rival or the end of the list.
    """
    first, last = stream.index(begin), stream.index(begin + len(choice.tag))
    named, passed = 1.0, 0.0
    for index in range(stream.index(before), last + 1):
        if index < first:
            weights = _ways_to_go_on(stream, index, before)
        else:
            weights = _ways_to_spell(stream, index, choice.tag[: max(0, stream.start(index) - begin)], choice)
        total = weights.own + weights.against + weights.neutral
        if not total:
            return None
        passed += named * weights.against / total
        named *= weights.own / total
    return _share(named, passed)


@dataclass(frozen=True, slots=True)
class _Choice:
    """The tag that was named, and those that might have been instead: after it in the order of the tags, and before it."""

    tag: str
    later: tuple[str, ...]
    earlier: tuple[str, ...]

    @classmethod
    def between(cls, tag: str, tags: Sequence[str], listed: Set[str]) -> _Choice:
        at = tags.index(tag)
        later = tuple(other for other in tags[at + 1 :] if other not in listed)
        return cls(tag, later, tuple(other for other in tags[:at] if other not in listed))


@dataclass(frozen=True, slots=True)
class _Weights:
    """The probabilities of going on towards the tag, of passing it over, and of what says nothing about it yet."""

    own: float
    against: float
    neutral: float = 0.0


def _ways_to_go_on(stream: TokenStream, index: int, before: int) -> _Weights:
    """Between two names: another name, or the end of the list."""
    kept = stream.text[stream.start(index) : before]  # the end of the last name, where the token holds that too
    on = end = 0.0
    for text, probability in stream.alternatives(index):
        added = text.removeprefix(kept) if text.startswith(kept) else ""
        if "]" in added:
            end += probability
        elif added and not added.strip(_STRUCTURE):
            on += probability
    return _Weights(on, end)


def _ways_to_spell(stream: TokenStream, index: int, written: str, choice: _Choice) -> _Weights:
    """Within the name, after ``written``: what may become the tag, a rival, or a tag that comes before it."""
    own = against = neutral = 0.0
    for text, probability in stream.alternatives(index):
        spelled = written + (text if written else text.lstrip(_STRUCTURE))
        if not spelled or spelled == written:
            continue
        if _may_become(spelled, choice.tag):
            own += probability
        elif spelled.startswith("]") or any(_may_become(spelled, rival) for rival in choice.later):
            against += probability
        elif any(_may_become(spelled, other) for other in choice.earlier):
            neutral += probability
    return _Weights(own, against, neutral)


def _may_become(spelled: str, tag: str) -> bool:
    return tag.startswith(spelled) or spelled.startswith(f'{tag}"')


def _share(part: float, rest: float) -> float | None:
    return part / (part + rest) if part + rest > 0 else None


def _unescaped(name: str) -> str:
    return str(json.loads(f'"{name}"'))
