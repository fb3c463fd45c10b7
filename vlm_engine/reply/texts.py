"""What a model said, out of the body of a chat completion.

Whatever a model writes is read in a time that grows with its length alone: text is searched from mark to mark, never by
a pattern that starts again at each place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from vlm_engine.errors import ReplyError

MOST_TEXT = 32_768
"""An answer has at most so many characters: several for each of the tokens that the largest budget allows."""
_CUT_OFF = frozenset({"length", "max_tokens", "model_length"})
_WITHHELD = re.compile(r"content_?filter|safety|prohibited|sensitive|blocklist")
_THINKING = re.compile(r"(</?)think(?:ing)?>")
_BOX_BEGIN, _BOX_END = "<|begin_of_box|>", "<|end_of_box|>"
_MARK = re.compile(r"<\|[^|<>]*\|>|```(?:json|JSON|text)?")
_OPENING = re.compile(r"[{\[]")
_MOST_FALSE_STARTS = 100


def choice_of(body: object) -> Mapping[str, Any]:
    """The one choice. Raises ``ReplyError`` for what is no chat completion."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise unreadable("the server's reply is no chat completion", beginning_of(body))
    return choices[0]


def was_cut_off(body: object) -> bool:
    """Whether the server ended the reply because the token budget was spent. False for what is no reply."""
    return _finish(body) in _CUT_OFF


def was_withheld(body: object) -> bool:
    """Whether a filter of the service took the reply away. False for what is no reply."""
    return _WITHHELD.search(_finish(body)) is not None


def _finish(body: object) -> str:
    try:
        reason = choice_of(body).get("finish_reason")
    except ReplyError:
        return ""
    return reason.casefold() if isinstance(reason, str) else ""


def failure(choice: Mapping[str, Any]) -> ReplyError | None:
    """The error that a reply is during which the server failed, whatever it said until then."""
    error = choice.get("error")
    if not error and choice.get("finish_reason") != "error":
        return None
    message = error.get("message") if isinstance(error, dict) else error
    return unreadable(
        "the server failed while it answered", message if isinstance(message, str) else ""
    )


def said_and_thought(choice: Mapping[str, Any]) -> tuple[str, str]:
    """What the model said, and what it thought, as it came; "" where it did not."""
    message = choice.get("message")
    if not isinstance(message, dict):
        return "", ""
    return _plain(message.get("content")), _plain(message.get("reasoning_content")) or _plain(
        message.get("reasoning")
    )


def without_marks(text: str) -> str:
    """Without thoughts, fences, and the marks of the model's template."""
    if "<" not in text and "```" not in text:
        return text.strip()  # as most are
    return _MARK.sub("", _in_the_last_box(_without_thoughts(text))).strip()


def began_to_think(text: str) -> bool:
    """Whether there is a thought in it."""
    return _THINKING.search(text) is not None


def _without_thoughts(text: str) -> str:
    """A thought without an end holds no answer. One without a beginning was opened by the model's template."""
    kept, at, thinking = list[str](), 0, False
    for mark in _THINKING.finditer(text):
        opens = mark[1] == "<"
        if not opens and not thinking:
            kept.clear()
        elif not thinking:
            kept.append(text[at : mark.start()])
        thinking, at = opens, mark.end()
    return "".join(kept) + ("" if thinking else text[at:])


def _in_the_last_box(text: str) -> str:
    end = text.rfind(_BOX_END)
    begin = text.rfind(_BOX_BEGIN, 0, max(0, end))
    return text[begin + len(_BOX_BEGIN) : end] if 0 <= begin < end else text


def only_json(thought: str) -> str:
    """``thought`` if it is JSON and nothing else: some servers file a schema's reply there. Musings are no answer."""
    try:
        json.loads(thought)
    except (ValueError, RecursionError):
        raise only_thought(thought) from None
    return thought


def only_thought(thought: str) -> ReplyError:
    """The error that thoughts without an answer are."""
    remedy = "turn its thinking off in the server, or use its instruct variant"
    return unreadable(f"the model only thought and gave no answer; {remedy}", thought)


def withheld(choice: Mapping[str, Any]) -> ReplyError:
    """The error that an answer is which a filter took away."""
    remedy = "its filter does not let answers about such pictures through; use another service or a model of your own"
    return unreadable(f"the service withheld the answer: {remedy}", said_and_thought(choice)[0])


def nothing(choice: Mapping[str, Any]) -> ReplyError:
    """The error that a reply without words is."""
    message = choice.get("message")
    fields = message if isinstance(message, dict) else {}
    refusal = fields.get("refusal")
    if isinstance(refusal, str) and refusal:
        return unreadable("the model refused to answer", refusal)
    return unreadable("the reply is empty", _plain(fields.get("content")))


def json_values(text: str) -> Iterator[tuple[Any, int, int]]:
    """Every outermost JSON object and array in ``text``, and where it starts and ends.

    Raises ``ReplyError`` where an object says two things under one name.
    """
    at = false_starts = 0
    while opening := _OPENING.search(text, at):
        try:
            value, at = decoded(text, opening.start())
        except _TwoMeaningsError:
            raise unreadable("the reply says two things under one name", text) from None
        except ValueError:
            at, false_starts = opening.end(), false_starts + 1
            if false_starts > _MOST_FALSE_STARTS:
                return  # brackets without end are no answer, and trying from each of them would take for ever
        except RecursionError:
            return  # the same
        else:
            yield value, opening.start(), at


def decoded(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that starts there, and where it ends.

    Raises ``RecursionError``, and ``ValueError`` also where an object says two things under one name.
    """
    return _DECODER.raw_decode(text, start)


class _TwoMeaningsError(ValueError):
    """An object has a name twice, with two values."""


def _with_one_meaning(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        for name, one in pairs:
            if one != value[name]:
                raise _TwoMeaningsError(name)
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_with_one_meaning)


def unreadable(why: str, raw: str) -> ReplyError:
    """The error that a reply is which cannot be read. It holds all of ``raw``: a client hides its key in it, then shortens it."""
    return ReplyError(why, raw=raw)


def shortened(text: str, limit: int = 200) -> str:
    """One printable line of at most ``limit`` characters: safe to put in a message."""
    start = text[: 20 * limit]  # enough, however much of it is blank
    line = " ".join("".join(char if char.isprintable() else " " for char in start).split())
    return line if len(line) <= limit and len(start) == len(text) else line[: limit - 1] + "…"


def beginning_of(body: object) -> str:
    """``body`` as JSON, as much of it as may be shown: writing a large one takes long."""
    return "".join(islice(json.JSONEncoder(default=str).iterencode(body), 200))


def _plain(content: object) -> str:
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
