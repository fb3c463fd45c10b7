"""A question as text and schema: its words, and the answers that it allows. Pure.

The text before the picture is the same for every question about a model's tags, so that a server
keeps it in its prefix cache: all tags, and how to list those that a picture shows. What differs
from question to question stands behind the picture, in as few words as possible: which of the tags
are meant, and another form of the answer. Schemas are flat and use only the keywords that every
server with schemas understands.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from vlm_engine.config import templates
from vlm_engine.config.wording import WordingConfig
from vlm_engine.types import Form, Frame, Question

OPENING = "You check pictures, mostly single frames of a video, against a list of tags."


@dataclass(frozen=True, slots=True)
class _Words:
    """The words of one kind of question: what to do, in which form, the question itself."""

    rules: str
    format: str
    line: str


# The examples name no tag of the list: a model that copies them has then said nothing, instead of
# something false.
_LIST = _Words(
    "Name the tags that the picture clearly shows: only tags of this list, spelled as in it,"
    " in its order, each once.",
    'Answer in JSON: {"tags": ["name of a tag", "name of another"]},'
    ' or {"tags": []} if it shows none.',
    "Which tags does the picture show?",
)
_WORDS = {
    Form.LIST: _LIST,
    Form.NAMES: replace(_LIST, format="Answer without JSON: one name on each line, or none."),
    Form.VERDICTS: replace(
        _LIST,
        rules="Judge each tag by itself: yes if the picture clearly shows it, otherwise no.",
        format='Answer in JSON, with each tag in its order: {"name of a tag": "yes",'
        ' "name of another": "no"}.',
    ),
}
_SEVERAL = replace(
    _LIST,
    format="Answer in JSON, with the number of every picture:"
    ' {"1": ["name of a tag", "name of another"], "2": []}.',
    line="Which tags does each of these {} pictures show?",
)
_DESCRIBED = (
    " Where a tag stands in quotes, what follows says what it means;"
    " only what is in the quotes is its name."
)
_FIRMLY = " Write that one JSON object and nothing else: no explanation, no other text."


@dataclass(frozen=True, slots=True)
class Wording:
    """The words that a user may change: two templates, what fills them, and what single tags mean.

    ``special_tokens`` (such as ``/no_think``) open the line after the picture, unless the templates
    say otherwise. ``tags`` are all tags of the model.
    """

    opening: str = OPENING
    special_tokens: str = ""
    system: str = templates.SYSTEM
    user: str = templates.USER
    descriptions: Mapping[str, str] = field(default_factory=dict)
    tags: tuple[str, ...] = ()

    @classmethod
    def of(cls, model: WordingConfig) -> Wording:
        """Return the wording that the settings of ``model`` ask for."""
        return cls(
            model.prompt.strip() or OPENING,
            model.special_tokens.strip(),
            model.system_template,
            model.user_template,
            model.tag_descriptions,
            model.tag_list,
        )


def messages(
    question: Question, wording: Wording, *, system: bool = True, strict: bool = True
) -> list[dict[str, Any]]:
    """Return the ``messages`` of a chat completion, with the pictures as data URLs.

    Several pictures are numbered and timed. Without ``system`` the rules open the user's message,
    for models whose templates have no system role. Without ``strict`` the words alone ask for JSON,
    for servers that take no schema, and do so more firmly. The text before the pictures is the same
    for all questions about tags of the wording.
    """
    rules, line = _texts(question, wording, strict)
    user = [*_pictures(question), {"type": "text", "text": line}]
    if system:
        return [{"role": "system", "content": rules}, {"role": "user", "content": user}]
    return [{"role": "user", "content": [{"type": "text", "text": rules}, *user]}]


def _pictures(question: Question) -> Iterator[dict[str, Any]]:
    jpegs = (question.jpeg, *(frame.jpeg for frame in question.more))
    for number, (jpeg, time_s) in enumerate(zip(jpegs, question.times_s, strict=True), 1):
        if question.more:
            yield {"type": "text", "text": f"Picture {number}, at {_clock(time_s or 0.0)}:"}
        picture = "data:image/jpeg;base64," + base64.b64encode(jpeg).decode("ascii")
        yield {"type": "image_url", "image_url": {"url": picture}}


def schema(tags: Sequence[str], form: Form, pictures: int = 1) -> dict[str, Any] | None:
    """Return the JSON schema of an answer; None if it is bare names.

    It is ``{"tags": [name, …]}``, or one ``"yes"`` or ``"no"`` for each tag. For several pictures,
    in every form, it is a list of names under the number of each, from 1.
    """
    names = {
        "type": "array",
        "items": {"type": "string", "enum": list(tags)},
        "maxItems": len(tags),
    }
    if pictures > 1:
        properties: dict[str, Any] = {str(number): names for number in range(1, pictures + 1)}
    elif form is Form.NAMES:
        return None
    elif form is Form.LIST:
        properties = {"tags": names}
    else:
        properties = {tag: {"type": "string", "enum": ["yes", "no"]} for tag in tags}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


@lru_cache(64)
def longest_answer(tags: tuple[str, ...], pictures: int = 1) -> int:
    """Return tokens enough for the longest answer: a smaller budget would cut answers off."""
    return 32 + pictures * sum(len(tag.encode()) // 2 + 8 for tag in tags) + 8 * (pictures - 1)


def wording_fingerprint(model: WordingConfig, *, several: bool = False) -> str:
    """Return a name, as hexadecimal SHA-256, for the words and schemas that shape every answer.

    The tags and the form are left out: stored answers have those beside them, the tags by
    ``kept_name``. Questions about ``several`` pictures have a name of their own. Two settings with
    the same name ask in the same way, now and after an update of the program.
    """
    tags = ("a tag", "another tag", "one more")
    wording = replace(Wording.of(model), descriptions={}, tags=tags)
    forms = (Form.LIST,) if several else tuple(Form)
    more = (Frame(1.0, 1, 1, b""),) if several else ()
    samples = [
        Question(some, form, b"", time_s=0.0, more=more)
        for form in forms
        for some in (tags, tags[:1], tags[:2])
    ]
    words: list[Any] = [
        [
            *_texts(question, wording, strict=True),
            schema(question.tags, question.form, len(question.times_s)),
        ]
        for question in samples
    ]
    if several:
        words.append([part["text"] for part in _pictures(samples[0]) if part["type"] == "text"])
    if (wording.system, wording.user) != (templates.SYSTEM, templates.USER):
        words.append(
            [wording.system, wording.user]
        )  # two templates may come to the same words about the sample
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def kept_name(model: WordingConfig, tag: str) -> str:
    """Return the name under which answers about ``tag`` are stored.

    A description adds a line to it. So after a new description that tag is asked about again, and
    no other.
    """
    described = model.tag_descriptions.get(tag)
    return f"{tag}\n{hashlib.sha256(described.encode()).hexdigest()[:12]}" if described else tag


def _texts(question: Question, wording: Wording, strict: bool) -> tuple[str, str]:
    """Return the text before the pictures, and the line after them."""
    listed = wording.tags if set(question.tags) <= set(wording.tags) else question.tags
    words = _SEVERAL if question.more else _WORDS[question.form]
    if not strict and schema(question.tags, question.form, len(question.times_s)):
        words = replace(words, format=words.format + _FIRMLY)
    before = templates.filled(wording.system, _values(question, wording, listed, _LIST))
    fields = templates.template_fields(wording.user)
    which = "" if "tags" in fields else _which(question.tags, listed)
    form = _form(words, wording)
    values = _values(question, wording, question.tags, words)
    values["question"] = _joined("\n", which, _joined(" ", values["question"], form))
    line = templates.filled(wording.user, values)
    return before, line if "question" in fields else _joined("\n", line, which, form)


def _values(
    question: Question, wording: Wording, tags: Sequence[str], words: _Words
) -> dict[str, str]:
    """Return the values of the fields of a template."""
    is_described = any(tag in wording.descriptions for tag in tags)
    return {
        "opening": wording.opening,
        "tags": "\n".join(f"- {_described(tag, wording)}" for tag in tags),
        "tag_count": str(len(tags)),
        "picture_count": str(len(question.times_s)),
        "rules": words.rules + (_DESCRIBED if is_described else ""),
        "format": words.format,
        "question": words.line.format(len(question.times_s)),
        "special_tokens": wording.special_tokens,
        "time": ", ".join(_clock(time_s) for time_s in question.times_s if time_s is not None),
    }


def _which(tags: Sequence[str], listed: Sequence[str]) -> str:
    """Return which of the tags ``listed`` are meant; "" for all."""
    left_out = ", ".join(_quoted(tag) for tag in listed if tag not in tags)
    asked_about = ", ".join(map(_quoted, tags))
    if not left_out:
        return ""
    if len(asked_about) <= len(left_out):
        return f"Consider only these tags: {asked_about}"
    return f"Consider all tags but: {left_out}"


def _quoted(tag: str) -> str:
    """Return the tag as it stands between commas."""
    return json.dumps(tag, ensure_ascii=False) if set(tag) & {",", '"'} else tag


def _form(words: _Words, wording: Wording) -> str:
    """Return the rules and the format, unless they are those of a list or the user's template has
    them.
    """
    before = templates.template_fields(wording.system)
    after = templates.template_fields(wording.user)
    rules = "" if words.rules == _LIST.rules or "rules" in after else words.rules
    is_known = words.format == _LIST.format or "format" in before
    known = _LIST.format if is_known else ""
    return _joined(
        " ", rules, "" if "format" in after else words.format.removeprefix(known).strip()
    )


def _joined(separator: str, *texts: str) -> str:
    return separator.join(filter(None, texts))


def _described(tag: str, wording: Wording) -> str:
    described = wording.descriptions.get(tag)
    return f"{json.dumps(tag, ensure_ascii=False)}: {described}" if described else tag


def _clock(time_s: float) -> str:
    tenths = round(time_s * 10)
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"
