"""From the body of a chat completion to verdicts with their confidences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from vlm_engine.confidence import TokenStream
from vlm_engine.reply import usage, verdicts
from vlm_engine.reply.text import answer_text, choice_of, cut_off_error, unreadable, was_cut_off
from vlm_engine.types import Question, ServerTimings, Verdict

Verdicts = Mapping[str, Verdict]


@dataclass(frozen=True, slots=True)
class Reply:
    """The reply of a model: one verdict for every tag of the question, and the ``text`` as it came.

    ``more``: the verdicts about each further picture of the question; of several pictures, those of
    which nothing could be read have none. ``model`` is "" and counts are 0 where the server does
    not tell. ``has_tokens``: it sent the log-probabilities of the tokens, so that a verdict without
    a probability is one of which they told nothing. ``cached_tokens`` and ``timings`` are None
    where the server does not tell.
    """

    verdicts: Verdicts
    text: str
    model: str = ""
    prompt_tokens: int = 0
    answer_tokens: int = 0
    has_tokens: bool = False
    more: tuple[Verdicts, ...] = ()
    cached_tokens: int | None = None
    timings: ServerTimings | None = None


def read(
    body: object,
    question: Question,
    synonyms: Mapping[str, Iterable[str]] | None = None,
    listed: Iterable[str] = (),
) -> Reply:
    """Return the reply in the parsed ``body`` of a chat completion.

    ``synonyms``: other names of tags, by tag. ``listed``: all tags that the model was shown.

    Raises ``ReplyError`` when it does not answer ``question`` beyond doubt, about any of its
    pictures. A body that is an error is not meant for this; it is refused like any other that holds
    no reply.
    """
    text, raw = answer_text(body, partly=bool(question.more))
    stream = TokenStream.of(choice_of(body))
    names = _names(question.tags, synonyms or {}, tuple(listed))
    first, *more = _verdicts(text, question, names, stream)
    if not any((first, *more)):
        raise (
            cut_off_error(text)
            if was_cut_off(body)
            else unreadable("the reply does not answer the question", text)
        )
    model = body.get("model") if isinstance(body, dict) else None
    return Reply(
        first,
        raw,
        model if isinstance(model, str) else "",
        usage.tokens(body, "prompt_tokens"),
        usage.tokens(body, "completion_tokens"),
        has_tokens=stream is not None,
        more=tuple(more),
        cached_tokens=usage.cached_tokens(body),
        timings=usage.timings(body),
    )


def _verdicts(
    text: str, question: Question, names: verdicts.Names, stream: TokenStream | None
) -> list[Verdicts]:
    """Return the verdicts for each picture; of several, nothing where nothing is said of one."""
    if not question.more:
        said, value = verdicts.of_picture(text, names, question.form)
        sure = verdicts.confidences(stream, text, value, names, question.form) if stream else {}
        return [{tag: Verdict(said[tag], sure.get(tag)) for tag in question.tags}]
    numbers = range(1, len(question.times_s) + 1)
    by_picture = verdicts.of_pictures(text, names, len(numbers))
    sure_of = verdicts.confidences_of_pictures(stream, names, by_picture) if stream else {}
    return [
        {
            tag: Verdict(by_picture[number][tag], sure_of.get(number, {}).get(tag))
            for tag in question.tags
            if number in by_picture
        }
        for number in numbers
    ]


def _names(
    tags: tuple[str, ...], synonyms: Mapping[str, Iterable[str]], listed: tuple[str, ...]
) -> verdicts.Names:
    asked_about = tuple((tag, tuple(synonyms[tag])) for tag in tags if tag in synonyms)
    return _kept_names(tags, asked_about, listed)


@lru_cache(64)
def _kept_names(
    tags: tuple[str, ...],
    synonyms: tuple[tuple[str, tuple[str, ...]], ...],
    listed: tuple[str, ...],
) -> verdicts.Names:
    return verdicts.Names(tags, dict(synonyms), listed)
