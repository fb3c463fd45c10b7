"""Requests to the stand-in model, and its answers as words with token probabilities. Pure.

The model holds a probability for each tag and writes like a language model: token by token, each
with the tokens that might have stood in its place. In a list, the tags are gone through in their
order; each is named with its probability. So the alternatives are those of a model with just
these probabilities.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from itertools import takewhile
from typing import Any

from vlm_engine.testing.behaviour import Refusal, RefusalError

_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+(.+?)\s*$", re.MULTILINE)
_PIECE = re.compile(r"\s*[^\s]{1,5}|\s+")
_SUBSET = re.compile(r"^.*?Consider (only these tags|all tags but): (.+)$", re.MULTILINE)
_BETWEEN_COMMAS = re.compile(r'\s*("(?:[^"\\]|\\.)*"|[^,]+)')
END = "<|im_end|>"
"""Ends an answer that is no JSON. It is a token, and not in the text."""


class Style(Enum):
    """The form of an answer."""

    LISTS = "an object with an array of names for each picture"
    NAMES = "names, one on each line"
    VERDICTS = "an object with one verdict for each name"
    PROSE = "names, separated by commas"


@dataclass(frozen=True, slots=True)
class AnswerRequest:
    """The tags that are asked about, in order, and the form of the answer.

    ``keys`` name the arrays, one for each picture; ``words`` are the JSON for yes and no. A
    ``fenced`` answer stands in a Markdown code fence, as models like it without a schema.
    """

    candidates: tuple[str, ...]
    style: Style
    keys: tuple[str, ...] = ("tags",)
    words: tuple[str, str] = ('"yes"', '"no"')
    fenced: bool = False


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer; ``likely``: the probability of each text that could stand there."""

    text: str
    likely: Mapping[str, float] = field(default_factory=dict)

    def as_openai(self, alternatives: int) -> dict[str, Any]:
        """Return the entry of ``logprobs.content``, with up to that many alternatives."""
        likely = self.likely or {self.text: 1.0}
        ranked = sorted(likely.items(), key=lambda item: -item[1])[:alternatives]
        top = [_entry(*item) for item in ranked]
        return {**_entry(self.text, likely[self.text]), "top_logprobs": top}


def _entry(text: str, probability: float) -> dict[str, Any]:
    logprob = math.log(max(probability, 1e-9))
    return {"token": text, "logprob": logprob, "bytes": list(text.encode())}


def requested(body: Mapping[str, Any]) -> AnswerRequest:
    """Return what the body of a chat completion asks for. Raises ``RefusalError``."""
    form = body.get("response_format") or {"type": "text"}
    if form.get("type") == "json_schema":
        return _from_schema(form.get("json_schema", {}).get("schema"))
    text = "\n".join(texts(body))
    candidates = _chosen(_names_in(text), text)
    if form.get("type") != "json_object" and "without json" in text.casefold():
        return AnswerRequest(candidates, Style.NAMES)
    if form.get("type") != "json_object" and "json" not in text.casefold():
        return AnswerRequest(candidates, Style.PROSE)
    pictures = sum(part.get("type") == "image_url" for part in parts(body))
    style = Style.VERDICTS if '"yes"' in text else Style.LISTS
    keys = _numbers(pictures) if pictures > 1 else ("tags",)
    return AnswerRequest(candidates, style, keys, fenced=form.get("type") != "json_object")


def _numbers(count: int) -> tuple[str, ...]:
    return tuple(str(number) for number in range(1, count + 1))


def texts(body: Mapping[str, Any]) -> list[str]:
    """Return every text in the messages, in order."""
    return [str(part["text"]) for part in parts(body) if part.get("type") == "text"]


def text_before_pictures(body: Mapping[str, Any]) -> str:
    """Return the texts in front of the first picture: all that questions may have in common."""
    before = takewhile(lambda part: part.get("type") != "image_url", parts(body))
    return "".join(str(part.get("text", "")) for part in before)


def parts(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return every content part in the messages, in order; a bare string is a part of type text."""
    found: list[Mapping[str, Any]] = []
    for message in body["messages"]:
        content = message.get("content")
        found += [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    return found


def _from_schema(schema: Any) -> AnswerRequest:
    given = schema if isinstance(schema, dict) else {"type": schema}
    properties: dict[str, Any] = given.get("properties") or {}
    if given.get("type") != "object" or not properties:
        message = f"Grammar error: Invalid type: {given.get('type')}"
        raise RefusalError(Refusal.SCHEMA, message)
    arrays = {key: inner for key, inner in properties.items() if inner.get("type") == "array"}
    first = next(iter((arrays or properties).values()))
    if arrays:
        names = tuple(first.get("items", {}).get("enum", ()))
        return AnswerRequest(names, Style.LISTS, tuple(arrays))
    if first.get("type") == "boolean":
        return AnswerRequest(tuple(properties), Style.VERDICTS, words=("true", "false"))
    choices = first.get("enum", ("yes", "no"))
    if len(choices) != 2:
        raise RefusalError(Refusal.SCHEMA, "Grammar error: a verdict needs two choices")
    yes, no = (json.dumps(choice) for choice in choices)
    return AnswerRequest(tuple(properties), Style.VERDICTS, words=(yes, no))


def _names_in(text: str) -> tuple[str, ...]:
    """Return the tags that a text lists: its bullets, or else the items between its commas."""
    found = [_unquoted(name) for name in _BULLET.findall(text)]
    if not found:
        lines = [line for line in re.split(r"\n|\.(?:\s|$)", text) if "," in line]
        items = [name for line in lines for name in re.split(r"[:?]", line)[-1].split(",")]
        found = [name.strip(" \t\"'`.") for name in items]
    return tuple(dict.fromkeys(name for name in found if name))


def _chosen(listed: tuple[str, ...], text: str) -> tuple[str, ...]:
    """Return those of the tags that the question is about, as its last line about them says."""
    found = _SUBSET.findall(text)
    if not found:
        return listed
    kind, names = found[-1]
    named = [name.strip() for name in _BETWEEN_COMMAS.findall(names)]
    chosen = {str(json.loads(name)) if name.startswith('"') else name for name in named}
    return tuple(tag for tag in listed if (tag in chosen) == kind.startswith("only"))


def _unquoted(bullet: str) -> str:
    """Return the name in a bullet: a quoted name is followed by its description."""
    quoted = re.match(r'("(?:[^"\\]|\\.)*"): ', bullet)
    return str(json.loads(quoted[1])) if quoted else bullet


def write(request: AnswerRequest, *beliefs: Mapping[str, float]) -> list[Token]:
    """Return the answer, given the probability of every tag in each picture."""
    first = beliefs[0]
    if request.style is Style.PROSE:
        named = ", ".join(tag for tag in request.candidates if first[tag] > 0.5)
        return prose(named or "none")
    if request.style is Style.NAMES:
        return _lines(request.candidates, first)
    if request.style is Style.VERDICTS:
        tokens = _verdicts(request, first)
    else:
        tokens = _lists(request, beliefs)
    return [Token("```json\n"), *tokens, Token("\n```")] if request.fenced else tokens


def prose(text: str) -> list[Token]:
    """Return a text as tokens that the model is sure of."""
    return _plain(_PIECE.findall(text))


def _plain(pieces: Iterable[str]) -> list[Token]:
    return [Token(piece) for piece in pieces]


def _verdicts(request: AnswerRequest, beliefs: Mapping[str, float]) -> list[Token]:
    yes, no = (word.strip('"') for word in request.words)
    quote = '"' if request.words[0].startswith('"') else ""
    tokens = [Token('{"')]
    for tag in request.candidates:
        likely = {yes: beliefs[tag], no: 1 - beliefs[tag]}
        verdict = Token(yes if beliefs[tag] > 0.5 else no, likely)
        tokens += [*_plain(_pieces(tag)), Token(f'": {quote}'), verdict, Token(f'{quote}, "')]
    return [*tokens[:-1], Token(f"{quote}}}")]


def _lists(request: AnswerRequest, beliefs: Sequence[Mapping[str, float]]) -> list[Token]:
    tokens: list[Token] = []
    for key, of_picture in zip(request.keys, beliefs, strict=False):
        tokens += _plain([' "' if tokens else '{"', *_pieces(key), '":'])
        tokens += _items(request.candidates, of_picture, "}" if key == request.keys[-1] else ",")
    return tokens


def _items(candidates: Sequence[str], beliefs: Mapping[str, float], then: str) -> list[Token]:
    """Return the tokens of one list, and what follows its bracket."""
    tokens: list[Token] = []
    rest = list(candidates)
    go_on, end = ' ["', f" []{then}"
    while True:
        next_is, nothing = _next(rest, beliefs)
        chosen = next((tag for tag in rest if beliefs[tag] > 0.5), None)
        tokens.append(Token(end if chosen is None else go_on, {go_on: 1 - nothing, end: nothing}))
        if chosen is None:
            return tokens
        tokens += _spelt(chosen, next_is)
        rest = rest[rest.index(chosen) + 1 :]
        go_on, end = '", "', f'"]{then}'


def _lines(candidates: Sequence[str], beliefs: Mapping[str, float]) -> list[Token]:
    """Return the tokens of bare names, one on each line, or of "none"; and the end of the text."""
    tokens: list[Token] = []
    rest = list(candidates)
    while chosen := next((tag for tag in rest if beliefs[tag] > 0.5), None):
        next_is, nothing = _next(rest, beliefs)
        if tokens:
            tokens.append(Token("\n", {"\n": 1 - nothing, END: nothing}))
        tokens += _spelt(chosen, next_is if tokens else {**next_is, "none": nothing}, "\n")
        rest = rest[rest.index(chosen) + 1 :]
    next_is, nothing = _next(rest, beliefs)
    if tokens:
        return [*tokens, Token(END, {"\n": 1 - nothing, END: nothing})]
    return [*_spelt("none", {**next_is, "none": nothing}, "\n"), Token(END)]


def _next(rest: Sequence[str], beliefs: Mapping[str, float]) -> tuple[dict[str, float], float]:
    """Return the probability of each remaining tag to be named next, and that of none."""
    passed, next_is = 1.0, {}
    for tag in rest:
        next_is[tag] = passed * beliefs[tag]
        passed *= 1 - beliefs[tag]
    return next_is, passed


def _spelt(chosen: str, next_is: Mapping[str, float], end: str = '"') -> list[Token]:
    """Return the tokens of a name, with how other names go on from the same beginning.

    ``end`` is what ends each of them.
    """
    tokens: list[Token] = []
    split = _pieces if end == '"' else _PIECE.findall
    pieces = split(chosen)
    for at, piece in enumerate(pieces):
        likely: dict[str, float] = {}
        for tag, probability in next_is.items():
            other = [*split(tag), end]
            if other[:at] == pieces[:at] and len(other) > at:
                likely[other[at]] = likely.get(other[at], 0.0) + probability
        total = sum(likely.values())
        tokens.append(Token(piece, {text: mass / total for text, mass in likely.items()}))
    return tokens


def _pieces(name: str) -> list[str]:
    return _PIECE.findall(json.dumps(name, ensure_ascii=False)[1:-1])
