"""What a model said, out of the body of a chat completion."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from vlm_engine.errors import ReplyError

_THOUGHT = re.compile(r"<think(?:ing)?>.*?</think(?:ing)?>", re.DOTALL)
_BOX = re.compile(r"<\|begin_of_box\|>(.*?)<\|end_of_box\|>", re.DOTALL)
_MARK = re.compile(r"<\|[^|<>]*\|>|```(?:json|JSON|text)?")
_OPENING = re.compile(r"[{\[]")
_DECODER = json.JSONDecoder()


def choice_of(body: object) -> Mapping[str, Any]:
    """The one choice. Raises ``ReplyError`` for what is no chat completion."""
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise unreadable("the server's reply is no chat completion", json.dumps(body, default=str))
    return choices[0]


def was_cut_off(body: object) -> bool:
    """Whether the server ended the reply because the token budget was spent. False for what is no reply."""
    try:
        return bool(choice_of(body).get("finish_reason") == "length")
    except ReplyError:
        return False


def said_and_thought(choice: Mapping[str, Any]) -> tuple[str, str]:
    """What the model said, and what it thought, as it came; "" where it did not."""
    message = choice.get("message")
    if not isinstance(message, dict):
        return "", ""
    return _plain(message.get("content")), _plain(message.get("reasoning_content")) or _plain(message.get("reasoning"))


def without_marks(text: str) -> str:
    """Without thoughts, fences, and the marks of the model's template."""
    if "<" not in text and "```" not in text:
        return text.strip()  # as most are
    text = _THOUGHT.sub("", text)
    text = re.split(r"</think(?:ing)?>", text)[-1]  # some templates open the thought themselves
    text = re.split(r"<think(?:ing)?>", text)[0]  # a thought without an end holds no answer
    boxed = _BOX.findall(text)
    return _MARK.sub("", boxed[-1] if boxed else text).strip()


def only_json(thought: str) -> str:
    """``thought`` if it is JSON and nothing else: some servers file a schema's reply there. Musings are no answer."""
    try:
        json.loads(thought)
    except (ValueError, RecursionError):
        raise unreadable("the model only thought and gave no answer; turn its thinking off", thought) from None
    return thought


def nothing(choice: Mapping[str, Any]) -> ReplyError:
    """The error that a reply without words is."""
    message = choice.get("message")
    fields = message if isinstance(message, dict) else {}
    refusal = fields.get("refusal")
    if isinstance(refusal, str) and refusal:
        return unreadable("the model refused to answer", refusal)
    return unreadable("the reply is empty", _plain(fields.get("content")))


def json_values(text: str) -> Iterator[tuple[Any, int, int]]:
    """Every outermost JSON object and array in ``text``, and where it starts and ends."""
    at = 0
    while opening := _OPENING.search(text, at):
        try:
            value, at = decoded(text, opening.start())
        except ValueError:
            at = opening.end()
        except RecursionError:
            return  # brackets without end are no answer, and trying from each of them would take for ever
        else:
            yield value, opening.start(), at


def decoded(text: str, start: int) -> tuple[Any, int]:
    """The JSON value that starts there, and where it ends. Raises ``ValueError`` and ``RecursionError``."""
    return _DECODER.raw_decode(text, start)


def unreadable(why: str, raw: str) -> ReplyError:
    """The error that a reply is which cannot be read as an answer."""
    short = shortened(raw)
    return ReplyError(f'{why}: "{short}"' if short else why, raw=short)


def shortened(text: str, limit: int = 200) -> str:
    """One printable line of at most ``limit`` characters: safe to put in a message."""
    line = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _plain(content: object) -> str:
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else ""
