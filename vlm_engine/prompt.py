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
from dataclasses import dataclass
from typing import Any

from vlm_engine.config_models import ModelConfig
from vlm_engine.types import Form, ImageShape, Purpose, Question

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
    """What a user may change in the words. ``special_tokens`` (such as ``/no_think``) open the line after the picture."""

    opening: str = OPENING
    special_tokens: str = ""

    @classmethod
    def of(cls, model: ModelConfig) -> Wording:
        """The wording that the settings of ``model`` ask for."""
        return cls(model.prompt.strip() or OPENING, model.special_tokens.strip())


def messages(question: Question, wording: Wording, *, system: bool = True, strict: bool = True) -> list[dict[str, Any]]:
    """The ``messages`` of a chat completion, the picture in them as a data URL.

    Without ``system`` the rules open the user's turn, for templates that know no system role. Without
    ``strict`` the words alone ask for JSON, for servers that take no schema, and say so more firmly.
    """
    rules = _rules(question.tags, question.form, wording, strict)
    picture = "data:image/jpeg;base64," + base64.b64encode(question.jpeg).decode("ascii")
    turn = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": _line(question.form, wording)}]
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


def wording_fingerprint(model: ModelConfig) -> str:
    """A name, as hexadecimal SHA-256, for all the words and schemas that shape an answer.

    The tags and the form are left out: who keeps answers keeps those beside them. Two settings with the
    same name ask in the same way, now and after an update of the program.
    """
    wording = Wording.of(model)
    sample = ("a tag", "another tag")
    words = [[_rules(sample, form, wording, strict=True), _line(form, wording), schema(sample, form)] for form in Form]
    return hashlib.sha256(json.dumps(words).encode()).hexdigest()


def _rules(tags: Sequence[str], form: Form, wording: Wording, strict: bool) -> str:
    listed = "\n".join(f"- {tag}" for tag in tags)
    return f"{wording.opening}\n\nTags:\n{listed}\n\n{_RULES[form]}\n{_FORMATS[form]}" + ("" if strict else _FIRMLY)


def _line(form: Form, wording: Wording) -> str:
    return f"{wording.special_tokens} {_LINES[form]}".strip()
