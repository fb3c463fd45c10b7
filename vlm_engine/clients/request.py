"""A question as the body of a chat completion, with the fields that its server takes. Pure."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import Any

from pybase64 import b64encode

from vlm_engine.config import templates
from vlm_engine.config.models import ModelConfig
from vlm_engine.prompt import Wording, messages, schema
from vlm_engine.types import Form, Frame, Question

SEED = 1
TOP_LOGPROBS = 10
_MARK = os.urandom(30)  # stands for a picture; its base64 occurs in no text of a user
_CACHED = 64


class Feature(Enum):
    """A part of a request that can be left out. On a vague complaint, the first one is dropped.

    No two servers take the same fields, so each endpoint is asked with all of them at first.
    """

    TEMPLATE = "chat_template_kwargs"
    REASONING = "reasoning_effort"
    SEED = "seed"
    LOGPROBS = "logprobs"
    SCHEMA = "response_format"
    MAX_TOKENS = "max_tokens"
    TEMPERATURE = "temperature"
    SYSTEM = "the system role"
    SEVERAL = "several pictures"


_COMPLAINTS = {
    Feature.TEMPLATE: r"chat_?template|enable_thinking",
    Feature.LOGPROBS: r"log_?probs",
    Feature.SCHEMA: r"response_format|json_?schema|structured|grammar|schema|guided|json_object"
    r"|peg-native|parser",
    Feature.REASONING: r"reasoning|thinking|\bthink\b",
    Feature.SEED: r"\bseed\b",
    Feature.MAX_TOKENS: r"max_completion_tokens|max_tokens\W+(is|are) (not|un)",
    Feature.TEMPERATURE: r"temperature",
    Feature.SYSTEM: r"system\W+(role|message|prompt|instruction)|role\W+system"
    r"|roles must alternate|developer instruction"
    r"|\bonly\b.{0,60}\broles? (are|is) (supported|allowed)",
    Feature.SEVERAL: r"(at most|maximum of|only|up to|more than) (\d+|one|a single) (image|picture)"
    r"|(too many|multiple|number of) images|images? per (prompt|request|message)",
}
_VAGUE = (
    r"(unknown|unrecogni[sz]ed|unexpected|unsupported|extra|additional|unpermitted) ?\w* ?"
    r"(field|param|argument|input|propert|key|option)|not permitted"
    r"|(requested|these|given) param|param\w*.{0,40}(not|un)\W?(supported|available|allowed)"
)
_NEVER_VAGUE = {Feature.MAX_TOKENS, Feature.TEMPERATURE, Feature.SYSTEM, Feature.SEVERAL}


def blamed_feature(status: int, complaint: str, sent: Set[Feature]) -> Feature | None:
    """Return which of the features ``sent`` a complaint is about; None if about none."""
    if status not in (400, 403, 404, 422, 500, 501):
        return None
    for feature, pattern in _COMPLAINTS.items():
        if feature in sent and re.search(pattern, complaint, re.IGNORECASE):
            return feature
    if status != 500 and re.search(_VAGUE, complaint, re.IGNORECASE):
        return next((each for each in Feature if each in sent and each not in _NEVER_VAGUE), None)
    return None


@dataclass(frozen=True, slots=True)
class RequestOptions:
    """The features of a request, and ``budget``, the tokens that its answer may take."""

    features: frozenset[Feature]
    budget: int


def body(
    question: Question, name: str, model: ModelConfig, options: RequestOptions
) -> dict[str, Any]:
    """Return the body. ``name``: the model's name at the endpoint; "" lets the endpoint choose."""
    features = options.features
    strict = Feature.SCHEMA in features
    tokens = "max_tokens" if Feature.MAX_TOKENS in features else "max_completion_tokens"
    fields: dict[str, Any] = {
        "messages": messages(
            question, Wording.of(model), system=Feature.SYSTEM in features, strict=strict
        ),
        "stream": False,
        tokens: options.budget,
    }
    if name:
        fields["model"] = name
    answers = schema(question.tags, question.form, len(question.times_s))
    if strict and answers:
        answer = {"name": "answer", "strict": True, "schema": answers}
        fields["response_format"] = {"type": "json_schema", "json_schema": answer}
    optional: dict[Feature, dict[str, Any]] = {
        Feature.TEMPERATURE: {"temperature": model.temperature},
        Feature.SEED: {"seed": SEED},
        Feature.LOGPROBS: {"logprobs": True, "top_logprobs": TOP_LOGPROBS},
        Feature.REASONING: {"reasoning_effort": "none"},
        Feature.TEMPLATE: {"chat_template_kwargs": {"enable_thinking": False}},
    }
    for feature, values in optional.items():
        if feature in features:
            fields |= values
    return fields


class Bodies:
    """Encoder of the requests to one model: the bytes of ``json.dumps(body(…))``.

    The text around the pictures is the same from frame to frame, so it is cached.
    """

    def __init__(self, model: ModelConfig) -> None:
        self._model = model
        names = map(templates.template_fields, (model.system_template, model.user_template))
        self._uses_time = any("time" in fields for fields in names)
        self._texts = lru_cache(_CACHED)(self._texts_around_pictures)
        self._letters = lru_cache(_CACHED)(self._count_letters)

    def encoded(self, question: Question, name: str, options: RequestOptions) -> bytes:
        """Return the bytes. ``name``: as in ``body``."""
        times_s = question.times_s if question.more or self._uses_time else (None,)
        first, *rest = self._texts(question.tags, question.form, times_s, name, options)
        jpegs = (question.jpeg, *(frame.jpeg for frame in question.more))
        pairs = zip(jpegs, rest, strict=True)
        return b"".join(
            [first, *(part for jpeg, after in pairs for part in (b64encode(jpeg), after))]
        )

    def encoded_text(self, question: Question, name: str, options: RequestOptions) -> bytes:
        """Return the bytes of the question without its picture. ``name``: as in ``body``."""
        fields = body(question, name, self._model, options)
        for message in fields["messages"]:
            if isinstance(message["content"], list):
                message["content"] = [part for part in message["content"] if part["type"] == "text"]
        return json.dumps(fields).encode("ascii")

    def letters(self, question: Question, options: RequestOptions) -> int:
        """Return the length of the texts that the model reads."""
        return self._letters(question.tags, question.form, len(question.more), options)

    def _count_letters(
        self, tags: tuple[str, ...], form: Form, more: int, options: RequestOptions
    ) -> int:
        question = Question(tags, form, b"", time_s=0.0, more=(Frame(0.0, 0, 0, b""),) * more)
        sent = body(question, "", self._model, options)["messages"]
        return sum(len(text) for text in _texts_in(sent))

    def _texts_around_pictures(
        self,
        tags: tuple[str, ...],
        form: Form,
        times_s: tuple[float | None, ...],
        name: str,
        options: RequestOptions,
    ) -> list[bytes]:
        time_s, *later = times_s
        more = tuple(Frame(later_s or 0.0, 0, 0, _MARK) for later_s in later)
        marked = Question(tags, form, _MARK, time_s=time_s, more=more)
        text = json.dumps(body(marked, name, self._model, options))
        return text.encode("ascii").split(b64encode(_MARK))


def _texts_in(messages: list[dict[str, Any]]) -> Iterator[str]:
    for message in messages:
        content = message["content"]
        if isinstance(content, str):
            yield content
        else:
            yield from (part["text"] for part in content if part["type"] == "text")
