"""A question as text and schema: what the model is told, in which words, and which answers it may give. Pure.

The rules and the tags come first and never change from picture to picture, so that a server keeps them in
its prefix cache; then the picture; then one short line. Schemas are flat and use only the keywords that
every server with schemas understands.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vlm_engine import templates
from vlm_engine.config_models import ModelConfig
from vlm_engine.types import Form, ImageShape, Purpose, Question
from vlm_engine.wording_config import WordingConfig

OPENING = "You check pictures, mostly single frames of a video, against a list of tags."

_RULES = {
    Form.LIST: "Name the tags that the picture clearly shows: only tags of this list, spelled as in it, in its order, each once.",
    Form.VERDICTS: 'Judge each tag of this list by itself: "yes" if the picture clearly shows it, otherwise "no".',
}
# The examples name no tag of the list: a model that copies them has then said nothing, instead of something false.
_FORMATS = {
    Form.LIST: 'Answer in JSON: {"tags": ["name of a tag", "name of another"]}, or {"tags": []} if it shows none.',
    Form.VERDICTS: 'Answer in JSON, with every tag of the list in its order: {"name of a tag": "yes", "name of another": "no"}.',
}
_DESCRIBED = " Where a tag stands in quotes, what follows says what it means; only what is in the quotes is its name."
_FIRMLY = " Write that one JSON object and nothing else: no explanation, no other text."
_LINES = {
    Form.LIST: "Which of the tags does this picture show?",
    Form.VERDICTS: "Which of the tags does this picture show: yes or no?",
}

FORMS: Mapping[Purpose, Form] = {
    Purpose.STILL: Form.LIST,
    Purpose.SCAN: Form.LIST,
    Purpose.SECOND_LOOK: Form.VERDICTS,
    Purpose.EDGE: Form.VERDICTS,
}
"""A list of names is short, and so quick to answer; a verdict for each tag is for the few tags in doubt."""


def shape_for(model: ModelConfig, purpose: Purpose) -> ImageShape:
    """How large a picture ``model`` is sent with a question of this purpose."""
    side = min(model.scan_max_side, model.image_max_side) if purpose is Purpose.SCAN else model.image_max_side
    return ImageShape(side, model.image_quality)


@dataclass(frozen=True, slots=True)
class Wording:
    """What a user may change in the words: two templates, what is put into them, and what single tags mean.

    ``special_tokens`` (such as ``/no_think``) open the line after the picture, unless the templates say otherwise.
    """

    opening: str = OPENING
    special_tokens: str = ""
    system: str = templates.SYSTEM
    user: str = templates.USER
    descriptions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, model: WordingConfig) -> Wording:
        """The wording that the settings of ``model`` ask for."""
        opening, special_tokens = model.prompt.strip() or OPENING, model.special_tokens.strip()
        return cls(opening, special_tokens, model.system_template, model.user_template, model.tag_descriptions)


def messages(question: Question, wording: Wording, *, system: bool = True, strict: bool = True) -> list[dict[str, Any]]:
    """The ``messages`` of a chat completion, the picture in them as a data URL.

    Without ``system`` the rules open the user's turn, for templates that know no system role. Without
    ``strict`` the words alone ask for JSON, for servers that take no schema, and say so more firmly.
    """
    rules, line = _texts(question.tags, question.form, question.time_s, wording, strict)
    picture = "data:image/jpeg;base64," + base64.b64encode(question.jpeg).decode("ascii")
    turn = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": line}]
    if system:
        return [{"role": "system", "content": rules}, {"role": "user", "content": turn}]
    return [{"role": "user", "content": [{"type": "text", "text": rules}, *turn]}]


def schema(tags: Sequence[str], form: Form) -> dict[str, Any]:
    """The JSON schema of an answer: ``{"tags": [name, …]}``, or one ``"yes"`` or ``"no"`` for each tag."""
    if form is Form.LIST:
        names = {"type": "array", "items": {"type": "string", "enum": list(tags)}, "maxItems": len(tags)}
        properties: dict[str, Any] = {"tags": names}
    else:
        properties = {tag: {"type": "string", "enum": ["yes", "no"]} for tag in tags}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def longest_answer(tags: Sequence[str]) -> int:
    """Tokens that hold the longest answer in either form, generously: a budget below it would cut answers off."""
    return 32 + sum(len(tag.encode()) // 2 + 8 for tag in tags)


def wording_fingerprint(model: WordingConfig) -> str:
    """A name, as hexadecimal SHA-256, for all the words and schemas that shape every answer.

    The tags and the form are left out: who keeps answers keeps those beside them, the tags by ``kept_name``. Two settings
    with the same name ask in the same way, now and after an update of the program.
    """
    wording = replace(Wording.of(model), descriptions={})
    sample = ("a tag", "another tag")
    words: list[Any] = [[*_texts(sample, form, 0.0, wording, strict=True), schema(sample, form)] for form in Form]
    if (wording.system, wording.user) != (templates.SYSTEM, templates.USER):
        words.append([wording.system, wording.user])  # two templates may come to the same words about the sample
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def kept_name(model: WordingConfig, tag: str) -> str:
    """What answers about ``tag`` are kept under: its name, and a line more where it was asked about with a description.

    So another description has that tag, and no other, asked about again.
    """
    described = model.tag_descriptions.get(tag)
    return f"{tag}\n{hashlib.sha256(described.encode()).hexdigest()[:12]}" if described else tag


def _texts(tags: Sequence[str], form: Form, time_s: float | None, wording: Wording, strict: bool) -> tuple[str, str]:
    """The text before the picture, and the line after it."""
    values = {
        "opening": wording.opening,
        "tags": "\n".join(f"- {_told(tag, wording)}" for tag in tags),
        "tag_count": str(len(tags)),
        "rules": _RULES[form] + (_DESCRIBED if any(tag in wording.descriptions for tag in tags) else ""),
        "format": _FORMATS[form] + ("" if strict else _FIRMLY),
        "question": _LINES[form],
        "special_tokens": wording.special_tokens,
        "time": "" if time_s is None else _clock(time_s),
    }
    rules, line = templates.filled(wording.system, values), templates.filled(wording.user, values)
    if not strict and "{format}" not in wording.system + wording.user:
        rules += f"\n{values['format']}"  # where there is no schema, nothing else says so
    return rules, line


def _told(tag: str, wording: Wording) -> str:
    described = wording.descriptions.get(tag)
    return f"{json.dumps(tag, ensure_ascii=False)}: {described}" if described else tag


def _clock(time_s: float) -> str:
    tenths = round(time_s * 10)
    return f"{tenths // 36000}:{tenths // 600 % 60:02}:{tenths // 10 % 60:02}.{tenths % 10}"
