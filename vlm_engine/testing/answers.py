"""What the sandbox's model makes of a request, and the words and token probabilities it answers with. Pure.

The model holds a probability for each tag and writes like a language model: token by token, each with what it might
have written instead. A list is walked in the order of the tags, where every tag is named with its
probability and else passed over, so that the listed alternatives are those of a model that believes just that.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

_BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+(.+?)\s*$", re.MULTILINE)
_PIECE = re.compile(r"\s*[^\s]{1,5}|\s+")


class BadSchemaError(ValueError):
    """The request's ``response_format`` is none that the model could answer in."""


class Style(Enum):
    """How the answer is written."""

    LIST = "an object with an array of names"
    LISTS = "an object with an array of names for each of several pictures, by its number"
    VERDICTS = "an object with one verdict for each name"
    PROSE = "names, separated by commas"


@dataclass(frozen=True, slots=True)
class Asked:
    """``candidates`` in the order of the request. ``key``: the array's name; ``words``: JSON for yes and no. ``pictures``: how
    many there are lists for.

    ``fenced``: the answer stands in a Markdown code fence, as models like to do when no schema keeps them from it.
    """

    candidates: tuple[str, ...]
    style: Style
    key: str = "tags"
    words: tuple[str, str] = ('"yes"', '"no"')
    fenced: bool = False
    pictures: int = 1


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer, and the probability of everything that might have stood in its place, itself included."""

    text: str
    likely: Mapping[str, float] = field(default_factory=dict)

    def as_openai(self, alternatives: int) -> dict[str, Any]:
        """As an entry of ``logprobs.content``, with at most so many alternatives."""
        likely = self.likely or {self.text: 1.0}
        ranked = sorted(likely.items(), key=lambda item: -item[1])[:alternatives]
        return {
            **_entry(self.text, likely[self.text]),
            "top_logprobs": [_entry(*item) for item in ranked],
        }


def _entry(text: str, probability: float) -> dict[str, Any]:
    return {
        "token": text,
        "logprob": math.log(max(probability, 1e-9)),
        "bytes": list(text.encode()),
    }


def asked(body: Mapping[str, Any]) -> Asked:
    """What the body of a chat completion asks for. Raises ``BadSchemaError``."""
    wanted = body.get("response_format") or {"type": "text"}
    if wanted.get("type") == "json_schema":
        return _from_schema(wanted.get("json_schema", {}).get("schema"))
    text = "\n".join(texts(body))
    candidates = _names_in(text)
    if wanted.get("type") != "json_object" and "json" not in text.casefold():
        return Asked(candidates, Style.PROSE)
    pictures = sum(part.get("type") == "image_url" for part in parts(body))
    style = Style.VERDICTS if '"yes"' in text else Style.LISTS if pictures > 1 else Style.LIST
    return Asked(candidates, style, fenced=wanted.get("type") != "json_object", pictures=pictures)


def texts(body: Mapping[str, Any]) -> list[str]:
    """Every text in the messages, in order."""
    return [
        part["text"]
        for part in parts(body)
        if part.get("type") == "text" and isinstance(part.get("text"), str)
    ]


def parts(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Every content part in the messages, in order; a bare string is a part of type text."""
    found: list[Mapping[str, Any]] = []
    for message in body["messages"]:
        content = message.get("content")
        found += [{"type": "text", "text": content}] if isinstance(content, str) else content or []
    return found


def _from_schema(schema: Any) -> Asked:
    if (
        not isinstance(schema, dict)
        or schema.get("type") != "object"
        or not schema.get("properties")
    ):
        raise BadSchemaError(
            f"Grammar error: Invalid type: {schema.get('type') if isinstance(schema, dict) else schema}"
        )
    properties: dict[str, Any] = schema["properties"]
    for key, inner in properties.items():
        if inner.get("type") == "array":
            names = tuple(inner.get("items", {}).get("enum", ()))
            return (
                Asked(names, Style.LISTS, pictures=len(properties))
                if key == "1"
                else Asked(names, Style.LIST, key)
            )
    first = next(iter(properties.values()))
    if first.get("type") == "boolean":
        return Asked(tuple(properties), Style.VERDICTS, words=("true", "false"))
    choices = first.get("enum", ("yes", "no"))
    if len(choices) != 2:
        raise BadSchemaError("Grammar error: a verdict needs two choices")
    return Asked(
        tuple(properties), Style.VERDICTS, words=(json.dumps(choices[0]), json.dumps(choices[1]))
    )


def _names_in(text: str) -> tuple[str, ...]:
    """The tags that a text lists: its bullets where it has some, else what stands between the commas of its lists."""
    found = [_unquoted(name) for name in _BULLET.findall(text)]
    if not found:
        lines = (
            re.split(r"[:?]", line)[-1] for line in re.split(r"\n|\.(?:\s|$)", text) if "," in line
        )
        found = [name.strip(" \t\"'`.") for line in lines for name in line.split(",")]
    return tuple(dict.fromkeys(name for name in found if name))


def _unquoted(bullet: str) -> str:
    """A name in quotes is followed by what it means."""
    quoted = re.match(r'("(?:[^"\\]|\\.)*"): ', bullet)
    return str(json.loads(quoted[1])) if quoted else bullet


def write(wanted: Asked, beliefs: Mapping[str, float], *more: Mapping[str, float]) -> list[Token]:
    """The answer, given the probability of presence of every candidate; ``more``: the same for further pictures."""
    if wanted.style is Style.PROSE:
        named = ", ".join(tag for tag in wanted.candidates if beliefs[tag] > 0.5)
        return _plain(_PIECE.findall(named or "none"))
    if wanted.style is Style.VERDICTS:
        tokens = _verdicts(wanted, beliefs)
    elif wanted.style is Style.LIST:
        tokens = [
            *_plain(['{"', *_pieces(wanted.key), '":']),
            *_items(wanted.candidates, beliefs, "}"),
        ]
    else:
        tokens = _lists(wanted.candidates, (beliefs, *more)[: wanted.pictures])
    return [Token("```json\n"), *tokens, Token("\n```")] if wanted.fenced else tokens


def _plain(pieces: Iterable[str]) -> list[Token]:
    return [Token(piece) for piece in pieces]


def _verdicts(wanted: Asked, beliefs: Mapping[str, float]) -> list[Token]:
    yes, no = (word.strip('"') for word in wanted.words)
    quote = '"' if wanted.words[0].startswith('"') else ""
    tokens = [Token('{"')]
    for tag in wanted.candidates:
        likely = {yes: beliefs[tag], no: 1 - beliefs[tag]}
        tokens += [
            *_plain(_pieces(tag)),
            Token(f'": {quote}'),
            Token(yes if beliefs[tag] > 0.5 else no, likely),
        ]
        tokens.append(Token(f'{quote}, "'))
    return [*tokens[:-1], Token(f"{quote}}}")]


def _lists(candidates: Sequence[str], beliefs: Sequence[Mapping[str, float]]) -> list[Token]:
    tokens: list[Token] = []
    for number, of_picture in enumerate(beliefs, 1):
        tokens += _plain([' "' if tokens else '{"', str(number), '":'])
        tokens += _items(candidates, of_picture, "}" if number == len(beliefs) else ",")
    return tokens


def _items(candidates: Sequence[str], beliefs: Mapping[str, float], then: str) -> list[Token]:
    """The list and what follows its bracket."""
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


def _next(rest: Sequence[str], beliefs: Mapping[str, float]) -> tuple[dict[str, float], float]:
    """How probable each of the remaining tags is to be named next, and that none is."""
    passed, next_is = 1.0, {}
    for tag in rest:
        next_is[tag] = passed * beliefs[tag]
        passed *= 1 - beliefs[tag]
    return next_is, passed


def _spelt(chosen: str, next_is: Mapping[str, float]) -> list[Token]:
    """The tokens of a name, each with how the other names would have gone on from the same beginning."""
    tokens: list[Token] = []
    pieces = _pieces(chosen)
    for at, piece in enumerate(pieces):
        likely: dict[str, float] = {}
        for tag, probability in next_is.items():
            other = [*_pieces(tag), '"']
            if other[:at] == pieces[:at] and len(other) > at:
                likely[other[at]] = likely.get(other[at], 0.0) + probability
        total = sum(likely.values())
        tokens.append(Token(piece, {text: mass / total for text, mass in likely.items()}))
    return tokens


def _pieces(name: str) -> list[str]:
    return _PIECE.findall(json.dumps(name, ensure_ascii=False)[1:-1])
