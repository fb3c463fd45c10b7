"""From the body of a chat completion to verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from vlm_engine import confidence
from vlm_engine.errors import ReplyError
from vlm_engine.reply import several, single
from vlm_engine.reply.names import Names
from vlm_engine.reply.texts import (
    MOST_TEXT,
    began_to_think,
    choice_of,
    failure,
    nothing,
    only_json,
    only_thought,
    said_and_thought,
    unreadable,
    was_cut_off,
    was_withheld,
    withheld,
    without_marks,
)
from vlm_engine.types import Question, Verdict

Verdicts = Mapping[str, Verdict]


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model said: one verdict for every tag asked, and the ``text`` as it came.

    ``more``: the verdicts about each further picture of the question; of several pictures, those of which nothing could be
    read have none. ``model`` is "" and counts are 0 where the server does not tell. ``has_tokens``: it sent the
    log-probabilities of the tokens, so that a verdict without a probability is one of which they told nothing.
    """

    verdicts: Verdicts
    text: str
    model: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    has_tokens: bool = False
    more: tuple[Verdicts, ...] = ()


def read(
    body: object, question: Question, synonyms: Mapping[str, Iterable[str]] | None = None
) -> Reply:
    """The reply in the parsed ``body`` of a chat completion. ``synonyms``: other names of tags, by tag.

    Raises ``ReplyError`` when it does not answer ``question`` beyond doubt, about none of its pictures. A body that is an
    error is not meant for this; it is refused like any other that holds no reply.
    """
    choice = choice_of(body)
    if was_withheld(body):
        raise withheld(choice)
    failed = failure(choice)
    if failed is not None:
        raise failed
    came, mused = said_and_thought(choice)
    if max(len(came), len(mused)) > MOST_TEXT:
        raise unreadable("the reply is longer than any answer", came or mused)
    text, thought = without_marks(came), without_marks(mused)
    cut_off = was_cut_off(body)
    if cut_off and not text and (thought or began_to_think(came)):
        raise only_thought(thought or came)
    if cut_off and not question.more:
        raise _cut_off(text)
    if not text and not thought:
        raise _cut_off("") if cut_off else nothing(choice)
    raw = came if text else mused
    if not text and not cut_off:
        text = only_json(thought)
    names, stream = _names(question.tags, synonyms or {}), confidence.TokenStream.of(choice)
    first, *more = _verdicts(text, names, question, stream)
    if not any((first, *more)):
        raise (
            _cut_off(text)
            if cut_off
            else unreadable("the reply does not answer the question", text)
        )
    counts = _count(body, "prompt_tokens"), _count(body, "completion_tokens")
    return Reply(first, raw, _model(body), *counts, has_tokens=stream is not None, more=tuple(more))


def _verdicts(
    text: str, names: Names, question: Question, stream: confidence.TokenStream | None
) -> list[Verdicts]:
    """For each picture; of several, nothing for those of which nothing is said."""
    if not question.more:
        said, value = single.understand(text, names, question.form)
        told = {} if stream is None else single.probabilities(stream, value, names, question.form)
        return [{tag: Verdict(said[tag], told.get(tag)) for tag in question.tags}]
    pictures = len(question.times_s)
    of_each = several.understand(text, names, pictures)
    sure = {} if stream is None else several.probabilities(stream, names, of_each)
    return [
        {
            tag: Verdict(of_each[number][tag], sure.get(number, {}).get(tag))
            for tag in question.tags
            if number in of_each
        }
        for number in range(1, pictures + 1)
    ]


def _names(tags: tuple[str, ...], synonyms: Mapping[str, Iterable[str]]) -> Names:
    return _kept_names(tags, tuple((tag, tuple(synonyms[tag])) for tag in tags if tag in synonyms))


@lru_cache(64)
def _kept_names(tags: tuple[str, ...], synonyms: tuple[tuple[str, tuple[str, ...]], ...]) -> Names:
    return Names(tags, dict(synonyms))


def _cut_off(text: str) -> ReplyError:
    return unreadable(
        "the reply was cut off before its end; a larger max_new_tokens may help", text
    )


_MOST_TOKENS = 2**31 - 1  # of one request; what is more is no count


def _model(body: object) -> str:
    model = body.get("model") if isinstance(body, dict) else None
    return model if isinstance(model, str) else ""


def _count(body: object, name: str) -> int:
    usage = body.get("usage") if isinstance(body, dict) else None
    count = usage.get(name) if isinstance(usage, dict) else None
    if not isinstance(count, int) or isinstance(count, bool):
        return 0
    return count if 0 <= count <= _MOST_TOKENS else 0
