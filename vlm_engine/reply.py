"""A chat completion as verdicts, or the reason why it is none. Pure.

Read strictly where the reply is the JSON that was asked for, leniently where it is something else that
can only mean one thing, and refused where it could mean two: an error never becomes an answer.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vlm_engine import confidence
from vlm_engine.errors import ReplyError
from vlm_engine.types import Form, Question, Verdict

_YES_NO = {"yes": True, "true": True, "no": False, "false": False}
_NOTHING = frozenset({"[]", "none", "nothing", "no tags", "none of the tags", "none of these tags"})
_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_BOX = re.compile(r"<\|begin_of_box\|>(.*?)<\|end_of_box\|>", re.DOTALL)
_MARK = re.compile(r"<\|[^|<>]*\|>|```(?:json|JSON|text)?")
_LINE = re.compile(r"(.+?)\s*(?:[:=–—]|\s-\s)\s*\W*(\w+)\W*")
_OPENING = re.compile(r"[{\[]")
_DECODER = json.JSONDecoder()


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said: one verdict for every tag asked, and the ``text`` as it came.

    ``model`` is "" and counts are 0 where the server does not tell. ``has_tokens``: it sent the log-probabilities of the
    tokens, so that a verdict without a probability is one of which they told nothing.
    """

    verdicts: Mapping[str, Verdict]
    text: str
    model: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    has_tokens: bool = False


def read(body: object, question: Question, synonyms: Mapping[str, Iterable[str]] | None = None) -> Reply:
    """The reply in the parsed ``body`` of a chat completion. ``synonyms``: other names of tags, by tag.

    Raises ``ReplyError`` when it does not answer ``question`` beyond doubt. A body that is an error is
    not meant for this; it is refused like any other that holds no reply.
    """
    choice = _choice(body)
    came, mused = _texts(choice)
    text, thought = _without_marks(came), _without_marks(mused)
    names = _Names(question.tags, synonyms or {})
    if was_cut_off(body):
        raise _unreadable("the reply was cut off before its end; a larger max_new_tokens may help", text or thought)
    if text:
        said, value = _understand(text, names, question.form)
    elif thought:
        said, value = _understand(_only_json(thought), names, question.form)
    else:
        raise _nothing(choice)
    stream = confidence.TokenStream.of(choice)
    sure = {} if stream is None else _probabilities(stream, value, names, question.form)
    verdicts = {tag: Verdict(said[tag], sure.get(tag)) for tag in question.tags}
    counts = _count(body, "prompt_tokens"), _count(body, "completion_tokens")
    return Reply(verdicts, came if text else mused, _model(body), *counts, has_tokens=stream is not None)


def was_cut_off(body: object) -> bool:
    """Whether the server ended the reply because the token budget was spent. False for what is no reply."""
    try:
        return bool(_choice(body).get("finish_reason") == "length")
    except ReplyError:
        return False


def shortened(text: str, limit: int = 200) -> str:
    """One printable line of at most ``limit`` characters: safe to put in a message."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _choice(body: object) -> Mapping[str, Any]:
    choices = body.get("choices") if isinstance(body, Mapping) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], Mapping):
        raise _unreadable("the server's reply is no chat completion", json.dumps(body, default=str))
    return choices[0]


def _texts(choice: Mapping[str, Any]) -> tuple[str, str]:
    """What the model said, and what it thought; "" where it did not."""
    message = choice.get("message")
    if not isinstance(message, Mapping):
        return "", ""
    return _plain(message.get("content")), _plain(message.get("reasoning_content")) or _plain(message.get("reasoning"))


def _plain(content: object) -> str:
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, Mapping)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _without_marks(text: str) -> str:
    text = _THOUGHT.sub("", text)
    text = re.split(r"</think(?:ing)?>", text)[-1]  # some templates open the thought themselves
    text = re.split(r"<think(?:ing)?>", text)[0]  # a thought without an end holds no answer
    boxed = _BOX.findall(text)
    return _MARK.sub("", boxed[-1] if boxed else text).strip()


def _only_json(thought: str) -> str:
    """``thought`` if it is JSON and nothing else: some servers file a schema's reply there. Musings are no answer."""
    try:
        json.loads(thought)
    except (ValueError, RecursionError):
        raise _unreadable("the model only thought and gave no answer; turn its thinking off", thought) from None
    return thought


def _understand(text: str, names: _Names, form: Form) -> tuple[dict[str, bool], Any]:
    """Whether each tag applies, and the JSON value that says so, or None where the words did."""
    values = [value for value, _, _ in _json_values(text)]
    for value in reversed(values):
        said = _from_object(value, names, form, text) if isinstance(value, dict) else None
        if said is not None:
            return said, value
    if values and text.startswith("[") and form is Form.LIST and isinstance(values[0], list):
        return _from_items(values[0], names, text), values[0]
    said = None if values else _from_words(text, names, form)
    if said is None:
        raise _unreadable("the reply does not answer the question", text)
    return said, None


class _Names:
    """Finds the tag that a model means by a name, whatever the case, spacing and ornament; by a synonym, too."""

    def __init__(self, tags: Sequence[str], synonyms: Mapping[str, Iterable[str]]) -> None:
        self.tags = tags
        by_synonym = {_key(name): tag for tag in tags for name in synonyms.get(tag, ())}
        self._by_key = by_synonym | {_key(tag): tag for tag in tags}

    def find(self, name: str) -> str | None:
        bare = re.sub(r"^(?:[-*•]+|\d+[.)])\s+", "", name.strip()).strip(" \t\"'`*.,;")
        return self._by_key.get(_key(name)) or self._by_key.get(_key(bare))

    def place(self, name: str) -> int | None:
        """Where the tag stands that is meant; None where none is."""
        tag = self.find(name)
        return None if tag is None else self.tags.index(tag)


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()


def _from_object(value: dict[str, Any], names: _Names, form: Form, raw: str) -> dict[str, bool] | None:
    if form is Form.LIST:
        for key, items in value.items():
            if _key(key) == "tags" and isinstance(items, list):
                return _from_items(items, names, raw)
    return _from_pairs(value.items(), names, raw)


def _from_items(items: list[Any], names: _Names, raw: str) -> dict[str, bool]:
    if not all(isinstance(item, str) for item in items):
        raise _unreadable("the reply lists something other than names", raw)
    present = {names.find(item) for item in items} - {None}
    if not present and not all(_key(item) in _NOTHING for item in items):
        raise _unreadable("the reply names only tags that were not asked for", raw)
    return {tag: tag in present for tag in names.tags}


def _from_pairs(pairs: Iterable[tuple[str, Any]], names: _Names, raw: str) -> dict[str, bool] | None:
    """From names with "yes" or "no"; None where not one of the names was asked for."""
    said: dict[str, bool] = {}
    for name, word in pairs:
        tag = names.find(name)
        if tag is None:
            continue
        verdict = _YES_NO.get(str(word).strip(" .!").casefold())
        if verdict is None:
            raise _unreadable(f"the reply says neither yes nor no about {tag!r}", raw)
        if said.setdefault(tag, verdict) != verdict:
            raise _unreadable(f"the reply says both yes and no about {tag!r}", raw)
    missing = [tag for tag in names.tags if tag not in said]
    if said and missing:
        raise _unreadable(f"the reply says nothing about {missing[0]!r}", raw)
    return said or None


def _from_words(text: str, names: _Names, form: Form) -> dict[str, bool] | None:
    """From text without JSON, if every piece of it is understood; else None."""
    word = _YES_NO.get(text.strip(" .!").casefold())
    if word is not None and len(names.tags) == 1:
        return {names.tags[0]: word}
    for separator in (r"\n", r"[\n,;]"):
        pieces = [piece for piece in re.split(separator, text) if piece.strip()]
        lines = [_LINE.fullmatch(piece.strip()) for piece in pieces]
        pairs = [(line[1], line[2]) for line in lines if line and line[2].casefold() in _YES_NO]
        if len(pairs) == len(pieces) and (said := _from_pairs(pairs, names, text)):
            return said
        if form is Form.LIST and all(names.find(piece) for piece in pieces):
            return _from_items(pieces, names, text)
    if form is Form.LIST and _key(text.strip(" .!")) in _NOTHING:
        return dict.fromkeys(names.tags, False)
    return None


def _json_values(text: str) -> Iterator[tuple[Any, int, int]]:
    """Every outermost JSON object and array in ``text``, and where it starts and ends."""
    at = 0
    while opening := _OPENING.search(text, at):
        try:
            value, at = _DECODER.raw_decode(text, opening.start())
        except ValueError:
            at = opening.end()
        except RecursionError:
            return  # brackets without end are no answer, and trying from each of them would take for ever
        else:
            yield value, opening.start(), at


def _probabilities(stream: confidence.TokenStream, value: Any, names: _Names, form: Form) -> dict[str, float]:
    """The confidence of each tag that the token stream tells, found by the place of the same JSON in it."""
    if value is None:
        return {}
    places = [(start, end) for other, start, end in _json_values(stream.text) if other == value]
    if not places:
        return {}
    start, end = places[-1]
    listing = re.compile(r'"tags"\s*:\s*\[').search(stream.text, start, end) if isinstance(value, dict) else None
    if isinstance(value, list) or (listing and isinstance(value.get("tags"), list)):
        bracket = listing.end() - 1 if listing else start
        return confidence.of_items(stream, bracket, end, names.tags, names.place) if form is Form.LIST else {}
    told = confidence.of_verdicts(stream, start, end)
    return {tag: sure for key, sure in told.items() if (tag := names.find(key))}


def _nothing(choice: Mapping[str, Any]) -> ReplyError:
    message = choice.get("message")
    fields = message if isinstance(message, Mapping) else {}
    refusal = fields.get("refusal")
    if isinstance(refusal, str) and refusal:
        return _unreadable("the model refused to answer", refusal)
    return _unreadable("the reply is empty", _plain(fields.get("content")))


def _model(body: object) -> str:
    model = body.get("model") if isinstance(body, Mapping) else None
    return model if isinstance(model, str) else ""


def _count(body: object, name: str) -> int:
    usage = body.get("usage") if isinstance(body, Mapping) else None
    count = usage.get(name) if isinstance(usage, Mapping) else None
    return count if isinstance(count, int) and not isinstance(count, bool) and count >= 0 else 0


def _unreadable(why: str, raw: str) -> ReplyError:
    short = shortened(raw)
    return ReplyError(f'{why}: "{short}"' if short else why, raw=short)
