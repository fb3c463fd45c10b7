"""The text of a reply, out of the body of a chat completion, and the JSON in that text.

Every search takes time that grows with the length of the reply alone: text is searched from mark to
mark, never by a pattern that starts again at each place.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from vlm_engine.errors import ReplyError, ReplyFault

MOST_TEXT = 32_768
"""The most characters of an answer: several for each of the tokens that the largest budget allows.
"""
_CUT_OFF = frozenset({"length", "max_tokens", "model_length"})
_WITHHELD = re.compile(r"content_?filter|safety|prohibited|sensitive|blocklist")
_THINKING = re.compile(r"(</?)think(?:ing)?>")
_BOX_BEGIN, _BOX_END = "<|begin_of_box|>", "<|end_of_box|>"
_MARK = re.compile(r"<\|[^|<>]*\|>|```(?:json|JSON|text)?")
_OPENING = re.compile(r"[{\[]")
_MOST_FALSE_STARTS = 100


def choice_of(body: object) -> Mapping[str, Any]:
    """Return the one choice. Raise ``ReplyError`` for a body that is no chat completion."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise unreadable("the server's reply is no chat completion", beginning_of(body))
    return choices[0]


def was_cut_off(body: object) -> bool:
    """Return whether the server ended the reply because the token budget was spent.

    False for what is no reply.
    """
    return _finish(body) in _CUT_OFF


def was_withheld(body: object) -> bool:
    """Return whether a filter of the service took the reply away. False for what is no reply."""
    return _WITHHELD.search(_finish(body)) is not None


def _finish(body: object) -> str:
    try:
        reason = choice_of(body).get("finish_reason")
    except ReplyError:
        return ""
    return reason.casefold() if isinstance(reason, str) else ""


def answer_text(body: object, *, partly: bool) -> tuple[str, str]:
    """Return the answer's text, and the raw text that it stands in.

    An answer in the field for thoughts must be JSON alone.

    ``partly``: a reply that was cut off is read as far as it goes. Raises ``ReplyError`` where
    there is no answer.
    """
    choice = choice_of(body)
    message = choice.get("message")
    fields = message if isinstance(message, dict) else {}
    content = _plain(fields.get("content"))
    if was_withheld(body):
        raise unreadable(
            "the service withheld the answer: its filter does not let answers about such pictures"
            " through; use another service or a model of your own",
            content,
            ReplyFault.WITHHELD,
        )
    error = choice.get("error")
    if error or choice.get("finish_reason") == "error":
        reason = error.get("message") if isinstance(error, dict) else error
        words = reason if isinstance(reason, str) else ""
        raise unreadable("the server failed while it answered", words)
    thoughts = _plain(fields.get("reasoning_content")) or _plain(fields.get("reasoning"))
    if max(len(content), len(thoughts)) > MOST_TEXT:
        raise unreadable("the reply is longer than any answer", content or thoughts)
    text, thought = _without_marks(content), _without_marks(thoughts)
    cut_off = was_cut_off(body)
    if cut_off and not text and (thought or _THINKING.search(content)):
        raise _only_thought(thought or content)
    if cut_off and not (partly and text):
        raise cut_off_error(text)
    if text:
        return text, content
    if thought:
        # Some servers file a schema's reply with the thoughts. Musings are no answer.
        if not _is_json(thought):
            raise _only_thought(thought)
        return thought, thoughts
    refusal = fields.get("refusal")
    if isinstance(refusal, str) and refusal:
        raise unreadable("the model refused to answer", refusal, ReplyFault.REFUSED)
    raise unreadable("the reply is empty", content)


def _plain(content: object) -> str:
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""


def _without_marks(text: str) -> str:
    """Return the text without thoughts, fences, and the marks of the model's template."""
    if "<" not in text and "```" not in text:
        return text.strip()  # as most are
    return _MARK.sub("", _in_the_last_box(_without_thoughts(text))).strip()


def _without_thoughts(text: str) -> str:
    """A thought without an end holds no answer.

    One without a beginning was opened by the model's template.
    """
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


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _only_thought(thought: str) -> ReplyError:
    remedy = "turn its thinking off in the server, or use its instruct variant"
    return unreadable(
        f"the model only thought and gave no answer; {remedy}", thought, ReplyFault.ONLY_THOUGHT
    )


def cut_off_error(text: str) -> ReplyError:
    """Return the error for a reply that ends too early."""
    return unreadable(
        "the reply was cut off before its end; a larger max_new_tokens may help", text
    )


def unreadable(reason: str, raw: str, fault: ReplyFault = ReplyFault.UNREADABLE) -> ReplyError:
    """Return the error for a reply that cannot be read.

    It holds all of ``raw``: a client hides its key in it, then shortens it.
    """
    return ReplyError(reason, raw=raw, fault=fault)


def json_values(text: str) -> Iterator[tuple[Any, int, int]]:
    """Yield every outermost JSON object and array in ``text``, and where it starts and ends.

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
                return  # brackets without end are no answer, and each would be tried for ever
        except RecursionError:
            return  # the same
        else:
            yield value, opening.start(), at


def decoded(text: str, start: int) -> tuple[Any, int]:
    """Return the JSON value that starts there, and where it ends.

    Raises ``RecursionError``, and ``ValueError`` also where an object says two things under one
    name.
    """
    return _DECODER.raw_decode(text, start)


class _TwoMeaningsError(ValueError):
    """An object has a name twice, with two values."""


def _with_one_meaning(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        for name, each in pairs:
            if each != value[name]:
                raise _TwoMeaningsError(name)
    return value


_DECODER = json.JSONDecoder(object_pairs_hook=_with_one_meaning)


def shortened(text: str, limit: int = 200) -> str:
    """Return one printable line of at most ``limit`` characters: safe to put in a message."""
    start = text[: 20 * limit]  # enough, however much of it is blank
    line = " ".join("".join(char if char.isprintable() else " " for char in start).split())
    return line if len(line) <= limit and len(start) == len(text) else line[: limit - 1] + "…"


def beginning_of(body: object) -> str:
    """Return ``body`` as JSON, as much of it as may be shown: writing a large one takes long."""
    return "".join(islice(json.JSONEncoder(default=str).iterencode(body), 200))
